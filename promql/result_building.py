"""The last operand becomes the answer: names dropped, absent series left out, rows sorted.

From: `engine.py`.   To: `result.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.errors import ExecutionError
from promql.labels import SeriesLabels
from promql.matrix import Matrix, ScalarSteps, StringValue, Windows
from promql.result import MatrixResult, RawResult, ScalarResult, StringResult, VectorResult
from promql.same_labels import SAME_LABELS

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.result import ResultValue

    Mask = npt.NDArray[np.bool_]


def instant_value(operand: Operand, ctx: EvalContext) -> ResultValue:
    """Return the answer of an instant query. Vectors keep their row order, samples are sorted."""
    time_ms = int(ctx.steps_ms[0])
    match operand:
        case ScalarSteps(values=values):
            return ScalarResult(time_ms, float(values[0]))
        case StringValue(text=text):
            return StringResult(time_ms, text)
        case Matrix():
            rows = np.flatnonzero(operand.present[:, 0])
            labels = _final_labels(operand.labels.take(rows), operand.drop_name[rows])
            return VectorResult(time_ms, labels, operand.values[rows, 0])
        case Windows():
            return _raw(operand)


def range_value(operand: Operand, ctx: EvalContext) -> MatrixResult:
    """Return the answer of a range query; a scalar becomes a series without labels."""
    if isinstance(operand, ScalarSteps):
        values = operand.values[np.newaxis, :]
        present = np.ones(values.shape, dtype=np.bool_)
        return MatrixResult(ctx.steps_ms, SeriesLabels.empty(1, ctx.symbols), values, present)
    assert isinstance(operand, Matrix)
    rows = np.flatnonzero(operand.present.any(axis=1))
    labels = _final_labels(operand.labels.take(rows), operand.drop_name[rows])
    order = labels.sort_order()
    at = rows[order]
    # The sorted copy is spared where the rows already stand as they should.
    in_place = at.size == operand.series_count and bool((at == np.arange(at.size)).all())
    return MatrixResult(
        ctx.steps_ms,
        labels if in_place else labels.take(order),
        operand.values if in_place else operand.values[at],
        operand.present if in_place else operand.present[at],
    )


def _raw(view: Windows) -> RawResult:
    """Return the samples of the only step's windows."""
    first = view.first[view.window_of, 0].astype(np.int64)
    count = view.stop[view.window_of, 0] - first
    rows = np.flatnonzero(count > 0)
    labels = _final_labels(view.labels.take(rows), view.drop_name[rows])
    order = labels.sort_order()
    at = rows[order]
    return RawResult(
        labels=labels.take(order),
        times=view.times,
        time_start=view.time_start[at] + first[at],
        values=view.values,
        value_start=view.value_start[at] + first[at],
        count=count[at],
    )


def _final_labels(labels: SeriesLabels, drop_name: Mask) -> SeriesLabels:
    """Drop the names that evaluation only marked; two series must not become the same."""
    if not drop_name.any():
        return labels
    bare = labels.drop_name()
    dropped = bare if drop_name.all() else _drop_some(labels, bare, drop_name)
    if dropped.group()[1].size != dropped.series_count:
        raise ExecutionError(SAME_LABELS)
    return dropped


def _drop_some(labels: SeriesLabels, bare: SeriesLabels, drop_name: Mask) -> SeriesLabels:
    marked = np.flatnonzero(drop_name)
    others = np.flatnonzero(~drop_name)
    both = labels.take(others).concat(bare.take(marked))
    order = np.empty(drop_name.size, dtype=np.int64)
    order[np.concatenate((others, marked))] = np.arange(drop_name.size)
    return both.take(order)
