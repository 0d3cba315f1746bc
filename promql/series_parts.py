"""Results of some series after the other, put together.

From: `evaluate.py`, for samples that storage left to be read later.   To: one `Matrix`.

What functions make of a range is mostly far smaller than its samples; so these are read, looked at
and let go of part by part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.labels import SeriesLabels
from promql.matrix import Matrix
from promql.signatures import SIGNATURES
from promql.syntax import ValueType
from tsdb.large_arrays import large_empty

if TYPE_CHECKING:
    from promql.labels import QuerySymbols

EACH_SERIES = frozenset(
    name for name, signature in SIGNATURES.items() if ValueType.MATRIX in signature.arguments
) - {"absent_over_time"}
"""Functions of a range that look at each series by itself."""


class RowsDone:
    """The rows of a matrix, as far as they are done; every part has as many labels."""

    def __init__(self, series: int, steps: int) -> None:
        self._values = large_empty((series, steps), np.float64)
        self._present = large_empty((series, steps), np.bool_)
        self._drop_name = np.zeros(series, dtype=np.bool_)
        self._labels: list[SeriesLabels] = []

    def put(self, rows: slice, part: Matrix) -> None:
        """Take the rows of some series; parts come in their order and hold floats only."""
        assert part.histograms is None
        self._values[rows], self._present[rows] = part.values, part.present
        self._drop_name[rows] = part.drop_name
        self._labels.append(part.labels)

    def matrix(self) -> Matrix:
        """Return all rows."""
        names = self._labels[0].names
        symbols: QuerySymbols = self._labels[0].symbols
        ids = np.concatenate([each.ids for each in self._labels], axis=1)
        return Matrix(
            SeriesLabels(names, ids, symbols), self._values, self._present, self._drop_name
        )
