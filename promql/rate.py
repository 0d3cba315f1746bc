"""Functions that compare neighbouring samples of a range: rate and its relatives.

From: `functions.py`.   To: `rate_kernels.py`, whose results become matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.extended import extended_change
from promql.histograms.ranges import Ranges, note_ignored
from promql.histograms.rate import count_changes, histogram_change, histogram_last_change
from promql.histograms.runs import ragged
from promql.matrix import Matrix, ScalarSteps, Windows
from promql.places import argument_place
from promql.rate_kernels import (
    change_between_edges,
    count_steps,
    extrapolated_change,
    last_change,
)
from promql.rate_lines import along_lines
from promql.start_time_kernels import RESET, started_change
from promql.start_times import note_overlaps
from promql.steady_kernels import regress_regular, regular_windows
from promql.windows import (
    RangeKernel,
    cells,
    pool_at,
    run_kernel,
    run_windows,
    samples_per_step,
    steady_steps,
    window_result,
)
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.start_times import AlignedStarts
    from promql.syntax import Call
    from promql.windows import Fill

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


LINES_SHARED_MIN = 4
"""Where so many series share their times, what depends on times alone is worked out once: it
costs as much as four series do, in time and in memory. A guess, not measured below that."""


LINES_CELLS_MIN = 2048
"""For fewer windows the calls cost more than is saved: 20 us."""


def _change_kernel(*, is_counter: bool, per_second: bool) -> RangeKernel:
    def fill(view: Windows, ctx: EvalContext) -> Fill:
        if view.extension:
            return between_edges(view)
        shared = view.series_count >= LINES_SHARED_MIN * view.first.shape[0]
        if shared and cells(view) >= LINES_CELLS_MIN:
            return along_lines(view, ctx, is_counter=is_counter, per_second=per_second)
        return extrapolated(view)

    def between_edges(view: Windows) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            change_between_edges(
                view.times,
                view.time_start[rows],
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                view.end_ms,
                view.range_ms,
                view.extension == "smoothed",
                is_counter,
                per_second,
                out,
                present,
            )

        return work

    def extrapolated(view: Windows) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            extrapolated_change(
                view.times,
                view.time_start[rows],
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                view.end_ms,
                view.range_ms,
                is_counter,
                per_second,
                out,
                present,
            )

        return work

    return RangeKernel(fill, cells)


def _extrapolated(
    kernel: RangeKernel, *, is_counter: bool, per_second: bool
) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)
        values, present = run_kernel(kernel, view, ctx)
        if is_counter and view.starts is not None:
            _from_starts(node, view, view.starts, values, present, ctx, per_second=per_second)
        histograms = None
        if view.histograms is not None:
            change = extended_change if view.extension else histogram_change
            ranges = Ranges(view)
            mixed, histograms = change(
                node, ranges, ctx, is_counter=is_counter, per_second=per_second
            )
            ranges.withdraw(present, mixed)
            histograms = ranges.spread(histograms)
        if is_counter:
            hint_no_counter(node, view, np.asarray(present.any(axis=1)), ctx)
        return window_result(view, values, present, ctx, histograms=histograms)

    return implementation


def _from_starts(
    node: Call,
    view: Windows,
    starts: AlignedStarts,
    values: Floats,
    present: Mask,
    ctx: EvalContext,
    *,
    per_second: bool,
) -> None:
    """Write rate or increase anew where start timestamps have a say."""
    overlaps = np.zeros(view.series_count, dtype=np.bool_)
    started_change(
        view.times,
        view.time_start,
        view.values,
        view.value_start,
        view.window_of,
        view.first,
        view.stop,
        view.end_ms,
        view.range_ms,
        per_second,
        starts.rows,
        starts.at,
        starts.starts,
        starts.flags,
        values,
        present,
        overlaps,
    )
    note_overlaps(view.labels, overlaps, argument_place(node, 0), ctx)


def _reset_by_start(view: Windows, starts: AlignedStarts, values: Floats) -> None:
    """Write irate anew where the last sample follows a reset that its start tells of."""
    rows = starts.rows
    first, stop = view.first[view.window_of[rows]], view.stop[view.window_of[rows]]
    pair = stop - first >= 2
    last = np.where(pair, stop - 1, 0)
    before = np.where(pair, stop - 2, 0)
    beside = starts.at[rows][:, np.newaxis] + last
    reset = pair & ((starts.flags[beside] & RESET) != 0)
    elapsed_ms = pool_at(view.times, view.time_start[rows], last) - pool_at(
        view.times, view.time_start[rows], before
    )
    counted = pool_at(view.values, view.value_start[rows], last)
    per_second = counted[reset] / (elapsed_ms[reset] / 1000.0)
    own = values[rows]
    own[reset] = per_second
    values[rows] = own


def _count_starts(view: Windows, starts: AlignedStarts, values: Floats) -> None:
    """Add to the resets that values show those that only starts tell of."""
    rows = starts.rows
    count = view.count[rows]
    inside = ragged(np.zeros(rows.size, dtype=np.int64), count)
    at = np.repeat(view.value_start[rows], count) + inside
    known = starts.resets
    fell = np.zeros(known.size, dtype=np.bool_)
    fell[1:] = view.values[at[1:]] < view.values[at[:-1]]
    total: Ints = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(known & ~fell)))
    first, stop = view.first[view.window_of[rows]], view.stop[view.window_of[rows]]
    some = stop > first
    base = starts.at[rows][:, np.newaxis]
    # The first sample of a window follows nothing in it.
    low, high = base + np.where(some, first + 1, 0), base + np.where(some, stop, 0)
    values[rows] += (total[high] - total[low]).astype(np.float64)


def hint_no_counter(node: Call, view: Windows, having: Mask, ctx: EvalContext) -> None:
    """Tell the user once for each metric with a result whose name is not that of a counter.

    `having` bool[S] says which series have any result.
    """
    names = view.labels.column(METRIC_NAME)
    symbols = names[:1] if (names == names[:1]).all() else np.unique(names)
    for symbol in symbols.tolist():
        name = view.labels.symbols.text(symbol)
        if name and not name.endswith(COUNTER_SUFFIXES) and having[names == symbol].any():
            ctx.annotations.info(
                "metric might not be a counter, name does not end in "
                f'_total/_sum/_count/_bucket: "{name}"',
                argument_place(node, 0),
            )


def _last_change_kernel(*, is_rate: bool) -> RangeKernel:
    def fill(view: Windows, _ctx: EvalContext) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            last_change(
                view.times,
                view.time_start[rows],
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                is_rate,
                out,
                present,
            )

        return work

    return RangeKernel(fill, cells)


def _last_change(
    kernel: RangeKernel, *, is_rate: bool
) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)
        values, present = run_kernel(kernel, view, ctx)
        if is_rate and view.starts is not None:
            _reset_by_start(view, view.starts, values)
        histograms = None
        if view.histograms is not None:
            ranges = Ranges(view)
            not_floats, histograms = histogram_last_change(node, ranges, ctx, is_rate=is_rate)
            ranges.withdraw(present, not_floats)
            histograms = ranges.spread(histograms)
        return window_result(view, values, present, ctx, histograms=histograms)

    return implementation


def _count_steps_kernel(*, only_falls: bool) -> RangeKernel:
    def fill(view: Windows, _ctx: EvalContext) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            count_steps(
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                only_falls,
                out,
                present,
            )

        return work

    return RangeKernel(fill, cells)


def _count_steps(
    kernel: RangeKernel, *, only_falls: bool
) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)
        values, present = run_kernel(kernel, view, ctx)
        if only_falls and view.starts is not None:
            _count_starts(view, view.starts, values)
        if view.histograms is not None:
            ranges = Ranges(view)
            rows = ranges.rows
            own_values, own_present = values[rows], present[rows]
            count_changes(ranges, own_values, own_present, ctx, only_falls=only_falls)
            values[rows], present[rows] = own_values, own_present
        return window_result(view, values, present, ctx)

    return implementation


def _regression(node: Call, view: Windows, ahead: Floats | None, ctx: EvalContext) -> Matrix:
    note_ignored(view, node, ctx)
    ahead_s = np.zeros(ctx.step_count) if ahead is None else ahead

    run_start = np.zeros(view.first.shape[0], dtype=np.int64)
    run_start[view.window_of] = view.time_start
    now_ms = ctx.steps_ms if ahead is not None else np.zeros(0, dtype=np.int64)
    regular = np.empty(view.first.shape, dtype=np.int32)
    steady = steady_steps(view)
    regular_windows(view.times, run_start, view.first, view.stop, now_ms, steady, regular)

    def kernel(rows: slice, out: Floats, present: Mask) -> None:
        regress_regular(
            view.times,
            view.time_start[rows],
            view.values,
            view.value_start[rows],
            view.window_of[rows],
            view.first,
            view.stop,
            ctx.steps_ms,
            ahead_s,
            ahead is not None,
            regular,
            out,
            present,
        )

    values, present = run_windows(view, ctx, int(samples_per_step(view).sum()), kernel)
    return window_result(view, values, present, ctx)


def _deriv(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
    view = args[0]
    assert isinstance(view, Windows)
    return _regression(node, view, None, ctx)


def _predict_linear(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
    view, ahead = args
    assert isinstance(view, Windows)
    assert isinstance(ahead, ScalarSteps)
    return _regression(node, view, ahead.values, ctx)


KERNELS: dict[str, RangeKernel] = {
    "rate": _change_kernel(is_counter=True, per_second=True),
    "increase": _change_kernel(is_counter=True, per_second=False),
    "delta": _change_kernel(is_counter=False, per_second=False),
    "irate": _last_change_kernel(is_rate=True),
    "idelta": _last_change_kernel(is_rate=False),
    "changes": _count_steps_kernel(only_falls=False),
    "resets": _count_steps_kernel(only_falls=True),
}
"""Functions of floats alone that need not have all their results at once."""

COUNTERS = frozenset({"rate", "increase"})
"""Functions that expect a counter, and say so where a metric's name is not that of one."""

FUNCTIONS: dict[str, Callable[[Call, list[Operand], EvalContext], Operand]] = {
    "rate": _extrapolated(KERNELS["rate"], is_counter=True, per_second=True),
    "increase": _extrapolated(KERNELS["increase"], is_counter=True, per_second=False),
    "delta": _extrapolated(KERNELS["delta"], is_counter=False, per_second=False),
    "irate": _last_change(KERNELS["irate"], is_rate=True),
    "idelta": _last_change(KERNELS["idelta"], is_rate=False),
    "changes": _count_steps(KERNELS["changes"], only_falls=False),
    "resets": _count_steps(KERNELS["resets"], only_falls=True),
    "deriv": _deriv,
    "predict_linear": _predict_linear,
}
