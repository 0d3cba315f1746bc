import math

import numpy as np
import pytest

from promql.conversions import FUNCTIONS
from promql.syntax import Call, VectorSelector
from tests.promql.matrices import by_labels, context, key, matrix, scalar
from tsdb.interface import Matcher, MatchOp


def call(func, ctx, *operands, args=()):
    return FUNCTIONS[func](Call(func, tuple(args)), list(operands), ctx)


def test_time_is_that_of_each_step():
    assert call("time", context(3)).values.tolist() == [0, 60, 120]


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        pytest.param("start", 0.0, id="start"),
        pytest.param("end", 120.0, id="end"),
        pytest.param("range", 120.0, id="range"),
        pytest.param("step", 60.0, id="step"),
        pytest.param("pi", math.pi, id="pi"),
    ],
)
def test_constants_of_the_query(func, expected):
    assert call(func, context(3, query_step_ms=60_000)).values.tolist() == [expected] * 3


def test_a_vector_of_a_scalar_has_no_labels():
    assert by_labels(call("vector", context(2), scalar(1, math.inf))) == {(): [1, math.inf]}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [math.nan] * 3, id="of no series"),
        pytest.param([({"a": "1"}, [1, None, 3])], [1, math.nan, 3], id="of the only series"),
        pytest.param(
            [({"a": "1"}, [1, 1, None]), ({"a": "2"}, [None, 2, 2])],
            [1, math.nan, 2],
            id="of whichever is the only one at a step",
        ),
    ],
)
def test_scalar(rows, expected):
    ctx = context(3)
    np.testing.assert_array_equal(call("scalar", ctx, matrix(rows, ctx)).values, expected)


def test_timestamp_is_that_of_the_sample_where_it_was_kept():
    ctx = context(2)
    vector = matrix([({"__name__": "m", "a": "1"}, [7, 7])], ctx)
    assert by_labels(call("timestamp", ctx, vector)) == {key(a="1"): [0, 60]}
    kept = type(vector)(
        vector.labels,
        vector.values,
        vector.present,
        vector.drop_name,
        np.array([[-3.5, 42.25]]),
    )
    assert by_labels(call("timestamp", ctx, kept)) == {key(a="1"): [-3.5, 42.25]}


def test_absent_is_one_wherever_nothing_is_there():
    ctx = context(3)
    selector = VectorSelector(
        "m", (Matcher("a", MatchOp.EQUAL, "1"), Matcher("b", MatchOp.MATCHES, ".*"))
    )
    rows = [({"a": "1"}, [1, None, None]), ({"a": "1", "b": "2"}, [None, 1, None])]
    result = call("absent", ctx, matrix(rows, ctx), args=[selector])
    assert by_labels(result) == {key(a="1"): [None, None, 1]}
    nothing = call("absent", ctx, matrix([], ctx), args=[selector])
    assert by_labels(nothing) == {key(a="1"): [1, 1, 1]}


def test_extremes_of_scalars_spread_nan():
    ctx = context(3)
    a, b = scalar(5, math.nan, -2), scalar(3, 1, -5)
    np.testing.assert_array_equal(call("min_of", ctx, a, b).values, [3, math.nan, -5])
    np.testing.assert_array_equal(call("max_of", ctx, a, b).values, [5, math.nan, -2])
