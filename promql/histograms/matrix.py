"""Native histograms as the points of a vector: a pool of them, and which point is which.

From: `windows.py` (selectors), every operator that yields histograms.   To: `matrix.py`.
A histogram stands in the pool once, however many points show it, so that an instant selector
copies no buckets. The arithmetic on the pool is in `algebra.py` and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.columns import concat, take

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import HistogramColumns

    Ints = npt.NDArray[np.int64]
    Rows = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

NONE = -1
"""The row of a point that is no histogram."""


@dataclass(frozen=True, slots=True)
class HistogramMatrix:
    """Which points of S series x T steps are histograms.

    Shapes: `row` int32[S, T] names the row of `columns` that a point shows, -1 where the point is
    a float or absent. Several points may show one row; a row may be shown by none.
    """

    columns: HistogramColumns
    row: Rows

    @staticmethod
    def placed(columns: HistogramColumns, where: Mask) -> HistogramMatrix:
        """Spread one histogram for each True of `where` [S, T] over these points, row by row."""
        row = np.full(where.shape, NONE, dtype=np.int32)
        row[where] = np.arange(columns.histogram_count, dtype=np.int32)
        return HistogramMatrix(columns, row)

    @property
    def present(self) -> Mask:
        """Where there is a histogram, bool[S, T]."""
        return self.row >= 0

    def take(self, rows: Ints | Mask | slice) -> HistogramMatrix:
        """Return the points of some series, in the given order."""
        return HistogramMatrix(self.columns, np.ascontiguousarray(self.row[rows]))

    def narrowed(self, keep: Mask) -> HistogramMatrix | None:
        """Return only the points where `keep` (broadcast to [S, T]) is True, None if none is."""
        row = np.where(keep, self.row, np.int32(NONE))
        return HistogramMatrix(self.columns, row) if (row >= 0).any() else None

    def shown(self) -> tuple[HistogramColumns, Mask]:
        """Return one histogram for each point that is one, and where these are, bool[S, T].

        The opposite of `placed`.
        """
        where = self.present
        rows = self.row[where]
        if np.array_equal(rows, np.arange(self.columns.histogram_count)):
            return self.columns, where
        return take(self.columns, rows.astype(np.int64)), where

    def distinct(self) -> tuple[HistogramColumns, Rows]:
        """Return the rows that any point shows, once each, and `row` in terms of these."""
        used = np.zeros(self.columns.histogram_count + 1, dtype=np.bool_)
        used[self.row] = True  # -1 marks the extra place at the end
        used = used[:-1]
        if used.all():
            return self.columns, self.row
        renumbered = np.full(used.size + 1, NONE, dtype=np.int32)
        renumbered[:-1][used] = np.arange(np.count_nonzero(used), dtype=np.int32)
        return take(self.columns, np.flatnonzero(used)), renumbered[self.row]


def stacked(
    parts: Sequence[HistogramMatrix | None], series: Sequence[int], steps: int
) -> HistogramMatrix | None:
    """Return the points of all parts one below the other, None where none has any.

    `series` is how many rows each part has, also where it is None.
    """
    found = [part for part in parts if part is not None]
    if not found:
        return None
    rows = []
    before = 0
    for part, count in zip(parts, series, strict=True):
        if part is None:
            rows.append(np.full((count, steps), NONE, dtype=np.int32))
            continue
        rows.append(np.where(part.row >= 0, part.row + np.int32(before), np.int32(NONE)))
        before += part.columns.histogram_count
    row = np.concatenate(rows)
    if len(found) == 1:
        return HistogramMatrix(found[0].columns, row)
    return HistogramMatrix(concat([part.columns for part in found]), row)


def combined(
    first: HistogramMatrix | None, second: HistogramMatrix | None
) -> HistogramMatrix | None:
    """Lay two matrices of one shape over each other; no point is a histogram in both."""
    if first is None or second is None:
        return first or second
    shift = np.int32(first.columns.histogram_count)
    row = np.where(second.row >= 0, second.row + shift, first.row)
    return HistogramMatrix(concat([first.columns, second.columns]), row)


def merged(histograms: HistogramMatrix, group_of: Ints, groups: int) -> HistogramMatrix:
    """Lay the rows of each group over each other; where several are present, the last counts.

    Shapes: `group_of` int64[S], numbers below `groups`.
    """
    row = np.full((groups, histograms.row.shape[1]), NONE, dtype=np.int32)
    series, step = np.nonzero(histograms.row >= 0)
    row[group_of[series], step] = histograms.row[series, step]
    return HistogramMatrix(histograms.columns, row)
