"""One batch: have it decided, log it, have it placed, say what became of each sample.

From: scrapers, receivers, rules (`interface.Appender`); `replay.py`.
To:   `decisions.py`, `wal.py`, `head.py`.

Invariant: nothing can be read that is not in the log, and a batch is one record, so that after a
crash all of it is there or none. If the log cannot be written, nothing has happened.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tsdb.change_log import ChangeLog
from tsdb.companions import Companions
from tsdb.decisions import Decided, decide, decide_starts, place, revoke
from tsdb.errors import ClosedError
from tsdb.histograms.columns import concat, digests, of_columns, take
from tsdb.histograms.run import HistogramRun
from tsdb.interface import AppendStatus, ExemplarStatus
from tsdb.kernels import NO_TIME, STORED
from tsdb.start_zeros import places_after, zero_histograms, zero_places
from tsdb.wal import choose_series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tsdb.change_log import Noting
    from tsdb.companions import StartBatch
    from tsdb.head import Head
    from tsdb.interface import Floats, HistogramColumns, Ints, LabelSpans, MetricMetadata
    from tsdb.label_kernels import Slots, Words
    from tsdb.wal import WalWriter

_ALL_MS = np.iinfo(np.int64).max
_SLOT_MASK = 0xFFFFFFFF
_RESOLVED_AT_ONCE = 4096
"""Series that are made before others get the lock: some ten milliseconds."""


def wall_clock_ms() -> int:
    """Return the time of day in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class AppendStats:
    """Floats by what became of them, and how many of the stored ones came late; histograms too."""

    by_status: tuple[int, ...]
    late: int
    histograms_by_status: tuple[int, ...]
    late_histograms: int
    exemplars_by_status: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StartUse:
    """What becomes of start timestamps: stored beside their samples, shown as zero samples.

    Zeros are not stored further than `zeros_age_ms` behind the newest sample.
    """

    stored: bool = True
    zeros: bool = False
    zeros_age_ms: int = 3_600_000


class BatchAppender:
    """Implements `interface.Appender` on a head and a log."""

    def __init__(
        self,
        head: Head,
        wal: WalWriter | None,
        *,
        retention_ms: int | None = None,
        out_of_order_window_ms: int | None = None,
        clock_ms: Callable[[], int] = wall_clock_ms,
        in_order_ms: int = 3_600_000,
        start_use: StartUse | None = None,
        changes: ChangeLog | None = None,
    ) -> None:
        self.head = head
        self._changes = changes or ChangeLog()
        self._start_use = start_use or StartUse()
        self._clock_ms = clock_ms
        self.wal = wal
        self.retention_ms = retention_ms
        self.out_of_order_window_ms = out_of_order_window_ms
        self._in_order_ms = in_order_ms
        """How far behind the newest sample of all a series may begin though a window is shorter."""
        self.newest_ms: int = NO_TIME
        """The newest time in blocks; retention is counted from this or the head's newest."""
        self.closed = False
        self.alone: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        """Keeps reads away, while a replay takes slots away from series."""
        self._companions = Companions(head, self.resolve)
        self._by_status = np.zeros(len(AppendStatus) + 1, np.int64)
        self._late = 0
        self._histograms_by_status = np.zeros(len(AppendStatus) + 1, np.int64)
        self._late_histograms = 0
        self._exemplars_by_status = np.zeros(len(ExemplarStatus), np.int64)

    def resolve(self, labels: LabelSpans) -> Ints:
        """Return a ref for each series, creating and logging those that are new.

        Raises `WriteFailedError`; then no series was made.
        """
        head = self.head
        low, high = head.index.hash(labels)
        refs = np.empty(low.size, np.int64)
        for first in range(0, low.size, _RESOLVED_AT_ONCE):
            part = slice(first, first + _RESOLVED_AT_ONCE)
            with head.lock:
                slots = head.index.find(low[part], high[part])
                missing = first + np.flatnonzero(slots < 0)
                if missing.size:
                    self._check_open()
                    made = self._create(labels, missing, low[missing], high[missing])
                    slots[missing - first] = made
                refs[part] = head.refs(slots)
        return refs

    def append(
        self,
        refs: Ints,
        times_ms: Ints,
        values: Floats,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch; return the `AppendStatus` of each sample.

        Raises `WriteFailedError`; then nothing was stored.
        """
        refs = np.ascontiguousarray(refs, np.int64)
        times = np.ascontiguousarray(times_ms, np.int64)
        bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
        if start_times_ms is None:
            with self._changing(times, None), self.head.lock:
                self._check_open()
                return self._append(refs, times, bits, self._limits(time_max_ms))
        while True:
            starts = self._start_batch(refs, start_times_ms)
            with self._changing(times, start_times_ms), self.head.lock:
                self._check_open()
                if starts is not None and not self._companions.live(starts):
                    continue
                limits = self._limits(time_max_ms)
                zeros = self._zeros(refs, times, start_times_ms)
                if not zeros.size:
                    return self._append(refs, times, bits, limits, starts)
                rows = places_after(zeros, refs.size)
                return self._append(
                    np.insert(refs, zeros, refs[zeros]),
                    np.insert(times, zeros, start_times_ms[zeros]),
                    np.insert(bits, zeros, 0),
                    limits,
                    None if starts is None else replace(starts, at=rows[starts.at]),
                )[rows]

    def append_histograms(
        self,
        refs: Ints,
        times_ms: Ints,
        histograms: HistogramColumns,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch of histograms; return the `AppendStatus` of each.

        Raises `WriteFailedError`; then nothing was stored.
        """
        refs = np.ascontiguousarray(refs, np.int64)
        times = np.ascontiguousarray(times_ms, np.int64)
        columns = of_columns(histograms)
        digest = digests(columns, self.head.digest_keys)
        while True:
            starts = self._start_batch(refs, start_times_ms)
            with self._changing(times, start_times_ms), self.head.lock:
                self._check_open()
                if starts is not None and not self._companions.live(starts):
                    continue
                limits = self._limits(time_max_ms)
                zeros = self._zeros(refs, times, start_times_ms)
                if not zeros.size:
                    return self._append_histograms(refs, times, digest, columns, limits, starts)
                assert start_times_ms is not None
                rows = places_after(zeros, refs.size)
                order = np.insert(np.arange(refs.size), zeros, refs.size + np.arange(zeros.size))
                all_columns = take(concat([columns, zero_histograms(columns, zeros)]), order)
                return self._append_histograms(
                    np.insert(refs, zeros, refs[zeros]),
                    np.insert(times, zeros, start_times_ms[zeros]),
                    digests(all_columns, self.head.digest_keys),
                    all_columns,
                    limits,
                    None if starts is None else replace(starts, at=rows[starts.at]),
                )[rows]

    def restore_histograms(
        self, refs: Ints, times: Ints, columns: HistogramColumns
    ) -> npt.NDArray[np.uint8]:
        """Store a batch from the log: as `append_histograms`, unlogged, and whatever its age."""
        digest = digests(columns, self.head.digest_keys)
        with self.head.lock:
            limits = (_ALL_MS, NO_TIME, NO_TIME, STORED, NO_TIME)
            status = self._append_histograms(refs, times, digest, columns, limits)
        # Maintenance has not begun yet, and the log may be longer than memory.
        self.head.seal_histograms()
        return status

    def append_metadata(self, entries: Sequence[MetricMetadata]) -> int:
        """Log and keep what is new in the entries; return how many families that concerns.

        Raises `WriteFailedError`; then nothing was stored.
        """
        with self.head.lock:
            self._check_open()
            news = self.head.metadata.news(entries)
            if news and self.wal is not None:
                self.wal.write_metadata(news)
            self.head.metadata.put(news)
        return len(news)

    def append_exemplars(
        self, refs: Ints, times_ms: Ints, values: Floats, labels: LabelSpans
    ) -> npt.NDArray[np.uint8]:
        """Log and keep one batch of exemplars; return the `ExemplarStatus` of each.

        Raises `WriteFailedError`; then none was kept.
        """
        refs = np.ascontiguousarray(refs, np.int64)
        times = np.ascontiguousarray(times_ms, np.int64)
        values = np.ascontiguousarray(values, np.float64)
        with self.head.lock:
            self._check_open()
            status = self.restore_exemplars(refs, times, values, labels)
            stored = np.flatnonzero(status == ExemplarStatus.STORED)
            if self.wal is not None and stored.size:
                chosen = choose_series(labels, stored)
                try:
                    self.wal.write_exemplars(refs[stored], times[stored], values[stored], chosen)
                except BaseException:
                    self.head.exemplars.forget_newest(stored.size)
                    raise
        return status

    def restore_exemplars(
        self, refs: Ints, times: Ints, values: Floats, labels: LabelSpans
    ) -> npt.NDArray[np.uint8]:
        """Keep a batch from the log. The caller holds the head's lock, or replays."""
        generation = self.head.generation.array[: self.head.slot_count]
        status = self.head.exemplars.put(refs, times, values, labels, generation)
        self._exemplars_by_status += np.bincount(status, minlength=len(ExemplarStatus))
        return status

    def resize_exemplars(self, exemplars_max: int) -> None:
        """Change how many exemplars are kept."""
        with self.head.lock:
            generation = self.head.generation.array[: self.head.slot_count]
            self.head.exemplars.resize(exemplars_max, generation)

    def restore_samples(self, refs: Ints, times: Ints, bits: Words) -> npt.NDArray[np.uint8]:
        """Store a batch from the log: as `append`, without logging, and whatever its age."""
        with self.head.lock:
            return self._append(refs, times, bits, (_ALL_MS, NO_TIME, NO_TIME, STORED, NO_TIME))

    def restore_series(self, refs: Ints, labels: LabelSpans) -> None:
        """Make series from the log under the refs that they had."""
        head = self.head
        low, high = head.index.hash(labels)
        slots = (refs & _SLOT_MASK).astype(np.int32)
        with head.lock:
            here = head.index.find(low, high)
            # A series that is there already comes from a checkpoint whose segments were not
            # deleted. One that is there under another ref was collected, and so is in blocks.
            known = (here >= 0) & (head.refs(here) == refs)
            taken = np.zeros(slots.size, np.bool_)
            taken[slots < head.slot_count] = np.isin(
                slots[slots < head.slot_count], head.rows.slots
            )
        outdated = np.concatenate([here[(here >= 0) & ~known], slots[taken & ~known]])
        if outdated.size:
            with self.alone(), head.lock:
                head.discard(outdated)
        fresh = np.flatnonzero(~known)
        if not fresh.size:
            return
        slots, chosen = slots[fresh], choose_series(labels, fresh)
        with head.lock:
            head.take_slots(slots)
            head.generation.array[slots] = (refs[fresh] >> 32).astype(np.int32)
            head.index.claim(low[fresh], high[fresh], slots)
            head.add_series(slots, *head.symbols.intern_spans(chosen), chosen.first)

    def stats(self) -> AppendStats:
        """Return counters of everything appended since the start, replay included."""
        return AppendStats(
            tuple(self._by_status[:-1].tolist()),
            self._late,
            tuple(self._histograms_by_status[:-1].tolist()),
            self._late_histograms,
            tuple(self._exemplars_by_status.tolist()),
        )

    def _changing(self, times: Ints, start_times_ms: Ints | None) -> Noting:
        """Say from which time on data changes: before it can be read, and once it can."""
        oldest_ms = int(np.minimum.reduce(times, initial=_ALL_MS))
        if start_times_ms is not None and self._start_use.zeros:
            oldest_ms = min(oldest_ms, int(np.minimum.reduce(start_times_ms, initial=_ALL_MS)))
        return self._changes.noting(oldest_ms)

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the database is closed")

    def _limits(self, time_max_ms: int | None) -> tuple[int, int, int, int, int]:
        # A sample from the future must not make the present look old.
        newest = min(max(self.newest_ms, self.head.max_time_ms), self._clock_ms())
        kept, late_floor, refusal = int(NO_TIME), int(NO_TIME), AppendStatus.TOO_OLD
        in_order = int(NO_TIME)
        window = self.out_of_order_window_ms
        if newest != NO_TIME:
            if self.retention_ms is not None:
                kept = newest - self.retention_ms
            if window:
                late_floor = newest - window
                in_order = newest - max(window, self._in_order_ms)
        if window == 0:
            late_floor, refusal = _ALL_MS, AppendStatus.OUT_OF_ORDER
            kept = max(kept, self.head.floor_ms)
        time_max = _ALL_MS if time_max_ms is None else time_max_ms
        return time_max, kept, late_floor, int(refusal), in_order

    def _start_batch(self, refs: Ints, start_times_ms: Ints | None) -> StartBatch | None:
        if start_times_ms is None or not self._start_use.stored:
            return None
        return self._companions.batch(refs, start_times_ms)

    def _zeros(self, refs: Ints, times: Ints, start_times_ms: Ints | None) -> Ints:
        """Return the samples before which a zero is to be stored."""
        if start_times_ms is None or not self._start_use.zeros:
            return np.empty(0, np.int64)
        age_ms = self._start_use.zeros_age_ms
        return zero_places(self.head, refs, times, start_times_ms, age_ms=age_ms)

    def _append(
        self,
        refs: Ints,
        times: Ints,
        bits: Words,
        limits: tuple[int, int, int, int, int],
        starts: StartBatch | None = None,
    ) -> npt.NDArray[np.uint8]:
        own = decide(self.head, refs, times, bits, limits)
        began = None if starts is None else decide_starts(self.head, starts, own, limits)
        self._log_samples(own, began)
        place(self.head, own)
        if began is not None:
            place(self.head, began)
        if own.late is not None:
            self._late += own.late.size
        self._by_status += own.counts
        return own.status

    def _log_samples(self, own: Decided, began: Decided | None = None) -> None:
        """Log what is stored as one record; where that fails, nothing was decided."""
        count = own.counts[STORED]
        started = 0 if began is None else began.counts[STORED]
        if self.wal is None or not (count or started):
            return
        try:
            if count == own.refs.size and not started:
                self.wal.write_samples(own.refs, own.times, own.bits)
                return
            parts = [own] if began is None else [own, began]
            stored = [each.status == STORED for each in parts]
            columns = [(each.refs, each.times, each.bits) for each in parts]
            refs, times, bits = (
                np.concatenate(
                    [column[part][mask] for column, mask in zip(columns, stored, strict=True)]
                )
                for part in range(3)
            )
            self.wal.write_samples(refs, times, bits)
        except BaseException:
            if began is not None:
                revoke(self.head, began)
            revoke(self.head, own)
            raise

    def _append_histograms(
        self,
        refs: Ints,
        times: Ints,
        digest: Words,
        columns: HistogramColumns,
        limits: tuple[int, int, int, int, int],
        starts: StartBatch | None = None,
    ) -> npt.NDArray[np.uint8]:
        head = self.head
        own = decide(head, refs, times, digest, limits)
        began = None if starts is None else decide_starts(head, starts, own, limits)
        status = own.status
        stored = np.flatnonzero(status == STORED)
        slots = (refs & _SLOT_MASK).astype(np.int32)
        stored = stored[np.lexsort((times[stored], slots[stored]))]
        kept = take(columns, stored) if stored.size else None
        if self.wal is not None:
            # Starts first: without their samples they mean nothing.
            try:
                if began is not None:
                    self._log_samples(began)
            except BaseException:
                revoke(head, own)
                raise
            try:
                if kept is not None:
                    self.wal.write_histograms(refs[stored], times[stored], kept)
            except BaseException:
                if began is not None:
                    revoke(head, began)
                revoke(head, own)
                raise
        if began is not None:
            place(head, began)
        if kept is not None:
            run = HistogramRun.of(slots[stored], times[stored], digest[stored], kept)
            head.add_histograms(run, times[own.in_order == STORED])
            self._late_histograms += 0 if own.late is None else own.late.size
        self._histograms_by_status += own.counts
        return status

    def _create(self, labels: LabelSpans, missing: Ints, low: Words, high: Words) -> Slots:
        """Make the series at `missing`; return the slot of each, equal ones sharing one."""
        head = self.head
        fresh = head.fresh_slots(missing.size)
        slots, new = head.index.claim(low, high, fresh)
        taken = fresh[: new.size]
        head.take_slots(taken)
        chosen = choose_series(labels, missing[new])
        try:
            if self.wal is not None:
                self.wal.write_series(head.refs(taken), chosen)
        except BaseException:
            head.index.keep_only(head.rows.slots)
            head.give_back(taken)
            raise
        head.add_series(taken, *head.symbols.intern_spans(chosen), chosen.first)
        return slots
