"""The last operand becomes the answer: names dropped, absent series left out, rows sorted.

From: `engine.py`.   To: `result.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from promql.errors import ExecutionError
from promql.extended import with_edges
from promql.histograms.matrix import NONE, HistogramMatrix, combined
from promql.labels import SeriesLabels
from promql.matrix import Matrix, ScalarSteps, StringValue, Windows
from promql.result import MatrixResult, RawResult, ScalarResult, StringResult, VectorResult
from promql.same_labels import SAME_LABELS, merge_same_labels
from tsdb.interface import HistogramRuns
from tsdb.large_arrays import large_empty

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.labels import QuerySymbols
    from promql.matrix import HistogramWindows, Operand
    from promql.result import ResultValue

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_Point = TypeVar("_Point", bound=np.generic)


def instant_value(operand: Operand, ctx: EvalContext) -> ResultValue:
    """Return the answer of an instant query. Vectors keep their row order, samples are sorted."""
    time_ms = int(ctx.steps_ms[0])
    match operand:
        case ScalarSteps(values=values):
            return ScalarResult(time_ms, float(values[0]))
        case StringValue(text=text):
            return StringResult(time_ms, text)
        case Matrix():
            vector = _named(operand)
            if vector.histograms is None and vector.present.all():
                return VectorResult(time_ms, vector.labels, vector.values[:, 0])
            rows = np.flatnonzero(vector.occupied[:, 0])
            there = vector.histograms
            return VectorResult(
                time_ms,
                vector.labels.take(rows),
                vector.values[rows, 0],
                None if there is None else there.take(rows),
            )
        case Windows():
            return _raw(operand)


def range_value(operand: Operand, ctx: EvalContext) -> MatrixResult:
    """Return the answer of a range query; a scalar becomes a series without labels."""
    if isinstance(operand, ScalarSteps):
        count = min(1, ctx.steps_ms.size)  # no steps, as at times beyond all bounds: no series
        values = operand.values[np.newaxis, :][:count]
        present = np.ones(values.shape, dtype=np.bool_)
        return MatrixResult(ctx.steps_ms, SeriesLabels.empty(count, ctx.symbols), values, present)
    assert isinstance(operand, Matrix)
    matrix = _named(operand)
    there = matrix.histograms
    if matrix.series_count == 1 and there is None and matrix.present.any():
        return MatrixResult(ctx.steps_ms, matrix.labels, matrix.values, matrix.present)
    rows = np.flatnonzero(matrix.occupied.any(axis=1))
    labels = matrix.labels.take(rows)
    order = labels.sort_order()
    at = rows[order]
    # The sorted copy is spared where the rows already stand as they should.
    if at.size == matrix.series_count and bool((at == np.arange(at.size)).all()):
        return MatrixResult(ctx.steps_ms, labels, matrix.values, matrix.present, there)
    return MatrixResult(
        ctx.steps_ms,
        labels.take(order),
        _rows(matrix.values, at, ctx),
        _rows(matrix.present, at, ctx),
        None if there is None else there.take(at),
    )


def _rows(points: npt.NDArray[_Point], rows: Ints, ctx: EvalContext) -> npt.NDArray[_Point]:
    """Return some rows of [S, T], copied by the cores that are free."""
    chosen = large_empty((rows.size, points.shape[1]), points.dtype.type)

    def copy(low: int, high: int) -> None:
        np.take(points, rows[low:high], axis=0, out=chosen[low:high], mode="clip")

    ctx.rows.run(rows.size, chosen.size, copy, ctx.budget.check)
    return chosen


def join_steps(earlier: MatrixResult, later: MatrixResult) -> MatrixResult:
    """Return one answer for the steps of both, the later ones evaluated by themselves."""
    symbols = earlier.labels.symbols
    both = earlier.labels.concat(_in_symbols(later.labels, symbols))
    row_of, first = both.group()
    steps = np.concatenate((earlier.steps_ms, later.steps_ms))
    values = np.zeros((first.size, steps.size))
    present = np.zeros((first.size, steps.size), dtype=np.bool_)
    split, count = earlier.steps_ms.size, earlier.labels.series_count
    histograms: HistogramMatrix | None = None
    for part, rows, columns in (
        (earlier, row_of[:count], slice(0, split)),
        (later, row_of[count:], slice(split, None)),
    ):
        values[rows, columns] = part.values
        present[rows, columns] = part.present
        if part.histograms is not None:
            row = np.full(values.shape, NONE, dtype=np.int32)
            row[rows, columns] = part.histograms.row
            histograms = combined(histograms, HistogramMatrix(part.histograms.columns, row))
    labels = both.take(first)
    order = labels.sort_order()
    return MatrixResult(
        steps,
        labels.take(order),
        values[order],
        present[order],
        None if histograms is None else histograms.take(order),
    )


def _in_symbols(labels: SeriesLabels, symbols: QuerySymbols) -> SeriesLabels:
    """Return the labels with ids of other symbols: two reads need not agree on ids."""
    distinct, inverse = np.unique(labels.ids, return_inverse=True)
    ids = np.array([symbols.intern(text) for text in labels.symbols.texts(distinct)], np.uint32)
    translated = ids[inverse.reshape(labels.ids.shape)] if distinct.size else labels.ids
    return SeriesLabels(labels.names, np.ascontiguousarray(translated), symbols)


def _raw(view: Windows) -> RawResult:
    """Return the samples of the only step's windows."""
    if view.extension:
        view = with_edges(view)
    first = view.first[view.window_of, 0].astype(np.int64)
    count = view.stop[view.window_of, 0] - first
    there = view.histograms
    held = count if there is None else count + there.sizes[:, 0]
    rows = np.flatnonzero(held > 0)
    labels = view.labels.take(rows)
    if view.drop_name.any():
        labels = _dropped(labels, view.drop_name[rows])
        if labels.group()[1].size != rows.size:
            raise ExecutionError(SAME_LABELS)
    order = labels.sort_order()
    at = rows[order]
    return RawResult(
        labels=labels.take(order),
        times=view.times,
        time_start=view.time_start[at] + first[at],
        values=view.values,
        value_start=view.value_start[at] + first[at],
        count=count[at],
        histograms=None if there is None else _raw_histograms(there, at),
    )


def _raw_histograms(there: HistogramWindows, rows: Ints) -> HistogramRuns:
    return HistogramRuns(
        times=there.times,
        start=there.start[rows] + there.first[rows, 0],
        count=there.sizes[rows, 0].astype(np.int64),
        columns=there.columns,
    )


def _named(matrix: Matrix) -> Matrix:
    """Drop the names that evaluation only marked, and merge what then has the same labels."""
    if not matrix.drop_name.any():
        return matrix
    labels = _dropped(matrix.labels, matrix.drop_name)
    unmarked = np.zeros(matrix.series_count, dtype=np.bool_)
    return merge_same_labels(replace(matrix, labels=labels, drop_name=unmarked, float_time=None))


def _dropped(labels: SeriesLabels, drop_name: Mask) -> SeriesLabels:
    """Return the labels, in their order, without the name where `drop_name` is set."""
    bare = labels.drop_name()
    if drop_name.all():
        return bare
    marked = np.flatnonzero(drop_name)
    others = np.flatnonzero(~drop_name)
    both = labels.take(others).concat(bare.take(marked))
    order = np.empty(drop_name.size, dtype=np.int64)
    order[np.concatenate((others, marked))] = np.arange(drop_name.size)
    return both.take(order)
