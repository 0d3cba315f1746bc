"""`and`, `or`, `unless`: who stays is decided by presence in the match group, step by step.

From and to: `binary.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.matrix import stack
from promql.same_labels import merge_same_labels
from promql.syntax import VectorMatching
from promql.vector_matching import match_groups, presence_by_group

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.matrix import Matrix

_ALL_LABELS = VectorMatching()


def _and(left: Matrix, right: Matrix, matching: VectorMatching) -> Matrix:
    left_group, right_group, groups = match_groups(left.labels, right.labels, matching)
    there = presence_by_group(right.occupied, right_group, groups)
    return _narrowed(left, there[left_group])


def _unless(left: Matrix, right: Matrix, matching: VectorMatching) -> Matrix:
    left_group, right_group, groups = match_groups(left.labels, right.labels, matching)
    there = presence_by_group(right.occupied, right_group, groups)
    return _narrowed(left, ~there[left_group])


def _or(left: Matrix, right: Matrix, matching: VectorMatching) -> Matrix:
    left_group, right_group, groups = match_groups(left.labels, right.labels, matching)
    there = presence_by_group(left.occupied, left_group, groups)
    return merge_same_labels(stack((left, _narrowed(right, ~there[right_group]))))


def _narrowed(matrix: Matrix, keep: npt.NDArray[np.bool_]) -> Matrix:
    """Return the matrix where `keep` holds, without the rows that are left nowhere."""
    narrow = replace(matrix.narrowed(keep), float_time=None)
    rows = np.flatnonzero(narrow.occupied.any(axis=1))
    return narrow if rows.size == matrix.series_count else narrow.take(rows)


_OPERATORS: dict[str, Callable[[Matrix, Matrix, VectorMatching], Matrix]] = {
    "and": _and,
    "or": _or,
    "unless": _unless,
}


def combine_sets(op: str, left: Matrix, right: Matrix, matching: VectorMatching | None) -> Matrix:
    """Return `left op right`; the left side's values, then for `or` the right side's.

    Rows that come out present nowhere are left out.
    """
    return _OPERATORS[op](left, right, matching or _ALL_LABELS)
