"""A consistent look at some series of the head, and their samples as columns.

From: `head.py` (under its lock, for a few ns a row). To: `select.py`, `append.py` (does a late
sample exist already?).

What a view holds never changes, save open samples, which the writer may seal while they are being
copied. So they are copied first and checked afterwards: rows whose slot changed meanwhile, a few
at most, are read again under the lock, up to the newest time that the view had seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tsdb.errors import TooManySamplesError
from tsdb.head_deletion import DeletedSlots, mask_rows
from tsdb.histograms.columns import ragged
from tsdb.kernels import SEGMENT_WORDS
from tsdb.large_arrays import large_empty
from tsdb.late import LateRows, LateRun, late_rows
from tsdb.late_kernels import splice_late
from tsdb.read_kernels import (
    changed_rows,
    copy_open,
    decode_placed,
    decode_times,
    open_bounds,
    place_pages,
    put_open,
    share_times,
    snapshot_rows,
    walk_pages,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tsdb.head import Head
    from tsdb.histograms.run import Run
    from tsdb.interface import Floats, Ints
    from tsdb.kernels import Int, Small
    from tsdb.label_kernels import Slots, Words
    from tsdb.workers import Workers

_PAGES_AT_ONCE = 1 << 16
_PAGES_A_TASK = 1 << 13
"""Pages that a thread decodes in one go: 0.5 ms."""


_Pages = list[tuple[int, "Slots", "Ints", "Small", "Small"]]
"""The number of a segment, and pages of it: row, position, first sample and the one after the last.
Newest first, also within a segment for each row."""


@dataclass(frozen=True, slots=True)
class RowSamples:
    """Samples of rows as in `interface.SeriesBatch`; `count` may be 0."""

    times: Ints
    time_start: Ints
    values: Floats
    value_start: Ints
    count: Ints


@dataclass(frozen=True, slots=True)
class HeadView:
    """What the head held of the series `slots` at one moment."""

    slots: Slots
    fill: Small
    block_of: Slots
    version: npt.NDArray[np.uint32]
    page: Ints
    newest: Ints
    segments: Mapping[int, Words]
    readable_ms: int
    late_runs: tuple[LateRun, ...]
    histogram_runs: tuple[Run, ...]
    deleted: tuple[DeletedSlots, ...]


def take_view(
    head: Head,
    slots: Slots,
    *,
    late_runs: tuple[LateRun, ...] | None = None,
    histogram_runs: tuple[Run, ...] | None = None,
) -> HeadView:
    """Return a view of the given series. The caller holds the head's lock.

    `late_runs` and `histogram_runs` replace the head's own, for who wants only some of them.
    """
    if histogram_runs is None:
        histogram_runs = head.frozen_histograms.runs + head.histograms.runs
    size = slots.size
    fill, block_of = np.empty(size, np.uint8), np.empty(size, np.int32)
    version, page = np.empty(size, np.uint32), np.empty(size, np.int64)
    newest = np.empty(size, np.int64)
    snapshot_rows(
        slots,
        head.fill.array,
        head.block_of.array,
        head.version.array,
        head.page_head.array,
        head.newest_time.array,
        fill,
        block_of,
        version,
        page,
        newest,
    )
    return HeadView(
        slots,
        fill,
        block_of,
        version,
        page,
        newest,
        head.pages.segments,
        head.readable_ms,
        head.frozen_late.runs + head.late.runs if late_runs is None else late_runs,
        histogram_runs,
        head.deleted,
    )


def read_view(
    head: Head,
    view: HeadView,
    start_ms: Ints,
    end_ms: Ints,
    *,
    samples_max: int | None = None,
    locked: bool = False,
    workers: Workers | None = None,
) -> RowSamples:
    """Return each row's samples in [start_ms[row], end_ms[row]], late ones merged in.

    Raises `TooManySamplesError` before memory is taken. `locked` says that the caller holds the
    head's lock. `workers` help if they are given.
    """
    own_start = np.maximum(start_ms, view.readable_ms)
    late = late_rows(view.late_runs, view.slots, start_ms, end_ms)
    late_count = 0 if late is None else late.times.size
    allowed = None if samples_max is None else samples_max - late_count
    found = _read_own(head, view, own_start, end_ms, allowed, workers)
    changed = np.empty(view.slots.size, np.int64)
    changed = changed[: changed_rows(view.slots, head.version.array, view.version, changed)]
    if changed.size and not locked:
        with head.lock:
            again = take_view(head, np.ascontiguousarray(view.slots[changed]))
            kept = HeadView(
                again.slots,
                again.fill,
                again.block_of,
                again.version,
                again.page,
                again.newest,
                {**view.segments, **again.segments},
                view.readable_ms,
                (),
                (),
                (),
            )
            end = np.minimum(end_ms[changed], view.newest[changed])
            repaired = _read_own(head, kept, own_start[changed], end, None)
        found = _replace(found, changed, repaired)
    if view.deleted:
        found = without_deleted(found, view.deleted, view.slots)
    return found if late is None else with_late(found, late)


def with_late(found: RowSamples, late: LateRows) -> RowSamples:
    """Return the samples with late ones merged in."""
    size = int(late.times.size + found.count[np.diff(late.first) > 0].sum())
    times = np.concatenate([found.times, np.empty(size, np.int64)])
    values = np.concatenate([found.values, np.empty(size)])
    # Both pools continue at one place, so that one number tells where a merged run begins.
    used: Int = max(found.times.size, found.values.size)
    times = np.concatenate([times, np.empty(max(0, used + size - times.size), np.int64)])
    values = np.concatenate([values, np.empty(max(0, used + size - values.size))])
    time_start, value_start, count = (
        column.copy() for column in (found.time_start, found.value_start, found.count)
    )
    bits = values.view(np.uint64)
    used = splice_late(
        late.first, late.times, late.bits, times, bits, used, time_start, value_start, count
    )
    return RowSamples(times[:used], time_start, values[:used], value_start, count)


@dataclass(frozen=True, slots=True)
class OwnPlan:
    """What slots and pages hold of some rows, of which all is known but the values in pages.

    Shapes: `count`, `time_start` int64[rows], as in `RowSamples`. Of the samples of row r the last
    are open ones, `open_bits[open_stop[r - 1] : open_stop[r]]`.
    """

    view: HeadView
    count: Ints
    times: Ints
    time_start: Ints
    open_bits: Words
    open_stop: Ints
    pages: _Pages

    def some(self, rows: Ints) -> OwnPlan:
        """Return the plan of some rows, rising."""
        place = np.full(self.count.size, -1, np.int32)
        place[rows] = np.arange(rows.size, dtype=np.int32)
        pages: _Pages = []
        for number, of_row, positions, lows, highs in self.pages:
            kept = np.flatnonzero(place[of_row] >= 0)
            if kept.size:
                row = place[of_row[kept]]
                pages.append((number, row, positions[kept], lows[kept], highs[kept]))
        first = np.concatenate((np.zeros(1, np.int64), self.open_stop))
        open_count = np.diff(first)[rows]
        bits = self.open_bits[ragged(first[rows], open_count)]
        count, time_start = self.count[rows], self.time_start[rows]
        stop = np.cumsum(open_count)
        return OwnPlan(self.view, count, self.times, time_start, bits, stop, pages)

    def tasks(self, values: Floats, stop: Ints) -> list[Callable[[], object]]:
        """Return what writes the values of each row up to `values[stop[row]]`, in any order."""
        dest = stop - np.diff(self.open_stop, prepend=0)
        # The first to touch new memory waits for it: rather a task than the caller.
        bits = values.view(np.uint64)
        put = partial(put_open, self.open_bits, self.open_stop, stop, bits)
        return [*_decoding(self.view, self.pages, dest, values), put]


def plan_own(
    head: Head, view: HeadView, start_ms: Ints, end_ms: Ints, samples_max: int | None
) -> OwnPlan | None:
    """Find out all about the rows' samples in [start_ms, end_ms] but the values in pages.

    Returns None where that is not all: with late samples, deleted ones, or rows that were sealed
    meanwhile. Raises `TooManySamplesError`.
    """
    if view.deleted or late_rows(view.late_runs, view.slots, start_ms, end_ms) is not None:
        return None
    found = _plan(head, view, np.maximum(start_ms, view.readable_ms), end_ms, samples_max)
    changed = np.empty(view.slots.size, np.int64)
    if changed_rows(view.slots, head.version.array, view.version, changed):
        return None
    return found


def _plan(head: Head, view: HeadView, start: Ints, end: Ints, samples_max: int | None) -> OwnPlan:
    """Find out what slots and pages hold; open samples may have changed under the reader."""
    size = view.slots.size
    block_times, open_bits = head.block_times.array, head.open_bits.array
    low, high = np.empty(size, np.uint8), np.empty(size, np.uint8)
    open_bounds(view.fill, view.block_of, block_times, start, end, low, high)
    count, sign = np.zeros(size, np.int64), np.zeros((size, 2), np.uint64)
    pages = find_pages(view, start, end, count, sign)
    leader = np.empty(size, np.int32)
    table = np.full(1 << (2 * size + 1).bit_length(), -1, np.int32)
    share_times(low, high, view.block_of, count, sign, table, leader)
    if samples_max is not None and int(count.sum()) > samples_max:
        raise TooManySamplesError(samples_max)
    own_times = np.where(leader == np.arange(size), count, 0)
    time_dest = np.cumsum(own_times)
    time_start = (time_dest - own_times)[leader]
    times = np.empty(int(own_times.sum()), np.int64)
    open_stop = np.cumsum(high.astype(np.int64) - low)
    bits = np.empty(int(open_stop[-1]) if size else 0, np.uint64)
    copy_open(
        view.slots,
        low,
        high,
        view.block_of,
        open_bits,
        block_times,
        leader,
        open_stop.copy(),
        time_dest,
        bits,
        times,
    )
    for number, rows, positions, lows, highs in pages:
        words, base = view.segments[number], number * SEGMENT_WORDS
        decode_times(words, base, rows, positions, lows, highs, leader, time_dest, times)
    return OwnPlan(view, count, times, time_start, bits, open_stop, pages)


def _read_own(
    head: Head,
    view: HeadView,
    start: Ints,
    end: Ints,
    samples_max: int | None,
    workers: Workers | None = None,
) -> RowSamples:
    """Read what slots and pages hold; open samples may have changed under the reader."""
    plan = _plan(head, view, start, end, samples_max)
    stop = np.cumsum(plan.count)
    values = large_empty(int(stop[-1]) if stop.size else 0, np.float64)
    tasks = plan.tasks(values, stop)
    if workers is None:
        for task in tasks:
            task()
    else:
        workers.run(tasks)
    return RowSamples(plan.times, plan.time_start, values, stop - plan.count, plan.count)


def _decoding(
    view: HeadView, pages: _Pages, value_dest: Ints, values: Floats
) -> list[Callable[[], object]]:
    """Return what decodes the values of all pages, to be done in any order.

    `value_dest` int64[rows] is where each row's samples of these pages end in `values`.
    """
    bits = values.view(np.uint64)
    tasks: list[Callable[[], object]] = []
    for number, rows, positions, lows, highs in pages:
        to = np.empty(rows.size, np.int64)
        place_pages(rows, lows, highs, value_dest, to)
        words, base = view.segments[number], number * SEGMENT_WORDS
        for first in range(0, rows.size, _PAGES_A_TASK):
            some = slice(first, first + _PAGES_A_TASK)
            tasks.append(
                partial(
                    decode_placed,
                    words,
                    base,
                    positions[some],
                    lows[some],
                    highs[some],
                    to[some],
                    values,
                    bits,
                )
            )
    return tasks


def find_pages(view: HeadView, start: Ints, end: Ints, count: Ints, sign: Words) -> _Pages:
    """Return the pages that overlap each row's range by segment, newest first; count samples."""
    pages: _Pages = []
    cursor = view.page.copy()
    for number in sorted(view.segments, reverse=True):
        row: Int = 0
        while row < cursor.size:
            rows, positions = np.empty(_PAGES_AT_ONCE, np.int32), np.empty(_PAGES_AT_ONCE, "i8")
            lows, highs = np.empty(_PAGES_AT_ONCE, np.uint8), np.empty(_PAGES_AT_ONCE, np.uint8)
            found = np.zeros(1, np.int64)
            row = walk_pages(
                view.segments[number],
                number * SEGMENT_WORDS,
                row,
                cursor,
                start,
                end,
                rows,
                positions,
                lows,
                highs,
                count,
                sign,
                found,
            )
            n = int(found[0])
            if n:
                pages.append((number, rows[:n], positions[:n], lows[:n], highs[:n]))
    return pages


def without_deleted(
    found: RowSamples, deleted: tuple[DeletedSlots, ...], slots: Slots
) -> RowSamples:
    """Return the samples without those that were deleted before a look was taken."""
    left = mask_rows(deleted, slots, found.times, found.time_start, found.value_start, found.count)
    if left is None:
        return found
    values = found.values[left.picks]
    return _replace(
        found,
        left.rows,
        RowSamples(left.times, left.time_start, values, left.value_start, left.count),
    )


def _replace(found: RowSamples, rows: npt.NDArray[np.int64], other: RowSamples) -> RowSamples:
    """Return `found` with the given rows taken from `other`."""
    time_start, value_start, count = (
        column.copy() for column in (found.time_start, found.value_start, found.count)
    )
    time_start[rows] = other.time_start + found.times.size
    value_start[rows] = other.value_start + found.values.size
    count[rows] = other.count
    times = np.concatenate([found.times, other.times])
    values = np.concatenate([found.values, other.values])
    return RowSamples(times, time_start, values, value_start, count)
