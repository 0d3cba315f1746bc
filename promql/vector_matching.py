"""Which series of two vectors belong together: resolved once for all steps, by ids.

From: `binary.py`, `set_operators.py`.   To: the same: pairs of rows with a presence each.

The "one" side is the right one, or the left one under group_right; the other is the "many" side,
also where the match is one to one. Series of one match group may follow each other in time on
either side; that two meet at one step is what Prometheus calls an error, and its texts are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.errors import ExecutionError
from promql.histograms.matrix import merged as merged_histograms
from promql.histograms.matrix import stacked
from promql.matrix import Matrix
from promql.matrix_kernels import any_present, first_collision, merge_rows
from promql.syntax import Cardinality
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import Budget
    from promql.histograms.matrix import HistogramMatrix
    from promql.labels import SeriesLabels
    from promql.syntax import VectorMatching

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


def match_labels(labels: SeriesLabels, matching: VectorMatching) -> SeriesLabels:
    """Return only the labels that decide what a series matches."""
    if matching.on:
        return labels.keep(matching.labels)
    return labels.drop((METRIC_NAME, *matching.labels))


def match_groups(
    left: SeriesLabels, right: SeriesLabels, matching: VectorMatching
) -> tuple[Ints, Ints, int]:
    """Return the number of the match group of each left and each right series, and how many."""
    both = match_labels(left, matching).concat(match_labels(right, matching))
    group_of, first = both.group()
    return group_of[: left.series_count], group_of[left.series_count :], int(first.size)


def presence_by_group(present: Mask, group_of: Ints, groups: int) -> Mask:
    """Return bool[groups, steps]: is some series of the group there."""
    out = np.zeros((groups, present.shape[1]), dtype=np.bool_)
    any_present(present, group_of, out)
    return out


@dataclass(frozen=True, slots=True)
class Points:
    """The points of one side of all pairs: as those of a `Matrix`, without labels."""

    values: Floats
    present: Mask
    histograms: HistogramMatrix | None = None

    @staticmethod
    def of(matrix: Matrix, rows: Ints) -> Points:
        """Return the points of some rows, without a copy where that is all of them in order."""
        if rows.size == matrix.series_count and np.array_equal(rows, np.arange(rows.size)):
            return Points(matrix.values, matrix.present, matrix.histograms)
        histograms = matrix.histograms
        return Points(
            matrix.values[rows],
            matrix.present[rows],
            None if histograms is None else histograms.take(rows),
        )

    @staticmethod
    def filled(value: float, shape: tuple[int, ...]) -> Points:
        """Return the same float at every point."""
        return Points(np.full(shape, value), np.ones(shape, dtype=np.bool_))

    @property
    def occupied(self) -> Mask:
        """Where there is a point of either kind."""
        return self.present if self.histograms is None else self.present | self.histograms.present


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of the many side and of the one side that meet.

    Shapes: all [P] or [P, T]. `present` says where both are there, as floats or histograms.
    `labels` are the result's; `group_of` is the match group; `drop_name` as the many side has it.
    """

    labels: SeriesLabels
    group_of: Ints
    many: Points
    one: Points
    present: Mask
    drop_name: Mask


def pair_up(
    many: Matrix, one: Matrix, matching: VectorMatching, budget: Budget, *, drop_name: bool
) -> Pairs:
    """Find the pairs. `drop_name`: the operator takes the name off (before labels are included).

    Raises ExecutionError where series of the one side collide, TooManySamplesError before more
    pairs than the budget has room for are laid out. `fill_left` fills the many side,
    `fill_right` the one side, also under group_right: that is how Prometheus reads them.
    """
    many_group, one_group, groups = match_groups(many.labels, one.labels, matching)
    fill_many, fill_one = matching.fill_left, matching.fill_right
    if fill_many is None:
        # With nothing on the many side Prometheus does not even look at the one side.
        one = one.narrowed(np.asarray(many.occupied.any(axis=0)))
    _refuse_duplicates(one, one_group, matching)

    included = one.labels.keep(matching.include)
    one_points, one_first = _merged(one, one_group, included)
    one_group, included = one_group[one_first], included.take(one_first)
    pairs = int(np.bincount(one_group, minlength=groups)[many_group].sum())
    budget.reserve(pairs * many.values.shape[1])
    many_rows, one_rows = _join(many_group, one_group, groups)
    many_side, one_side = Points.of(many, many_rows), Points.of(one_points, one_rows)
    parts = [
        Pairs(
            _result_labels(
                many.labels.take(many_rows), included.take(one_rows), matching, drop_name=drop_name
            ),
            many_group[many_rows],
            many_side,
            one_side,
            many_side.occupied & one_side.occupied,
            many.drop_name[many_rows],
        )
    ]
    if fill_one is not None:
        there = presence_by_group(one_points.occupied, one_group, groups)[many_group]
        nothing = included.empty(many.series_count, many.labels.symbols)
        parts.append(
            Pairs(
                _result_labels(many.labels, nothing, matching, drop_name=drop_name),
                many_group,
                Points(many.values, many.present, many.histograms),
                Points.filled(fill_one, many.values.shape),
                many.occupied & ~there,
                many.drop_name,
            )
        )
    if fill_many is not None:
        there = presence_by_group(many.occupied, many_group, groups)[one_group]
        stand_in = match_labels(one.labels, matching).take(one_first)
        parts.append(
            Pairs(
                _result_labels(stand_in, included, matching, drop_name=drop_name),
                one_group,
                Points.filled(fill_many, one_points.values.shape),
                Points(one_points.values, one_points.present, one_points.histograms),
                one_points.occupied & ~there,
                one.drop_name[one_first],
            )
        )
    return parts[0] if len(parts) == 1 else _concat(parts)


def refuse_ambiguous(pairs: Pairs, kept: Mask, matching: VectorMatching) -> None:
    """Raise ExecutionError where the result would hold a series of one match group twice.

    `kept` is what of the pairs' presence a comparison leaves: that alone counts among the series
    of a many side, while one to one what is filtered away counts as well.
    """
    present = kept
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        present = pairs.present
        key = pairs.group_of
        message = "many-to-one matching must be explicit (group_left/group_right)"
    else:
        labels_of, _ = pairs.labels.group()
        key = pairs.group_of * max(labels_of.size, 1) + labels_of
        message = "grouping labels must ensure unique matches"
    distinct, dense = np.unique(key, return_inverse=True)
    if distinct.size == key.size:
        return
    if first_collision(present, dense.astype(np.int64), int(distinct.size)) >= 0:
        raise ExecutionError(f"multiple matches for labels: {message}")


def _refuse_duplicates(one: Matrix, one_group: Ints, matching: VectorMatching) -> None:
    distinct, dense = np.unique(one_group, return_inverse=True)
    if distinct.size == one_group.size:
        return
    step = first_collision(one.occupied, dense.astype(np.int64), int(distinct.size))
    if step < 0:
        return
    side = "left" if matching.cardinality is Cardinality.ONE_TO_MANY else "right"
    seen: dict[int, int] = {}
    for row in np.flatnonzero(one.occupied[:, step]).tolist():
        earlier = seen.setdefault(int(one_group[row]), row)
        if earlier != row:
            group = match_labels(one.labels, matching).format_row(row)
            raise ExecutionError(
                f"found duplicate series for the match group {group} on the {side} hand-side of"
                f" the operation: [{one.labels.format_row(row)},"
                f" {one.labels.format_row(earlier)}];many-to-many matching not allowed:"
                " matching labels must be unique on one side"
            )


def _result_labels(
    labels: SeriesLabels, included: SeriesLabels, matching: VectorMatching, *, drop_name: bool
) -> SeriesLabels:
    if drop_name:
        labels = labels.drop_name()
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        labels = labels.keep(matching.labels) if matching.on else labels.drop(matching.labels)
    for name in matching.include:
        labels = labels.with_column(name, included.column(name))
    return labels


def _merged(one: Matrix, one_group: Ints, included: SeriesLabels) -> tuple[Matrix, Ints]:
    """Merge the rows of the one side that are the same to the other side; they never collide.

    Returns the merged rows and, for each, the first row that went into it; labels are its.
    """
    included_of, _ = included.group()
    key = one_group * max(included_of.size, 1) + included_of
    _, first, merged = np.unique(key, return_index=True, return_inverse=True)
    if first.size == key.size:
        return one, np.arange(key.size, dtype=np.int64)
    values = np.empty((first.size, one.values.shape[1]), dtype=np.float64)
    present = np.zeros(values.shape, dtype=np.bool_)
    group_of = merged.astype(np.int64)
    collision = merge_rows(one.values, one.present, group_of, values, present)
    assert collision < 0
    first = first.astype(np.int64)
    histograms = one.histograms
    if histograms is not None:
        histograms = merged_histograms(histograms, group_of, first.size)
    points = Matrix(
        one.labels.take(first), values, present, one.drop_name[first], histograms=histograms
    )
    return points, first


def _join(many_group: Ints, one_group: Ints, groups: int) -> tuple[Ints, Ints]:
    """Return the row pairs of equal group, in the order of the many side."""
    order = np.argsort(one_group, kind="stable")
    count = np.bincount(one_group, minlength=groups)
    matches = count[many_group]
    many_rows = np.repeat(np.arange(many_group.size), matches)
    nth = np.arange(many_rows.size) - np.repeat(np.cumsum(matches) - matches, matches)
    start = np.cumsum(count) - count
    one_rows = order[start[many_group[many_rows]] + nth]
    return many_rows.astype(np.int64), one_rows.astype(np.int64)


def _concat(parts: list[Pairs]) -> Pairs:
    labels = parts[0].labels
    for part in parts[1:]:
        labels = labels.concat(part.labels)
    return Pairs(
        labels,
        np.concatenate([part.group_of for part in parts]),
        _stacked([part.many for part in parts]),
        _stacked([part.one for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.drop_name for part in parts]),
    )


def _stacked(parts: list[Points]) -> Points:
    return Points(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.present for part in parts]),
        stacked(
            [part.histograms for part in parts],
            [part.values.shape[0] for part in parts],
            parts[0].values.shape[1],
        ),
    )
