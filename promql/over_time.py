"""Functions that summarise the samples of a range: the `_over_time` family.

From: `functions.py`.   To: `over_time_kernels.py`, whose results become matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.absent import absent_labels
from promql.deviation_kernels import deviation_windows
from promql.errors import ExecutionError
from promql.float_text import general_text
from promql.histograms.over_time import histogram_at_edge, histogram_total
from promql.histograms.ranges import Ranges, note_ignored
from promql.labels import SeriesLabels
from promql.matrix import Matrix, ScalarSteps, Windows
from promql.over_time_kernels import (
    AVG,
    COUNT,
    FIRST,
    LAST,
    MAX,
    MIN,
    PRESENT,
    STDDEV,
    STDVAR,
    SUM,
    extreme_windows,
    quantile_windows,
    reduce_windows,
    smooth_windows,
)
from promql.places import argument_place
from promql.steady_kernels import extreme_of_steady
from promql.total_kernels import total_windows
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

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histograms.matrix import HistogramMatrix
    from promql.matrix import Operand
    from promql.syntax import Call
    from promql.windows import Fill

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]
    Offsets = npt.NDArray[np.int32]

_RUN_MIN = 16
"""Steps in a row, about, by which windows must move by as many samples to be done together."""


_OVERLAP_MAX = 6
"""Where samples are in no more windows, looking at each anew costs less than a queue of them."""


def _reduction_kernel(reduction: int) -> RangeKernel:
    def fill(view: Windows, _ctx: EvalContext) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            reduce_windows(
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                reduction,
                out,
                present,
            )

        return work

    return RangeKernel(fill, cells)


def _total_kernel(*, average: bool) -> RangeKernel:
    def fill(view: Windows, _ctx: EvalContext) -> Fill:
        steady = steady_steps(view)

        def work(rows: slice, out: Floats, present: Mask) -> None:
            total_windows(
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                steady,
                average,
                out,
                present,
            )

        return work

    return RangeKernel(fill, _all_samples)


def _deviation_kernel(*, root: bool) -> RangeKernel:
    def fill(view: Windows, _ctx: EvalContext) -> Fill:
        steady = steady_steps(view)

        def work(rows: slice, out: Floats, present: Mask) -> None:
            deviation_windows(
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                steady,
                root,
                out,
                present,
            )

        return work

    # A division for each sample: several times as much as a sum.
    return RangeKernel(fill, lambda view: 4 * _all_samples(view))


def _overlap(view: Windows) -> float:
    """Return in how many windows a sample is, on average over all between first and last."""
    if view.end_ms.size == 0:
        return 0.0
    inside = (view.stop - view.first).sum(axis=1, dtype=np.int64)
    span = view.stop[:, -1] - view.first[:, 0]
    return float(inside.sum() / max(1, int(span.sum())))


def _all_samples(view: Windows) -> int:
    return cells(view) + int(samples_per_step(view).sum())


def _reduction(
    name: str, reduction: int, *, keep_name: bool = False
) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)
        values, present = run_kernel(KERNELS[name], view, ctx)
        histograms = None
        if view.histograms is not None:
            histograms = _reduced(node, Ranges(view), reduction, values, present, ctx)
        return window_result(view, values, present, ctx, keep_name=keep_name, histograms=histograms)

    return implementation


def _reduced(
    node: Call, ranges: Ranges, reduction: int, values: Floats, present: Mask, ctx: EvalContext
) -> HistogramMatrix | None:
    """Return what a reduction makes of histograms; mend what it made of the floats beside."""
    if reduction in (COUNT, PRESENT):
        rows = ranges.rows
        held = ranges.float_count + ranges.histogram_count
        values[rows] = held if reduction == COUNT else 1.0
        present[rows] = held > 0
        return None
    if reduction in (SUM, AVG):
        not_floats, histograms = histogram_total(node, ranges, ctx, average=reduction == AVG)
    elif reduction in (FIRST, LAST):
        not_floats, histograms = histogram_at_edge(ranges, last=reduction == LAST)
    else:
        note_ignored(ranges.view, node, ctx)
        return None
    ranges.withdraw(present, not_floats)
    return ranges.spread(histograms)


def _extreme_kernel(extreme: int, *, as_time: bool = False) -> RangeKernel:
    def fill(view: Windows, _ctx: EvalContext) -> Fill:
        if not as_time:
            steady = steady_steps(view)
            # Runs that are no longer than this gain nothing by what is done to them as a whole.
            runs = _RUN_MIN * np.count_nonzero(steady <= 1) <= steady.size
            if runs or _overlap(view) <= _OVERLAP_MAX:
                return of_steady(view, steady)
        return by_queue(view)

    def of_steady(view: Windows, steady: Offsets) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            extreme_of_steady(
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                steady,
                extreme == MAX,
                out,
                present,
            )

        return work

    def by_queue(view: Windows) -> Fill:
        def work(rows: slice, out: Floats, present: Mask) -> None:
            extreme_windows(
                view.values,
                view.value_start[rows],
                view.window_of[rows],
                view.first,
                view.stop,
                view.times,
                view.time_start[rows],
                extreme,
                as_time,
                out,
                present,
            )

        return work

    return RangeKernel(fill, lambda view: cells(view) + view.values.size)


def _extreme(name: str) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)
        note_ignored(view, node, ctx)
        values, present = run_kernel(KERNELS[name], view, ctx)
        return window_result(view, values, present, ctx)

    return implementation


def _edge_time(*, last: bool) -> Callable[[Call, list[Operand], EvalContext], Matrix]:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
        view = args[0]
        assert isinstance(view, Windows)
        ctx.budget.reserve(view.series_count * view.end_ms.size)
        present = (view.stop > view.first)[view.window_of]
        edge = view.stop - 1 if last else view.first
        offsets = np.where(present, edge[view.window_of], 0).astype(np.int64)
        seconds = pool_at(view.times, view.time_start, offsets) / 1000.0
        if view.histograms is not None:
            ranges = Ranges(view)
            rows = ranges.rows
            wins, _ = histogram_at_edge(ranges, last=last)
            times = ranges.histogram_ms(0) if last else ranges.first_histogram_ms()
            seconds[rows] = np.where(wins, times / 1000.0, seconds[rows])
            present[rows] |= wins
        return window_result(view, seconds, present, ctx)

    return implementation


def _quantiles(
    view: Windows, quantiles: Floats, ctx: EvalContext, *, deviation: bool
) -> tuple[Floats, Mask]:
    def kernel(rows: slice, out: Floats, present: Mask) -> None:
        quantile_windows(
            view.values,
            view.value_start[rows],
            view.window_of[rows],
            view.first,
            view.stop,
            quantiles,
            deviation,
            out,
            present,
        )

    # Sorting costs several looks at a sample.
    return run_windows(view, ctx, 4 * int(samples_per_step(view).sum()), kernel)


def _quantile_over_time(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
    quantiles, view = args
    assert isinstance(quantiles, ScalarSteps)
    assert isinstance(view, Windows)
    note_ignored(view, node, ctx)
    values, present = _quantiles(view, quantiles.values, ctx, deviation=False)
    bad = ~((quantiles.values >= 0) & (quantiles.values <= 1))
    if bad.any():
        for step in np.flatnonzero(bad & present.any(axis=0)).tolist():
            got = general_text(float(quantiles.values[step]))
            ctx.annotations.warn(
                f"quantile value should be between 0 and 1, got {got}", argument_place(node, 0)
            )
    return window_result(view, values, present, ctx)


def _mad_over_time(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
    view = args[0]
    assert isinstance(view, Windows)
    note_ignored(view, node, ctx)
    values, present = _quantiles(view, np.full(view.end_ms.size, 0.5), ctx, deviation=True)
    return window_result(view, values, present, ctx)


def _smoothing(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
    view, smoothing, trending = args
    assert isinstance(view, Windows)
    assert isinstance(smoothing, ScalarSteps)
    assert isinstance(trending, ScalarSteps)
    counts = samples_per_step(view)
    for name, factors, short in (("smoothing", smoothing, "sf"), ("trend", trending, "tf")):
        # Checked only where there is something to smooth, as Prometheus does.
        for factor in factors.values[counts > 0].tolist():
            if factor <= 0 or factor >= 1:
                got = f"{factor:f}" if np.isfinite(factor) else general_text(factor)
                raise ExecutionError(
                    f"invalid {name} factor. Expected: 0 < {short} < 1, got: {got}"
                )

    def kernel(rows: slice, out: Floats, present: Mask) -> None:
        smooth_windows(
            view.values,
            view.value_start[rows],
            view.window_of[rows],
            view.first,
            view.stop,
            smoothing.values,
            trending.values,
            out,
            present,
        )

    note_ignored(view, node, ctx)
    values, present = run_windows(view, ctx, int(counts.sum()), kernel)
    return window_result(view, values, present, ctx)


def _absent_over_time(node: Call, args: list[Operand], ctx: EvalContext) -> Matrix:
    view = args[0]
    assert isinstance(view, Windows)
    # Prometheus notes for each series where it is, before it looks where none is.
    ctx.budget.take(_windows_with_samples(view))
    absent = samples_per_step(view) == 0
    return Matrix(
        labels=SeriesLabels.from_dicts([absent_labels(node.args[0])], ctx.symbols),
        values=np.ones((1, absent.size)),
        present=absent[np.newaxis, :].copy(),
        drop_name=np.zeros(1, dtype=np.bool_),
    )


def _windows_with_samples(view: Windows) -> int:
    filled = np.count_nonzero(view.stop > view.first, axis=1)[view.window_of].sum()
    if view.histograms is not None:
        filled += np.count_nonzero(view.histograms.stop > view.histograms.first)
    return int(filled)


_REDUCTIONS = {
    "sum_over_time": SUM,
    "avg_over_time": AVG,
    "count_over_time": COUNT,
    "present_over_time": PRESENT,
    "stddev_over_time": STDDEV,
    "stdvar_over_time": STDVAR,
    "first_over_time": FIRST,
    "last_over_time": LAST,
}

KEEP_NAME = frozenset({"first_over_time", "last_over_time"})
"""Functions whose results have the name of the metric still."""

KERNELS: dict[str, RangeKernel] = {
    **{
        name: _reduction_kernel(reduction)
        for name, reduction in _REDUCTIONS.items()
        if reduction in (COUNT, PRESENT, FIRST, LAST)
    },
    "stdvar_over_time": _deviation_kernel(root=False),
    "stddev_over_time": _deviation_kernel(root=True),
    "sum_over_time": _total_kernel(average=False),
    "avg_over_time": _total_kernel(average=True),
    "min_over_time": _extreme_kernel(MIN),
    "max_over_time": _extreme_kernel(MAX),
    "ts_of_min_over_time": _extreme_kernel(MIN, as_time=True),
    "ts_of_max_over_time": _extreme_kernel(MAX, as_time=True),
}
"""Functions of floats alone that need not have all their results at once."""

FUNCTIONS: dict[str, Callable[[Call, list[Operand], EvalContext], Operand]] = {
    **{
        name: _reduction(name, reduction, keep_name=name in KEEP_NAME)
        for name, reduction in _REDUCTIONS.items()
    },
    "min_over_time": _extreme("min_over_time"),
    "max_over_time": _extreme("max_over_time"),
    "ts_of_min_over_time": _extreme("ts_of_min_over_time"),
    "ts_of_max_over_time": _extreme("ts_of_max_over_time"),
    "ts_of_first_over_time": _edge_time(last=False),
    "ts_of_last_over_time": _edge_time(last=True),
    "quantile_over_time": _quantile_over_time,
    "mad_over_time": _mad_over_time,
    "double_exponential_smoothing": _smoothing,
    "absent_over_time": _absent_over_time,
}
