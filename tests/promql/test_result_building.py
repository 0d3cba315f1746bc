import numpy as np
import pytest

from promql.errors import ExecutionError
from promql.labels import SeriesLabels
from promql.matrix import Matrix, ScalarSteps, StringValue
from promql.result import ScalarResult, StringResult
from promql.result_building import instant_value, range_value
from tests.promql.windows_builder import context, view


def matrix(ctx, labels, values, drop_name):
    """A matrix in which NaN means absent."""
    cells = np.array(values, dtype=np.float64)
    return Matrix(
        SeriesLabels.from_dicts(labels, ctx.symbols), cells, ~np.isnan(cells), np.array(drop_name)
    )


def rows(result):
    return [result.labels.row(series) for series in range(result.labels.series_count)]


X = np.nan


def test_scalars_and_strings():
    ctx = context([5000])
    assert instant_value(ScalarSteps(np.array([2.5])), ctx) == ScalarResult(5000, 2.5)
    assert instant_value(StringValue("a"), ctx) == StringResult(5000, "a")


def test_a_vector_keeps_its_order_and_loses_what_is_absent():
    ctx = context([5000])
    ours = matrix(ctx, [{"a": "2"}, {"a": "3"}, {"a": "1"}], [[1], [X], [3]], [False] * 3)
    result = instant_value(ours, ctx)
    assert rows(result) == [{"a": "2"}, {"a": "1"}]
    assert result.values.tolist() == [1, 3]


def test_a_matrix_is_sorted_and_loses_empty_rows():
    ctx = context([0, 1000])
    ours = matrix(ctx, [{"a": "2"}, {"a": "3"}, {"a": "1"}], [[1, X], [X, X], [3, 4]], [False] * 3)
    result = range_value(ours, ctx)
    assert rows(result) == [{"a": "1"}, {"a": "2"}]
    assert result.present.tolist() == [[True, True], [True, False]]
    assert result.values[0].tolist() == [3, 4]


def test_only_marked_rows_lose_their_name():
    ctx = context([0, 1000])
    labels = [{"__name__": "m", "a": "1"}, {"__name__": "m", "a": "2"}]
    result = range_value(matrix(ctx, labels, [[1, 2], [3, 4]], [True, False]), ctx)
    assert rows(result) == [{"__name__": "m", "a": "2"}, {"a": "1"}]
    assert result.values.tolist() == [[3, 4], [1, 2]]


def test_rows_that_become_the_same_are_merged_where_they_never_meet():
    ctx = context([0, 1000])
    labels = [{"__name__": "m"}, {"__name__": "n"}]
    result = range_value(matrix(ctx, labels, [[1, X], [X, 4]], [True, True]), ctx)
    assert rows(result) == [{}]
    assert result.values.tolist() == [[1, 4]]
    with pytest.raises(ExecutionError, match="same labelset"):
        range_value(matrix(ctx, labels, [[1, X], [2, 4]], [True, True]), ctx)
    one = context([0])
    with pytest.raises(ExecutionError, match="same labelset"):
        instant_value(matrix(one, labels, [[1], [2]], [True, True]), one)


def test_samples_of_a_range_are_those_of_the_window_sorted_by_labels():
    ctx = context([60_000])
    series = [([10_000, 50_000], [1, 2]), ([5000], [3]), ([20_000, 90_000], [4, 5])]
    labels = [{"a": "2"}, {"a": "3"}, {"a": "1"}]
    result = instant_value(view(series, ctx, 50_000, labels), ctx)
    assert rows(result) == [{"a": "1"}, {"a": "2"}]
    samples = []
    for time, value, count in zip(result.time_start, result.value_start, result.count, strict=True):
        times = result.times[time : time + count].tolist()
        samples.append((times, result.values[value : value + count].tolist()))
    assert samples == [([20_000], [4]), ([50_000], [2])]
