import math

import numpy as np
import pytest
from hypothesis import given, settings

from promql.errors import ExecutionError
from tests.promql.window_cases import assert_equals_definition, evaluate, finite, series_lists


def compensated(addend, total, lost):
    new = total + addend
    if math.isinf(new):
        return new, 0.0
    if abs(total) >= abs(addend):
        return new, lost + ((total - new) + addend)
    return new, lost + ((addend - new) + total)


def plain_sum(values):
    total, lost = 0.0, 0.0
    for value in values:
        total, lost = compensated(value, total, lost)
    return total if math.isinf(total) else total + lost


def plain_average(values):
    """Sum and divide, or a running mean once the sum has overflowed."""
    total, lost, mean, running = values[0], 0.0, 0.0, False
    for n, value in enumerate(values[1:], start=2):
        if not running:
            new, new_lost = compensated(value, total, lost)
            if not math.isinf(new):
                total, lost = new, new_lost
                continue
            running = True
            mean, lost = total / (n - 1), lost / (n - 1)
        share = (n - 1) / n
        mean, lost = compensated(value / n, share * mean, share * lost)
    return mean + lost if running else total / len(values) + lost / len(values)


def plain_variance(values):
    mean, mean_lost, squares, squares_lost = 0.0, 0.0, 0.0, 0.0
    for n, value in enumerate(values, start=1):
        away = value - (mean + mean_lost)
        mean, mean_lost = compensated(away / n, mean, mean_lost)
        squares, squares_lost = compensated(
            away * (value - (mean + mean_lost)), squares, squares_lost
        )
    return (squares + squares_lost) / len(values)


def nan_first(values):
    return sorted(values, key=lambda value: (not math.isnan(value), value))


def plain_quantile(q, values):
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return -math.inf if q < 0 else math.inf
    ordered = nan_first(values)
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(len(ordered) - 1, low + 1)
    weight = rank - low
    return ordered[low] * (1 - weight) + ordered[high] * weight


def plain_extreme(values, better):
    best = values[0]
    for value in values:
        if math.isnan(best) or better(value, best):
            best = value
    return best


def plain_extreme_time(times, values, better_or_equal):
    best = 0
    for at, value in enumerate(values):
        if math.isnan(values[best]) or better_or_equal(value, values[best]):
            best = at
    return times[best] / 1000


DEFINITIONS = {
    "sum": lambda times, values: plain_sum(values),
    "avg": lambda times, values: plain_average(values),
    "count": lambda times, values: len(values),
    "present": lambda times, values: 1,
    "first": lambda times, values: values[0],
    "last": lambda times, values: values[-1],
    "stdvar": lambda times, values: plain_variance(values),
    "stddev": lambda times, values: np.sqrt(plain_variance(values)),
    "min": lambda times, values: plain_extreme(values, lambda a, b: a < b),
    "max": lambda times, values: plain_extreme(values, lambda a, b: a > b),
    "ts_of_min": lambda times, values: plain_extreme_time(times, values, lambda a, b: a <= b),
    "ts_of_max": lambda times, values: plain_extreme_time(times, values, lambda a, b: a >= b),
    "ts_of_first": lambda times, values: times[0] / 1000,
    "ts_of_last": lambda times, values: times[-1] / 1000,
    "mad": lambda times, values: plain_quantile(
        0.5, [abs(value - plain_quantile(0.5, values)) for value in values]
    ),
}


@pytest.mark.parametrize("name", DEFINITIONS)
@given(series=series_lists())
@settings(deadline=None, max_examples=40)
def test_equals_the_definition(name, series):
    def plain(times, values, end):
        with np.errstate(all="ignore"):
            floats = [np.float64(value) for value in values]
            return DEFINITIONS[name](times, floats) if values else None

    assert_equals_definition(f"{name}_over_time(m[1m])", series, plain)


@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 1.0, -0.1, 1.1, math.nan])
@given(series=series_lists())
@settings(deadline=None, max_examples=20)
def test_quantile_equals_the_definition(q, series):
    def plain(times, values, end):
        with np.errstate(all="ignore"):
            floats = [np.float64(value) for value in values]
            return plain_quantile(q, floats) if values else None

    assert_equals_definition("quantile_over_time(0, m[1m])", series, plain, scalars=(q,))


def test_a_long_window_is_sorted_as_a_short_one_is():
    values = [(i * 7919) % 101 for i in range(100)]
    values[10] = values[50] = np.nan
    run = ([1000 * i for i in range(1, 101)], values)
    matrix, _ = evaluate(
        "quantile_over_time(0.9, m[1m])",
        [run],
        steps=[100_000],
        range_ms=200_000,
        scalars=(0.9,),
    )
    np.testing.assert_allclose(matrix.values[0, 0], plain_quantile(0.9, values))


@given(series=series_lists(finite))
@settings(deadline=None, max_examples=40)
def test_smoothing_equals_the_definition(series):
    def plain(times, values, end):
        if len(values) < 2:
            return None
        before, level, trend = 0.0, values[0], values[1] - values[0]
        for at, value in enumerate(values[1:]):
            if at > 0:
                trend = 0.6 * (level - before) + 0.4 * trend
            before, level = level, 0.3 * value + 0.7 * (level + trend)
        return level

    assert_equals_definition(
        "double_exponential_smoothing(m[1m], 0.3, 0.6)", series, plain, scalars=(0.3, 0.6)
    )


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        pytest.param((0.0, 0.5), "invalid smoothing factor", id="a smoothing factor of zero"),
        pytest.param((-np.inf, 0.5), r"< 1, got: -Inf$", id="no factor is infinite"),
        pytest.param((1 / 3, 4 / 3), r"< tf < 1, got: 1\.333333$", id="six digits are told"),
        pytest.param((0.5, 1.0), "Expected: 0 < tf < 1, got: 1.000000", id="a trend factor of one"),
    ],
)
def test_smoothing_refuses(factors, message):
    with pytest.raises(ExecutionError, match=message):
        evaluate(
            "double_exponential_smoothing(m[1m], 0, 0)",
            [([1000, 2000], [1, 2])],
            steps=[2000],
            scalars=factors,
        )


def test_smoothing_factors_do_not_matter_where_nothing_is():
    matrix, _ = evaluate(
        "double_exponential_smoothing(m[1m], 0, 0)", [], steps=[2000], scalars=(7.0, 7.0)
    )
    assert matrix.series_count == 0


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ('absent_over_time(m{a="1", b!="2"}[1m])', {"a": "1"}),
        ('absent_over_time(m{a="1", a="2", c="3"}[1m])', {"c": "3"}),
        ("absent_over_time(m[1m])", {}),
        ('absent_over_time(sum(m{a="1"})[1m:1s])', {}),
    ],
)
def test_absent_has_the_labels_that_the_matchers_promise(query, labels):
    matrix, _ = evaluate(query, [], steps=[2000, 3000])
    assert matrix.labels.row(0) == labels
    assert matrix.values.tolist() == [[1.0, 1.0]]
    assert matrix.present.all()


def test_absent_is_absent_where_any_series_has_a_sample():
    matrix, _ = evaluate(
        "absent_over_time(m[1m])",
        [([1000], [1]), ([200_000], [1])],
        steps=[500, 1000, 61_000, 200_000],
    )
    assert matrix.present.tolist() == [[True, False, True, False]]


def test_only_first_and_last_keep_the_name():
    run = [([1000, 2000], [1, 2])]
    for func in ("first_over_time", "last_over_time"):
        matrix, _ = evaluate(f"{func}(m[1m])", run, steps=[2000])
        assert matrix.labels.row(0) == {"__name__": "m_total", "n": "0"}
    matrix, _ = evaluate("max_over_time(m[1m])", run, steps=[2000])
    assert matrix.labels.row(0) == {"n": "0"}


def test_a_quantile_that_is_none_is_warned_about_where_there_is_data():
    run = [([1000, 2000], [1, 2])]
    _, ctx = evaluate("quantile_over_time(2, m[1m])", run, steps=[2000], scalars=(2.0,))
    assert ctx.annotations.warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)"
    ]
    _, ctx = evaluate("quantile_over_time(2, m[1m])", run, steps=[0], scalars=(2.0,))
    assert ctx.annotations.warnings == []
