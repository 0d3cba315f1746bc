"""Changes along lines, which series with equal times share, have the bits of those without."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.rate_kernels import extrapolated_change
from promql.rate_lines import along_lines
from tests.promql.window_cases import numbers
from tests.promql.windows_builder import context, view

rising = st.lists(st.integers(0, 3), min_size=60, max_size=60).map(
    lambda steps: np.cumsum(steps).astype(np.float64).tolist()
)
restarting = st.lists(st.integers(0, 5), min_size=60, max_size=60).map(
    lambda steps: (np.cumsum(steps) % 40).astype(np.float64).tolist()
)
anything = st.lists(numbers, min_size=60, max_size=60)


@st.composite
def shared_times(draw):
    """Times of 60 samples: as regular as scrapes are, or with gaps."""
    gaps = draw(st.lists(st.sampled_from([15_000, 15_000, 15_000, 15_003, 90_000]), min_size=60))
    regular = draw(st.booleans())
    return np.cumsum([15_000] * 60 if regular else gaps[:60]).tolist()


@given(
    times=st.lists(shared_times(), min_size=1, max_size=2),
    values=st.lists(st.one_of(rising, restarting, anything), min_size=1, max_size=5),
    step_ms=st.sampled_from([4_000, 15_000, 15_001, 60_000]),
    is_counter=st.booleans(),
    per_second=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_a_line_changes_no_bit(times, values, step_ms, is_counter, per_second):
    ctx = context(range(30_000, 1_100_000, step_ms))
    series = [(times[at % len(times)], own) for at, own in enumerate(values)]
    windows = view(series, ctx, 60_000)
    shape = (len(series), ctx.step_count)
    found, present = np.zeros(shape), np.empty(shape, dtype=np.bool_)
    fill = along_lines(windows, ctx, is_counter=is_counter, per_second=per_second)
    fill(slice(0, 1), found[:1], present[:1])  # in two chunks
    fill(slice(1, len(series)), found[1:], present[1:])
    expected, expected_present = np.zeros(shape), np.empty(shape, dtype=np.bool_)
    extrapolated_change(
        windows.times,
        windows.time_start,
        windows.values,
        windows.value_start,
        windows.window_of,
        windows.first,
        windows.stop,
        windows.end_ms,
        windows.range_ms,
        is_counter,
        per_second,
        expected,
        expected_present,
    )
    np.testing.assert_array_equal(present, expected_present)
    np.testing.assert_array_equal(found, expected)
    there = present & ~np.isnan(expected)  # NaN of any payload is NaN
    np.testing.assert_array_equal(found[there].view(np.int64), expected[there].view(np.int64))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2, 3, 4, 5], 4, id="a counter that stood above zero reaches both edges"),
        pytest.param([0, 1, 2, 3, 4], 4, id="one that began at zero did not begin before"),
        pytest.param([0, 0, 0, 0, 0], 0, id="one that stands still does so beyond the edges"),
        pytest.param([8, 9, 1, 2, 3], 4, id="a reset counts what came before it"),
    ],
)
def test_five_samples_from_edge_to_edge(values, expected):
    ctx = context([60_000])
    times = [1, 15_000, 30_000, 45_000, 60_000]
    windows = view([(times, values)], ctx, 60_000)
    out, present = np.empty((1, 1)), np.empty((1, 1), dtype=np.bool_)
    fill = along_lines(windows, ctx, is_counter=True, per_second=False)
    fill(slice(0, 1), out, present)
    assert present.all()
    np.testing.assert_allclose(out, [[expected]], rtol=1e-4)
