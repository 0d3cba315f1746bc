"""Columns of histograms: rows in, rows out, in any order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.histograms.columns import (
    HistogramRow,
    as_read,
    compact,
    concat,
    from_rows,
    row_of,
    take,
)
from tests.promql.plain_histograms import any_histogram

ROWS = st.lists(any_histogram(), max_size=8)


def rows_of(columns):
    return [row_of(columns, row) for row in range(columns.histogram_count)]


@given(ROWS)
def test_rows_come_back(rows):
    assert rows_of(from_rows(rows)) == rows


@settings(deadline=None)
@given(st.lists(any_histogram(), min_size=1, max_size=8), st.data())
def test_take(rows, data):
    at = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    taken = take(from_rows(rows), np.array(at, dtype=np.int64))
    assert rows_of(taken) == [rows[i] for i in at]


@given(st.lists(ROWS, max_size=4))
def test_concat(parts):
    joined = concat([from_rows(part) for part in parts])
    assert rows_of(joined) == [row for part in parts for row in part]


@settings(deadline=None)
@given(ROWS)
def test_compact_drops_empty_buckets_only(rows):
    for before, after in zip(rows, rows_of(compact(from_rows(rows))), strict=True):
        assert after.positive == tuple(pair for pair in before.positive if pair[1] != 0)
        assert after.negative == tuple(pair for pair in before.negative if pair[1] != 0)
        assert (after.count, after.sum, after.bounds) == (before.count, before.sum, before.bounds)


def test_equal_bounds_are_laid_out_once():
    row = HistogramRow(schema=-53, bounds=(1.0, 2.0))
    columns = from_rows([row, HistogramRow(), row])
    assert columns.bounds.tolist() == [1.0, 2.0]


def test_kernels_get_views_that_cannot_be_written():
    columns = from_rows([HistogramRow(count=1)])
    read = as_read(columns)
    assert all(not array.flags.writeable for array in read)
    assert np.shares_memory(read.observations, columns.count)


def test_kernels_get_copies_of_arrays_with_gaps():
    columns = from_rows([HistogramRow(count=1), HistogramRow(count=2), HistogramRow(count=3)])
    columns = type(columns)(
        **{name: getattr(columns, name) for name in columns.__slots__ if name != "count"},
        count=np.repeat(columns.count, 2)[::2],
    )
    assert as_read(columns).observations.tolist() == [1, 2, 3]
