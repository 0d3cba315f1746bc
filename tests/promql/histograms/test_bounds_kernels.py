"""Powers of two, logarithms and bounds of buckets, to the digits in which Prometheus shows them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.histograms.bounds_kernels import (
    binary_logarithm,
    compensated,
    exponential_bound,
    power_of_two,
)


@pytest.mark.parametrize(
    ("index", "schema", "expected"),
    [
        pytest.param(0, 0, 1.0, id="index zero ends at one"),
        pytest.param(0, 5, 1.0, id="in every resolution"),
        pytest.param(1, 0, 2.0, id="schema zero has powers of two"),
        pytest.param(-3, -1, 2.0**-6, id="a negative schema has powers of powers"),
        pytest.param(1, 1, 1.414213562373095, id="the root of two a unit below the nearest"),
        pytest.param(-1, 1, 0.7071067811865475, id="and its half"),
        pytest.param(-1, 2, 0.8408964152537144, id="a fourth root"),
        pytest.param(-5, 3, 0.6484197773255048, id="an eighth one"),
        pytest.param(-1, 8, 0.9972960560854698, id="the finest"),
        pytest.param(-255, 8, 0.5013556375251013, id="the finest at the other end"),
        pytest.param(
            1024, 0, 1.7976931348623157e308, id="the last finite one is the largest float"
        ),
        pytest.param(64, -4, 1.7976931348623157e308, id="at any resolution"),
        pytest.param(1024 << 8, 8, 1.7976931348623157e308, id="at the finest too"),
        pytest.param(1025, 0, math.inf, id="after it there is only infinity"),
        pytest.param(2**31 - 1, 8, math.inf, id="the highest index"),
        pytest.param(-(2**31), -4, 0.0, id="the lowest index"),
        pytest.param(-1074, 0, 5e-324, id="the smallest float"),
    ],
)
def test_bound(index, schema, expected):
    assert exponential_bound(index, schema) == expected


@given(st.integers(-(2**18), 2**18), st.integers(-4, 8))
def test_bounds_are_powers_of_two(index, schema):
    exponent = index / 2.0**schema
    found = exponential_bound(index, schema)
    if -1022 <= exponent < 1024:
        # Chains of multiplications: a few units of the last place.
        assert found == pytest.approx(2.0**exponent, rel=2e-15)
    assert found <= exponential_bound(index + 1, schema)
    if index % 2 == 0 and schema > -4:
        assert found == exponential_bound(index // 2, schema - 1)


@given(st.floats(-1100, 1100))
def test_power_of_two(exponent):
    with np.errstate(over="ignore", under="ignore"):
        expected = float(np.exp2(exponent))
    assert power_of_two(exponent) == pytest.approx(expected, rel=1e-15, abs=5e-324)


@pytest.mark.parametrize("exponent", [math.nan, math.inf, -math.inf])
def test_power_of_two_beyond_numbers(exponent):
    np.testing.assert_equal(power_of_two(exponent), np.exp2(exponent))


@given(st.floats(min_value=5e-324, allow_infinity=False))
def test_logarithm(value):
    assert binary_logarithm(value) == pytest.approx(math.log2(value), rel=1e-14, abs=1e-15)


@given(st.integers(-1074, 1023))
def test_logarithms_of_powers_are_whole(exponent):
    assert binary_logarithm(2.0**exponent) == exponent


@given(st.lists(st.floats(-1e100, 1e100), max_size=20))
def test_compensated_sums_are_exact_to_the_last_digits(values):
    total = lost = 0.0
    for value in values:
        total, lost = compensated(value, total, lost)
    largest = max(map(abs, values), default=0.0)
    assert total + lost == pytest.approx(math.fsum(values), rel=1e-15, abs=largest * 1e-28)


def test_what_is_lost_to_infinity_is_forgotten():
    assert compensated(math.inf, 1.0, 0.5) == (math.inf, 0.0)
