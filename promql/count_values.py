"""`count_values("label", v)`: how many series of a group have each value, the value as a label.

From: `aggregate.py` (a matrix, its groups).   To: the same, as a matrix of counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.errors import ExecutionError
from promql.float_text import fixed_text
from promql.grouping import group_labels
from promql.histograms.text import histogram_text
from promql.label_names import is_label_name
from promql.matrix import Matrix
from promql.quoting import quote
from promql.same_labels import merge_same_labels
from tsdb.staleness import NORMAL_NAN

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histograms.matrix import HistogramMatrix
    from promql.syntax import Aggregation


def refuse_label(label: str) -> None:
    """Raise ExecutionError for a label name that is none; asked before the operand is evaluated."""
    if not is_label_name(label):
        raise ExecutionError(f"invalid label name {quote(label)}")


def count_values(node: Aggregation, operand: Matrix, label: str, ctx: EvalContext) -> Matrix:
    """Return one row for each distinct value of each group, at the steps where it occurs.

    Python runs once for each distinct value, to write its text; the rest is sorting. An input
    label of the same name gives way before series are grouped.
    Raises ExecutionError for a label name that is none, TooManySamplesError for so many values
    that the matrix of them would be too large.
    """
    refuse_label(label)
    bare = group_labels(operand.labels.drop((label,)), node.grouping, without=node.without)
    group_of, first = bare.group()
    series, step = np.nonzero(operand.present)
    values = operand.values[series, step]
    values[np.isnan(values)] = NORMAL_NAN  # all NaNs print alike
    # By bits, for -0 and 0 print differently.
    distinct, value_of = np.unique(values.view(np.uint64), return_inverse=True)
    texts = [fixed_text(value) for value in distinct.view(np.float64).tolist()]
    if operand.histograms is not None:
        more = _HistogramTexts(operand.histograms, len(texts))
        texts += more.texts
        series = np.concatenate((series, more.series))
        step = np.concatenate((step, more.step))
        value_of = np.concatenate((value_of, more.value_of))
    count = len(texts)
    keys, row_of = np.unique(group_of[series] * count + value_of, return_inverse=True)
    steps = operand.values.shape[1]
    ctx.budget.reserve(keys.size * steps)
    counts = np.bincount(row_of * steps + step, minlength=keys.size * steps)
    counts = counts.reshape(keys.size, steps)
    labels = bare.take(first).take(keys // max(count, 1))
    drops_label = node.without and label in (*node.grouping, "__name__")
    if not drops_label:
        symbols = np.array([ctx.symbols.intern(text) for text in texts], dtype=np.uint32)
        labels = labels.with_column(label, symbols[keys % max(count, 1)])
        group_drop = operand.drop_name[first][keys // max(count, 1)]
        return merge_same_labels(Matrix(labels, counts.astype(np.float64), counts > 0, group_drop))
    totals = np.zeros((first.size, steps), dtype=np.int64)
    np.add.at(totals, keys // max(count, 1), counts)
    return Matrix(bare.take(first), totals.astype(np.float64), totals > 0, operand.drop_name[first])


class _HistogramTexts:
    """The points of a vector that are histograms, with their texts numbered from `base` on.

    Shapes: `series`, `step`, `value_of` int64[points].
    """

    def __init__(self, histograms: HistogramMatrix, base: int) -> None:
        columns, row = histograms.distinct()
        self.series, self.step = np.nonzero(row >= 0)
        written = [histogram_text(columns, at) for at in range(columns.histogram_count)]
        place = {text: number for number, text in enumerate(dict.fromkeys(written), base)}
        self.texts = list(place)
        number_of = np.array([place[text] for text in written], dtype=np.int64)
        self.value_of: npt.NDArray[np.int64] = number_of[row[self.series, self.step]]
