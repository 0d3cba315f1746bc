"""A directory opened: lock, log, head, blocks, and the work that goes on behind.

From: `gnomon/wiring.py`, which opens it. To: everybody, as `interface.Storage`.

    data/lock        one process at a time
    data/wal/        what is not in blocks yet
    data/head/       sealed pages of the head, scratch
    data/<ULID>/     sealed blocks

Maintenance runs in one thread at a time, under `_maintenance`: cut the head's older windows into
blocks, compact blocks, drop what retention does not keep, shorten the log. Readers and writers see
each step at once, under the head's lock, or not at all.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsdb.append import BatchAppender, StartUse
from tsdb.block_writer import remove_leftovers
from tsdb.cardinality import Cardinality, count_cardinality
from tsdb.change_log import ChangeLog
from tsdb.delegation import Delegating
from tsdb.directory_lock import DirectoryLock
from tsdb.early_reads import EarlyReads
from tsdb.head import NEVER_MS, Head
from tsdb.head_snapshot import has_snapshot, log_end, read_snapshot, write_snapshot
from tsdb.kernels import NO_TIME
from tsdb.maintenance import Maintenance
from tsdb.options import DatabaseOptions
from tsdb.replay import ReplayProgress, ReplayReport, replay
from tsdb.select import Reader
from tsdb.start_times import companion_count
from tsdb.wal import WalStats, WalWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tsdb.block import Block
    from tsdb.interface import Matcher, MetricMetadata
    from tsdb.maintenance_counts import MaintenanceCounts

_log = logging.getLogger(__name__)

_RESERVED_SLOTS = 1 << 24
"""Address space for 16 M series; beyond that columns grow by copying."""
_HEAD_SAVE_INTERVAL_S = 1.0
"""How often the size of the log is looked at."""


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """Everything countable, for `telemetry.py`. Times in ms since the epoch, durations in s.

    `appended` counts floats by `AppendStatus`, replayed ones included, `histograms_appended`
    histograms; `histograms_waiting` are in the head. `exemplars_appended` counts by
    `ExemplarStatus`. Head times are None while it is empty. `head_pages` are all that were sealed
    since the start, `pages_dropped` those of them that blocks took over, about. `maintenance` is
    the live object. `clean_start`: 1 the last owner closed it, 0 it crashed, -1 there is no lock.
    """

    series: int
    series_created: int
    series_removed: int
    appended: tuple[int, ...]
    late_appended: int
    late_waiting: int
    histograms_appended: tuple[int, ...]
    histograms_late: int
    histograms_waiting: int
    metadata_families: int
    exemplars: int
    exemplars_max: int
    exemplars_appended: tuple[int, ...]
    head_min_time_ms: int | None
    head_max_time_ms: int | None
    head_pages: int
    head_page_bytes: int
    head_memory_bytes: int
    symbol_count: int
    symbol_bytes: int
    wal: WalStats
    wal_corruptions: int
    replay_duration_s: float
    replay_samples: int
    blocks: int
    block_bytes: int
    block_corruptions: int
    lowest_time_ms: int | None
    cuts: int
    cut_duration_s: float
    compactions: int
    compactions_failed: int
    compaction_duration_s: float
    time_retentions: int
    size_retentions: int
    retention_ms: int | None
    retention_bytes: int | None
    reloads: int
    reloads_failed: int
    head_saves: int
    head_save_s: float
    clean_start: int
    maintenance: MaintenanceCounts
    pages_dropped: int
    exemplar_series: int
    exemplar_oldest_ms: int | None


class Database(Delegating):
    """Implements `interface.Storage`. Made by `open` or `in_memory`; thread-safe."""

    def __init__(
        self,
        path: Path | None,
        options: DatabaseOptions,
    ) -> None:
        """Use `open` or `in_memory`."""
        self.path = path
        self.options = options
        in_memory = path is None or options.read_only
        reserve = 0 if path is None else _RESERVED_SLOTS
        pages = None if in_memory or path is None else path / "head"
        self._head = Head(
            pages=pages,
            reserve=reserve,
            window_ms=options.min_block_ms,
            exemplars_max=options.exemplars_max,
        )
        self._reader = Reader(self._head)
        self._changes = ChangeLog()
        self._appender = BatchAppender(
            self._head,
            None,
            retention_ms=options.retention_ms,
            out_of_order_window_ms=options.out_of_order_window_ms,
            clock_ms=options.clock_ms,
            in_order_ms=options.min_block_ms // 2,
            start_use=StartUse(
                options.start_times_stored, options.start_zeros, options.min_block_ms // 2
            ),
            changes=self._changes,
        )
        self._wal: WalWriter | None = None
        self._lock_file: DirectoryLock | None = None
        self._maintenance = Maintenance(path, options, self._head, self._reader, self._changes)
        self._replayed = ReplayReport()
        self._replay_duration_s = 0.0
        self.replay_progress = ReplayProgress()
        self._threads: list[threading.Thread] = []

    @staticmethod
    def open(
        path: Path | str,
        options: DatabaseOptions | None = None,
        *,
        on_progress: Callable[[ReplayProgress], None] | None = None,
        on_readable: Callable[[EarlyReads], None] | None = None,
    ) -> Database:
        """Open a directory, making it if need be, and bring back what the log holds.

        `on_progress` is called while it replays, `on_readable` once what is there can be read
        meanwhile, with what reads it until this returns. Raises `LockedError`, OSError. Damage is
        logged and counted, and does not stop it.
        """
        database = Database(Path(path), options or DatabaseOptions())
        try:
            database._open(on_progress, on_readable)
        except BaseException:
            database._abandon()
            raise
        return database

    @staticmethod
    def in_memory(options: DatabaseOptions | None = None) -> Database:
        """Make a database without files, for tests: nothing is logged, cut or dropped."""
        chosen = options or DatabaseOptions(retention_ms=None)
        return Database(None, replace(chosen, background=False))

    def _open(
        self,
        on_progress: Callable[[ReplayProgress], None] | None,
        on_readable: Callable[[EarlyReads], None] | None,
    ) -> None:
        assert self.path is not None
        options, wal_directory = self.options, self.path / "wal"
        if not options.read_only:
            wal_directory.mkdir(parents=True, exist_ok=True)
            if not options.no_lockfile:
                self._lock_file = DirectoryLock(self.path)
            for leftover in remove_leftovers(self.path):
                _log.info("removed %s, left by a crash", leftover)
        self._reader.blocks = self._maintenance.load_blocks()
        newest = max((b.meta.max_time_ms for b in self._reader.blocks), default=int(NO_TIME))
        self._head.floor_ms = min(newest, options.clock_ms())
        self._appender.newest_ms = newest - 1 if self._reader.blocks else newest

        def note(progress: ReplayProgress) -> None:
            self.replay_progress = progress
            if on_progress is not None:
                on_progress(progress)

        def show() -> None:
            if on_readable is not None:
                early = EarlyReads(self, lambda: self.replay_progress)
                self._appender.alone = early.alone
                on_readable(early)

        begin = time.perf_counter()
        loaded = None
        if not options.read_only:
            loaded = read_snapshot(self._head, self.path / "head", wal_directory)
            self._head.pages.prepare()
        if wal_directory.is_dir():
            self._replayed = replay(
                wal_directory,
                self._appender,
                begin=loaded or 0,
                repair=not options.read_only,
                progress=note,
                on_tombstone=self._maintenance.delete_from_head,
                on_readable=show,
            )
        self._replay_duration_s = time.perf_counter() - begin
        # Who has read already has answers that lack something.
        self._changes.note_everything()
        if options.read_only:
            return
        self._wal = WalWriter(
            wal_directory,
            segment=self._replayed.next_segment,
            segment_bytes=options.wal_segment_bytes,
            packing=options.wal_packing,
        )
        self._appender.wal = self._maintenance.wal = self._wal
        self._maintenance.unsaved_bytes = self._replayed.bytes
        if options.background:
            self._start("tsdb-maintenance", options.maintenance_interval_s, self._maintain_quietly)
            self._start("tsdb-head-save", _HEAD_SAVE_INTERVAL_S, self._save_head_quietly)
        if options.wal_fsync_interval_s:
            self._start("tsdb-sync", options.wal_fsync_interval_s, self._sync_quietly)

    def close(self) -> None:
        """Stop background work, sync the log, give the directory back. May be called twice."""
        if self._appender.closed:
            return
        self._maintenance.stop.set()
        for thread in self._threads:
            thread.join()
        with self._maintenance.lock:
            with self._head.lock:
                self._appender.closed = self._reader.closed = True
            self._reader.close()
            self._abandon(save=True)

    def _abandon(self, *, save: bool = False) -> None:
        """Give back files and the lock; `save` the head, so that the next start is quick."""
        try:
            if self._wal is not None:
                self._wal.close()
                self._wal = None
                if save and self.path is not None:
                    self._save_head(self.path)
        finally:
            kept = self.path is not None and has_snapshot(self.path / "head")
            self._head.close(keep_files=kept)
            for block in self._reader.blocks:
                block.close()
            if self._lock_file is not None:
                self._lock_file.release()
                self._lock_file = None

    def _save_head(self, path: Path) -> None:
        """Save the head of a database that nobody writes to any more."""
        end = log_end(path / "wal")
        if end is None:
            return
        try:
            write_snapshot(self._head, path / "head", lambda: end, lambda: None)
        except OSError as error:
            _log.warning("the head is not saved, the next start replays the log: %s", error)

    # Storage

    @property
    def _reading(self) -> Reader:
        return self._reader

    @property
    def _writing(self) -> BatchAppender:
        return self._appender

    def change_ticket(self) -> int:
        """Return a mark of now; see `interface.ChangeSource`."""
        return self._changes.ticket()

    def oldest_change_ms(self, ticket: int) -> int | None:
        """Return where data changed since; see `interface.ChangeSource`."""
        return self._changes.oldest_since(ticket)

    def metadata(self, metric: str | None = None) -> list[MetricMetadata]:
        """Return what metrics are; see `interface.MetadataStorage`."""
        with self._head.lock:
            return self._head.metadata.get(metric)

    # Administration

    def set_limits(
        self,
        *,
        retention_ms: int | None,
        retention_bytes: int | None,
        out_of_order_window_ms: int | None,
        exemplars_max: int | None = None,
    ) -> None:
        """Change what a configuration reload may change; `exemplars_max` None leaves it."""
        if exemplars_max is not None:
            self._appender.resize_exemplars(exemplars_max)
        self.options = replace(
            self.options,
            retention_ms=retention_ms,
            retention_bytes=retention_bytes,
            out_of_order_window_ms=out_of_order_window_ms,
        )
        self._maintenance.options = self.options
        self._appender.retention_ms = retention_ms
        self._appender.out_of_order_window_ms = out_of_order_window_ms

    def delete(self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int) -> None:
        """Delete the samples in [start_ms, end_ms] of series that satisfy any of the sets.

        Gone from every later read when this returns, and after a restart. Raises
        `BadMatcherError`, `WriteFailedError`, OSError.
        """
        self._maintenance.delete(matcher_sets, start_ms, end_ms)

    def clean_tombstones(self) -> None:
        """Rewrite every block that has tombstones without what they delete. Raises OSError."""
        self._maintenance.clean_tombstones()

    def snapshot(self, target: Path | str, *, skip_head: bool = False) -> None:
        """Write all data to a new directory that a database can be opened on.

        Blocks are hard links, the head becomes blocks. Raises OSError.
        """
        self._maintenance.snapshot(Path(target), skip_head=skip_head)

    def save_head(self) -> None:
        """Write what the head holds to a file, so that a start after a crash replays little.

        Done in the background as the log grows. It only makes starts quicker: a failure is logged.
        """
        self._maintenance.save_head()

    def flush(self) -> None:
        """Write what the head holds up to now into blocks, and shorten the log."""
        self._maintenance.flush()

    def maintain(self, now_ms: int | None = None) -> None:
        """Cut, compact, drop and shorten what is due. Raises OSError, `CorruptFileError`.

        `now_ms` replaces the newest block's end in deciding which blocks retention drops.
        """
        if self.path is not None and not self.options.read_only:
            self._maintenance.run(now_ms)

    def sync(self) -> None:
        """Bring all that was acknowledged to the disk. Raises OSError."""
        if self._wal is not None:
            self._wal.sync()

    def cardinality(self, limit: int = 10) -> Cardinality:
        """Return what `/api/v1/status/tsdb` shows: largest first, `limit` entries a list."""
        head = self._head
        with head.lock:
            rows = head.rows
        return count_cardinality(rows, head, limit)

    def block_metas(self) -> list[bytes]:
        """Return the `meta.json` of each block."""
        return [block.meta.to_json() for block in self._reader.blocks]

    def stats(self) -> DatabaseStats:
        """Return counters and gauges."""
        head, counts, options = self._head, self._maintenance.counts, self.options
        appended = self._appender.stats()
        blocks, rows = self._reader.blocks, head.rows
        newest = head.newest_ms
        low = head.oldest_ms
        lowest = min([low, *(block.meta.min_time_ms for block in blocks)])
        clean = -1 if self._lock_file is None else int(self._lock_file.was_clean)
        return DatabaseStats(
            series=len(rows) - companion_count(rows),
            series_created=head.series_created,
            series_removed=head.series_removed,
            appended=appended.by_status,
            late_appended=appended.late,
            late_waiting=head.late.count + head.frozen_late.count,
            metadata_families=len(head.metadata),
            exemplars=len(head.exemplars),
            exemplars_max=head.exemplars.capacity,
            exemplars_appended=appended.exemplars_by_status,
            histograms_appended=appended.histograms_by_status,
            histograms_late=appended.late_histograms,
            histograms_waiting=head.histograms.count + head.frozen_histograms.count,
            head_min_time_ms=None if low == NEVER_MS else low,
            head_max_time_ms=None if newest == NO_TIME else newest,
            head_pages=head.page_count,
            head_page_bytes=head.pages.size_bytes,
            head_memory_bytes=head.memory_bytes(),
            symbol_count=len(head.symbols),
            symbol_bytes=head.symbols.size_bytes,
            wal=WalStats() if self._wal is None else self._wal.stats(),
            wal_corruptions=self._replayed.corruptions,
            replay_duration_s=self._replay_duration_s,
            replay_samples=self._replayed.samples,
            blocks=len(blocks),
            block_bytes=_size_of(blocks),
            block_corruptions=self._reader.corruptions,
            lowest_time_ms=None if lowest == NEVER_MS else lowest,
            cuts=counts.cuts,
            cut_duration_s=counts.cut_s,
            compactions=counts.compactions,
            compactions_failed=counts.compactions_failed,
            compaction_duration_s=counts.compaction_s,
            time_retentions=counts.time_retentions,
            size_retentions=counts.size_retentions,
            retention_ms=options.retention_ms,
            retention_bytes=options.retention_bytes,
            reloads=counts.reloads,
            reloads_failed=counts.reloads_failed,
            head_saves=counts.head_saves,
            head_save_s=counts.head_save_s,
            clean_start=clean,
            maintenance=counts,
            pages_dropped=head.pages_dropped,
            exemplar_series=head.exemplars.series_count(),
            exemplar_oldest_ms=head.exemplars.oldest_ms(),
        )

    def _start(self, name: str, interval_s: float, work: Callable[[], None]) -> None:
        def run() -> None:
            while not self._maintenance.stop.wait(interval_s):
                work()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _maintain_quietly(self) -> None:
        """Maintain; what fails is logged and tried again the next time."""
        try:
            self.maintain()
        except Exception:  # noqa: BLE001  # a background thread must outlive any failure
            self._maintenance.counts.compactions_failed += 1
            _log.exception("maintenance failed")

    def _save_head_quietly(self) -> None:
        try:
            self._maintenance.save_head_if_due()
        except Exception:  # noqa: BLE001  # a background thread must outlive any failure
            _log.exception("saving the head failed")

    def _sync_quietly(self) -> None:
        try:
            self.sync()
        except OSError:
            _log.exception("the log cannot be synced")


def _size_of(blocks: Sequence[Block]) -> int:
    size = 0
    for block in blocks:
        with contextlib.suppress(FileNotFoundError):
            size += block.size_bytes
    return size
