"""Aggregations: `sum by (job) (...)` and all others, over groups of series at every step.

From: `evaluate.py`.   Groups are numbers of distinct label columns; the arithmetic is in
`aggregate_folds.py`. topk and its kin, which keep series instead of folding them, are in
`ranking.py`; `count_values`, which makes labels of values, in `count_values.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.aggregate_folds import FOLDS
from promql.count_values import count_values
from promql.grouping import group_series, rows_by_group
from promql.histograms.aggregate import fold_histograms
from promql.histograms.notes import note_ignored_in_aggregation
from promql.matrix import Matrix, ScalarSteps, StringValue
from promql.places import parameter_place
from promql.quantiles import warn_quantile_of_aggregation
from promql.rank_kernels import quantile_rows
from promql.ranking import SELECTIONS

if TYPE_CHECKING:
    from promql.context import EvalContext
    from promql.syntax import Aggregation


def aggregate(
    node: Aggregation, operand: Matrix, param: ScalarSteps | StringValue | None, ctx: EvalContext
) -> Matrix:
    """Return the aggregation of `operand`, one row a group (or, for topk and so on, a series).

    `param` has a value per step. Raises ExecutionError for a parameter that makes no sense.
    """
    ctx.budget.check()
    if node.op in SELECTIONS:
        assert isinstance(param, ScalarSteps)
        return SELECTIONS[node.op](node, operand, param.values, ctx)
    if node.op == "count_values":
        assert isinstance(param, StringValue)
        return count_values(node, operand, param.text, ctx)
    groups = group_series(operand, node.grouping, without=node.without)
    shape = (groups.count, operand.values.shape[1])
    if node.op == "quantile":
        assert isinstance(param, ScalarSteps)
        span = parameter_place(node)
        warn_quantile_of_aggregation(param.values, span, ctx)
        order, start = rows_by_group(groups)
        out = np.zeros(shape, dtype=np.float64)
        counts = np.zeros(shape, dtype=np.int64)
        levels = param.values

        def write(low: int, high: int) -> None:
            quantile_rows(
                operand.values, operand.present, order, start, levels, low, high, out, counts
            )

        # A value is looked at several times until its rank is found.
        cost = 8 * operand.values.size
        ctx.rows.run(shape[1], cost, write, ctx.budget.check, rows_min=16)
    else:
        fold = FOLDS[node.op](*shape)
        counted = operand.occupied if node.op in ("count", "group") else operand.present
        fold.add(operand.values, counted, groups.of_series)
        out, counts = fold.result()
    histograms = None
    if operand.histograms is not None:
        if node.op in ("sum", "avg"):
            histograms = fold_histograms(node, operand, groups.of_series, counts, ctx)
        elif node.op not in ("count", "group"):
            note_ignored_in_aggregation(node.op, node.expr.span, ctx)
    return Matrix(groups.labels, out, counts > 0, groups.drop_name, histograms=histograms)
