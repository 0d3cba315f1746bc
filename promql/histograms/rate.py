"""Functions of neighbouring native histograms in a range: rate and its relatives.

From: `rate.py`, beside the floats of the same windows.   To: `windows.py`.
Each returns where a window's floats have no answer because of histograms, and the histograms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import Flag, add, divide, equal, multiply, was_reset
from promql.histograms.chunks import in_chunks
from promql.histograms.columns import concat, take
from promql.histograms.notes import (
    ADDITION,
    SUBTRACTION,
    any_flag,
    note_mixed_samples,
    note_mixed_schemas,
    note_no_counter,
    note_no_gauge,
    note_reconciled,
)
from promql.histograms.ranges import Ranges, placed_results, refuse_mixed
from promql.histograms.windows import (
    change_of_last_two,
    change_over_runs,
    changes_in_runs,
    resets_in_runs,
)
from promql.places import argument_place
from promql.start_times import note_overlaps

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histograms.matrix import HistogramMatrix
    from promql.matrix import Windows
    from promql.start_times import AlignedStarts
    from promql.syntax import Call
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


def histogram_change(
    node: Call, ranges: Ranges, ctx: EvalContext, *, is_counter: bool, per_second: bool
) -> tuple[Mask, HistogramMatrix | None]:
    """Return rate, increase or delta of windows with only histograms, extrapolated.

    The mask [S, T] says which windows hold floats as well and so have no answer at all.
    """
    mixed = refuse_mixed(ranges, node, ctx)
    where = ranges.pure(2)
    began = _began_inside(ranges) if is_counter else None
    if began is not None:
        where |= ranges.pure(1) & (began != 0)
    if not where.any():
        return mixed, None
    columns = ranges.own.columns
    start, stop = ranges.bounds(where)
    resets = _known_resets(ranges) if is_counter else None

    def fold(
        some: HistogramColumns, low: Ints, high: Ints, known: Mask | None, /
    ) -> tuple[HistogramColumns, Flags]:
        return change_over_runs(some, low, high, is_counter=is_counter, known_resets=known)

    change, flags = in_chunks(fold, columns, start, stop, ctx, resets)
    start_ms = None
    if began is not None:
        start_ms = began[where]
        change, flags = _with_first(columns, start, stop, change, flags, start_ms != 0)
    factor = _extrapolation(ranges, where, change, start_ms, is_counter=is_counter)
    if per_second:
        factor /= ranges.view.range_ms / 1000.0
    _note(node, ranges, where, flags, ctx)
    if is_counter:
        _note_overlaps(node, ranges, where, ctx)
    return mixed, placed_results(multiply(change, factor), flags, where)[0]


def _began_inside(ranges: Ranges) -> Ints | None:
    """Return when what the first histogram of each window counts began, if inside: int64[S, T].

    0 where it began elsewhere, or nobody knows; None where that is so everywhere.
    """
    own = ranges.own
    if own.starts is None:
        return None
    first = np.where(own.stop > own.first, own.first, 0)
    has = own.starts.at[:, np.newaxis] >= 0
    starts = own.starts.starts[np.where(has, own.starts.at[:, np.newaxis] + first, 0)]
    begin = ranges.view.end_ms - ranges.view.range_ms
    inside = has & (starts != 0) & (starts > begin) & (starts < ranges.first_histogram_ms())
    return np.where(inside & (own.stop > own.first), starts, 0)


def _known_resets(ranges: Ranges) -> Mask | None:
    """Return which histograms follow a reset because their start says so, bool[H]."""
    own = ranges.own
    if own.starts is None:
        return None
    size = own.columns.histogram_count
    return own.starts.spread(own.starts.resets, own.start, own.count, size)


def _with_first(
    columns: HistogramColumns,
    start: Ints,
    stop: Ints,
    change: HistogramColumns,
    flags: Flags,
    began: Mask,
) -> tuple[HistogramColumns, Flags]:
    """Add the first histogram of each run to its change where it counts from inside the window.

    A run of one histogram has that for its change.
    """
    run = np.arange(start.size)
    together = concat([change, take(columns, start)])
    alone = began & (stop - start < 2)
    both = np.flatnonzero(began & ~alone & ((flags & Flag.INCOMPATIBLE) == 0))
    total, seen = add(take(change, both), take(columns, start[both]))
    total.hint[:] = change.hint[both]
    place = np.where(alone, run + start.size, run)
    place[both] = 2 * start.size + np.arange(both.size)
    flags = flags.copy()
    flags[both] |= seen & np.uint8(Flag.INCOMPATIBLE)
    reconciled = (seen & Flag.RECONCILED) != 0
    flags[both[reconciled]] |= np.uint8(Flag.RECONCILED_ADDING)
    return take(concat([together, total]), place), flags


def _note_overlaps(node: Call, ranges: Ranges, where: Mask, ctx: EvalContext) -> None:
    """Warn of windows in which a histogram counts again what one before it has counted."""
    own = ranges.own
    if own.starts is None:
        return
    size = own.columns.histogram_count
    overlaps = own.starts.spread(own.starts.overlaps, own.start, own.count, size)
    if overlaps.any():
        before: Ints = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(overlaps)))
        start, stop = ranges.bounds(where)
        found = before[stop] > before[np.minimum(start + 1, stop)]
        series = np.nonzero(where)[0]
        note_overlaps(ranges.view.labels, series[found], argument_place(node, 0), ctx)


def _extrapolation(
    ranges: Ranges,
    where: Mask,
    change: HistogramColumns,
    start_ms: Ints | None,
    *,
    is_counter: bool,
) -> Floats:
    """Return by what each change grows to cover its whole window, float64[windows].

    `start_ms` is when a run counted from, where that is inside its window, else 0. An edge is
    reached if it is within 1.1 of the average distance of samples, else half of that distance is
    added; a counter is not followed below zero. Source: Prometheus' documentation and behaviour
    of rate().
    """
    start, stop = ranges.bounds(where)
    times, counts = ranges.own.times, ranges.own.columns.count
    end_ms = np.broadcast_to(ranges.view.end_ms, where.shape)[where]
    sampled = (times[stop - 1] - times[start]) / 1000.0
    average = sampled / np.maximum(stop - start - 1, 1)
    to_start = (times[start] - (end_ms - ranges.view.range_ms)) / 1000.0
    to_end = (end_ms - times[stop - 1]) / 1000.0
    to_start = np.where(to_start >= average * 1.1, average / 2, to_start)
    to_end = np.where(to_end >= average * 1.1, average / 2, to_end)
    if is_counter:
        with np.errstate(all="ignore"):
            to_zero = sampled * (counts[start] / change.count)
        falls = (change.count > 0) & (counts[start] >= 0) & (to_zero < to_start)
        to_start = np.where(falls, to_zero, to_start)
    if start_ms is not None:
        to_start = np.where(start_ms != 0, 0.0, to_start)
        sampled = np.where(start_ms != 0, (times[stop - 1] - start_ms) / 1000.0, sampled)
    factor: Floats = (sampled + to_start + to_end) / sampled
    return factor


def histogram_last_change(
    node: Call, ranges: Ranges, ctx: EvalContext, *, is_rate: bool
) -> tuple[Mask, HistogramMatrix | None]:
    """Return irate or idelta where the last two samples are histograms.

    The mask [S, T] says which windows' floats are not the last two samples.
    """
    float_1, float_2 = ranges.float_ms(0), ranges.float_ms(1)
    histogram_1, histogram_2 = ranges.histogram_ms(0), ranges.histogram_ms(1)
    where = (ranges.histogram_count >= 2) & (histogram_2 > float_1)
    not_floats = (ranges.histogram_count > 0) & ~(float_2 > histogram_1)
    mixed = ranges.mixed & ~where & not_floats
    for name in ranges.names(mixed):
        note_mixed_samples(name, argument_place(node, 0), ctx)
    if not where.any():
        return not_floats, None
    ctx.budget.check()
    _, stop = ranges.bounds(where)
    resets = _known_resets(ranges) if is_rate else None
    change, flags = change_of_last_two(
        ranges.own.columns, stop - 2, stop - 1, is_counter=is_rate, known_resets=resets
    )
    if is_rate:
        change = divide(change, (histogram_1[where] - histogram_2[where]) / 1000.0)
    _note(node, ranges, where, flags, ctx)
    return not_floats, placed_results(change, flags, where)[0]


def _note(node: Call, ranges: Ranges, where: Mask, flags: Flags, ctx: EvalContext) -> None:
    span = argument_place(node, 0)
    for flag, note in (
        (Flag.INCOMPATIBLE, note_mixed_schemas),
        (Flag.NOT_COUNTER, note_no_counter),
        (Flag.NOT_GAUGE, note_no_gauge),
    ):
        if any_flag(flags, flag):
            for name in ranges.names_at(where, (flags & flag) != 0):
                note(name, span, ctx)
    if any_flag(flags, Flag.RECONCILED):
        note_reconciled(SUBTRACTION, span, ctx)
    if any_flag(flags, Flag.RECONCILED_ADDING):
        note_reconciled(ADDITION, span, ctx)


def count_changes(
    ranges: Ranges, values: Floats, present: Mask, ctx: EvalContext, *, only_falls: bool
) -> None:
    """Write into `values` and `present` [S, T] how often a series changed, or was reset.

    Both hold the counts among floats; windows with histograms are counted anew. From one kind to
    the other is a change and a reset.
    """
    where = ranges.pure(1)
    if where.any():
        ctx.budget.check()
        start, stop = ranges.bounds(where)
        columns = ranges.own.columns
        if only_falls:
            resets = _known_resets(ranges)
            values[where] = resets_in_runs(columns, start, stop, known_resets=resets)
        else:
            values[where] = changes_in_runs(columns, start, stop)
        present[where] = True
    view = ranges.view
    # An anchor is the newest sample before the window, of whichever kind.
    back_ms = ctx.lookback_ms if view.extension == "anchored" else 0
    for series in np.flatnonzero((view.count > 0) & (ranges.own.count > 0)).tolist():
        ctx.budget.check()
        before, times = _changes_before(ranges, series, only_falls=only_falls)
        begin = view.end_ms - view.range_ms
        low = np.searchsorted(times, begin, side="right")
        high = np.searchsorted(times, view.end_ms, side="right")
        there = high > low
        if back_ms:
            anchor = np.searchsorted(times, begin - back_ms, side="right")
            low = np.maximum(low - 1, anchor)
        low = np.minimum(low, times.size - 1)
        values[series] = np.where(there, before[high - 1] - before[low], 0.0)
        present[series] = there


def _starts_anew(starts: AlignedStarts | None, series: int, samples: Ints) -> Mask:
    """Return which samples of a series follow a reset that their start tells of."""
    if starts is None or starts.at[series] < 0:
        return np.zeros(samples.size, dtype=np.bool_)
    anew: Mask = starts.resets[starts.at[series] + samples]
    return anew


def _changes_before(ranges: Ranges, series: int, *, only_falls: bool) -> tuple[Floats, Ints]:
    """Return how many changes there are up to each sample of a series, and their times.

    Samples of both kinds are merged in the order of time.
    """
    view: Windows = ranges.view
    at, count = int(view.time_start[series]), int(view.count[series])
    times = view.times[at : at + count]
    value_at = int(view.value_start[series])
    floats = view.values[value_at : value_at + count]
    first = int(ranges.own.start[series])
    rows = np.arange(first, first + int(ranges.own.count[series]))
    merged = np.concatenate((times, ranges.own.times[rows]))
    order = np.argsort(merged, kind="stable")
    is_float = order < count
    both_floats = is_float[1:] & is_float[:-1]
    both_histograms = ~is_float[1:] & ~is_float[:-1]
    changed = is_float[1:] != is_float[:-1]
    later, earlier = order[1:][both_floats], order[:-1][both_floats]
    x, y = floats[earlier], floats[later]
    changed[both_floats] = y < x if only_falls else (x != y) & ~(np.isnan(x) & np.isnan(y))
    columns = ranges.own.columns
    previous = take(columns, rows[order[:-1][both_histograms] - count])
    current = take(columns, rows[order[1:][both_histograms] - count])
    changed[both_histograms] = (
        was_reset(previous, current) if only_falls else ~equal(previous, current)
    )
    if only_falls:
        changed[both_floats] |= _starts_anew(view.starts, series, later)
        own = ranges.own.starts
        changed[both_histograms] |= _starts_anew(own, series, order[1:][both_histograms] - count)
    before = np.zeros(order.size, dtype=np.float64)
    np.cumsum(changed, out=before[1:])
    return before, merged[order]
