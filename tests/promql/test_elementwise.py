import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.elementwise import FUNCTIONS, go_max, go_min
from promql.errors import ExecutionError
from promql.syntax import Call
from tests.promql.matrices import by_labels, context, key, matrix, scalar

NAN, INF = math.nan, math.inf


def call(func, value, *args):
    """One function of one value; None where nothing comes out."""
    ctx = context(1)
    vector = matrix([({"__name__": "m", "a": "1"}, [value])], ctx)
    operands = [vector, *(scalar(arg) for arg in args)]
    result = by_labels(FUNCTIONS[func](Call(func, ()), operands, ctx))
    assert set(result) <= {key(a="1")}, "the name is dropped, other labels stay"
    return result.get(key(a="1"), [None])[0]


@pytest.mark.parametrize(
    ("func", "value", "args", "expected"),
    [
        pytest.param("round", 2.5, (), 3, id="halves are rounded up"),
        pytest.param("round", -2.5, (), -2, id="also below zero"),
        pytest.param("round", 2.345, (0.01,), 2.35, id="to hundredths"),
        pytest.param("round", 7, (5,), 5, id="to fives"),
        pytest.param("round", 1, (0,), NAN, id="to nothing is not a number"),
        pytest.param("round", INF, (), INF, id="infinity stays"),
        pytest.param("sgn", -0.0, (), -0.0, id="the sign of zero is zero, signed"),
        pytest.param("sgn", -INF, (), -1, id="the sign of minus infinity"),
        pytest.param("sgn", NAN, (), NAN, id="NaN has no sign"),
        pytest.param("abs", -3, (), 3, id="absolute value"),
        pytest.param("ceil", -1.5, (), -1, id="ceil goes up"),
        pytest.param("floor", -1.5, (), -2, id="floor goes down"),
        pytest.param("ln", 0, (), -INF, id="the logarithm of zero"),
        pytest.param("ln", -1, (), NAN, id="and of less"),
        pytest.param("log2", 8, (), 3, id="exact for powers of two"),
        pytest.param("log2", -INF, (), NAN, id="log2 of minus infinity"),
        pytest.param("log2", INF, (), INF, id="log2 of infinity"),
        pytest.param("log2", 0, (), -INF, id="log2 of zero"),
        pytest.param("log10", 1000, (), 3, id="log10"),
        pytest.param("exp", 1000, (), INF, id="exp overflows"),
        pytest.param("sqrt", -1, (), NAN, id="no root of negative numbers"),
        pytest.param("acos", 2, (), NAN, id="no angle has a cosine of two"),
        pytest.param("atanh", 1, (), INF, id="atanh at the edge"),
        pytest.param("deg", math.pi, (), 180, id="radians to degrees"),
        pytest.param("rad", 180, (), math.pi, id="degrees to radians"),
        pytest.param("clamp", 5, (1, 3), 3, id="clamped from above"),
        pytest.param("clamp", 0, (1, 3), 1, id="clamped from below"),
        pytest.param("clamp", 2, (3, 1), None, id="crossed bounds leave nothing"),
        pytest.param("clamp", 2, (NAN, 3), NAN, id="a NaN bound makes NaN"),
        pytest.param("clamp", NAN, (1, 3), NAN, id="NaN stays"),
        pytest.param("clamp_min", NAN, (INF,), INF, id="infinity beats NaN"),
        pytest.param("clamp_max", NAN, (-INF,), -INF, id="so does minus infinity"),
        pytest.param("clamp_max", 5, (3,), 3, id="clamp_max"),
        pytest.param("clamp_min", 1, (3,), 3, id="clamp_min"),
    ],
)
def test_one_value(func, value, args, expected):
    result = call(func, value, *args)
    assert (result is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(result, expected, rtol=1e-14)
        assert math.copysign(1, result) == math.copysign(1, expected) or math.isnan(expected)


@pytest.mark.parametrize(
    "func",
    [
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "exp",
        "sqrt",
    ],
)
@settings(max_examples=25, deadline=None)
@given(value=st.floats(-20, 20))
def test_as_pythons_mathematics(func, value):
    try:
        expected = getattr(math, func)(value)
    except ValueError:
        expected = NAN
    if math.isnan(expected) or (func == "atanh" and abs(value) == 1):
        return  # the edges are in the table above
    np.testing.assert_allclose(call(func, value), expected, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(min_value=0, exclude_min=True, allow_subnormal=False))
def test_logarithms_of_all_sizes(value):
    np.testing.assert_allclose(call("log2", value), math.log2(value), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(call("log10", value), math.log10(value), rtol=1e-13, atol=1e-15)


def test_bounds_may_change_from_step_to_step():
    ctx = context(3)
    vector = matrix([({"a": "1"}, [5, 5, 5])], ctx)
    result = FUNCTIONS["clamp"](Call("clamp", ()), [vector, scalar(0, 6, 4), scalar(3, 9, 2)], ctx)
    assert by_labels(result) == {key(a="1"): [3, 6, None]}


def test_two_series_that_differ_in_name_only_are_an_error():
    ctx = context(1)
    vector = matrix([({"__name__": "m"}, [1]), ({"__name__": "n"}, [2])], ctx)
    with pytest.raises(ExecutionError, match="same labelset"):
        FUNCTIONS["abs"](Call("abs", ()), [vector], ctx)


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, INF, -INF, NAN]), min_size=2, max_size=2))
def test_extremes_follow_go(pair):
    def go(a, b):
        if INF in (a, b):
            return INF
        if math.isnan(a) or math.isnan(b):
            return NAN
        if a == b == 0:
            return 0.0 if math.copysign(1, a) > 0 or math.copysign(1, b) > 0 else -0.0
        return max(a, b)

    a, b = pair
    np.testing.assert_equal(float(go_max(np.array(a), np.array(b))), go(a, b))
    np.testing.assert_equal(float(go_min(np.array(-a), np.array(-b))), -go(a, b))


@pytest.mark.parametrize("power", [-3, -1, 0, 1, 2, 3, 6, 15])
def test_the_logarithm_of_a_power_of_ten_has_its_digits(power):
    """What is rounded down after it must not be one less."""
    assert call("log10", 10.0**power) == power
