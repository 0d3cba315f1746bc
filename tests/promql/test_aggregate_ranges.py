"""Aggregations that fold their operand as it is made give what the operand as a whole gives."""

import numpy as np
import pytest

from promql import aggregate_ranges
from promql.engine import Engine, EngineOptions
from promql.errors import ExecutionError, TooManySamplesError
from promql.histograms.columns import HistogramRow
from tests.promql.memory_reader import MemoryReader
from tsdb.staleness import STALE_NAN

STEP_MS, STEPS = 15_000, 100
ODD = [0.0, -0.0, 1.0, 5.0, np.nan, np.inf, -np.inf, 1e308, -1e308, float(STALE_NAN)]


def series(rng, kind):
    """Values of one series: a counter, one that restarts, or whatever a float can be."""
    size = STEPS + 20
    if kind == 0:
        return rng.integers(0, 9, size).cumsum()
    if kind == 1:
        return rng.integers(0, 9, size).cumsum() % 60
    return rng.choice(ODD, size)


@pytest.fixture(scope="module")
def reader():
    """Forty series of two targets with times of their own; some begin late, have gaps or end."""
    rng = np.random.default_rng(5)
    reader = MemoryReader()
    for n in range(40):
        times = np.arange(STEPS + 20) * STEP_MS + 700 * (n % 2)
        values = series(rng, n // 2 % 3 if n % 5 == 0 else 0)
        kept = np.ones(times.size, dtype=bool)
        if n % 7 == 1:
            kept[:60] = False
        if n % 7 == 2:
            kept = rng.random(times.size) < 0.5
        if n % 7 == 3:
            kept[50:] = False
        labels = {"__name__": "m_total", "n": str(n), "by": "abc"[n % 3], "side": "xy"[n % 2]}
        reader.add(labels, times[kept], values[kept])
    return reader


@pytest.fixture
def engine(reader):
    engine = Engine(reader, EngineOptions(threads=2))
    yield engine
    engine.close()


def ask(engine, query, **options):
    return engine.range(query, 0, STEPS * STEP_MS, STEP_MS, **options)


OPERANDS = [
    "m_total",
    "(m_total offset 1m)",
    "rate(m_total[1m])",
    "increase((m_total[5m]))",
    "delta(m_total[1m] offset 30s)",
    "irate(m_total[1m])",
    "idelta(m_total[1m])",
    "resets(m_total[5m])",
    "changes(m_total[5m])",
    "sum_over_time(m_total[2m])",
    "avg_over_time(m_total[2m])",
    "stddev_over_time(m_total[2m])",
    "last_over_time(m_total[1m])",
    "count_over_time(m_total[1m])",
    "max_over_time(m_total[10m])",
    "ts_of_min_over_time(m_total[10m])",
]
AGGREGATIONS = [
    "sum by (by)",
    "sum by (n)",
    "avg",
    "min without (n, by)",
    "max by (side)",
    "count by (__name__)",
    "group by (by)",
    "stddev by (by)",
    "stdvar",
]


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_folding_changes_no_bit(reader, engine, monkeypatch, aggregation, operand):
    features = frozenset({"promql-experimental-functions"})
    folding = Engine(reader, EngineOptions(threads=2, features=features))
    query = f"{aggregation} ({operand})"
    found = ask(folding, query)
    monkeypatch.setattr(aggregate_ranges, "STEPS_MIN", 1_000_000)
    expected = ask(folding, query)
    folding.close()
    assert found.value.present.any()
    np.testing.assert_array_equal(found.value.present, expected.value.present)
    there = found.value.present
    np.testing.assert_array_equal(found.value.values[there], expected.value.values[there])
    assert [found.value.labels.row(at) for at in range(found.value.values.shape[0])] == [
        expected.value.labels.row(at) for at in range(found.value.values.shape[0])
    ]
    assert found.infos == expected.infos
    assert found.stats.samples_per_step == expected.stats.samples_per_step
    assert found.stats.samples_peak == expected.stats.samples_peak


def test_folding_is_what_happens(engine, monkeypatch):
    folded = []
    fold = aggregate_ranges.FOLDS["sum"]

    def noted(groups, steps):
        folded.append(steps)
        return fold(groups, steps)

    monkeypatch.setitem(aggregate_ranges.FOLDS, "sum", noted)
    ask(engine, "sum(rate(m_total[1m]))")
    assert sum(folded) == STEPS + 1
    assert len(folded) == 1  # so little is not worth two cores


def test_many_series_are_folded_in_chunks_of_steps(monkeypatch):
    reader = MemoryReader()
    for n in range(600):
        reader.add({"__name__": "m", "n": str(n)}, range(0, 2_000_000, 15_000), [float(n)] * 134)
    engine = Engine(reader, EngineOptions(threads=2))
    result = engine.range("sum(m)", 0, 2_000_000 - 1, 3_000).value
    engine.close()
    assert (result.values == 600 * 599 / 2).all()
    assert result.present.all()


def test_series_that_become_the_same_without_their_names_are_refused(engine):
    reader = MemoryReader()
    for name in "ab":
        reader.add({"__name__": name}, range(0, 1_000_000, 15_000), range(67))
    other = Engine(reader, EngineOptions(threads=1))
    with pytest.raises(ExecutionError, match="same labelset"):
        other.range('sum(rate({__name__=~"a|b"}[1m]))', 0, 900_000, 15_000)


def test_histograms_among_the_samples_are_summed(engine):
    reader = MemoryReader()
    row = HistogramRow(schema=0, count=2.0, sum=3.0)
    reader.add({"__name__": "h"}, range(0, 1_000_000, 15_000), [row] * 67)
    result = Engine(reader, EngineOptions(threads=1)).range("sum(h)", 0, 900_000, 15_000).value
    assert result.histograms is not None
    assert not result.present.any()


def test_what_is_folded_counts_as_if_it_were_held(reader):
    engine = Engine(reader, EngineOptions(samples_max=2_000, threads=1))
    with pytest.raises(TooManySamplesError):
        ask(engine, "sum(rate(m_total[1m]))")
