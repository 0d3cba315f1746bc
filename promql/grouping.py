"""`by (...)` and `without (...)`: which series fold into which.

From: `evaluate.py` (labels, the clause).   To: `aggregate.py`, `ranking.py`, `aggregate_ranges.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from promql.labels import SeriesLabels
    from promql.matrix import Matrix

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a matrix' series, numbered in order of first appearance.

    Shapes: `of_series` int64[S]; `labels` of G groups; `drop_name` bool[G], as the first series
    of the group has it that is there at any step.
    """

    of_series: Ints
    labels: SeriesLabels
    drop_name: Mask

    @property
    def count(self) -> int:
        """G."""
        return int(self.drop_name.size)


def group_labels(labels: SeriesLabels, grouping: Sequence[str], *, without: bool) -> SeriesLabels:
    """Return only the labels that tell groups apart."""
    return labels.drop((METRIC_NAME, *grouping)) if without else labels.keep(grouping)


def plain_groups(labels: SeriesLabels, grouping: Sequence[str], *, without: bool) -> Groups:
    """Find out the groups of series none of which has a name that must still be dropped."""
    chosen = group_labels(labels, grouping, without=without)
    of_series, first = chosen.group()
    return Groups(of_series, chosen.take(first), np.zeros(first.size, dtype=np.bool_))


def group_series(matrix: Matrix, grouping: Sequence[str], *, without: bool) -> Groups:
    """Find out the groups of a matrix' series."""
    chosen = group_labels(matrix.labels, grouping, without=without)
    of_series, first = chosen.group()
    drop_name = matrix.drop_name[first]
    if matrix.drop_name.any() and not matrix.drop_name.all():
        there = np.flatnonzero(matrix.occupied.any(axis=1))
        # Written backwards, so that the first series that is there has the last word.
        drop_name[of_series[there[::-1]]] = matrix.drop_name[there[::-1]]
    return Groups(of_series, chosen.take(first), drop_name)


def rows_by_group(groups: Groups) -> tuple[Ints, Ints]:
    """Return the rows group by group, int64[S], and where each group begins, int64[G + 1]."""
    order = np.argsort(groups.of_series, kind="stable").astype(np.int64, copy=False)
    start = np.zeros(groups.count + 1, dtype=np.int64)
    np.cumsum(np.bincount(groups.of_series, minlength=groups.count), out=start[1:])
    return order, start
