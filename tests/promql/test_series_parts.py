"""Queries over samples that are read part by part give what they give of all at once."""

from dataclasses import replace

import numpy as np
import pytest

from promql import windows
from promql.engine import Engine, EngineOptions
from promql.series_parts import EACH_SERIES
from promql.signatures import SIGNATURES
from promql.syntax import ValueType
from tests.promql.memory_reader import MemoryReader
from tsdb.errors import ReadAgainError
from tsdb.staleness import STALE_NAN

STEP_MS, STEPS = 15_000, 100
FEATURES = frozenset({"promql-experimental-functions"})


class Later:
    """Values of a batch, read when they are asked for."""

    def __init__(self, batch, reads, *, damaged):
        self._batch, self._reads, self._damaged = batch, reads, damaged

    def read(self, low, high):
        if self._damaged:
            raise ReadAgainError("damaged")
        self._reads.append(high - low)
        batch = self._batch
        runs = zip(batch.value_start[low:high], batch.count[low:high], strict=True)
        return np.concatenate([batch.values[start : start + count] for start, count in runs])


class LaterReader:
    """Leaves all values for later, where it is allowed to."""

    def __init__(self, reader):
        self._reader = reader
        self.reads = []
        self.damaged = False

    def select(self, selections, *, samples_max=None):
        batches = self._reader.select(selections, samples_max=samples_max)
        return [
            self._later(batch) if selection.deferred and batch.count.size else batch
            for selection, batch in zip(selections, batches, strict=True)
        ]

    def _later(self, batch):
        later = Later(batch, self.reads, damaged=self.damaged)
        start = np.cumsum(batch.count) - batch.count
        return replace(batch, values=np.empty(0), value_start=start, deferred=later)


@pytest.fixture(scope="module")
def plain():
    """Forty series of two targets; some restart, begin late, have gaps, markers or end."""
    rng = np.random.default_rng(5)
    reader = MemoryReader()
    for metric, count in (("m_total", 40), ("other", 7)):
        for n in range(count):
            times = np.arange(STEPS + 20) * STEP_MS + 700 * (n % 2)
            values = rng.integers(0, 9, times.size).cumsum().astype(float)
            if n % 5 == 0:
                values %= 60
            values[rng.random(times.size) < 0.02 * (n % 3)] = STALE_NAN
            kept = rng.random(times.size) < (0.5 if n % 7 == 2 else 1.0)
            kept[: 60 * (n % 7 == 1)] = False
            kept[50 if n % 7 == 3 else times.size :] = False
            labels = {"__name__": metric, "n": str(n), "by": "abc"[n % 3], "side": "xy"[n % 2]}
            reader.add(labels, times[kept], values[kept])
    return reader


@pytest.fixture(name="later")
def _later(plain, monkeypatch):
    monkeypatch.setattr(windows, "PART_SAMPLES", 600)
    return LaterReader(plain)


def ask(reader, query, *, instant=False):
    engine = Engine(reader, EngineOptions(threads=2, features=FEATURES))
    try:
        if instant:
            return engine.instant(query, STEPS * STEP_MS)
        return engine.range(query, 0, STEPS * STEP_MS, STEP_MS)
    finally:
        engine.close()


def assert_equal(found, expected):
    value, other = found.value, expected.value
    if hasattr(value, "present"):
        np.testing.assert_array_equal(value.present, other.present)
        there = value.present
        np.testing.assert_array_equal(
            value.values[there].view(np.uint64), other.values[there].view(np.uint64)
        )
        rows = range(value.values.shape[0])
        assert [value.labels.row(n) for n in rows] == [other.labels.row(n) for n in rows]
    else:
        np.testing.assert_array_equal(value.values, other.values)
        rows = range(value.values.shape[0])
        assert [value.labels.row(n) for n in rows] == [other.labels.row(n) for n in rows]
    assert (found.infos, found.warnings) == (expected.infos, expected.warnings)
    assert found.stats.samples_per_step == expected.stats.samples_per_step
    assert found.stats.samples_peak == expected.stats.samples_peak


def call(name, operand):
    """A call of a function of a range with whatever else it wants."""
    others = {ValueType.SCALAR: "0.3", ValueType.STRING: '"x"', ValueType.MATRIX: operand}
    return f"{name}({', '.join(others[kind] for kind in SIGNATURES[name].arguments)})"


@pytest.mark.parametrize("name", sorted(EACH_SERIES))
def test_every_function_of_a_range(plain, later, name):
    query = call(name, "m_total[3m]")
    assert_equal(ask(later, query), ask(plain, query))
    assert len(later.reads) > 3
    assert max(later.reads) < 40


@pytest.mark.parametrize(
    "query",
    [
        "m_total",
        "m_total offset 1m",
        "timestamp(m_total)",
        "m_total / m_total",
        "m_total - ignoring (n, side) group_left () sum by (by) (rate(m_total[1m]))",
        "sum by (by) (m_total)",
        "sum by (n, side) (m_total)",
        "avg(rate(m_total[5m]))",
        "stddev by (side) (avg_over_time(m_total[2m]))",
        "count by (__name__) (last_over_time(m_total[2m]))",
        "topk(3, max_over_time(m_total[2m]))",
        "quantile(0.5, m_total)",
        "rate(m_total[2m] @ end())",
        "max_over_time(rate(m_total[1m])[5m:30s])",
        "sum(rate(m_total[5m])) / sum(increase(m_total[1m]))",
        "absent_over_time(m_total[1m])",
        "quantile_over_time(2, m_total[1m])",
        'count_over_time({__name__=~"m_total|other", n="1"}[1m])',
        'last_over_time({__name__=~"m_total|other"}[1m])',
        'sum by (by) (rate({__name__=~"m_total|other", n="0"}[2m] offset 1h))',
        'rate({__name__=~"m_total|other"}[2m]) and m_total',
        'sum(count_over_time({n=~"1.*"}[1m]))',
        "sum(nothing) or rate(nothing[1m])",
    ],
)
@pytest.mark.parametrize("instant", [False, True], ids=["range", "instant"])
def test_queries(plain, later, query, instant):
    def outcome(reader):
        try:
            return ask(reader, query, instant=instant)
        except Exception as error:  # noqa: BLE001 what it is is compared
            return type(error), str(error)

    found, expected = outcome(later), outcome(plain)
    if isinstance(expected, tuple):
        assert found == expected
    else:
        assert_equal(found, expected)


def test_a_range_as_the_answer(plain, later):
    found = ask(later, "m_total[5m]", instant=True).value
    expected = ask(plain, "m_total[5m]", instant=True).value
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.times, expected.times)


def test_what_turns_out_damaged_is_selected_again(plain, later):
    later.damaged = True
    query = "sum by (by) (rate(m_total[5m])) / count(m_total)"
    assert_equal(ask(later, query), ask(plain, query))
    assert later.reads == []


def test_a_fold_of_nearly_as_many_groups_reads_all_at_once(plain, later, monkeypatch):
    monkeypatch.setattr(windows, "PART_SAMPLES", 1)
    ask(later, "sum by (n) (rate(m_total[5m]))")
    assert later.reads == [40]
    ask(later, "sum(rate(m_total[5m]))")
    assert later.reads[1:] == [1] * 40
