"""Rows that came to have equal labels: one row where they never meet, an error where they do.

From: whatever takes labels off series (functions that drop the name, `binary.py`, label
functions).   To: the same, before they answer, so that every matrix has one row a label set.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from promql.errors import ExecutionError
from promql.histograms.matrix import HistogramMatrix, merged
from promql.matrix import Matrix
from promql.matrix_kernels import first_collision, merge_rows

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
    collides = merge_rows(matrix.values, matrix.present, group_of, values, present) >= 0
    histograms: HistogramMatrix | None = None
    if matrix.histograms is not None and not collides:
        collides = first_collision(matrix.occupied, group_of, first.size) >= 0
        histograms = merged(matrix.histograms, group_of, first.size)
    if collides:
        raise ExecutionError(SAME_LABELS)
    return Matrix(
        matrix.labels.take(first),
        values,
        present,
        matrix.drop_name[first],
        histograms=histograms,
    )


def without_name(matrix: Matrix, *, delayed: bool) -> Matrix:
    """Drop the metric name of every series, or, where that is delayed, mark it to be dropped.

    Raises ExecutionError if that makes two series the same.
    """
    if delayed:
        return replace(matrix, drop_name=np.ones(matrix.series_count, dtype=np.bool_))
    return merge_same_labels(replace(matrix, labels=matrix.labels.drop_name(), float_time=None))
