"""`sum` and `avg` of native histograms, over groups of series at every step.

From: `aggregate.py`, beside the floats of the same groups.   To: `algebra.py`.
A group that holds floats and histograms at one step has no answer there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import Flag, average_groups, sum_groups
from promql.histograms.matrix import HistogramMatrix
from promql.histograms.notes import (
    AGGREGATION,
    any_flag,
    names_of,
    note_collision,
    note_mixed_in_aggregation,
    note_mixed_schemas,
    note_reconciled,
)
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Matrix
    from promql.syntax import Aggregation

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]
    Codes = npt.NDArray[np.int8]


def fold_histograms(
    node: Aggregation, operand: Matrix, group_of: Ints, floats: Ints, ctx: EvalContext
) -> HistogramMatrix | None:
    """Return the sum or average of each group's histograms at each step.

    Shapes: `group_of` int64[S]; `floats` int64[G, T], how many floats a group has at a step: set
    to 0 where it has histograms as well, for then it has no answer.
    """
    histograms = operand.histograms
    assert histograms is not None
    steps = floats.shape[1]
    present = histograms.present
    there = np.zeros(floats.shape, dtype=np.bool_)
    series, step = np.nonzero(present)
    there[group_of[series], step] = True
    mixed = there & (floats > 0)
    if mixed.any():
        note_mixed_in_aggregation(node.expr.span, ctx)
        histograms = histograms.narrowed(~mixed[group_of])
        floats[mixed] = 0
        if histograms is None:
            return None
    columns, present = histograms.shown()
    series, step = np.nonzero(present)
    cells, cell_of = np.unique(group_of[series] * steps + step, return_inverse=True)
    cell_of = cell_of.astype(np.int64)
    fold = sum_groups if node.op == "sum" else average_groups
    folded, flags = fold(columns, cell_of, cells.size)
    if any_flag(flags, Flag.COLLISION):
        note_collision(AGGREGATION, node.expr.span, ctx)
    if any_flag(flags, Flag.RECONCILED):
        note_reconciled(AGGREGATION, node.expr.span, ctx)
    where = np.zeros(floats.shape, dtype=np.bool_)
    where.reshape(-1)[cells] = True
    result = HistogramMatrix.placed(folded, where)
    bad = (flags & Flag.INCOMPATIBLE) != 0
    if not bad.any():
        return result
    culprits = _first_of_other_kind(columns.schema, cell_of, bad)
    for name in names_of(operand.labels, series[culprits]):
        note_mixed_schemas(name, node.expr.span, ctx)
    where.reshape(-1)[cells[bad]] = False
    return result.narrowed(where)


def _first_of_other_kind(schema: Codes, cell_of: Ints, bad: Mask) -> Ints:
    """Return for each bad cell its first histogram whose buckets are of another kind.

    Shapes: `schema`, `cell_of` [H], the latter's numbers index `bad`.
    """
    rows = np.flatnonzero(bad[cell_of])
    rows = rows[np.argsort(cell_of[rows], kind="stable")]
    custom = schema[rows] == CUSTOM_BUCKETS_SCHEMA
    _, first, inverse = np.unique(cell_of[rows], return_index=True, return_inverse=True)
    other = np.flatnonzero(custom != custom[first][inverse])
    _, first_other = np.unique(cell_of[rows[other]], return_index=True)
    found: Ints = rows[other[first_other]]
    return found
