"""A pool of histograms and who shows which: against a dict from point to histogram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.histograms.columns import HistogramRow, from_rows, row_of
from promql.histograms.matrix import NONE, HistogramMatrix, combined, merged, stacked


def points(matrix):
    """Each point that is a histogram, by its count, which tells the tests' histograms apart."""
    if matrix is None:
        return {}
    return {
        (int(s), int(t)): row_of(matrix.columns, int(matrix.row[s, t])).count
        for s, t in zip(*np.nonzero(matrix.present), strict=True)
    }


@st.composite
def matrices(draw):
    rows, steps = draw(st.integers(0, 4)), 3
    pool = draw(st.integers(1, 4))
    first = draw(st.integers(0, 1000))
    row = draw(st.lists(st.integers(NONE, pool - 1), min_size=rows * steps, max_size=rows * steps))
    columns = from_rows([HistogramRow(count=float(first + n)) for n in range(pool)])
    return HistogramMatrix(columns, np.array(row, dtype=np.int32).reshape(rows, steps))


@given(matrices())
def test_shown_and_placed_are_opposites(matrix):
    columns, where = matrix.shown()
    assert columns.histogram_count == np.count_nonzero(where)
    assert points(HistogramMatrix.placed(columns, where)) == points(matrix)


@given(matrices())
def test_distinct_keeps_the_points_and_no_row_that_none_shows(matrix):
    columns, row = matrix.distinct()
    assert points(HistogramMatrix(columns, row)) == points(matrix)
    assert set(range(columns.histogram_count)) == set(row[row >= 0].tolist())


@given(st.data(), matrices())
def test_take_and_narrowed(data, matrix):
    series, steps = matrix.row.shape
    rows = data.draw(st.lists(st.integers(0, max(series - 1, 0)), max_size=5 if series else 0))
    taken = matrix.take(np.array(rows, dtype=np.int64))
    before = points(matrix)
    assert points(taken) == {
        (at, t): before[row, t]
        for at, row in enumerate(rows)
        for t in range(steps)
        if (row, t) in before
    }
    keep = np.array(
        data.draw(st.lists(st.booleans(), min_size=series * steps, max_size=series * steps)),
        dtype=np.bool_,
    ).reshape(series, steps)
    kept = {point: count for point, count in before.items() if keep[point]}
    assert points(matrix.narrowed(keep)) == kept
    assert (matrix.narrowed(keep) is None) == (not kept)


@given(st.lists(st.one_of(matrices(), st.integers(0, 3)), min_size=1, max_size=4))
def test_stacked(parts):
    """A number stands for a part of so many series without histograms."""
    found = [None if isinstance(part, int) else part for part in parts]
    series = [part if isinstance(part, int) else part.row.shape[0] for part in parts]
    result = stacked(found, series, 3)
    expected, before = {}, 0
    for part, count in zip(found, series, strict=True):
        expected |= {(before + s, t): value for (s, t), value in points(part).items()}
        before += count
    assert points(result) == expected
    assert result is None or result.row.shape == (sum(series), 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(None, None, id="neither has any"),
        pytest.param({(0, 0): 1.0}, None, id="only the first"),
        pytest.param(None, {(0, 1): 2.0}, id="only the second"),
        pytest.param({(0, 0): 1.0, (1, 1): 3.0}, {(0, 1): 2.0, (1, 0): 1.0}, id="both"),
    ],
)
def test_combined(first, second):
    def matrix(wanted):
        if wanted is None:
            return None
        where = np.zeros((2, 2), dtype=np.bool_)
        for point in wanted:
            where[point] = True
        rows = [HistogramRow(count=wanted[point]) for point in sorted(wanted)]
        return HistogramMatrix.placed(from_rows(rows), where)

    assert points(combined(matrix(first), matrix(second))) == {**(first or {}), **(second or {})}


def test_merged_rows_that_never_meet():
    columns = from_rows([HistogramRow(count=float(n)) for n in range(3)])
    row = np.array([[0, NONE, NONE], [NONE, 1, NONE], [NONE, NONE, 2]], dtype=np.int32)
    result = merged(HistogramMatrix(columns, row), np.array([0, 1, 0]), 2)
    assert points(result) == {(0, 0): 0.0, (0, 2): 2.0, (1, 1): 1.0}
