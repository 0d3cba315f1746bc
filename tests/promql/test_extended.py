"""Beyond the upstream scripts: edges, against the definition written out for one window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.engine import Engine, EngineOptions
from promql.parse import FEATURES
from tests.promql.memory_reader import MemoryReader
from tests.promql.window_cases import finite

RANGE_MS, LOOKBACK_MS = 60_000, 300_000
STEPS = (40_000, 60_000, 95_000, 200_000, 900_000)


def on_line(left, right, at, is_counter):
    y = 0.0 if is_counter and right[1] < left[1] else left[1]
    return y + (right[1] - y) * (at - left[0]) / (right[0] - left[0])


def plain_change(samples, end, extension, is_counter):
    """The change of one window from edge to edge, or None."""
    begin = end - RANGE_MS
    before = [s for s in samples if begin - LOOKBACK_MS < s[0] <= begin][-1:]
    inside = [s for s in samples if begin < s[0] <= end]
    after = [s for s in samples if end < s[0] <= end + LOOKBACK_MS][:1]
    if extension == "anchored":
        if not inside:
            return None
        points = before + inside
    else:
        if not inside and not (before and after):
            return None
        points = before + inside
        if not inside or inside[-1][0] < end:
            points += after
    left, right = points[0][1], points[-1][1]
    if extension == "smoothed" and points[0][0] < begin:
        left = on_line(points[0], points[1], begin, is_counter)
    if extension == "smoothed" and points[-1][0] > end:
        right = on_line(points[-2], points[-1], end, is_counter)
    change, previous = right - left, left
    if is_counter:
        for value in [v for t, v in points if begin < t < end] + [right]:
            change += previous if value < previous else 0
            previous = value
    return change


sample_lists = st.lists(
    st.tuples(st.integers(0, 1000), finite), min_size=1, max_size=25, unique_by=lambda s: s[0]
).map(lambda samples: sorted((1000 * time, value) for time, value in samples))


@pytest.mark.parametrize("extension", ["anchored", "smoothed"])
@pytest.mark.parametrize("func", ["increase", "delta"])
@given(samples=sample_lists)
@settings(deadline=None, max_examples=60)
def test_change_equals_the_definition(extension, func, samples):
    reader = MemoryReader().add({"__name__": "m_total"}, *zip(*samples, strict=True))
    engine = Engine(reader, EngineOptions(features=FEATURES, threads=1))
    for end in STEPS:
        value = engine.instant(f"{func}(m_total[1m] {extension})", end).value
        expected = plain_change(samples, end, extension, func == "increase")
        if expected is None:
            assert value.values.size == 0
        else:
            np.testing.assert_allclose(value.values, [expected], rtol=1e-9, atol=1e-6)


@given(samples=sample_lists)
@settings(deadline=None, max_examples=60)
def test_a_smoothed_selector_lies_on_the_line(samples):
    reader = MemoryReader().add({"__name__": "m"}, *zip(*samples, strict=True))
    engine = Engine(reader, EngineOptions(features=FEATURES, threads=1))
    value = engine.range("m smoothed", 0, 900_000, 45_000).value
    for step, at in enumerate(range(0, 900_001, 45_000)):
        before = [s for s in samples if at - LOOKBACK_MS < s[0] <= at][-1:]
        after = [s for s in samples if at < s[0] <= at + LOOKBACK_MS][:1]
        if not before:
            assert value.labels.series_count == 0 or not value.present[0, step]
            continue
        expected = before[0][1]
        if before[0][0] < at and after:
            expected = on_line(before[0], after[0], at, False)
        np.testing.assert_allclose(value.values[0, step], expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        pytest.param("anchored", [(60, 1.0), (75, 3.0), (90, 4.0), (120, 4.0)], id="anchored"),
        pytest.param("smoothed", [(60, 2.0), (75, 3.0), (90, 4.0), (120, 6.0)], id="smoothed"),
    ],
)
def test_a_raw_range_has_a_sample_on_each_edge(extension, expected):
    times, values = [45_000, 75_000, 90_000, 150_000], [1.0, 3.0, 4.0, 8.0]
    reader = MemoryReader().add({"__name__": "m"}, times, values)
    engine = Engine(reader, EngineOptions(features=FEATURES, threads=1))
    value = engine.instant(f"m[1m] {extension}", 120_000).value
    got = list(zip((value.times / 1000).tolist(), value.values.tolist(), strict=True))
    assert value.count.tolist() == [4]
    assert got == expected
