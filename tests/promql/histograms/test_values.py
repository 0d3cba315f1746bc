"""Quantiles, fractions, averages and deviations, against one histogram at a time in Python."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.histograms import values
from promql.histograms.columns import HistogramRow, from_rows
from promql.histograms.values import NanFlag
from tests.promql import plain_histograms as plain

NAN, INF = math.nan, math.inf
POSITIVE = HistogramRow(count=4, sum=5, positive=((0, 1), (1, 2), (2, 1)))
MIRRORED = HistogramRow(count=4, sum=-5, negative=POSITIVE.positive)
ZERO = HistogramRow(count=2, zero_count=2, zero_threshold=0.5)
BESIDE_ZERO = HistogramRow(count=4, zero_count=2, zero_threshold=0.5, positive=((1, 2),))
BELOW_ZERO = HistogramRow(count=4, zero_count=2, zero_threshold=0.5, negative=((1, 2),))
CUSTOM = HistogramRow(schema=-53, count=4, bounds=(5.0, 10.0), positive=((0, 1), (1, 2), (2, 1)))
NEGATIVE_BOUNDS = HistogramRow(schema=-53, count=2, bounds=(-5.0,), positive=((0, 1), (1, 1)))
WITH_NAN = HistogramRow(count=15, sum=NAN, positive=((0, 12),))


@pytest.mark.parametrize(
    ("row", "q", "expected"),
    [
        pytest.param(POSITIVE, 0.5, math.sqrt(2), id="exponential inside a bucket"),
        pytest.param(MIRRORED, 0.5, -math.sqrt(2), id="mirrored below zero"),
        pytest.param(POSITIVE, 0.25, 1.0, id="at a bound"),
        pytest.param(POSITIVE, 0.0, 0.5, id="zero is the lower end"),
        pytest.param(POSITIVE, 1.0, 4.0, id="one is the upper end"),
        pytest.param(POSITIVE, -0.1, -INF, id="below zero"),
        pytest.param(POSITIVE, 1.1, INF, id="above one"),
        pytest.param(POSITIVE, NAN, NAN, id="no number"),
        pytest.param(HistogramRow(), 0.5, NAN, id="without observations"),
        pytest.param(ZERO, 0.25, -0.25, id="linear in the zero bucket"),
        pytest.param(BESIDE_ZERO, 0.25, 0.25, id="which begins at zero if all others are above"),
        pytest.param(BELOW_ZERO, 0.75, -0.25, id="and ends at zero if all are below"),
        pytest.param(CUSTOM, 0.5, 7.5, id="linear in custom buckets"),
        pytest.param(CUSTOM, 0.1, 2.0, id="the first custom one begins at zero"),
        pytest.param(CUSTOM, 0.9, 10.0, id="in the last one it is the bound below"),
        pytest.param(NEGATIVE_BOUNDS, 0.3, -5.0, id="a first one below zero answers its bound"),
        pytest.param(WITH_NAN, 0.8, 1.0, id="NaN observations lie above all others"),
        pytest.param(WITH_NAN, 0.81, NAN, id="and are the answer for high ranks"),
    ],
)
def test_one_quantile(row, q, expected):
    found, _ = values.quantile(from_rows([row]), q)
    np.testing.assert_allclose(found, [expected], rtol=1e-14)


@pytest.mark.parametrize(
    ("row", "q", "flag"),
    [
        pytest.param(WITH_NAN, 0.5, NanFlag.SKEW, id="skewed"),
        pytest.param(WITH_NAN, 0.9, NanFlag.RESULT, id="NaN"),
        pytest.param(replace(WITH_NAN, count=12), 0.5, 0, id="a sum of infinities is no NaN"),
        pytest.param(POSITIVE, 0.5, 0, id="nothing to say"),
        pytest.param(WITH_NAN, -1.0, 0, id="nor for what is no quantile"),
    ],
)
def test_flags_of_quantiles(row, q, flag):
    assert values.quantile(from_rows([row]), q)[1].tolist() == [flag]


QUANTILES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, -1.0, NAN]))
ROWS = st.lists(
    st.tuples(plain.any_histogram(), st.booleans(), st.integers(0, 3)).map(
        lambda t: replace(t[0], sum=NAN, count=t[0].count + t[2]) if t[1] else t[0]
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(ROWS, QUANTILES)
def test_quantiles_equal_the_definition(rows, q):
    found, _ = values.quantile(from_rows(rows), q)
    expected = [plain.quantile(row, q) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@settings(deadline=None)
@given(ROWS, st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_quantiles_rise(rows, quantiles):
    low, high = (values.quantile(from_rows(rows), q)[0] for q in quantiles)
    numbers = ~np.isnan(low) & ~np.isnan(high)
    assert np.all(low[numbers] <= high[numbers] + 1e-12 * np.abs(high[numbers]))


@pytest.mark.parametrize(
    ("row", "low", "high", "expected"),
    [
        pytest.param(POSITIVE, 1, 2, 0.5, id="a whole bucket"),
        pytest.param(POSITIVE, 1, math.sqrt(2), 0.25, id="exponential inside a bucket"),
        pytest.param(POSITIVE, -INF, INF, 1.0, id="everything"),
        pytest.param(POSITIVE, 2, 1, 0.0, id="bounds the wrong way round"),
        pytest.param(POSITIVE, NAN, 1, NAN, id="no number"),
        pytest.param(HistogramRow(), 0, 1, NAN, id="without observations"),
        pytest.param(ZERO, -0.5, 0, 0.5, id="linear in the zero bucket"),
        pytest.param(BESIDE_ZERO, -INF, 0, 0.0, id="nothing is below zero if no bucket is"),
        pytest.param(BELOW_ZERO, 0, INF, 0.0, id="nothing above either"),
        pytest.param(CUSTOM, 5, 7.5, 0.25, id="linear in custom buckets"),
        pytest.param(CUSTOM, 20, INF, 0.25, id="all of the last one lies above any value"),
        pytest.param(WITH_NAN, -INF, INF, 0.8, id="NaN lies between no two values"),
    ],
)
def test_one_fraction(row, low, high, expected):
    found, _ = values.fraction(from_rows([row]), lower=low, upper=high)
    np.testing.assert_allclose(found, [expected], rtol=1e-14)


def test_flags_of_fractions():
    rows = from_rows([WITH_NAN, POSITIVE, replace(WITH_NAN, count=12)])
    assert values.fraction(rows, lower=0, upper=1)[1].tolist() == [NanFlag.RESULT, 0, 0]


@settings(deadline=None)
@given(ROWS, st.floats(-20, 20), st.floats(-20, 20))
def test_fractions_equal_the_definition(rows, low, high):
    found, _ = values.fraction(from_rows(rows), lower=low, upper=high)
    expected = [plain.fraction(row, low, high) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@settings(deadline=None)
@given(plain.exponential(schemas=(0, 1, 2)), st.floats(0.01, 0.99))
def test_fraction_undoes_quantile(row, q):
    value = values.quantile(from_rows([row]), q)[0][0]
    if not math.isnan(value):
        below, _ = values.fraction(from_rows([row]), lower=-INF, upper=value)
        at_most, _ = values.fraction(from_rows([row]), lower=-INF, upper=np.nextafter(value, INF))
        assert below[0] - 1e-9 <= q <= at_most[0] + 1e-9


@settings(deadline=None)
@given(ROWS)
def test_averages_and_deviations(rows):
    columns = from_rows(rows)
    expected = [plain.variance(row) for row in rows]
    np.testing.assert_allclose(values.variance(columns), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values.deviation(columns), np.sqrt(expected), rtol=1e-12, atol=1e-6)
    averages = [row.sum / row.count if row.count else math.nan for row in rows if row.count]
    found = values.average(columns)
    np.testing.assert_array_equal(found[columns.count != 0], averages)
