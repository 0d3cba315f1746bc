"""What goes on behind: cut the head, compact blocks, drop what is old, shorten the log.

From: `database.py`, whose background thread and administration call it.
To:   `head_cut.py`, `compaction.py`, `retention.py` decide or write; here it takes effect.

One thread at a time, under `lock`; the head is saved (`head_snapshot.py`) beside, but by
`head_lock` not while it is cut or samples of it are deleted. Readers and writers see each step at
once, under the head's lock, or not at all. A crash anywhere loses nothing: blocks are renamed
before the head forgets what they hold, then the head is saved without it, and the log is shortened
last.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from tsdb import compaction
from tsdb.block import Block
from tsdb.block_meta import is_ulid
from tsdb.checkpoint import write_checkpoint
from tsdb.errors import CorruptFileError, WriteFailedError
from tsdb.free_memory import give_back_free_memory
from tsdb.head import NEVER_MS
from tsdb.head_collection import collect, end_rest, survivors
from tsdb.head_cut import write_windows
from tsdb.head_snapshot import write_snapshot
from tsdb.histograms.buffer import HistogramBuffer
from tsdb.kernels import NO_TIME
from tsdb.late import LateBuffer, LateRun
from tsdb.maintenance_counts import MaintenanceCounts
from tsdb.matching import check_matchers
from tsdb.retention import blocks_to_drop
from tsdb.start_times import companion_matchers
from tsdb.tombstones import Tombstone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from tsdb.change_log import ChangeLog
    from tsdb.head import Head
    from tsdb.histograms.run import Run
    from tsdb.interface import Ints, Matcher
    from tsdb.options import DatabaseOptions
    from tsdb.select import Reader
    from tsdb.wal import WalWriter

_log = logging.getLogger(__name__)

_DAY_MS = 24 * 3_600_000
_RETRY_S = 600.0
"""How long blocks are left alone after the disk failed their compaction."""
LATE_SAMPLES_MAX = 2_000_000
"""Late samples that wait for the next cut at most: 40 MB."""


class Maintenance:
    """The blocks of one directory and the work on them. `path` None: a database in memory."""

    def __init__(
        self,
        path: Path | None,
        options: DatabaseOptions,
        head: Head,
        reader: Reader,
        changes: ChangeLog,
    ) -> None:
        self.path = path
        self.options = options
        self.wal: WalWriter | None = None
        self.lock = threading.Lock()
        self.head_lock = threading.Lock()
        """For what cannot go on beside saving the head. Taken after `lock`."""
        self.unsaved_bytes = 0
        """Bytes of the log that the saved head does not stand for, as of the start."""
        self._saved_bytes = 0
        self.stop = threading.Event()
        self.counts = MaintenanceCounts()
        self._head = head
        self._reader = reader
        self._changes = changes

    def run(self, now_ms: int | None) -> None:
        """Do all that is due; see `Database.maintain`."""
        with self.lock:
            self.counts.rounds += 1
            cuts = self.counts.cuts
            with self._head.lock:
                end_rest(self._head)
            with self.head_lock:
                self._cut_if_due()
                self._head.seal_histograms()
            self.save_head_if_due()
            if self.counts.cuts > cuts:
                # Before blocks are compacted: what that takes is not to come on top of it.
                give_back_free_memory()
            self._compact_due()
            self._drop_old(now_ms)
            if self.wal is not None:
                self.wal.sync_retired()
            self._let_go()

    def _let_go(self) -> None:
        """Let go of the files that queries have read, however many blocks there are."""
        self._head.pages.let_go_all()
        for block in self._reader.blocks:
            block.let_go()

    def flush(self) -> None:
        """Write what the head holds up to now into blocks, and shorten the log."""
        with self.lock, self.head_lock:
            if self._head.newest_ms != NO_TIME:
                self._cut(self._present_ms(self._head.newest_ms) + 1, keep_new=True)

    def delete(self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int) -> None:
        """Delete samples; see `Database.delete`."""
        with self.lock:
            for matchers in matcher_sets:
                check_matchers(matchers)
            self._changes.note(start_ms)
            try:
                # Start timestamps before their samples: what a crash leaves of them means nothing.
                started = self._reader.has_start_times()
                also = map(companion_matchers, matcher_sets) if started else ()
                for matchers in (*also, *matcher_sets):
                    for block in self._reader.blocks:
                        if block.meta.overlaps(start_ms, end_ms):
                            block.delete(matchers, start_ms, end_ms)
                    self._reader.in_head(matchers)  # regular expressions are tried before the lock
                    with self.head_lock, self._head.lock:
                        stop = min(end_ms, self._head.newest_ms)
                        if start_ms > stop:
                            continue
                        tombstone = Tombstone(tuple(matchers), start_ms, stop)
                        if self.wal is not None:
                            self.wal.write_tombstone(tombstone)
                        self.delete_from_head(tombstone)
            finally:
                # What failed half-way has deleted something.
                self._changes.note(start_ms)

    def delete_from_head(self, tombstone: Tombstone) -> None:
        """Delete what the head holds now. The caller holds its lock, or replays the log."""
        slots = self._reader.in_head(tombstone.matchers)
        self._head.delete(slots, tombstone.start_ms, tombstone.end_ms)

    def save_head_if_due(self) -> None:
        """Save the head if the log has grown enough for it since the last time."""
        wal = self.wal
        if wal is None:
            return
        grown = self.unsaved_bytes + wal.written_bytes
        # Saving writes no more than the log does, all in all.
        if grown > max(self.options.head_save_wal_bytes, self._saved_bytes):
            self.save_head()

    def save_head(self) -> None:
        """Save the head now; see `Database.save_head`."""
        with self.head_lock:
            self._save_head()

    def _save_head(self) -> None:
        """Save the head; the caller holds `head_lock`. If that fails, the last one is still there.

        What a start would have to replay is then only what comes to the log from now on.
        """
        wal = self.wal
        if wal is None or self.path is None:
            return
        begin, written = time.perf_counter(), wal.written_bytes

        def begin_segment() -> tuple[int, int]:
            size = wal.segment_bytes
            return wal.rotate() - 1, size

        try:
            size = write_snapshot(self._head, self.path / "head", begin_segment, wal.sync)
        except (OSError, WriteFailedError) as error:
            _log.warning("the head cannot be saved, a start has to replay more: %s", error)
            self.counts.head_saves_failed += 1
            size = None
        # Where it failed it is not tried again at once either.
        self.unsaved_bytes = -written
        if size is not None:
            self._saved_bytes = size
            self._head.pages.unlink_dropped()
            self.counts.head_saves += 1
            self.counts.head_save_s += time.perf_counter() - begin

    def clean_tombstones(self) -> None:
        """Rewrite every block that has tombstones without what they delete."""
        with self.lock:
            for block in self._reader.blocks:
                if block.tombstones:
                    begin = time.perf_counter()
                    self._compact([block])
                    self.counts.tombstone_cleanups.add(time.perf_counter() - begin)

    def snapshot(self, target: Path, *, skip_head: bool) -> None:
        """Write all data to a new directory; see `Database.snapshot`."""
        target.mkdir(parents=True)
        try:
            with self.lock:
                self._snapshot(target, skip_head=skip_head)
        except BaseException:
            # Half a snapshot would look like a whole one.
            shutil.rmtree(target, ignore_errors=True)
            raise

    def _snapshot(self, target: Path, *, skip_head: bool) -> None:
        for block in self._reader.blocks:
            copy = target / block.path.name
            copy.mkdir()
            for source in block.path.iterdir():
                os.link(source, copy / source.name)
        if skip_head:
            return
        with self._head.lock:
            runs = self._head.frozen_late.runs + self._head.late.runs
            histograms = self._head.frozen_histograms.runs + self._head.histograms.runs
            first, stop = self._head.oldest_ms, self._head.newest_ms + 1
        if first < stop:
            self._write(target, first, stop, runs, histograms)

    def load_blocks(self) -> tuple[Block, ...]:
        """Open every block of the directory, without those that others replace."""
        assert self.path is not None
        self.counts.reloads += 1
        blocks: list[Block] = []
        names = self.path.iterdir() if self.path.is_dir() else iter(())
        for path in sorted(each for each in names if is_ulid(each.name)):
            try:
                blocks.append(Block.open(path))
            except (CorruptFileError, OSError):
                self.counts.reloads_failed += 1
                _log.exception("block %s cannot be opened and is left out", path)
        replaced = compaction.superseded([block.meta for block in blocks])
        for block in blocks:
            if block.meta.ulid in replaced and not self.options.read_only:
                _delete_block(block.path)
        return _in_order([block for block in blocks if block.meta.ulid not in replaced])

    def _cut_if_due(self) -> None:
        head, window = self._head, self.options.min_block_ms
        low, high = head.min_time_ms, self._present_ms(head.max_time_ms)
        floor = head.floor_ms
        if low != NEVER_MS and high - low > window * 3 // 2:
            # The newest block ends half a window to one and a half windows before now.
            self._cut(-((window * 3 // 2 - high) // window) * window)
        elif head.late.count > LATE_SAMPLES_MAX:
            stop_ms = floor if floor != NO_TIME else self._present_ms(head.newest_ms) + 1
            self._cut(stop_ms, keep_new=True)

    def _present_ms(self, newest_ms: int) -> int:
        """Return a newest time, or the time of day where that is earlier."""
        return min(newest_ms, self.options.clock_ms())

    def _cut(self, stop_ms: int, *, keep_new: bool = False) -> None:
        """Move everything older than `stop_ms` from the head into blocks.

        Series that have nothing left go; with `keep_new` not those made since the last cut.
        """
        if self.path is None or self.options.read_only:
            return
        head = self._head
        begin = time.perf_counter()
        metrics, _ = head.rows.metrics()
        names = frozenset(head.rows.symbols.texts(metrics))
        with head.lock:
            stop_ms = max(stop_ms, head.floor_ms)
            segment = None if self.wal is None else self.wal.rotate()
            head.metadata.keep_only(names.__contains__)
            if self.wal is not None and len(head.metadata):
                # The checkpoint leaves it out.
                self.wal.write_metadata(head.metadata.get(None))
            floor_before = head.floor_ms
            head.floor_ms = stop_ms
            older, rest = head.late.split(stop_ms)
            head.frozen_late = LateBuffer((older,) if older.count else ())
            head.late = rest
            head.frozen_histograms, head.histograms = head.histograms.split(stop_ms)
            frozen = (head.frozen_late.min_time_ms, head.frozen_histograms.min_time_ms)
            first = min(head.min_time_ms, *(NEVER_MS if each is None else each for each in frozen))
        counts = self.counts
        counts.writing = True
        try:
            written = (
                self._write(
                    self.path, first, stop_ms, head.frozen_late.runs, head.frozen_histograms.runs
                )
                if first < stop_ms and self.options.keep_blocks
                else []
            )
            blocks = [Block.open(path) for path in written]
        except BaseException:
            counts.cuts_failed += 1
            with head.lock:
                head.floor_ms = floor_before
                head.late.add(older)
                head.frozen_late = LateBuffer()
                head.histograms.add_back(head.frozen_histograms)
                head.frozen_histograms = HistogramBuffer()
            raise
        finally:
            counts.writing = False
        with head.lock:
            self._reader.blocks = _in_order((*self._reader.blocks, *blocks))
            head.frozen_late = LateBuffer()
            head.frozen_histograms = HistogramBuffer()
            head.drop_before(stop_ms)
        collecting = time.perf_counter()
        left = survivors(head, stop_ms, keep_new=keep_new)
        with head.lock:
            collect(head, stop_ms, left)
        counts.collections.add(time.perf_counter() - collecting)
        if left is not None:
            left.before.forget_tables()
            del left
        self._reader.forget_rows()
        counts.cuts += 1
        for block in blocks:
            counts.wrote_pages(block.page_sizes())
        if self.wal is not None and segment is not None:
            self._save_head()
            self._shorten_log(self.path, self.wal, segment, stop_ms)
            self._head.pages.unlink_dropped()
        took_s = time.perf_counter() - begin
        counts.cut_s += took_s
        counts.compaction_runs.add(took_s)
        _log.info("cut the head at %d into %d blocks", stop_ms, len(blocks))

    def _shorten_log(self, path: Path, wal: WalWriter, segment: int, stop_ms: int) -> None:
        """Put a checkpoint in the place of everything before the segment."""
        begin = time.perf_counter()
        self.counts.checkpoints += 1
        try:
            write_checkpoint(path / "wal", segment, keep_from_ms=stop_ms, is_live=self._is_live)
        except BaseException:
            self.counts.checkpoints_failed += 1
            raise
        wal.remove_before(segment)
        self.counts.log_truncations.add(time.perf_counter() - begin)

    def _write(
        self,
        parent: Path,
        first_ms: int,
        stop_ms: int,
        late_runs: tuple[LateRun, ...],
        histogram_runs: tuple[Run, ...],
    ) -> list[Path]:
        return write_windows(
            self._head,
            parent,
            first_ms=first_ms,
            stop_ms=stop_ms,
            window_ms=self.options.min_block_ms,
            late_runs=late_runs,
            histogram_runs=histogram_runs,
        )

    def _is_live(self, refs: Ints) -> npt.NDArray[np.bool_]:
        head = self._head
        slots = refs & 0xFFFFFFFF
        live: npt.NDArray[np.bool_] = head.generation.array[slots] == refs >> 32
        return live

    def _ranges(self) -> tuple[int, ...]:
        longest = self.options.max_block_ms
        if longest is None:
            retention = self.options.retention_ms
            longest = 31 * _DAY_MS if retention is None else min(31 * _DAY_MS, retention // 10)
        return compaction.block_ranges(min_ms=self.options.min_block_ms, max_ms=longest)

    def _compact_due(self) -> None:
        while not self.stop.is_set():
            by_ulid = {block.meta.ulid: block for block in self._reader.blocks}
            metas = [block.meta for block in by_ulid.values()]
            now = time.monotonic()
            failed = {ulid for ulid, at in self.counts.tried_again_at.items() if at > now}
            ulids = compaction.plan(metas, self._ranges(), failed=failed)
            if not ulids:
                return
            chosen = [block for block in self._reader.blocks if block.meta.ulid in ulids]
            try:
                self._compact(chosen)
            except (OSError, CorruptFileError) as error:
                self.counts.compactions_failed += 1
                # A disk that was full may have room again; what is damaged stays so.
                wait_s = _RETRY_S if isinstance(error, OSError) else math.inf
                self.counts.tried_again_at.update(dict.fromkeys(ulids, now + wait_s))
                _log.exception("compaction of %s failed", ", ".join(ulids))
                return

    def _compact(self, blocks: list[Block]) -> None:
        assert self.path is not None
        begin = time.perf_counter()
        self.counts.writing = True
        try:
            path = compaction.compact(blocks, self.path)
        finally:
            self.counts.writing = False
        self._replace_blocks(blocks, [] if path is None else [Block.open(path)])
        took_s = time.perf_counter() - begin
        metas = sorted((block.meta for block in blocks), key=lambda each: each.min_time_ms)
        overlap = any(a.max_time_ms > b.min_time_ms for a, b in pairwise(metas))
        self.counts.compactions += 1
        self.counts.compactions_overlapping += overlap
        self.counts.compaction_s += took_s
        self.counts.compaction_runs.add(took_s)
        give_back_free_memory()

    def _drop_old(self, now_ms: int | None) -> None:
        blocks = self._reader.blocks
        other = 0 if self.wal is None else self.wal.stats().size_bytes
        newest = (
            self._present_ms(max((block.meta.max_time_ms for block in blocks), default=0))
            if now_ms is None
            else now_ms
        )
        dropped = blocks_to_drop(
            [block.meta for block in blocks],
            retention_ms=self.options.retention_ms or 0,
            size_limit_bytes=self.options.retention_bytes or 0,
            sizes={block.meta.ulid: block.size_bytes for block in blocks},
            other_bytes=other + self._head.pages.size_bytes,
            newest_max_time_ms=newest,
        )
        if dropped.ulids:
            self.counts.time_retentions += bool(dropped.by_time)
            self.counts.size_retentions += bool(dropped.by_size)
            self._changes.note_everything()
            self._replace_blocks([b for b in blocks if b.meta.ulid in dropped.ulids], [])
            self._changes.note_everything()

    def _replace_blocks(self, old: list[Block], new: list[Block]) -> None:
        """Show the new blocks instead of the old, at once, then delete the old."""
        gone = {block.meta.ulid for block in old}
        with self._head.lock:
            kept = [block for block in self._reader.blocks if block.meta.ulid not in gone]
            self._reader.blocks = _in_order((*kept, *new))
        for block in old:
            # Not closed: a reader may be at it. Its maps live as long as somebody holds it.
            _delete_block(block.path)


def _in_order(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Sort so that of two blocks that hold a sample of one time the older sample comes first."""
    return tuple(sorted(blocks, key=lambda block: (-block.meta.level, block.meta.ulid)))


def _delete_block(path: Path) -> None:
    """Delete a block's directory; under another name first, so that it is never half a block."""
    doomed = path.with_name(path.name + ".tmp")
    try:
        path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError:
        _log.exception("cannot delete %s", path)
