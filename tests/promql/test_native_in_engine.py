"""Every function, aggregation and operator on a vector of a float and a native histogram.

Histograms must never be lost where they count, nor be read as floats where they do not.
"""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.engine import Engine, EngineOptions
from promql.functions import FUNCTIONS
from promql.histograms.columns import HistogramRow, row_of
from promql.parse import FEATURES
from promql.result import MatrixResult, RawResult, ScalarResult, VectorResult
from tests.promql.memory_reader import MemoryReader
from tsdb.errors import TooManySamplesError
from tsdb.interface import ResetHint
from tsdb.staleness import STALE_NAN

MINUTE = 60_000
AT = 10 * MINUTE
OPTIONS = EngineOptions(threads=1, features=FEATURES)
STALE = float(STALE_NAN)


def histogram(n, hint=ResetHint.UNKNOWN):
    """n observations of about 1, and n of about 2."""
    return HistogramRow(
        count=2.0 * n, sum=3.0 * n, positive=((0, float(n)), (1, float(n))), hint=hint
    )


@pytest.fixture
def engine():
    reader = MemoryReader()
    times = range(0, 11 * MINUTE, MINUTE)
    reader.add({"__name__": "m", "kind": "f"}, times, [float(i) for i in range(11)])
    reader.add({"__name__": "m", "kind": "h"}, times, [histogram(i + 1) for i in range(11)])
    alternating = [histogram(i + 1) if i % 2 else float(i) for i in range(11)]
    reader.add({"__name__": "both", "kind": "x"}, times, alternating)
    engine = Engine(reader, OPTIONS)
    yield engine
    engine.close()


def kinds(value):
    """The points of an answer's last step: by the label `kind`, "h" or the float."""
    if isinstance(value, ScalarResult):
        return value.value
    shown = value.histograms
    out = {}
    for s in range(value.labels.series_count):
        key = value.labels.row(s).get("kind", "")
        if isinstance(value, RawResult):
            out[key] = (int(value.count[s]), 0 if shown is None else int(shown.count[s]))
            continue
        if isinstance(value, VectorResult):
            there, number, row = True, value.values[s], -1 if shown is None else shown.row[s, 0]
        else:
            there, number = value.present[s, -1], value.values[s, -1]
            row = -1 if shown is None else shown.row[s, -1]
        assert not (isinstance(value, MatrixResult) and there and row >= 0)
        if row >= 0 or there:
            assert key not in out
            out[key] = "h" if row >= 0 else float(number)
    return out


ANY = object()
KEEP = {"f": ANY, "h": "h"}
FLOATS = {"f": ANY}
NUMBERS = {"f": ANY, "h": ANY}

OF_VECTOR = {
    **dict.fromkeys(
        [
            "abs",
            "acos",
            "acosh",
            "asin",
            "asinh",
            "atan",
            "atanh",
            "ceil",
            "cos",
            "cosh",
            "deg",
            "exp",
            "floor",
            "ln",
            "log10",
            "log2",
            "rad",
            "round",
            "sgn",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
            "year",
            "month",
            "day_of_month",
            "day_of_week",
            "day_of_year",
            "days_in_month",
            "hour",
            "minute",
            "sort",
            "sort_desc",
        ],
        FLOATS,
    ),
    **{
        key: {"h": ANY}
        for key in [
            "histogram_avg",
            "histogram_count",
            "histogram_stddev",
            "histogram_stdvar",
            "histogram_sum",
        ]
    },
    "timestamp": NUMBERS,
    "absent": {},
}
OF_RANGE = {
    **dict.fromkeys(
        [
            "deriv",
            "min_over_time",
            "max_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "mad_over_time",
            "ts_of_min_over_time",
            "ts_of_max_over_time",
        ],
        FLOATS,
    ),
    **dict.fromkeys(
        [
            "rate",
            "increase",
            "delta",
            "irate",
            "idelta",
            "sum_over_time",
            "avg_over_time",
            "first_over_time",
            "last_over_time",
        ],
        KEEP,
    ),
    **dict.fromkeys(
        [
            "changes",
            "resets",
            "count_over_time",
            "present_over_time",
            "ts_of_first_over_time",
            "ts_of_last_over_time",
        ],
        NUMBERS,
    ),
    "absent_over_time": {},
}
QUERIES = {
    **{f"{name}(m)": expected for name, expected in OF_VECTOR.items()},
    **{f"{name}(m[5m])": expected for name, expected in OF_RANGE.items()},
    "m": KEEP,
    "m[5m]": {"f": (5, 0), "h": (0, 5)},
    "m[5m:1m]": {"f": (5, 0), "h": (0, 5)},
    "m offset 1m": KEEP,
    "last_over_time(m[5m:1m])": KEEP,
    "-m": KEEP,
    "+m": KEEP,
    "m * 2": KEEP,
    "2 * m": KEEP,
    "m / 2": KEEP,
    "m + 2": FLOATS,
    "2 / m": FLOATS,
    "m ^ 2": FLOATS,
    "m </ 2": {"h": "h"},
    "m == 10": {"f": 10.0},
    "m == bool 10": {"f": 1.0},
    "m + m": KEEP,
    "m - m": KEEP,
    "m * m": {"f": 100.0},
    "m == m": KEEP,
    "m != m": {},
    "m == bool m": {"f": 1.0, "h": 1.0},
    "m != bool m": {"f": 0.0, "h": 0.0},
    "m > m": {},
    'm * on() group_left m{kind="f"}': KEEP,
    'm{kind="h"} * on() m{kind="f"}': {"": "h"},
    "m and m": KEEP,
    "m unless m": {},
    'm{kind="f"} or m': KEEP,
    'm{kind="h"} or m': KEEP,
    'm unless m{kind="h"}': FLOATS,
    'm and on() m{kind="h"}': KEEP,
    "sum by (kind) (m)": KEEP,
    "avg by (kind) (m)": KEEP,
    "sum(m)": {},
    "count(m)": {"": 2.0},
    "group by (kind) (m)": {"f": 1.0, "h": 1.0},
    "min(m)": {"": 10.0},
    "max(m)": {"": 10.0},
    "stddev(m)": {"": 0.0},
    "stdvar(m)": {"": 0.0},
    "quantile(0.5, m)": {"": 10.0},
    "topk(5, m)": {"f": 10.0},
    "bottomk(5, m)": {"f": 10.0},
    "limitk(5, m)": KEEP,
    "limit_ratio(1, m)": KEEP,
    'count_values without () ("x", m)': NUMBERS,
    "clamp(m, 0, 5)": {"f": 5.0},
    "clamp_min(m, 50)": {"f": 50.0},
    "clamp_max(m, 5)": {"f": 5.0},
    "scalar(m)": 10.0,
    'label_replace(m, "new", "$1", "kind", "(.*)")': KEEP,
    'label_join(m, "new", "-", "kind")': KEEP,
    'sort_by_label(m, "kind")': KEEP,
    'sort_by_label_desc(m, "kind")': KEEP,
    "histogram_quantile(0.5, m)": {"h": 1.0},
    "histogram_fraction(0, 1, m)": {"h": 0.5},
    'histogram_quantiles(m, "q", 0.5)': {"h": 1.0},
    "quantile_over_time(0.5, m[5m])": FLOATS,
    "predict_linear(m[5m], 60)": FLOATS,
    "double_exponential_smoothing(m[5m], 0.5, 0.5)": FLOATS,
    "rate(m[5m] anchored)": KEEP,
    "rate(m[5m] smoothed)": KEEP,
    "m smoothed": KEEP,
    "info(m)": KEEP,
    "start_timestamp(m)": {"f": 0.0, "h": 0.0},
    "both": {"x": 10.0},
    "both offset 1m": {"x": "h"},
    "both[4m]": {"x": (2, 2)},
    "last_over_time(both[4m])": {"x": 10.0},
    "first_over_time(both[4m])": {"x": "h"},
    "count_over_time(both[4m])": {"x": 4.0},
    "present_over_time(both[4m])": {"x": 1.0},
    "changes(both[4m])": {"x": 3.0},
    "resets(both[4m])": {"x": 3.0},
    "ts_of_last_over_time(both[4m])": {"x": 600.0},
    "ts_of_first_over_time(both[4m])": {"x": 420.0},
    "max_over_time(both[4m])": {"x": 10.0},
    "rate(both[4m])": {},
    "irate(both[4m])": {},
    "sum_over_time(both[4m])": {},
    "absent_over_time(both[4m])": {},
}


@pytest.mark.parametrize(("query", "expected"), QUERIES.items(), ids=QUERIES)
def test_kinds(engine, query, expected):
    answers = [engine.instant(query, AT).value]
    if not isinstance(answers[0], RawResult | ScalarResult):
        answers.append(engine.range(query, AT - 2 * MINUTE, AT, MINUTE).value)
    for answer in answers:
        found = kinds(answer)
        if expected is KEEP or isinstance(expected, dict):
            assert found.keys() == expected.keys()
            for kind, point in expected.items():
                if point is ANY:
                    assert isinstance(found[kind], float)
                else:
                    assert found[kind] == point
        else:
            assert found == expected


def test_every_function_is_looked_at():
    called = {name for query in QUERIES for name in re.findall(r"(\w+)\(", query)}
    without_samples = {"end", "max_of", "min_of", "pi", "range", "start", "step", "time", "vector"}
    assert set(FUNCTIONS) - called == without_samples


def only(value):
    assert value.labels.series_count == 1
    return row_of(value.histograms.columns, int(value.histograms.row[0, -1]))


@pytest.mark.parametrize(
    ("query", "count", "total"),
    [
        pytest.param('m{kind="h"}', 22, 33, id="the newest"),
        pytest.param('increase(m{kind="h"}[5m])', 10, 15, id="4 steps, extrapolated over 5"),
        pytest.param('rate(m{kind="h"}[5m]) * 60', 2, 3, id="per second"),
        pytest.param('delta(m{kind="h"}[5m])', 10, 15, id="the change of a gauge"),
        pytest.param('irate(m{kind="h"}[5m]) * 60', 2, 3, id="the last two"),
        pytest.param('idelta(m{kind="h"}[5m])', 2, 3, id="their difference"),
        pytest.param('sum_over_time(m{kind="h"}[2m])', 42, 63, id="sum of the last two"),
        pytest.param('avg_over_time(m{kind="h"}[2m])', 21, 31.5, id="their average"),
        pytest.param('m{kind="h"} - (m{kind="h"} offset 3m)', 6, 9, id="a difference"),
        pytest.param('increase(m{kind="h"}[5m:1m])', 10, 15, id="a subquery"),
    ],
)
def test_values(engine, query, count, total):
    for value in (
        engine.instant(query, AT).value,
        engine.range(query, AT - 3 * MINUTE, AT, MINUTE).value,
    ):
        found = only(value)
        assert (found.count, found.sum) == pytest.approx((count, total))
        assert dict(found.positive) == pytest.approx({0: count / 2, 1: count / 2})


def test_a_long_range_in_parts_is_the_same(engine):
    """Too much to read at once: the steps are evaluated in halves and joined."""
    query, start, end = 'm{kind="h"} or both', 0, AT
    whole = engine.range(query, start, end, MINUTE).value
    reader = engine._reader

    class Narrow:
        def select(self, selections, *, samples_max=None):
            batches = reader.select(selections)
            if any(s.end_ms - s.start_ms > 7 * MINUTE for s in selections):
                raise TooManySamplesError(1)
            return batches

    parts = Engine(Narrow(), OPTIONS)
    try:
        joined = parts.range(query, start, end, MINUTE).value
    finally:
        parts.close()
    np.testing.assert_array_equal(joined.present, whole.present)
    np.testing.assert_array_equal(joined.histograms.present, whole.histograms.present)
    for s, t in zip(*np.nonzero(whole.histograms.present), strict=True):
        assert row_of(joined.histograms.columns, int(joined.histograms.row[s, t])) == row_of(
            whole.histograms.columns, int(whole.histograms.row[s, t])
        )


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([histogram(1), HistogramRow(sum=STALE)], {}, id="a stale histogram ends it"),
        pytest.param([histogram(1), STALE], {}, id="a stale float as well"),
        pytest.param([1.0, HistogramRow(sum=STALE)], {}, id="a stale histogram after a float"),
        pytest.param([HistogramRow(sum=STALE), histogram(1)], {"x": "h"}, id="it is back"),
        pytest.param([STALE, 2.0], {"x": 2.0}, id="back as a float"),
    ],
)
def test_staleness(samples, expected):
    reader = MemoryReader().add({"__name__": "s", "kind": "x"}, [0, MINUTE], samples)
    engine = Engine(reader, OPTIONS)
    try:
        assert kinds(engine.instant("s", MINUTE).value) == expected
        alive = len([s for s in samples if s == s and getattr(s, "sum", 0) == getattr(s, "sum", 0)])
        counted = kinds(engine.instant("count_over_time(s[2m])", MINUTE).value)
        assert counted == {"x": float(alive)}
    finally:
        engine.close()


def test_histograms_count_by_their_size(engine):
    """Two buckets in one span: (168 + 8 + 8 + 16) / 16 = 12 samples each."""
    assert engine.instant('m{kind="h"}', AT).stats.samples_total == 12
    assert engine.instant('rate(m{kind="h"}[3m])', AT).stats.samples_total == 36
    assert engine.instant("m", AT).stats.samples_total == 13


@given(
    gaps=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    counts=st.lists(st.integers(0, 30), min_size=13, max_size=13),
    func=st.sampled_from(["rate", "increase", "delta", "irate", "idelta", "resets", "changes"]),
)
@settings(deadline=None, max_examples=60)
def test_ranges_of_histograms_are_those_of_their_counts(gaps, counts, func):
    """Extrapolation, which stops at zero, and resets are the same for both kinds of samples."""
    hint = ResetHint.GAUGE if func in ("delta", "idelta") else ResetHint.UNKNOWN
    times = [0, *(1000 * sum(gaps[: number + 1]) for number in range(len(gaps)))]
    reader = MemoryReader()
    known = counts[: len(times)]
    reader.add({"__name__": "f_count"}, times, [float(count) for count in known])
    reader.add(
        {"__name__": "h"},
        times,
        [
            HistogramRow(count=float(n), sum=float(n), positive=((0, float(n)),), hint=hint)
            for n in known
        ],
    )
    shown = func if func in ("resets", "changes") else f"histogram_count({func}"
    closing = "" if func in ("resets", "changes") else ")"
    engine = Engine(reader, OPTIONS)
    of_floats = engine.range(f"{func}(f_count[1m])", 0, times[-1] + MINUTE, 7000)
    of_histograms = engine.range(f"{shown}(h[1m]){closing}", 0, times[-1] + MINUTE, 7000)
    engine.close()
    floats, histograms = of_floats.value, of_histograms.value
    np.testing.assert_array_equal(floats.present, histograms.present)
    np.testing.assert_allclose(
        floats.values[floats.present], histograms.values[histograms.present], rtol=1e-12, atol=1e-12
    )
