"""Functions of neighbouring native histograms in a range: rate and its relatives.

From: `rate.py`, beside the floats of the same windows.   To: `histogram_windows.py`.
Each returns where a window's floats have no answer because of histograms, and the histograms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histogram_algebra import Flag, divide, equal, multiply, was_reset
from promql.histogram_columns import take
from promql.histogram_notes import (
    ADDITION,
    SUBTRACTION,
    any_flag,
    note_mixed_samples,
    note_mixed_schemas,
    note_no_counter,
    note_no_gauge,
    note_reconciled,
)
from promql.histogram_ranges import Ranges, placed_results, refuse_mixed
from promql.histogram_windows import (
    change_of_last_two,
    change_over_runs,
    changes_in_runs,
    resets_in_runs,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histogram_matrix import HistogramMatrix
    from promql.matrix import Windows
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
    if not where.any():
        return mixed, None
    ctx.budget.check()
    columns = ranges.own.columns
    start, stop = ranges.bounds(where)
    change, flags = change_over_runs(columns, start, stop, is_counter=is_counter)
    factor = _extrapolation(ranges, where, change, is_counter=is_counter)
    if per_second:
        factor /= ranges.view.range_ms / 1000.0
    _note(node, ranges, where, flags, ctx)
    return mixed, placed_results(multiply(change, factor), flags, where)[0]


def _extrapolation(
    ranges: Ranges, where: Mask, change: HistogramColumns, *, is_counter: bool
) -> Floats:
    """Return by what each change grows to cover its whole window, float64[windows].

    An edge is reached if it is within 1.1 of the average distance of samples, else half of that
    distance is added; a counter is not followed below zero. Source: Prometheus' documentation
    and behaviour of rate().
    """
    start, stop = ranges.bounds(where)
    times, counts = ranges.own.times, ranges.own.columns.count
    end_ms = np.broadcast_to(ranges.view.end_ms, where.shape)[where]
    sampled = (times[stop - 1] - times[start]) / 1000.0
    average = sampled / (stop - start - 1)
    to_start = (times[start] - (end_ms - ranges.view.range_ms)) / 1000.0
    to_end = (end_ms - times[stop - 1]) / 1000.0
    to_start = np.where(to_start >= average * 1.1, average / 2, to_start)
    to_end = np.where(to_end >= average * 1.1, average / 2, to_end)
    if is_counter:
        with np.errstate(all="ignore"):
            to_zero = sampled * (counts[start] / change.count)
        falls = (change.count > 0) & (counts[start] >= 0) & (to_zero < to_start)
        to_start = np.where(falls, to_zero, to_start)
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
        note_mixed_samples(name, node.args[0].span, ctx)
    if not where.any():
        return not_floats, None
    ctx.budget.check()
    _, stop = ranges.bounds(where)
    change, flags = change_of_last_two(ranges.own.columns, stop - 2, stop - 1, is_counter=is_rate)
    if is_rate:
        change = divide(change, (histogram_1 - histogram_2)[where] / 1000.0)
    _note(node, ranges, where, flags, ctx)
    return not_floats, placed_results(change, flags, where)[0]


def _note(node: Call, ranges: Ranges, where: Mask, flags: Flags, ctx: EvalContext) -> None:
    span = node.args[0].span
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
        count = resets_in_runs if only_falls else changes_in_runs
        values[where] = count(ranges.own.columns, start, stop)
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
    before = np.zeros(order.size, dtype=np.float64)
    np.cumsum(changed, out=before[1:])
    return before, merged[order]
