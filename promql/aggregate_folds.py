"""Aggregations that fold many rows into one per group, a block of rows after the other.

From: `aggregate.py` (all rows of a matrix), `aggregate_ranges.py` (rows as they are made).
To:   `aggregate_kernels.py`.

A fold holds what it needs of each group and step, so that the rows need not be there together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from promql.aggregate_kernels import (
    count_rows,
    extreme_rows,
    mean_rows,
    sum_rows,
    variance_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class Fold(Protocol):
    """One aggregation of G groups at T steps, as far as it has come."""

    def add(self, values: Floats, present: Mask, group_of: Ints) -> None:
        """Take some rows in: float64[rows, T], bool[rows, T], the group of each int64[rows].

        `values` is not read where `present` is False, nor at all where rows are counted.
        """
        ...

    def result(self) -> tuple[Floats, Ints]:
        """Return value and number of rows of each group at each step, [G, T]; ends the fold."""
        ...


class _Groups:
    """What all folds keep: the sums or the like, how many rows they are of."""

    def __init__(self, groups: int, steps: int) -> None:
        self.out = np.zeros((groups, steps), dtype=np.float64)
        self._counts = np.zeros((groups, steps), dtype=np.int64)
        self._whole = np.zeros(groups, dtype=np.int64)
        self._begun = np.zeros(groups, dtype=np.bool_)

    def counts(self) -> Ints:
        """Return how many rows each group has had at each step."""
        self._counts += self._whole[:, np.newaxis]
        self._whole[:] = 0
        return self._counts


class _Sum(_Groups):
    def __init__(self, groups: int, steps: int) -> None:
        super().__init__(groups, steps)
        self._lost = np.zeros((groups, steps), dtype=np.float64)

    def add(self, values: Floats, present: Mask, group_of: Ints) -> None:
        sum_rows(
            values,
            present,
            group_of,
            self.out,
            self._lost,
            self._counts,
            self._whole,
            self._begun,
        )

    def result(self) -> tuple[Floats, Ints]:
        self.out += self._lost
        return self.out, self.counts()


class _Mean(_Groups):
    def __init__(self, groups: int, steps: int) -> None:
        super().__init__(groups, steps)
        self._lost = np.zeros((groups, steps), dtype=np.float64)
        self._running = np.zeros((groups, steps), dtype=np.bool_)
        self._overflown = np.zeros(groups, dtype=np.bool_)

    def add(self, values: Floats, present: Mask, group_of: Ints) -> None:
        mean_rows(
            values,
            present,
            group_of,
            self.out,
            self._lost,
            self._running,
            self._counts,
            self._whole,
            self._begun,
            self._overflown,
        )

    def result(self) -> tuple[Floats, Ints]:
        counts = self.counts()
        # What is running is a mean already.
        share = np.where(self._running | (counts == 0), 1, counts)
        self.out /= share
        self._lost /= share
        self.out += self._lost
        return self.out, counts


class _Extreme(_Groups):
    def __init__(self, groups: int, steps: int, *, largest: bool) -> None:
        super().__init__(groups, steps)
        self._largest = largest

    def add(self, values: Floats, present: Mask, group_of: Ints) -> None:
        extreme_rows(
            values,
            present,
            group_of,
            self._largest,
            self.out,
            self._counts,
            self._whole,
            self._begun,
        )

    def result(self) -> tuple[Floats, Ints]:
        return self.out, self.counts()


class _Count(_Groups):
    def __init__(self, groups: int, steps: int, *, ones: bool) -> None:
        super().__init__(groups, steps)
        self._ones = ones

    def add(self, values: Floats, present: Mask, group_of: Ints) -> None:
        count_rows(present, group_of, self._counts, self._whole)

    def result(self) -> tuple[Floats, Ints]:
        counts = self.counts()
        self.out[:] = 1.0 if self._ones else counts
        return self.out, counts


class _Variance(_Groups):
    def __init__(self, groups: int, steps: int, *, root: bool) -> None:
        super().__init__(groups, steps)
        self._means = np.zeros((groups, steps), dtype=np.float64)
        self._root = root

    def add(self, values: Floats, present: Mask, group_of: Ints) -> None:
        variance_rows(values, present, group_of, self.out, self._means, self._counts)

    def result(self) -> tuple[Floats, Ints]:
        counts = self.counts()
        self.out /= np.maximum(counts, 1)
        if self._root:
            np.sqrt(self.out, out=self.out)
        return self.out, counts


FOLDS: dict[str, Callable[[int, int], Fold]] = {
    "sum": _Sum,
    "avg": _Mean,
    "min": lambda groups, steps: _Extreme(groups, steps, largest=False),
    "max": lambda groups, steps: _Extreme(groups, steps, largest=True),
    "count": lambda groups, steps: _Count(groups, steps, ones=False),
    "group": lambda groups, steps: _Count(groups, steps, ones=True),
    "stdvar": lambda groups, steps: _Variance(groups, steps, root=False),
    "stddev": lambda groups, steps: _Variance(groups, steps, root=True),
}
"""By the operator's name: groups and steps -> a fold of nothing yet."""
