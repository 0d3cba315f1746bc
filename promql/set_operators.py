"""`and`, `or`, `unless`: who stays is decided by presence in the match group, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.matrix import Matrix
from promql.same_labels import merge_same_labels
from promql.syntax import VectorMatching
from promql.vector_matching import match_groups, presence_by_group

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

_ALL_LABELS = VectorMatching()


def _and(left: Matrix, right: Matrix, matching: VectorMatching) -> Matrix:
    left_group, right_group, groups = match_groups(left.labels, right.labels, matching)
    there = presence_by_group(right.present, right_group, groups)
    return _narrowed(left, left.present & there[left_group])


def _unless(left: Matrix, right: Matrix, matching: VectorMatching) -> Matrix:
    left_group, right_group, groups = match_groups(left.labels, right.labels, matching)
    there = presence_by_group(right.present, right_group, groups)
    return _narrowed(left, left.present & ~there[left_group])


def _or(left: Matrix, right: Matrix, matching: VectorMatching) -> Matrix:
    left_group, right_group, groups = match_groups(left.labels, right.labels, matching)
    there = presence_by_group(left.present, left_group, groups)
    added = _narrowed(right, right.present & ~there[right_group])
    return merge_same_labels(
        Matrix(
            left.labels.concat(added.labels),
            np.concatenate((left.values, added.values)),
            np.concatenate((left.present, added.present)),
            np.concatenate((left.drop_name, added.drop_name)),
        )
    )


def _narrowed(matrix: Matrix, present: npt.NDArray[np.bool_]) -> Matrix:
    """Return the matrix with less presence and without the rows that are left nowhere."""
    rows = np.flatnonzero(present.any(axis=1))
    if rows.size == matrix.series_count:
        return Matrix(matrix.labels, matrix.values, present, matrix.drop_name)
    return Matrix(
        matrix.labels.take(rows), matrix.values[rows], present[rows], matrix.drop_name[rows]
    )


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
