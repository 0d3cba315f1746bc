"""Start timestamps in queries: against a plain reading of Prometheus' rules, window by window."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.engine import Engine, EngineOptions
from promql.histograms.columns import HistogramRow, from_rows
from promql.start_time_kernels import OVERLAP, RESET, align_starts, look_up_starts
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.staleness import STALE_NAN

FEATURES = frozenset({"promql-experimental-functions", "use-start-timestamps"})
RANGE_MS = 50_000


def plain_flag(before, before_start, now, start):
    """Return what a start says of two neighbours, in the words of the specification."""
    flag = 0
    if start == 0:
        return flag
    if start < before and start != before_start:
        flag |= OVERLAP
    if before <= start < now and (start > before or (before_start and before_start < before)):
        flag |= RESET
    return flag


def plain_rate(samples, end_ms, *, per_second):
    """Return rate or increase of (time, value, start) samples inside a window, None for none."""
    begin = end_ms - RANGE_MS
    if not samples:
        return None
    (first_ms, first, start), (last_ms, last, _) = samples[0], samples[-1]
    inside = start != 0 and begin < start < first_ms
    if len(samples) < 2 and not inside:
        return None
    change = last - first
    for (before, low, before_start), (now, high, own) in itertools.pairwise(samples):
        if high < low or plain_flag(before, before_start, now, own) & RESET:
            change += low
    sampled = (last_ms - first_ms) / 1000
    spacing = sampled / (len(samples) - 1) if len(samples) > 1 else 0.0
    to_start, to_end = (first_ms - begin) / 1000, (end_ms - last_ms) / 1000
    if inside:
        to_start, sampled = 0.0, (last_ms - start) / 1000
        change += first
    else:
        if to_start >= spacing * 1.1:
            to_start = spacing / 2
        if change > 0 and first >= 0:
            to_start = min(to_start, sampled * first / change)
    if to_end >= spacing * 1.1:
        to_end = spacing / 2
    result = change * (sampled + to_start + to_end) / sampled
    return result / (RANGE_MS / 1000) if per_second else result


def plain_irate(samples):
    if len(samples) < 2:
        return None
    (before, low, before_start), (now, high, start) = samples[-2:]
    reset = high < low or plain_flag(before, before_start, now, start) & RESET
    return (high if reset else high - low) / ((now - before) / 1000)


def plain_resets(samples):
    if not samples:
        return None
    pairs = itertools.pairwise(samples)
    return sum(bool(y[1] < x[1] or plain_flag(x[0], x[2], y[0], y[2]) & RESET) for x, y in pairs)


def histogram_of(count):
    """A histogram whose count, sum and only bucket are one number: it behaves like a float."""
    return HistogramRow(schema=0, count=count, sum=count, positive=((1, count),), is_float=True)


def store(database, series, *, histograms):
    """Store lists of (time, value, start), one a series, named by their number."""
    labels = [{"__name__": "m_total", "n": str(n)} for n in range(len(series))]
    refs = database.resolve(LabelSpans.from_labels(labels))
    for ref, samples in zip(refs, series, strict=True):
        if not samples:
            continue
        times, values, starts = (list(column) for column in zip(*samples, strict=True))
        own = np.full(len(times), ref)
        if histograms:
            columns = from_rows([histogram_of(value) for value in values])
            database.append_histograms(
                own, np.array(times), columns, start_times_ms=np.array(starts)
            )
        else:
            database.append(own, np.array(times), np.array(values), start_times_ms=np.array(starts))


def answers(database, query, end_ms, features=FEATURES):
    """Return {number of the series: value} at one time; of a histogram its count."""
    engine = Engine(database, EngineOptions(features=features, threads=1))
    try:
        result = engine.instant(query, end_ms)
    finally:
        engine.close()
    value = result.value
    found = {}
    for row in range(value.values.size):
        number = int(value.labels.row(row)["n"])
        if value.histograms is not None and value.histograms.present[row, 0]:
            at = value.histograms.row[row, 0]
            found[number] = float(value.histograms.columns.count[at])
        else:
            found[number] = float(value.values[row])
    return found


@st.composite
def series(draw):
    times = sorted(draw(st.sets(st.integers(1, 100), max_size=10)))
    samples = []
    for time in times:
        before = samples[-1][0] if samples else 0
        start = draw(
            st.sampled_from([0, before, time * 1000, time * 1000 - 1, time * 1000 + 5])
            | st.integers(1, 100_000)
        )
        samples.append((time * 1000, float(draw(st.integers(0, 30))), start))
    return samples


@pytest.mark.parametrize("histograms", [False, True], ids=["floats", "histograms"])
@given(all_series=st.lists(series(), min_size=1, max_size=3), end_s=st.integers(20, 120))
@settings(max_examples=60, deadline=None)
def test_functions_of_windows_equal_the_plain_ones(histograms, all_series, end_s):
    end_ms = end_s * 1000
    database = Database.in_memory()
    try:
        store(database, all_series, histograms=histograms)
        plain = {
            "rate": lambda samples: plain_rate(samples, end_ms, per_second=True),
            "increase": lambda samples: plain_rate(samples, end_ms, per_second=False),
            "irate": plain_irate,
            "resets": plain_resets,
        }
        for name, function in plain.items():
            expected = {}
            for number, samples in enumerate(all_series):
                window = [each for each in samples if end_ms - RANGE_MS < each[0] <= end_ms]
                value = function(window)
                if value is not None:
                    expected[number] = value
            found = answers(database, f"{name}(m_total[50s])", end_ms)
            assert found.keys() == expected.keys(), name
            for number, value in expected.items():
                assert math.isclose(found[number], value, rel_tol=1e-9, abs_tol=1e-9), name
    finally:
        database.close()


@given(samples=series())
@settings(max_examples=60, deadline=None)
def test_starts_and_flags_stand_beside_their_samples(samples):
    times = np.array([time for time, _, _ in samples], np.int64)
    known = [(time, start) for time, _, start in samples if start] + [(200_000, 7)]
    count = np.array([times.size])
    starts, flags = np.empty(times.size, np.int64), np.empty(times.size, np.uint8)
    zero = np.zeros(1, np.int64)
    align_starts(
        times, zero, count, np.array([0, len(known)]), np.array([t for t, _ in known]),
        np.array([s for _, s in known]), zero, zero, starts, flags,
    )  # fmt: skip
    assert starts.tolist() == [start for _, _, start in samples]
    pairs = itertools.pairwise(samples)
    expected = [plain_flag(x[0], x[2], y[0], y[2]) for x, y in pairs]
    assert flags.tolist() == [0, *expected][: times.size]


def test_starts_are_found_by_time():
    wanted = np.array([[10, 15, 30], [10, 5, 40]])
    look_up_starts(np.array([0, 2, 3]), np.array([10, 30, 40]), np.array([1, 2, 3]), wanted)
    assert wanted.tolist() == [[1, 0, 2], [0, 0, 3]]


@pytest.fixture
def database():
    database = Database.in_memory()
    yield database
    database.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("start_timestamp(m_total)", {0: 3.5, 1: 0.0}, id="0 where there is none"),
        pytest.param("start_timestamp((m_total))", {0: 3.5, 1: 0.0}, id="in parentheses"),
        pytest.param("start_timestamp(m_total offset 10s)", {0: 1.0, 1: 2.0}, id="earlier"),
        pytest.param("start_timestamp(m_total @ 10)", {0: 1.0, 1: 2.0}, id="at a time"),
        pytest.param("start_timestamp(m_total + 0)", {}, id="an expression has none"),
        pytest.param("start_timestamp(-m_total)", {}, id="nor has a negated selector"),
        pytest.param("start_timestamp(m_total) > 0", {0: 3.5}, id="to find who has one"),
    ],
)
def test_start_timestamp(database, query, expected):
    store(database, [[(10_000, 1.0, 1000), (20_000, 2.0, 3500)], [(10_000, 1.0, 2000)]],
          histograms=False)  # fmt: skip
    store(database, [[], [(20_000, 5.0, 0)]], histograms=False)
    assert answers(database, query, 20_000) == expected


def test_start_timestamp_of_histograms(database):
    store(database, [[(10_000, 1.0, 1000)]], histograms=True)
    assert answers(database, "start_timestamp(m_total)", 10_000) == {0: 1.0}


@pytest.mark.parametrize("name", ["rate", "increase", "irate", "resets"])
def test_without_the_feature_they_are_not_looked_at(database, name):
    store(database, [[(10_000, 5.0, 1000), (20_000, 5.0, 15_000)]], histograms=False)
    without = frozenset({"promql-experimental-functions"})
    assert answers(database, f"{name}(m_total[50s])", 20_000, without) == {0: 0.0}
    assert answers(database, "start_timestamp(m_total)", 20_000, without) == {}
    assert answers(database, f"{name}(m_total[50s])", 20_000)[0] > 0


def test_stale_markers_do_not_move_starts(database):
    samples = [(10_000, 5.0, 1000), (20_000, float(STALE_NAN), 0), (30_000, 5.0, 25_000)]
    store(database, [samples], histograms=False)
    assert answers(database, "resets(m_total[50s])", 30_000) == {0: 1.0}
    kept = [samples[0], samples[2]]
    expected = plain_rate(kept, 30_000, per_second=False)
    assert answers(database, "increase(m_total[50s])", 30_000)[0] == pytest.approx(expected)
