"""Aggregations of functions and selectors whose results need never be there all at once.

From: `evaluate.py`: `sum by (job) (rate(...))`, `avg(metric)`.   To: `aggregate_folds.py`.

The steps are cut into chunks, on the cores that are free; in a chunk some series after the other
get their results into memory that stays in the processor's cache, and are folded from there. So the
rows of every step are folded in their order, as `aggregate.py` does, to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql import over_time, rate
from promql.aggregate_folds import FOLDS
from promql.grouping import plain_groups
from promql.kernels import gather_newest, newest_offsets
from promql.labels import METADATA_LABELS
from promql.matrix import Matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.grouping import Groups
    from promql.matrix import Windows
    from promql.syntax import Aggregation, Call
    from promql.windows import Fill, RangeKernel, Samples

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

KERNELS: dict[str, RangeKernel] = {**rate.KERNELS, **over_time.KERNELS}
"""Functions that an aggregation can fold as they go."""

STEPS_MIN = 32
"""With fewer steps, an instant query above all, the series are what is cut into chunks."""

_CELLS = 1 << 15
"""Results that are held before they are folded: 300 kB, which a core's own cache holds."""


def can_fold(node: Aggregation, ctx: EvalContext) -> bool:
    """Say whether an aggregation may take its operand's results as they come."""
    return node.op in FOLDS and ctx.step_count >= STEPS_MIN and not ctx.delayed_name_removal


def can_fold_windows(view: Windows) -> bool:
    """Say whether the results of windows are floats that nobody has to look at again.

    Not so with series of several metrics: two that become the same without their names are an
    error, which depends on where there are results.
    """
    if view.series_count == 0 or view.extension:
        return False
    if view.histograms is not None or view.starts is not None:
        return False
    return not any(bool((ids != ids[:1]).any()) for ids in map(view.labels.column, METADATA_LABELS))


def fold_windows(
    node: Aggregation, call: Call, view: Windows, ctx: EvalContext
) -> tuple[Matrix, Ints]:
    """Return the aggregation of a function of windows, and how many results each step had.

    `call` is of one of `KERNELS`. Raises what the budget raises.
    """
    kernel = KERNELS[call.func]
    if call.func in rate.COUNTERS:
        pairs = np.asarray((view.stop - view.first >= 2).any(axis=1))
        rate.hint_no_counter(call, view, pairs[view.window_of], ctx)
    keeps_name = call.func in over_time.KEEP_NAME
    labels = view.labels if keeps_name else view.labels.drop_name()
    groups = plain_groups(labels, node.grouping, without=node.without)

    def prepare(low: int, high: int) -> Fill:
        return kernel.fill(view.at_steps(low, high), ctx)

    # What a chunk looks at before its first step others look at too: not much of it.
    longest = int((view.stop - view.first).max(initial=0))
    return _fold(node.op, groups, prepare, kernel.cost(view), longest, ctx)


def fold_newest(
    node: Aggregation, samples: Samples, at_ms: Ints, ctx: EvalContext
) -> tuple[Matrix, Ints]:
    """Return the aggregation of an instant selector, and how many series each step had.

    `samples` holds no histograms; `at_ms` as for `windows.newest_samples`.
    """
    groups = plain_groups(samples.labels, node.grouping, without=node.without)
    bits = samples.values.view(np.uint64)

    def prepare(low: int, high: int) -> Fill:
        newest = np.empty((samples.run_start.size, high - low), dtype=np.int32)
        newest_offsets(
            samples.times,
            samples.run_start,
            samples.run_count,
            at_ms[low:high],
            ctx.lookback_ms,
            newest,
        )

        def fill(rows: slice, out: Floats, present: npt.NDArray[np.bool_]) -> None:
            gather_newest(
                bits,
                samples.value_start[rows],
                samples.run_of[rows],
                newest,
                out.view(np.uint64),
                present,
            )

        return fill

    return _fold(node.op, groups, prepare, samples.count.size * at_ms.size, 0, ctx)


def _fold(
    op: str,
    groups: Groups,
    prepare: Callable[[int, int], Fill],
    cost: int,
    steps_min: int,
    ctx: EvalContext,
) -> tuple[Matrix, Ints]:
    """Fold the results of all series; `prepare` returns what writes those of some steps."""
    series, steps = groups.of_series.size, ctx.step_count
    ctx.budget.reserve(series * steps)
    values = np.empty((groups.count, steps), dtype=np.float64)
    counts = np.empty((groups.count, steps), dtype=np.int64)

    def work(low: int, high: int) -> None:
        fill = prepare(low, high)
        fold = FOLDS[op](groups.count, high - low)
        rows = max(1, min(series, _CELLS // (high - low)))
        out = np.empty((rows, high - low), dtype=np.float64)
        present = np.empty(out.shape, dtype=np.bool_)
        for first in range(0, series, rows):
            ctx.budget.check()
            some = slice(first, min(first + rows, series))
            count = some.stop - first
            fill(some, out[:count], present[:count])
            fold.add(out[:count], present[:count], groups.of_series[some])
        values[:, low:high], counts[:, low:high] = fold.result()

    least = max(STEPS_MIN // 2, min(steps_min, -(-steps // 2)))
    ctx.rows.run(steps, cost, work, ctx.budget.check, rows_min=least)
    matrix = Matrix(groups.labels, values, counts > 0, groups.drop_name)
    return matrix, counts.sum(axis=0)
