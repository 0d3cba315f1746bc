"""Functions that compare neighbouring samples of a range: rate and its relatives.

From: `functions.py`.   To: `rate_kernels.py`, whose results become matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histogram_extended import extended_change
from promql.histogram_ranges import Ranges, note_ignored
from promql.histogram_rate import count_changes, histogram_change, histogram_last_change
from promql.matrix import Matrix, ScalarSteps, Windows
from promql.rate_kernels import (
    change_between_edges,
    count_steps,
    extrapolated_change,
    last_change,
    regress,
)
from promql.windows import run_windows, samples_per_step, window_result
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


def _extrapolated(
    *, is_counter: bool, per_second: bool
) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)

        def between_edges(rows: slice, out: Floats, present: Mask) -> None:
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

        def extrapolated(rows: slice, out: Floats, present: Mask) -> None:
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

        kernel = between_edges if view.extension else extrapolated
        values, present = run_windows(view, ctx, view.series_count * view.end_ms.size, kernel)
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
            _hint_no_counter(node, view, present, ctx)
        return window_result(view, values, present, ctx, histograms=histograms)

    return implementation


def _hint_no_counter(node: Call, view: Windows, present: Mask, ctx: EvalContext) -> None:
    """Tell the user once for each metric with a result whose name is not that of a counter."""
    names = view.labels.column(METRIC_NAME)
    for symbol in np.unique(names).tolist():
        name = view.labels.symbols.text(symbol)
        if name and not name.endswith(COUNTER_SUFFIXES) and present[names == symbol].any():
            ctx.annotations.info(
                "metric might not be a counter, name does not end in "
                f'_total/_sum/_count/_bucket: "{name}"',
                node.args[0].span,
            )


def _last_change(*, is_rate: bool) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)

        def kernel(rows: slice, out: Floats, present: Mask) -> None:
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

        values, present = run_windows(view, ctx, view.series_count * view.end_ms.size, kernel)
        histograms = None
        if view.histograms is not None:
            ranges = Ranges(view)
            not_floats, histograms = histogram_last_change(node, ranges, ctx, is_rate=is_rate)
            ranges.withdraw(present, not_floats)
            histograms = ranges.spread(histograms)
        return window_result(view, values, present, ctx, histograms=histograms)

    return implementation


def _count_steps(*, only_falls: bool) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)

        def kernel(rows: slice, out: Floats, present: Mask) -> None:
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

        values, present = run_windows(view, ctx, view.series_count * view.end_ms.size, kernel)
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

    def kernel(rows: slice, out: Floats, present: Mask) -> None:
        regress(
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


FUNCTIONS: dict[str, Callable[[Call, list[Operand], EvalContext], Operand]] = {
    "rate": _extrapolated(is_counter=True, per_second=True),
    "increase": _extrapolated(is_counter=True, per_second=False),
    "delta": _extrapolated(is_counter=False, per_second=False),
    "irate": _last_change(is_rate=True),
    "idelta": _last_change(is_rate=False),
    "changes": _count_steps(only_falls=False),
    "resets": _count_steps(only_falls=True),
    "deriv": _deriv,
    "predict_linear": _predict_linear,
}
