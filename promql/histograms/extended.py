"""Native histograms under `anchored` and `smoothed`: values on edges, changes between them.

From: `extended.py` (instant selectors), `rate.py` (ranges, whose windows hold what edges need).
To: `algebra.py`.   Between two histograms a line is drawn bucket by bucket; where a
counter was reset between them it begins at zero. Source: Prometheus' documentation of extended
range selectors, and its behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import Flag, add, divide, multiply, subtract, sum_groups, was_reset
from promql.histograms.columns import concat, take
from promql.histograms.matrix import NONE, HistogramMatrix, combined
from promql.histograms.notes import (
    ADDITION,
    SUBTRACTION,
    any_flag,
    names_of,
    note_mixed_samples,
    note_mixed_schemas,
    note_no_counter,
    note_no_gauge,
    note_reconciled,
)
from promql.histograms.ranges import Ranges, refuse_mixed
from promql.histograms.runs import histogram_windows, ragged
from promql.kernels import newest_offsets, window_bounds
from promql.places import argument_place
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, ResetHint

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.syntax import Call, Span
    from promql.windows import Samples
    from tsdb.interface import HistogramColumns, HistogramRuns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.int8]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Line:
    """Points between neighbours: row `before[i]` to `after[i]`, at `share[i]` of the way."""

    before: Ints
    after: Ints
    share: Floats


def _on_line(
    columns: HistogramColumns, line: _Line, resets: Mask, span: Span, ctx: EvalContext
) -> HistogramColumns:
    """Return the histograms on lines; `resets` [points]: there the line begins at zero.

    Both ends of a line must have buckets of one kind.
    """
    before, after = take(columns, line.before), take(columns, line.after)
    risen, flags = subtract(after, before)
    straight, more_flags = add(multiply(risen, line.share), before)
    if any_flag(flags[~resets], Flag.RECONCILED):
        note_reconciled(SUBTRACTION, span, ctx)
    if any_flag(more_flags[~resets], Flag.RECONCILED):
        note_reconciled(ADDITION, span, ctx)
    straight = replace(straight, hint=_joint_hint(before.hint, after.hint))
    both = concat([straight, multiply(after, line.share)])
    place = np.arange(line.share.size)
    return take(both, np.where(resets, place + line.share.size, place))


def _joint_hint(before: Codes, after: Codes) -> Codes:
    """Return what is known of a histogram made of two."""
    gauge, unknown = np.int8(ResetHint.GAUGE), np.int8(ResetHint.UNKNOWN)
    any_gauge = (before == gauge) | (after == gauge)
    joint: Codes = np.where(before == after, before, np.where(any_gauge, gauge, unknown))
    return joint


def extended_change(
    node: Call, ranges: Ranges, ctx: EvalContext, *, is_counter: bool, per_second: bool
) -> tuple[Mask, HistogramMatrix | None]:
    """Return the change from edge to edge of windows with only histograms.

    The mask [S, T] says which windows hold floats as well and so have no answer at all.
    """
    mixed = refuse_mixed(ranges, node, ctx)
    where = _of_one_kind(node, ranges, ctx, is_counter=is_counter)
    if not where.any():
        return mixed, None
    ctx.budget.check()
    view, own, span = ranges.view, ranges.own, argument_place(node, 0)
    columns = own.columns
    low, stop = ranges.bounds(where)
    last = stop - 1
    end = np.broadcast_to(view.end_ms, where.shape)[where]
    begin = end - view.range_ms
    resets = _neighbour_resets(own.start, own.count, columns) if is_counter else None
    smoothed = view.extension == "smoothed"
    left_between = smoothed & (own.times[low] < begin)
    right_between = smoothed & (own.times[last] > end) & (last > low)
    left = _edge(columns, own.times, low, low + 1, begin, left_between, low, resets, span, ctx)
    right = _edge(columns, own.times, last - 1, last, end, right_between, last, resets, span, ctx)
    if not is_counter and not bool(
        ((left.hint == ResetHint.GAUGE) & (right.hint == ResetHint.GAUGE)).all()
    ):
        plain = (left.hint != ResetHint.GAUGE) | (right.hint != ResetHint.GAUGE)
        for name in ranges.names_at(where, plain):
            note_no_gauge(name, span, ctx)
    change, flags = subtract(right, left)
    if any_flag(flags, Flag.RECONCILED):
        note_reconciled(SUBTRACTION, span, ctx)
    if resets is not None:
        # A line from before the left edge has seen the reset that it crosses.
        change = _corrected(columns, change, resets, low + 1 + left_between, stop, span, ctx)
    if per_second:
        change = divide(change, view.range_ms / 1000.0)
    return mixed, HistogramMatrix.placed(change, where)


def _of_one_kind(node: Call, ranges: Ranges, ctx: EvalContext, *, is_counter: bool) -> Mask:
    """Return the windows with only histograms, all exponential or all custom; note the others."""
    where = ranges.pure(1)
    low, stop = ranges.bounds(where)
    columns, span = ranges.own.columns, argument_place(node, 0)
    custom = _counts_before(columns.schema == CUSTOM_BUCKETS_SCHEMA)
    many = custom[stop] - custom[low]
    bad = (many > 0) & (many < stop - low)
    for name in ranges.names_at(where, bad):
        note_mixed_schemas(name, span, ctx)
    if is_counter:
        gauges = _counts_before(columns.hint == ResetHint.GAUGE)
        for name in ranges.names_at(where, ~bad & (gauges[stop] > gauges[low])):
            note_no_counter(name, span, ctx)
    good = where.copy()
    good[where] = ~bad
    return good


def _counts_before(mask: Mask) -> Ints:
    counts = np.zeros(mask.size + 1, dtype=np.int64)
    np.cumsum(mask, out=counts[1:])
    return counts


def _neighbour_resets(start: Ints, count: Ints, columns: HistogramColumns) -> Mask:
    """Return for each row whether its counter was reset since the row before in its series."""
    rows = ragged(start, count)
    owner = np.repeat(np.arange(count.size), count)
    later = np.flatnonzero(owner[1:] == owner[:-1]) + 1
    resets = np.zeros(columns.histogram_count + 1, dtype=np.bool_)
    resets[rows[later]] = was_reset(take(columns, rows[later - 1]), take(columns, rows[later]))
    return resets


def _edge(
    columns: HistogramColumns,
    times: Ints,
    before: Ints,
    after: Ints,
    at_ms: Ints,
    between: Mask,
    itself: Ints,
    resets: Mask | None,
    span: Span,
    ctx: EvalContext,
) -> HistogramColumns:
    """Return the histogram on an edge: row `itself`, or, where `between`, on a line at `at_ms`."""
    found = take(columns, itself)
    if not between.any():
        return found
    a, b = before[between], after[between]
    share = (at_ms[between] - times[a]) / (times[b] - times[a])
    crossed = np.zeros(a.size, dtype=np.bool_) if resets is None else resets[b]
    drawn = _on_line(columns, _Line(a, b, share), crossed, span, ctx)
    place = np.arange(itself.size)
    place[between] = itself.size + np.arange(a.size)
    return take(concat([found, drawn]), place)


def _corrected(
    columns: HistogramColumns,
    change: HistogramColumns,
    resets: Mask,
    first: Ints,
    stop: Ints,
    span: Span,
    ctx: EvalContext,
) -> HistogramColumns:
    """Add to each change what was lost at resets among the rows [first, stop) of its window."""
    rows = ragged(first, np.maximum(stop - first, 0))
    cell = np.repeat(np.arange(first.size), np.maximum(stop - first, 0))
    fell = resets[rows]
    if not fell.any():
        return change
    cells, cell_of = np.unique(cell[fell], return_inverse=True)
    lost, flags = sum_groups(take(columns, rows[fell] - 1), cell_of.astype(np.int64), cells.size)
    mended, more_flags = add(take(change, cells), lost)
    if any_flag(flags | more_flags, Flag.RECONCILED):
        note_reconciled(ADDITION, span, ctx)
    mended = replace(mended, hint=np.full(cells.size, ResetHint.GAUGE, dtype=np.int8))
    place = np.arange(change.histogram_count)
    place[cells] = change.histogram_count + np.arange(cells.size)
    return take(concat([change, mended]), place)


def smoothed_histograms(
    samples: Samples, runs: HistogramRuns, at_ms: Ints, span: Span, ctx: EvalContext
) -> tuple[HistogramMatrix | None, Mask]:
    """Return each series' histogram on the line between those around each of `at_ms`, int64[T].

    The mask [S, T] says where there are floats nearby as well, and so no answer of either kind.
    `runs` must hold no stale markers.
    """
    lookback_ms = ctx.lookback_ms
    near = histogram_windows(runs, at_ms + lookback_ms, 2 * lookback_ms)
    mixed = (near.sizes > 0) & _floats_near(samples, at_ms, lookback_ms)
    for name in names_of(samples.labels, np.asarray(mixed.any(axis=1))):
        note_mixed_samples(name, span, ctx)
    newest = np.empty(near.first.shape, dtype=np.int32)
    newest_offsets(runs.times, runs.start, runs.count, at_ms, lookback_ms, newest)
    there = (newest >= 0) & ~mixed
    before = runs.start[:, np.newaxis] + np.maximum(newest, 0)
    # What follows counts if it is not further ahead than the lookback.
    last = runs.start[:, np.newaxis] + np.maximum(near.stop - 1, 0)
    after = np.minimum(before + 1, last)
    row = np.where(there, before, NONE).astype(np.int32)
    between = there & (after > before)
    if runs.times.size:
        between &= runs.times[np.minimum(before, runs.times.size - 1)] < at_ms
    if not between.any():
        return HistogramMatrix(runs.columns, row) if there.any() else None, mixed
    a, b = before[between], after[between]
    custom = runs.columns.schema == CUSTOM_BUCKETS_SCHEMA
    bad = custom[a] != custom[b]
    series = np.nonzero(between)[0]
    for name in names_of(samples.labels, series[bad]):
        note_mixed_schemas(name, span, ctx)
    row[between] = NONE
    between[between] = ~bad
    a, b = a[~bad], b[~bad]
    at = np.broadcast_to(at_ms, between.shape)[between]
    share = (at - runs.times[a]) / (runs.times[b] - runs.times[a])
    counters = runs.columns.hint[b] != ResetHint.GAUGE
    crossed = counters & was_reset(take(runs.columns, a), take(runs.columns, b))
    drawn = _on_line(runs.columns, _Line(a, b, share), crossed, span, ctx)
    plain = HistogramMatrix(runs.columns, row)
    return combined(plain, HistogramMatrix.placed(drawn, between)), mixed


def _floats_near(samples: Samples, at_ms: Ints, lookback_ms: int) -> Mask:
    """Return where a series has floats within the lookback, before or after, bool[S, T]."""
    shape = (samples.run_start.size, at_ms.size)
    first, stop = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.int32)
    window_bounds(
        samples.times,
        samples.run_start,
        samples.run_count,
        at_ms + lookback_ms,
        2 * lookback_ms,
        first,
        stop,
    )
    near: Mask = (stop > first)[samples.run_of]
    return near
