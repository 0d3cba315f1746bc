import threading

import numpy as np
import pytest

from promql.engine import Engine, EngineOptions
from promql.errors import (
    CanceledError,
    ExecutionError,
    ParseError,
    QueryTimeoutError,
    RefusedQueryError,
    TooManySamplesError,
)
from promql.result import (
    MatrixResult,
    RawResult,
    ScalarResult,
    StringResult,
    VectorResult,
)
from tests.promql.memory_reader import MemoryReader, MemorySymbols
from tsdb.staleness import STALE_NAN

SECOND = 1000
MINUTE = 60 * SECOND


@pytest.fixture
def reader():
    """Four counters, a sample each 15 s for an hour: by 1, 2, 3, 4 a sample; one of them ends."""
    reader = MemoryReader()
    times = range(0, 60 * MINUTE, 15 * SECOND)
    for n in range(4):
        values = [float((n + 1) * i) for i in range(len(times))]
        labels = {"__name__": "m_total", "n": str(n), "side": "ab"[n % 2]}
        if n == 3:
            values[121:] = [float(STALE_NAN)] + [np.nan] * (len(values) - 122)
            reader.add(labels, times[:122], values[:122])
        else:
            reader.add(labels, times, values)
    return reader


@pytest.fixture
def engine(reader):
    engine = Engine(reader, EngineOptions(threads=2))
    yield engine
    engine.close()


def rows(result):
    return [result.labels.row(series) for series in range(result.labels.series_count)]


def test_each_type_has_its_result(engine):
    at = 10 * MINUTE
    assert engine.instant("1 + 1", at).value == ScalarResult(at, 2.0)
    assert engine.instant('"a"', at).value == StringResult(at, "a")
    assert isinstance(engine.instant("m_total", at).value, VectorResult)
    assert isinstance(engine.instant("m_total[1m]", at).value, RawResult)
    assert isinstance(engine.instant("m_total[1m:30s]", at).value, RawResult)
    assert isinstance(engine.range("m_total", 0, at, MINUTE).value, MatrixResult)


def test_a_scalar_over_a_range_is_one_series_without_labels(engine):
    value = engine.range("time() / 60", 0, 3 * MINUTE, MINUTE).value
    assert isinstance(value, MatrixResult)
    assert rows(value) == [{}]
    assert value.values.tolist() == [[0, 1, 2, 3]]
    assert value.present.all()
    assert value.steps_ms.tolist() == [0, MINUTE, 2 * MINUTE, 3 * MINUTE]


def test_the_last_step_is_the_last_that_fits(engine):
    value = engine.range("m_total", 0, 100 * SECOND, 30 * SECOND).value
    assert value.steps_ms.tolist() == [0, 30_000, 60_000, 90_000]


@pytest.mark.parametrize("kind", ["m_total[1m]", '"text"'])
def test_a_range_query_has_no_ranges_or_strings(engine, kind):
    name = "range vector" if "[" in kind else "string"
    with pytest.raises(RefusedQueryError) as caught:
        engine.range(kind, 0, MINUTE, MINUTE)
    assert str(caught.value) == (
        f'invalid expression type "{name}" for range query, must be Scalar or instant Vector'
    )
    assert isinstance(caught.value, ParseError)


def test_a_raw_range_shows_stored_samples_without_stale_markers(engine):
    value = engine.instant("m_total[45s]", 30 * MINUTE + 15 * SECOND).value
    assert value.count.tolist() == [3, 3, 3, 2]
    start = value.time_start[3]
    assert value.times[start : start + 2].tolist() == [29 * MINUTE + 45 * SECOND, 30 * MINUTE]


def test_a_series_without_samples_in_the_range_is_left_out(engine):
    assert engine.instant("m_total[1m]", 50 * MINUTE).value.count.size == 3
    assert engine.instant("m_total[1m]", 90 * MINUTE).value.count.size == 0


def test_matrix_rows_are_sorted_and_present_somewhere(engine):
    value = engine.range("sort_desc(m_total)", 40 * MINUTE, 50 * MINUTE, MINUTE).value
    assert [row["n"] for row in rows(value)] == ["0", "1", "2"]
    assert value.present.any(axis=1).all()


def test_sorting_functions_order_an_instant_vector(engine):
    value = engine.instant("sort_desc(m_total)", 10 * MINUTE).value
    assert value.values.tolist() == [160, 120, 80, 40]


QUERIES = [
    "m_total",
    "m_total offset 90s",
    "m_total offset -90s",
    "m_total @ 600",
    "m_total @ 600 offset 1m + m_total",
    "sum by (side) (rate(m_total[1m]))",
    "increase(m_total[5m] offset 1m)",
    "max_over_time(rate(m_total[1m])[5m:30s])",
    "sum_over_time(min_over_time(m_total[1m:20s])[3m:1m] offset -1m)",
    "quantile_over_time(0.5, m_total[2m] @ end())",
    "avg_over_time(m_total[2m]) / on (n) group_left m_total",
    "predict_linear(m_total[5m] @ 900, 60)",
    "timestamp(m_total)",
    "time() - timestamp(m_total offset 10s)",
    "topk(2, m_total)",
    "absent(m_total{n='3'})",
    "absent_over_time(m_total{n='3'}[1m])",
    "m_total > 300 or vector(1)",
    "-m_total and on (side) m_total{n='3'}",
    "scalar(sum(m_total)) + 1",
    "last_over_time(m_total[1m]) == bool 5",
    "count_values('v', m_total > bool 100)",
    "max_over_time((m_total @ start())[1m:10s])",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_range_query_is_an_instant_query_at_each_step(engine, query):
    start, end, step = 27 * MINUTE, 35 * MINUTE, 50 * SECOND
    whole = engine.range(query, start, end, step).value
    fixed = query.replace("start()", str(start // SECOND)).replace("end()", str(end // SECOND))
    seen = 0
    for at, time_ms in enumerate(whole.steps_ms.tolist()):
        one = engine.instant(fixed, time_ms).value
        if isinstance(one, ScalarResult):
            expected = {(): one.value}
        else:
            expected = {
                tuple(row.items()): value
                for row, value in zip(rows(one), one.values.tolist(), strict=True)
            }
        got = {
            tuple(row.items()): whole.values[series, at]
            for series, row in enumerate(rows(whole))
            if whole.present[series, at]
        }
        assert got.keys() == expected.keys()
        for key, value in got.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-12)
        seen += len(got)
    assert seen > 0


class Grudging(MemoryReader):
    """Reads no more than some hundred samples at once, and gives every read ids of its own."""

    def __init__(self, reader, read_max):
        super().__init__()
        self.all, self.read_max, self.reads = reader.all, read_max, 0

    def select(self, selections, *, samples_max=None):
        self.reads += 1
        self.symbols = MemorySymbols()
        self.symbols.intern(f"an id that shifts all others, {self.reads}")
        return super().select(selections, samples_max=self.read_max)


@pytest.mark.parametrize("query", QUERIES)
def test_a_range_that_reads_too_much_is_answered_in_parts(engine, reader, query):
    start, end, step = 27 * MINUTE, 35 * MINUTE, 50 * SECOND
    whole = engine.range(query, start, end, step)
    grudging = Grudging(reader, 180)
    parts = Engine(grudging, EngineOptions(threads=1)).range(query, start, end, step)
    assert rows(parts.value) == rows(whole.value)
    np.testing.assert_array_equal(parts.value.steps_ms, whole.value.steps_ms)
    np.testing.assert_array_equal(parts.value.present, whole.value.present)
    there = whole.value.present
    np.testing.assert_array_equal(parts.value.values[there], whole.value.values[there])
    assert parts.infos == whole.infos
    if "start()" not in query and "end()" not in query:
        assert parts.stats.samples_per_step == whole.stats.samples_per_step


def test_parts_are_really_read_apart(reader):
    grudging = Grudging(reader, 180)
    Engine(grudging, EngineOptions(threads=1)).range("m_total", 0, 50 * MINUTE, MINUTE)
    assert grudging.reads > 4


def test_all_selections_are_read_in_one_call(engine, reader):
    engine.instant("rate(m_total[5m]) / rate(m_total[1m]) + m_total{n='1'}", 10 * MINUTE)
    assert len(reader.selections) == 2


def test_a_query_without_selectors_reads_nothing(engine, reader):
    engine.instant("vector(1)", 0)
    assert reader.selections == []


def test_the_lookback_may_be_set_for_a_query(engine):
    at = 65 * MINUTE
    assert rows(engine.instant("m_total", at).value) == []
    assert len(rows(engine.instant("m_total", at, lookback_ms=10 * MINUTE).value)) == 3


class TestLimits:
    def test_points_held_at_once(self, reader):
        engine = Engine(reader, EngineOptions(samples_max=30, threads=1))
        assert engine.range("m_total", 0, 6 * MINUTE, MINUTE).value.values.shape == (4, 7)
        with pytest.raises(TooManySamplesError, match="too many samples into memory in query exec"):
            engine.range("m_total", 0, 7 * MINUTE, MINUTE)

    def test_a_windows_samples(self, reader):
        engine = Engine(reader, EngineOptions(samples_max=30, threads=1))
        engine.instant("sum_over_time(m_total{n='0'}[7m])", 10 * MINUTE)
        with pytest.raises(TooManySamplesError):
            engine.instant("sum_over_time(m_total{n='0'}[8m])", 10 * MINUTE)

    def test_a_raw_answers_samples(self, reader):
        engine = Engine(reader, EngineOptions(samples_max=30, threads=1))
        engine.instant("m_total[1m]", 10 * MINUTE)
        with pytest.raises(TooManySamplesError):
            engine.instant("m_total[3m]", 10 * MINUTE)

    def test_what_is_read_for_one_step_is_bounded(self):
        reader = MemoryReader()
        for n in range(6):
            reader.add({"__name__": "m", "n": str(n)}, range(200_000), range(200_000))
        engine = Engine(reader, EngineOptions(samples_max=300_000, threads=1))
        engine.instant('sum(count_over_time(m{n!="5"}[3m19s]))', 199_000)
        with pytest.raises(TooManySamplesError):
            engine.instant("sum(count_over_time(m[3m19s]))", 199_000)

    def test_the_deadline(self, engine):
        with pytest.raises(QueryTimeoutError, match="query timed out in expression evaluation"):
            engine.instant("m_total", 0, timeout_s=-1.0)

    def test_a_request_cannot_lengthen_the_time_limit(self, reader):
        engine = Engine(reader, EngineOptions(timeout_s=-1.0, threads=1))
        with pytest.raises(QueryTimeoutError):
            engine.instant("m_total", 0, timeout_s=100.0)

    def test_cancellation(self, engine):
        canceled = threading.Event()
        canceled.set()
        with pytest.raises(CanceledError):
            engine.instant("m_total", 0, canceled=canceled)


def test_a_bad_pattern_of_storage_fails_the_query(engine):
    class Broken(MemoryReader):
        def select(self, selections, *, samples_max=None):
            from tsdb.errors import ClosedError

            raise ClosedError("closed")

    with pytest.raises(ExecutionError, match="expanding series: closed"):
        Engine(Broken(), EngineOptions(threads=1)).instant("m_total", 0)


class TestStats:
    @pytest.mark.parametrize(
        ("query", "total"),
        [
            pytest.param("m_total", 3, id="a sample a series"),
            pytest.param("rate(m_total[1m])", 12, id="all samples of the windows"),
            pytest.param("rate(m_total[1m]) + m_total", 15, id="each selector for itself"),
            pytest.param("max_over_time(m_total[60s:5s])", 36, id="a subquery's own points"),
            pytest.param(
                "max_over_time(rate(m_total[5m])[60s:5s])", 36, id="not what they came from"
            ),
            pytest.param("1 + 1", 0, id="nothing is read"),
        ],
    )
    def test_samples_of_an_instant_query(self, engine, query, total):
        stats = engine.instant(query, 50 * MINUTE).stats
        assert stats.samples_total == total
        assert stats.samples_per_step == [total]

    def test_samples_of_a_range_query_step_by_step(self, engine):
        start = 29 * MINUTE + 45 * SECOND
        stats = engine.range("m_total", start, start + 30_000, 15_000).stats
        assert stats.samples_per_step == [4, 4, 3]
        assert stats.samples_total == 11
        stats = engine.range("m_total @ 60", start, start + 30_000, 15_000).stats
        assert stats.samples_per_step == [4, 4, 4]

    @pytest.mark.parametrize(
        ("query", "peak"),
        [
            pytest.param("m_total", 4, id="a selector: its points"),
            pytest.param("m_total + m_total", 20, id="operands, their points at a step, results"),
            pytest.param("abs((m_total))", 12, id="a function likewise"),
            pytest.param("clamp(m_total, 0, 1)", 16, id="and its scalars"),
            pytest.param("1 + 1", 5, id="also where all are scalars"),
            pytest.param("sum(m_total)", 4, id="an aggregation folds what it has"),
            pytest.param("topk(1, m_total)", 5, id="its parameter is a point"),
            pytest.param('count_values("v", m_total)', 12, id="but values are counted in steps"),
            pytest.param("-m_total", 4, id="a minus is made in place"),
            pytest.param('label_replace(m_total, "a", "", "b", "c")', 4, id="and labels are"),
            pytest.param("rate(m_total[1m])", 8, id="the window of a series, and the results"),
            pytest.param("quantile_over_time(1, m_total[1m])", 9, id="and scalars beside it"),
            pytest.param(
                "absent_over_time(m_total[1m])", 8, id="absence is found series by series"
            ),
            pytest.param("m_total[1m]", 16, id="windows that are the answer: all of them"),
            pytest.param("timestamp(m_total)", 8, id="the time of a selector is its own point"),
            pytest.param("timestamp(abs(m_total))", 12, id="others have been there before"),
            pytest.param("scalar(m_total)", 9, id="a scalar is a point"),
            pytest.param("absent(m_total)", 8, id="nothing counts for nothing"),
            pytest.param("vector(1)", 3, id="a vector of a scalar"),
        ],
    )
    def test_the_peak_is_what_prometheus_holds_at_once(self, engine, query, peak):
        assert engine.instant(query, 10 * MINUTE).stats.samples_peak == peak

    @pytest.mark.parametrize(
        ("query", "peak"),
        [
            pytest.param("m_total", 12, id="all steps of a selector"),
            pytest.param("abs(m_total)", 28, id="of the operands' points only those of one step"),
            pytest.param("rate(m_total[1m])", 16, id="one window"),
            pytest.param("sum(rate(m_total[1m]))", 16, id="and nothing on top by an aggregation"),
            pytest.param("abs(m_total @ 60)", 12, id="what is fixed is worked out for one step"),
        ],
    )
    def test_the_peak_of_a_range(self, engine, query, peak):
        start = 10 * MINUTE
        stats = engine.range(query, start, start + 30_000, 15_000).stats
        assert stats.samples_peak == peak

    def test_times_add_up(self, engine):
        stats = engine.instant("m_total", 10 * MINUTE).stats
        assert stats.total_s >= stats.eval_total_s >= stats.inner_eval_s > 0


class TestDelayedNameRemoval:
    def test_off_the_name_goes_at_once(self, engine):
        value = engine.instant("sum by (__name__) (rate(m_total[1m]))", 10 * MINUTE).value
        assert rows(value) == [{}]

    def test_on_it_goes_at_the_end(self, reader):
        engine = Engine(reader, EngineOptions(delayed_name_removal=True, threads=1))
        query = 'label_replace(rate(m_total{n="0"}[1m]), "name", "$1", "__name__", "(.*)")'
        (row,) = rows(engine.instant(query, 10 * MINUTE).value)
        assert row == {"name": "m_total", "n": "0", "side": "a"}

    def test_what_becomes_the_same_is_merged_or_refused(self):
        reader = MemoryReader()
        reader.add({"__name__": "a"}, [0], [1]).add({"__name__": "b"}, [0, 600_000], [3, 4])
        engine = Engine(reader, EngineOptions(delayed_name_removal=True, threads=1))
        value = engine.range("-a or -b", 0, 1_200_000, 600_000).value
        assert rows(value) == [{}]
        assert value.values[value.present].tolist() == [-1, -4]
        with pytest.raises(ExecutionError, match="same labelset"):
            engine.range('-{__name__=~"a|b"}', 0, 600_000, 600_000)


@pytest.mark.parametrize("query", [query for query in QUERIES if "scalar" not in query])
def test_a_subquery_without_steps_of_its_own_is_empty(engine, query):
    # No multiple of an hour lies in the second before 10:01.
    value = engine.instant(f"last_over_time(({query})[1s:1h])", 10 * 60 * MINUTE + MINUTE)
    assert rows(value.value) == []


@pytest.mark.parametrize("time_ms", [2**63 - 1, -(2**63)])
def test_the_ends_of_time_are_empty(engine, time_ms):
    for query in ("m_total", "rate(m_total[1m] offset -1y)", "max_over_time(m_total[1y:1d])"):
        assert rows(engine.instant(query, time_ms).value) == []
    assert rows(engine.range("m_total", time_ms, time_ms, 1).value) == []


def test_a_subquery_with_too_many_steps_is_refused(engine):
    with pytest.raises(TooManySamplesError):
        engine.instant("max_over_time(m_total[100y:1ms])", 0)


def test_parsed_queries_are_kept_and_bounded(reader):
    engine = Engine(reader, EngineOptions(parsed_max=2, threads=1))
    first = engine._parsed.get("m_total")
    assert engine._parsed.get("m_total") is first
    engine._parsed.get("a")
    engine._parsed.get("b")
    assert engine._parsed.get("m_total") is not first


def test_many_threads_may_ask_at_once(engine):
    results = []

    def ask():
        for _ in range(20):
            value = engine.range("sum(rate(m_total[1m]))", 5 * MINUTE, 20 * MINUTE, SECOND).value
            results.append(value.values.sum())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert len(set(results)) == 1


def test_a_closed_engine_still_answers(reader):
    engine = Engine(reader, EngineOptions(threads=2))
    engine.close()
    assert engine.instant("count(m_total)", 10 * MINUTE).value.values.tolist() == [4]
