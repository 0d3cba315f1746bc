"""Aggregations that keep series as they are: topk, bottomk, limitk, limit_ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.errors import ExecutionError
from promql.float_text import general_text
from promql.grouping import Groups, group_series, rows_by_group
from promql.histograms.notes import note_ignored_in_aggregation
from promql.places import parameter_place
from promql.rank_kernels import select_first, select_top
from promql.series_hash import hash_series

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Matrix
    from promql.syntax import Aggregation

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_INT64_END = 2.0**63

_STEPS_TOGETHER = 64
"""As many as the kernel goes through together."""


def _top(node: Aggregation, operand: Matrix, param: Floats, ctx: EvalContext) -> Matrix:
    k = _counts(param, operand.series_count)
    groups = group_series(operand, node.grouping, without=node.without)
    keep = np.zeros_like(operand.present)
    if operand.histograms is not None and k is not None:
        note_ignored_in_aggregation(node.op, node.span, ctx)
    operand = operand.only_floats()
    if k is None:
        return _kept(operand, keep)
    order, start = rows_by_group(groups)
    place = np.zeros(operand.series_count, dtype=np.int64)
    smallest = node.op == "bottomk"

    def select(low: int, high: int) -> None:
        select_top(
            operand.values, operand.present, order, start, k, smallest, low, high, keep, place
        )

    ctx.rows.run(k.size, operand.values.size, select, ctx.budget.check, rows_min=_STEPS_TOGETHER)
    if ctx.step_count == 1:
        return _ordered(operand, keep, groups, place, smallest=smallest)
    return _kept(operand, keep)


def _ordered(operand: Matrix, keep: Mask, groups: Groups, place: Ints, *, smallest: bool) -> Matrix:
    """Return the kept series of one step, group after group, best value first and NaN last."""
    rows = np.flatnonzero(keep[:, 0])
    values = operand.values[rows, 0] if smallest else -operand.values[rows, 0]
    rows = rows[np.lexsort((place[rows], values, groups.of_series[rows]))]
    return _taken(operand, keep, rows)


def _limit(node: Aggregation, operand: Matrix, param: Floats, ctx: EvalContext) -> Matrix:
    k = _counts(param, operand.series_count)
    keep = np.zeros_like(operand.present)
    if k is not None:
        groups = group_series(operand, node.grouping, without=node.without)
        select_first(operand.occupied, groups.of_series, groups.count, k, keep)
    return _kept(operand, keep)


def _limit_ratio(node: Aggregation, operand: Matrix, param: Floats, ctx: EvalContext) -> Matrix:
    if np.isnan(param).any():
        raise ExecutionError("Ratio value is NaN")
    for worst, bound in ((param.max(initial=0.0), 1.0), (param.min(initial=0.0), -1.0)):
        if worst * bound > 1:
            ctx.annotations.warn(
                "ratio value should be between -1 and 1, got"
                f" {general_text(float(worst))}, capping to {general_text(bound)}",
                parameter_place(node),
            )
    ratio = np.clip(param, -1.0, 1.0)
    # In [0, 1]: a series is in every ratio above its place, and in the complement of the rest.
    place = hash_series(operand.labels).astype(np.float64)[:, np.newaxis] / 2.0**64
    chosen = np.where(ratio >= 0, place < ratio, place >= 1.0 + ratio)
    return _kept(operand, operand.occupied & chosen)


def _counts(param: Floats, series_count: int) -> Ints | None:
    """Return k at every step, or None if no step keeps anything. Raises for what is no integer."""
    largest = param.max(initial=-np.inf)  # NaN if there is one
    if largest < 1:
        return None
    if np.isnan(largest):
        raise ExecutionError("Parameter value is NaN")
    smallest = param.min()
    if smallest <= -_INT64_END:
        raise ExecutionError(f"Scalar value {general_text(float(smallest))} underflows int64")
    if largest >= _INT64_END:
        raise ExecutionError(f"Scalar value {general_text(float(largest))} overflows int64")
    return np.clip(param, 0, series_count).astype(np.int64)


def _kept(operand: Matrix, keep: Mask) -> Matrix:
    return _taken(operand, keep, np.flatnonzero(keep.any(axis=1)))


def _taken(operand: Matrix, keep: Mask, rows: Ints) -> Matrix:
    return operand.take(rows).narrowed(keep[rows])


SELECTIONS: dict[str, Callable[[Aggregation, Matrix, Floats, EvalContext], Matrix]] = {
    "topk": _top,
    "bottomk": _top,
    "limitk": _limit,
    "limit_ratio": _limit_ratio,
}
