"""Aggregations of functions and selectors whose results need never be there all at once.

From: `evaluate.py`: `sum by (job) (rate(...))`, `avg(metric)`.   To: `aggregate_folds.py`.

The steps are cut into chunks, on the cores that are free; in a chunk some series after the other
get their results into memory that stays in the processor's cache, and are folded from there. So the
rows of every step are folded in their order, as `aggregate.py` does, to the last bit. Samples that
storage left to be read later come part by part, and each part is folded into what others came to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql import over_time, rate
from promql.aggregate_folds import FOLDS
from promql.grouping import plain_groups
from promql.kernels import gather_newest, newest_offsets
from promql.labels import METADATA_LABELS
from promql.matrix import Matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from promql.aggregate_folds import Fold
    from promql.context import EvalContext
    from promql.grouping import Groups
    from promql.labels import SeriesLabels
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
    return of_one_metric(view.labels)


def of_one_metric(labels: SeriesLabels) -> bool:
    """Say whether no two series become the same without their names."""
    return not any(bool((ids != ids[:1]).any()) for ids in map(labels.column, METADATA_LABELS))


def groups_of_windows(node: Aggregation, call: Call, labels: SeriesLabels) -> Groups:
    """Return the groups of what a function makes of series with these labels."""
    if call.func not in over_time.KEEP_NAME:
        labels = labels.drop_name()
    return plain_groups(labels, node.grouping, without=node.without)


def folds_in_parts(groups: Groups, samples: Samples, steps: int) -> bool:
    """Say whether what folds hold between parts is a small share of the samples."""
    return samples.deferred is not None and 4 * groups.count * steps <= int(samples.count.sum())


def fold_windows(
    node: Aggregation,
    call: Call,
    groups: Groups,
    views: Iterable[tuple[slice, Windows]],
    ctx: EvalContext,
    *,
    alone: bool = True,
) -> tuple[Matrix, Ints]:
    """Return the aggregation of a function of windows, and how many results each step had.

    `call` is of one of `KERNELS`; `views` are the windows of some series after the other; `alone`
    says that the first are of all. Raises what the budget raises.
    """
    kernel = KERNELS[call.func]

    def part(rows: slice, view: Windows) -> _Part:
        if call.func in rate.COUNTERS:
            pairs = np.asarray((view.stop - view.first >= 2).any(axis=1))
            rate.hint_no_counter(call, view, pairs[view.window_of], ctx)
        # What a chunk looks at before its first step others look at too: not much of it.
        longest = int((view.stop - view.first).max(initial=0))
        return _Part(
            rows,
            lambda low, high: kernel.fill(view.at_steps(low, high), ctx),
            kernel.cost(view),
            longest,
        )

    return _fold(node.op, groups, (part(*each) for each in views), ctx, alone=alone)


def fold_newest(
    node: Aggregation, samples: Samples, at_ms: Ints, ctx: EvalContext
) -> tuple[Matrix, Ints]:
    """Return the aggregation of an instant selector, and how many series each step had.

    `samples` holds no histograms; `at_ms` as for `windows.newest_samples`.
    """
    groups = plain_groups(samples.labels, node.grouping, without=node.without)
    in_parts = folds_in_parts(groups, samples, ctx.step_count)
    if not in_parts:
        samples = samples.whole()
    parts = (_newest_part(*each, at_ms, ctx) for each in samples.parts())
    return _fold(node.op, groups, parts, ctx, alone=not in_parts)


def _newest_part(rows: slice, samples: Samples, at_ms: Ints, ctx: EvalContext) -> _Part:
    """Return what writes the newest samples of some series."""
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

    return _Part(rows, prepare, samples.count.size * at_ms.size, 0)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some series: `prepare` returns what writes their results at some steps.

    `cost` is that of all steps, of which no chunk should have fewer than `steps_min`.
    """

    rows: slice
    prepare: Callable[[int, int], Fill]
    cost: int
    steps_min: int

    def add_to(self, fold: Fold, low: int, high: int, groups: Groups, ctx: EvalContext) -> None:
        """Fold the results of the steps [low, high), of as many series at once as fit."""
        series, steps = self.rows.stop - self.rows.start, high - low
        fill = self.prepare(low, high)
        of_series = groups.of_series[self.rows]
        rows = max(1, min(series, _CELLS // steps))
        out = np.empty((rows, steps), dtype=np.float64)
        present = np.empty(out.shape, dtype=np.bool_)
        for first in range(0, series, rows):
            ctx.budget.check()
            some = slice(first, min(first + rows, series))
            count = some.stop - first
            fill(some, out[:count], present[:count])
            fold.add(out[:count], present[:count], of_series[some])


def _fold(
    op: str, groups: Groups, parts: Iterable[_Part], ctx: EvalContext, *, alone: bool
) -> tuple[Matrix, Ints]:
    """Fold the results of all series, part by part; `alone` says that there is one part."""
    steps = ctx.step_count
    ctx.budget.reserve(groups.of_series.size * steps)
    values = np.empty((groups.count, steps), dtype=np.float64)
    counts = np.empty((groups.count, steps), dtype=np.int64)
    begun: list[tuple[int, int, Fold]] = []  # Appended to by several threads, which lists allow.

    def end(low: int, high: int, fold: Fold) -> None:
        values[:, low:high], counts[:, low:high] = fold.result()

    def begin(part: _Part) -> None:
        def work(low: int, high: int) -> None:
            fold = FOLDS[op](groups.count, high - low)
            part.add_to(fold, low, high, groups, ctx)
            if alone:
                end(low, high, fold)
            else:
                begun.append((low, high, fold))

        least = max(STEPS_MIN // 2, min(part.steps_min, -(-steps // 2)))
        ctx.rows.run(steps, part.cost, work, ctx.budget.check, rows_min=least)

    def go_on(part: _Part) -> None:
        def work(first: int, stop: int) -> None:
            for low, high, fold in begun[first:stop]:
                part.add_to(fold, low, high, groups, ctx)

        ctx.rows.run(len(begun), part.cost, work, ctx.budget.check)

    for part in parts:
        if begun:
            go_on(part)
        else:
            begin(part)
    for each in begun:
        end(*each)
    matrix = Matrix(groups.labels, values, counts > 0, groups.drop_name)
    return matrix, counts.sum(axis=0)
