"""Rows that came to have equal labels: one row where they never meet, an error where they do.

From: whatever takes labels off series (functions that drop the name, `binary.py`, label
functions).   To: the same, before they answer, so that every matrix has one row a label set.
"""

from __future__ import annotations

import numpy as np

from promql.errors import ExecutionError
from promql.matrix import Matrix
from promql.matrix_kernels import merge_rows

SAME_LABELS = "vector cannot contain metrics with the same labelset"


def merge_same_labels(matrix: Matrix) -> Matrix:
    """Return the matrix with the rows of equal labels merged into the first of them.

    Raises ExecutionError if two of them are present at one step. The dropped-name mark is that of
    the first row. `float_time` is lost where rows are merged.
    """
    group_of, first = matrix.labels.group()
    if first.size == matrix.series_count:
        return matrix
    steps = matrix.values.shape[1]
    values = np.empty((first.size, steps), dtype=np.float64)
    present = np.zeros((first.size, steps), dtype=np.bool_)
    if merge_rows(matrix.values, matrix.present, group_of, values, present) >= 0:
        raise ExecutionError(SAME_LABELS)
    return Matrix(matrix.labels.take(first), values, present, matrix.drop_name[first])


def without_name(matrix: Matrix, *, delayed: bool) -> Matrix:
    """Drop the metric name of every series, or, where that is delayed, mark it to be dropped.

    Raises ExecutionError if that makes two series the same.
    """
    if delayed:
        marked = np.ones(matrix.series_count, dtype=np.bool_)
        return Matrix(matrix.labels, matrix.values, matrix.present, marked, matrix.float_time)
    return merge_same_labels(
        Matrix(matrix.labels.drop_name(), matrix.values, matrix.present, matrix.drop_name)
    )
