"""Windows that move by as many samples each step: side by side they have the bits of each alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.deviation_kernels import deviation_windows
from promql.over_time_kernels import quantile_windows
from promql.rate_kernels import line_of
from promql.steady_kernels import (
    extreme_of_steady,
    regress_regular,
    regular_windows,
    steady_windows,
)
from promql.total_kernels import total_windows
from tests.promql.window_cases import finite, numbers
from tests.promql.windows_builder import context, view

SAMPLES = 120
INTERVAL_MS = 15_000

still = st.integers(-3, 3).map(lambda value: [float(value)] * SAMPLES)
steps = st.lists(st.sampled_from([0.0, 0.0, 1.0, -0.0]), min_size=SAMPLES, max_size=SAMPLES)
ordinary = st.lists(finite, min_size=SAMPLES, max_size=SAMPLES)
anything = st.lists(numbers, min_size=SAMPLES, max_size=SAMPLES)
lists = st.lists(st.one_of(still, steps, ordinary, anything), min_size=1, max_size=3)


@st.composite
def shared_times(draw):
    """As regular as scrapes are, but for a few: one is late, one is missing."""
    times = (np.arange(SAMPLES) * INTERVAL_MS).tolist()
    times[draw(st.integers(1, SAMPLES - 1))] += draw(st.sampled_from([0, 3]))
    if draw(st.booleans()):
        at = draw(st.integers(1, SAMPLES - 2))
        times[at:] = [time + INTERVAL_MS for time in times[at:]]
    return times


def windows_of(times, values, range_ms, step_ms=INTERVAL_MS):
    ctx = context(range(0, (SAMPLES + 5) * INTERVAL_MS, step_ms))
    return view([(times, own) for own in values], ctx, range_ms), ctx


def runs_of(windows):
    steady = np.empty(windows.first.shape, dtype=np.int32)
    steady_windows(windows.first, windows.stop, steady)
    return steady


def outputs(windows):
    shape = (windows.series_count, windows.end_ms.size)
    return np.zeros(shape), np.zeros(shape, dtype=np.bool_)


def same_but_for_rounding(windows, found, expected):
    """Sums of blocks meet in another order; what that changes is far below a digit of a term."""
    size = np.max(np.abs(np.nan_to_num(windows.values, posinf=0, neginf=0)), initial=0)
    finite_ones = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite_ones], expected[~finite_ones])
    np.testing.assert_allclose(
        found[finite_ones], expected[finite_ones], rtol=1e-14, atol=size * 1e-28
    )


@given(
    times=shared_times(),
    values=st.lists(st.one_of(still, steps, ordinary, anything), min_size=1, max_size=9),
    range_ms=st.sampled_from([15_000, 60_000, 300_000, 600_000]),
    step_ms=st.sampled_from([5_000, 15_000, 20_000, 30_000, 60_000]),
)
@settings(deadline=None, max_examples=80)
def test_totals_are_those_of_windows_one_by_one(times, values, range_ms, step_ms):
    windows, _ = windows_of(times, values, range_ms, step_ms)
    steady = runs_of(windows)
    assert steady.max() > 8 or step_ms in (5_000, 20_000)
    for average in (False, True):
        found, expected = outputs(windows), outputs(windows)
        for runs, (out, present) in ((steady, found), (np.zeros_like(steady), expected)):
            total_windows(
                windows.values,
                windows.value_start,
                windows.window_of,
                windows.first,
                windows.stop,
                runs,
                average,
                out,
                present,
            )
        np.testing.assert_array_equal(found[1], expected[1])
        same_but_for_rounding(windows, found[0], expected[0])


@pytest.mark.parametrize(
    ("values", "average", "expected"),
    [
        pytest.param([0.1] * 100, False, 4.0, id="a still line has no error"),
        pytest.param([0.3] * 100, True, 0.3, id="nor its mean, which stands still, too"),
        pytest.param([1e300] * 100, True, 1e300, id="a mean whose sum overflows is a mean"),
        pytest.param([1.7e308] * 100, False, np.inf, id="a sum that overflows is infinite"),
        pytest.param([1e16, 1.0] * 50, False, 20 * 1e16 + 20, id="small ones are not lost"),
        pytest.param([1e100, -1e100, 3.0, -1.0] * 25, False, 20.0, id="nor beside large ones"),
    ],
)
def test_totals_of_long_windows(values, average, expected):
    rows = [values] * 19
    ctx = context(range(600_000, 100 * INTERVAL_MS, INTERVAL_MS))
    windows = view([((np.arange(100) * INTERVAL_MS).tolist(), own) for own in rows], ctx, 600_000)
    out, present = outputs(windows)
    total_windows(
        windows.values,
        windows.value_start,
        windows.window_of,
        windows.first,
        windows.stop,
        runs_of(windows),
        average,
        out,
        present,
    )
    assert present.all()
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    # Windows have one and the same content, wherever it is cut into parts.
    assert len(set(out[:, :-1].ravel().tolist())) == 1


def plain_variance(values):
    """Welford's, with what each sum lost kept beside it."""

    def add(total, lost, value):
        new = total + value
        if np.isinf(new):
            return new, 0.0
        larger, smaller = (total, value) if abs(total) >= abs(value) else (value, total)
        return new, lost + ((larger - new) + smaller)

    mean, mean_lost, squares, squares_lost = np.zeros(4)
    for count, value in enumerate(np.array(values), start=1):
        away = value - (mean + mean_lost)
        mean, mean_lost = add(mean, mean_lost, away / count)
        squares, squares_lost = add(squares, squares_lost, away * (value - (mean + mean_lost)))
    return (squares + squares_lost) / len(values)


@given(
    times=shared_times(),
    values=lists,
    range_ms=st.sampled_from([15_000, 60_000, 300_000]),
    step_ms=st.sampled_from([5_000, 15_000, 60_000, 600_000]),
    root=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_deviations_are_those_of_windows_one_by_one(times, values, range_ms, step_ms, root):
    windows, ctx = windows_of(times, values, range_ms, step_ms)
    out, present = outputs(windows)
    deviation_windows(
        windows.values,
        windows.value_start,
        windows.window_of,
        windows.first,
        windows.stop,
        runs_of(windows),
        root,
        out,
        present,
    )
    for row, own in enumerate(values):
        for step in range(ctx.step_count):
            low, high = windows.first[0, step], windows.stop[0, step]
            assert present[row, step] == (high > low)
            if high > low:
                with np.errstate(all="ignore"):
                    expected = plain_variance(own[low:high])
                    expected = np.sqrt(expected) if root else expected
                np.testing.assert_array_equal(out[row, step], expected)


@given(
    times=shared_times(),
    values=lists,
    range_ms=st.sampled_from([60_000, 600_000]),
    step_ms=st.sampled_from([15_000, 20_000, 30_000, 45_000]),
)
@settings(deadline=None, max_examples=80)
def test_lines_are_those_of_windows_one_by_one(times, values, range_ms, step_ms):
    windows, ctx = windows_of(times, values, range_ms, step_ms)
    ahead_s = np.full(ctx.step_count, 77.5)
    steady = runs_of(windows)
    for predict in (False, True):
        regular = np.empty_like(steady)
        now_ms = ctx.steps_ms if predict else np.zeros(0, dtype=np.int64)
        run_start = np.zeros(1, dtype=np.int64)
        regular_windows(
            windows.times, run_start, windows.first, windows.stop, now_ms, steady, regular
        )
        assert (regular <= steady).all()
        # Side by side by steps where there are many in a row, else by series.
        for runs in (regular, np.zeros_like(steady)):
            out, present = outputs(windows)
            with np.errstate(all="ignore"):
                regress_regular(
                    windows.times,
                    windows.time_start,
                    windows.values,
                    windows.value_start,
                    windows.window_of,
                    windows.first,
                    windows.stop,
                    ctx.steps_ms,
                    ahead_s,
                    predict,
                    runs,
                    out,
                    present,
                )
            for row, start in enumerate(windows.value_start.tolist()):
                for step in range(0, ctx.step_count, 3):
                    low, high = windows.first[0, step], windows.stop[0, step]
                    assert present[row, step] == (high - low >= 2)
                    if high - low >= 2:
                        at = ctx.steps_ms[step]
                        own = windows.values[start + low : start + high]
                        expected = line_of(windows.times[low:high], own, at, 77.5, predict)
                        np.testing.assert_array_equal(out[row, step], expected)


def plain_extreme(values, *, largest):
    """NaN gives way to numbers, the first of equals counts."""
    best = values[0]
    for value in values[1:]:
        if np.isnan(best) or (value > best if largest else value < best):
            best = value
    return best


@given(
    times=shared_times(),
    values=lists,
    range_ms=st.sampled_from([15_000, 45_000, 60_000, 600_000]),
    step_ms=st.sampled_from([5_000, 15_000, 60_000]),
    largest=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_extremes_are_those_of_windows_one_by_one(times, values, range_ms, step_ms, largest):
    windows, ctx = windows_of(times, values, range_ms, step_ms)
    out, present = outputs(windows)
    extreme_of_steady(
        windows.values,
        windows.value_start,
        windows.window_of,
        windows.first,
        windows.stop,
        runs_of(windows),
        largest,
        out,
        present,
    )
    for row, own in enumerate(values):
        for step in range(ctx.step_count):
            window = own[windows.first[0, step] : windows.stop[0, step]]
            assert present[row, step] == bool(window)
            if window:
                expected = plain_extreme(window, largest=largest)
                assert np.array_equal(out[row, step], expected, equal_nan=True)
                assert np.isnan(expected) or np.signbit(out[row, step]) == np.signbit(expected)


def test_steady_and_regular_by_hand():
    times = [0, 15_000, 30_000, 45_000, 60_003, 75_000, 90_000]
    windows, ctx = windows_of(times, [[1.0] * 7], 30_000)
    steady = runs_of(windows)
    # Two samples in a window from the second step on, until they run out.
    assert windows.first[0, :8].tolist() == [0, 0, 1, 2, 3, 4, 4, 6]
    assert steady[0, :8].tolist() == [1, 3, 2, 1, 1, 1, 1, 1]
    regular = np.empty_like(steady)
    run_start = np.zeros(1, dtype=np.int64)
    regular_windows(
        windows.times, run_start, windows.first, windows.stop, ctx.steps_ms, steady, regular
    )
    assert regular[0, :4].tolist() == [1, 3, 2, 1]


def test_a_run_ends_where_windows_move_by_another_number():
    windows, _ = windows_of((np.arange(12) * 15_000).tolist(), [[1.0] * 12], 60_000, 25_000)
    # By turns one sample and two; once all there is has come in, one more and none.
    assert windows.first[0, 3:7].tolist() == [2, 3, 5, 7]
    steady = runs_of(windows)
    assert steady[0, 3:5].tolist() == [2, 3]
    regular = np.empty_like(steady)
    run_start, now_ms = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    regular_windows(windows.times, run_start, windows.first, windows.stop, now_ms, steady, regular)
    assert regular[0, 3:5].tolist() == [2, 3]


def plain_quantile(values, q):
    """NaN ranks lowest."""
    nans = [value for value in values if np.isnan(value)]
    ranked = nans + sorted(value for value in values if not np.isnan(value))
    rank = q * (len(ranked) - 1)
    low = int(rank)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] * (1 - (rank - low)) + ranked[high] * (rank - low)


@given(
    times=shared_times(),
    values=lists,
    range_ms=st.sampled_from([60_000, 600_000, 900_000]),
    step_ms=st.sampled_from([5_000, 15_000, 60_000, 600_000]),
    q=st.sampled_from([0.0, 0.3, 0.5, 0.99, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_quantiles_of_windows_that_slide(times, values, range_ms, step_ms, q):
    windows, ctx = windows_of(times, values, range_ms, step_ms)
    out, present = outputs(windows)
    quantile_windows(
        windows.values,
        windows.value_start,
        windows.window_of,
        windows.first,
        windows.stop,
        np.full(ctx.step_count, q),
        False,
        out,
        present,
    )
    for row, own in enumerate(values):
        for step in range(0, ctx.step_count, 7 if ctx.step_count > 10 else 1):
            window = own[windows.first[0, step] : windows.stop[0, step]]
            assert present[row, step] == bool(window)
            if window:
                with np.errstate(all="ignore"):
                    expected = plain_quantile([np.float64(value) for value in window], q)
                np.testing.assert_array_equal(out[row, step], expected)
