import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings

from promql.errors import ExecutionError
from tests.promql.window_cases import (
    RANGE_MS,
    assert_equals_definition,
    evaluate,
    finite,
    series_lists,
)


def plain_extrapolated(times, values, end, *, is_counter, per_second):
    """The documented definition, window by window."""
    if len(values) < 2:
        return None
    change = values[-1] - values[0]
    if is_counter:
        for before, after in itertools.pairwise(values):
            if after < before:
                change += before
    to_start = (times[0] - (end - RANGE_MS)) / 1000
    to_end = (end - times[-1]) / 1000
    sampled = (times[-1] - times[0]) / 1000
    spacing = sampled / (len(values) - 1)
    if to_start >= spacing * 1.1:
        to_start = spacing / 2
    if is_counter and change > 0 and values[0] >= 0:
        to_start = min(to_start, sampled * (values[0] / change))
    if to_end >= spacing * 1.1:
        to_end = spacing / 2
    factor = (sampled + to_start + to_end) / sampled
    return change * (factor / (RANGE_MS / 1000) if per_second else factor)


@pytest.mark.parametrize(
    ("func", "is_counter", "per_second"),
    [("rate", True, True), ("increase", True, False), ("delta", False, False)],
)
@given(series=series_lists())
@settings(deadline=None, max_examples=60)
def test_extrapolation_equals_the_definition(func, is_counter, per_second, series):
    def plain(times, values, end):
        with np.errstate(all="ignore"):
            floats = [np.float64(value) for value in values]
            return plain_extrapolated(
                times, floats, end, is_counter=is_counter, per_second=per_second
            )

    assert_equals_definition(f"{func}(m_total[1m])", series, plain)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0, 10, 20, 30], 40, id="a steady counter is extrapolated to the left edge"),
        pytest.param([0, 10, 5, 15], 30 + 0.0, id="a reset adds what was counted before it"),
        pytest.param([7, 7, 7, 7], 0, id="standing still is an increase of zero"),
        pytest.param([5], None, id="one sample says nothing"),
        pytest.param([], None, id="no sample says nothing"),
    ],
)
def test_increase_of_one_window(values, expected):
    # Samples at 15 s, 30 s, ... and a window (0, 60 s]: both edges are near.
    times = [15_000 * (i + 1) for i in range(len(values))]
    matrix, _ = evaluate("increase(m_total[1m])", [(times, values)], steps=[60_000])
    if expected is None:
        assert not matrix.present.any()
    elif values[0] == 0:
        # The counter stood at zero at 15 s, so it cannot have grown before.
        np.testing.assert_allclose(matrix.values, [[max(values) if 5 not in values else 25]])
    else:
        np.testing.assert_allclose(matrix.values, [[expected]])


@given(series=series_lists())
@settings(deadline=None, max_examples=60)
def test_irate_and_idelta_compare_the_last_two(series):
    def idelta(times, values, end):
        return values[-1] - values[-2] if len(values) > 1 else None

    def irate(times, values, end):
        if len(values) < 2:
            return None
        change = values[-1] if values[-1] < values[-2] else values[-1] - values[-2]
        return change / ((times[-1] - times[-2]) / 1000)

    assert_equals_definition("idelta(m_total[1m])", series, idelta)
    assert_equals_definition("irate(m_total[1m])", series, irate)


@given(series=series_lists())
@settings(deadline=None, max_examples=60)
def test_changes_and_resets_count_pairs(series):
    def pairs(values):
        return list(itertools.pairwise(values))

    def changes(times, values, end):
        differ = [a != b and not (math.isnan(a) and math.isnan(b)) for a, b in pairs(values)]
        return sum(differ) if values else None

    def resets(times, values, end):
        return sum(b < a for a, b in pairs(values)) if values else None

    assert_equals_definition("changes(m_total[1m])", series, changes)
    assert_equals_definition("resets(m_total[1m])", series, resets)


@given(series=series_lists(finite))
@settings(deadline=None, max_examples=60)
def test_regression_equals_exact_least_squares(series):
    from fractions import Fraction

    def line(times, values, origin):
        xs = [Fraction(time - origin, 1000) for time in times]
        ys = [Fraction(value) for value in values]
        n = len(xs)
        top = sum(x * y for x, y in zip(xs, ys, strict=True)) - sum(xs) * sum(ys) / n
        slope = top / (sum(x * x for x in xs) - sum(xs) ** 2 / n)
        return slope, (sum(ys) - slope * sum(xs)) / n

    def near(value, values):
        # Cancellation: exact arithmetic shows what compensated sums round away. So does underflow.
        least = max(1e-6 * max(map(abs, values)), 1e-300)
        return float(value) if abs(value) > least else None

    matrix, _ = evaluate("deriv(m[1m])", series)
    ahead, ctx = evaluate("predict_linear(m[1m], 100)", series, scalars=(100.0,))
    from tests.promql.windows_builder import plain_window

    for row, (times, values) in enumerate(series):
        for step, end in enumerate(ctx.steps_ms.tolist()):
            window = plain_window(times, values, end, RANGE_MS)
            assert matrix.present[row, step] == ahead.present[row, step] == (len(window) > 1)
            if len(window) < 2:
                continue
            inside = [v for _, v in window]
            slope, _ = line([t for t, _ in window], inside, window[0][0])
            if (expected := near(slope, inside)) is not None:
                np.testing.assert_allclose(matrix.values[row, step], expected, rtol=1e-7)
            slope, intercept = line([t for t, _ in window], inside, end)
            if (expected := near(slope * 100 + intercept, inside)) is not None:
                np.testing.assert_allclose(ahead.values[row, step], expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("values", "slope"),
    [
        pytest.param([3.0, 3.0, 3.0], 0.0, id="a constant has no slope, exactly"),
        pytest.param([np.inf] * 3, np.nan, id="constant infinity has no slope either"),
        pytest.param([-np.inf, 1.0, 2.0], np.nan, id="an infinity among numbers gives NaN"),
    ],
)
def test_slope_of_one_window(values, slope):
    matrix, _ = evaluate("deriv(m[1m])", [([1000, 2000, 3000], values)], steps=[3000])
    np.testing.assert_array_equal(matrix.values, [[slope]])


def test_a_name_that_is_no_counters_is_told_once_a_metric():
    run = ([1000, 2000], [1, 2])
    labels = [{"__name__": "a", "n": "1"}, {"__name__": "a", "n": "2"}, {"__name__": "b_total"}]
    _, ctx = evaluate("rate(x[1m])", [run, run, run], labels=labels)
    assert ctx.annotations.infos == [
        "PromQL info: metric might not be a counter, name does not end in "
        '_total/_sum/_count/_bucket: "a" (1:6)'
    ]


def test_a_metric_without_a_result_is_not_worth_a_hint():
    _, ctx = evaluate("rate(x[1m])", [([1000], [1])], labels=[{"__name__": "a"}])
    assert ctx.annotations.infos == []


def test_two_metrics_that_become_the_same_are_refused():
    labels = [{"__name__": "a_total"}, {"__name__": "b_total"}]
    run = ([1000, 2000], [1, 2])
    with pytest.raises(ExecutionError, match="same labelset"):
        evaluate("rate(x[1m])", [run, run], labels=labels)


def test_without_a_result_two_metrics_may_be_the_same():
    labels = [{"__name__": "a_total"}, {"__name__": "b_total"}]
    matrix, _ = evaluate("rate(x[1m])", [([1000, 2000], [1, 2]), ([1000], [1])], labels=labels)
    assert matrix.series_count == 1


def test_with_delayed_removal_the_name_stays_and_is_marked():
    matrix, _ = evaluate(
        "rate(x[1m])", [([1000, 2000], [1, 2])], steps=[2000], delayed_name_removal=True
    )
    assert matrix.labels.row(0)["__name__"] == "m_total"
    assert matrix.drop_name.tolist() == [True]
