import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.engine import Engine, EngineOptions
from promql.errors import QueryError
from promql.parse import FEATURES, parse
from promql.result_cache import ResultCache, stands_by_itself
from tsdb.database import Database
from tsdb.interface import LabelSpans, Matcher, MatchOp
from tsdb.options import DatabaseOptions
from tsdb.staleness import STALE_NAN

STEP = 15_000
SERIES = [{"__name__": "m_total", "n": str(n), "side": "ab"[n % 2]} for n in range(5)]
QUERIES = (
    "m_total",
    "rate(m_total[1m])",
    "sum by (side) (rate(m_total[2m] offset 30s))",
    "topk(2, m_total)",
    "max_over_time(m_total[1m:15s])",
    'absent(m_total{n="4"})',
    'label_replace(m_total, "to", "x-$1", "n", "(.*)")',
    "count(m_total) * time()",
    "m_total - on(n, side) m_total offset 1m",
    "m_total > 40 or vector(3)",
    "m_total @ 120",
    "m_total offset -30s",
    "limitk(1, m_total)",
    "sum(m_total) / (end() - start())",
    "sum(rate(m_total[1m] smoothed))",
)


def rows(value):
    """Every point by its labels and time."""
    return {
        tuple(sorted(value.labels.row(series).items())): {
            int(value.steps_ms[at]): value.values[series, at].tobytes()
            for at in np.flatnonzero(value.present[series])
        }
        for series in range(value.labels.series_count)
    }


class Rig:
    """Storage, an engine that keeps steps, and one that does not."""

    def __init__(self, **options):
        self.database = Database.in_memory(
            DatabaseOptions(retention_ms=None, background=False, clock_ms=lambda: 10**15)
        )
        self.refs = self.database.resolve(LabelSpans.from_labels(SERIES))
        self.engine = Engine(
            self.database,
            EngineOptions(threads=1, features=FEATURES, **options),
            changes=self.database,
        )
        self.plain = Engine(self.database, EngineOptions(threads=1, features=FEATURES))

    def append(self, series, time_ms, value):
        at = np.atleast_1d(series)
        self.database.append(
            self.refs[at], np.full(at.size, time_ms), np.full(at.size, float(value))
        )

    def fill(self, count):
        for step in range(count):
            self.append(np.arange(len(SERIES)), step * STEP, 7 * step)

    def ask(self, query, start, end, step=STEP):
        kept = self.engine.range(query, start, end, step)
        plain = self.plain.range(query, start, end, step)
        assert rows(kept.value) == rows(plain.value)
        assert kept.value.steps_ms.tolist() == plain.value.steps_ms.tolist()
        assert (kept.warnings, kept.infos) == (plain.warnings, plain.infos)
        assert kept.stats.samples_total == plain.stats.samples_total
        assert kept.stats.samples_per_step == plain.stats.samples_per_step
        return kept

    def close(self):
        self.engine.close()
        self.plain.close()
        self.database.close()

    @property
    def hits(self):
        return self.engine.result_cache.stats().hits


@pytest.fixture
def rig():
    rig = Rig()
    rig.fill(40)
    yield rig
    rig.close()


def test_a_window_that_moves_is_answered_from_what_is_known(rig):
    rig.ask("rate(m_total[1m])", 0, 20 * STEP)
    rig.ask("rate(m_total[1m])", 2 * STEP, 22 * STEP)
    rig.append(np.arange(5), 40 * STEP, 1000)
    rig.ask("rate(m_total[1m])", 3 * STEP, 40 * STEP)
    rig.ask("rate(m_total[1m])", 3 * STEP, 30 * STEP)
    assert rig.hits == 3


def test_only_steps_that_are_not_known_are_read(rig, monkeypatch):
    read = []
    select = rig.database.select

    def spy(selections, **options):
        read.append((selections[0].start_ms, selections[0].end_ms))
        return select(selections, **options)

    monkeypatch.setattr(rig.database, "select", spy)
    rig.engine.range("m_total", 0, 20 * STEP, STEP)
    rig.engine.range("m_total", STEP, 22 * STEP, STEP)
    rig.engine.range("m_total", STEP, 22 * STEP, STEP)
    assert len(read) == 2
    assert read[1][0] > read[0][1] - 301_000


@pytest.mark.parametrize("query", [query for query in QUERIES if "label" not in query])
def test_late_samples_are_seen(rig, query):
    rig.ask(query, 0, 30 * STEP)
    rig.append([2], 10 * STEP + 500, 3)
    rig.ask(query, 0, 30 * STEP)


def test_what_is_deleted_is_gone(rig):
    rig.ask("m_total", 0, 30 * STEP)
    matcher = Matcher("n", MatchOp.EQUAL, "1")
    rig.database.delete([[matcher]], 12 * STEP, 14 * STEP)
    rig.ask("m_total", 0, 30 * STEP)


def test_other_steps_phases_and_lookbacks_are_other_answers(rig):
    rig.ask("m_total", 0, 30 * STEP)
    rig.ask("m_total", 0, 30 * STEP, 2 * STEP)
    rig.ask("m_total", 1, 30 * STEP)
    longer = rig.engine.range("m_total", 0, 100 * STEP, STEP, lookback_ms=1000)
    assert longer.value.values.shape[1] == 101
    assert rig.hits == 0


def test_an_answer_with_annotations_is_not_kept(rig):
    rig.ask("rate(m_total[1m]) + quantile(2, m_total)", 0, 20 * STEP)
    rig.ask("rate(m_total[1m]) + quantile(2, m_total)", 0, 20 * STEP)
    assert rig.hits == 0


def test_limits_hold_for_what_is_known_too():
    rig = Rig(samples_max=150)
    rig.fill(40)
    try:
        rig.engine.range("m_total", 0, 20 * STEP, STEP)
        with pytest.raises(Exception, match="too many samples"):
            rig.engine.range("m_total", 0, 39 * STEP, STEP)
    finally:
        rig.close()


def test_memory_is_bounded_and_the_oldest_answers_go(rig):
    cache = ResultCache(rig.database, 20_000)
    rig.engine.result_cache = cache
    for n in range(10):
        rig.ask(f"m_total + {n}", 0, 39 * STEP)
    stats = cache.stats()
    assert 2 <= stats.entries < 10
    assert stats.bytes_held <= 20_000
    rig.ask("m_total + 9", 0, 39 * STEP)
    rig.ask("m_total + 0", 0, 39 * STEP)
    assert cache.stats().hits == 1


def test_a_size_of_nothing_keeps_nothing():
    rig = Rig(result_cache_bytes=0)
    assert rig.engine.result_cache is None
    rig.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum(rate(a[5m])) / on() group_left sum(b offset 1m)", True),
        ("a @ 5", False),
        ("sum(rate(a[5m] @ end()))", False),
        ("a offset -5m", False),
        ("max_over_time(a[5m:] @ start())", False),
        ("max_over_time(a[5m:] offset -1m)", False),
        ("rate(a[5m] smoothed)", False),
        ("rate(a[step()])", False),
        ("rate(a[5m] offset (1m + 1m))", False),
        ("limitk(2, a)", False),
        ("info(a)", False),
        ("time() + timestamp(a)", True),
    ],
)
def test_which_queries_have_steps_that_stand_by_themselves(query, expected):
    assert stands_by_itself(parse(query, FEATURES)) is expected


ACTION = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 4), st.integers(0, 60), st.integers(0, 99)),
    st.tuples(st.just("scrape"), st.integers(0, 60), st.integers(0, 99)),
    st.tuples(st.just("delete"), st.integers(0, 4), st.integers(0, 60), st.integers(0, 20)),
    st.tuples(st.just("ask"), st.sampled_from(QUERIES), st.integers(0, 40), st.integers(1, 30)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTION, max_size=25))
def test_answers_are_those_without_a_cache_whatever_happens(actions):
    rig = Rig()
    try:
        rig.fill(5)
        for action in actions:
            match action:
                case ("append", series, at, value):
                    rig.append([series], at * STEP + 250, value)
                case ("scrape", at, value):
                    rig.append(np.arange(5), at * STEP, value)
                case ("delete", series, at, span):
                    matcher = Matcher("n", MatchOp.EQUAL, str(series))
                    rig.database.delete([[matcher]], at * STEP, (at + span) * STEP)
                case ("ask", query, start, count):
                    rig.ask(query, start * STEP, (start + count) * STEP)
    finally:
        rig.close()


SELECTORS = st.builds(
    lambda matchers, when: (f"m_total{matchers}", when),
    st.sampled_from(["", '{n="1"}', '{side="a"}', '{n=~"[0-2]"}', '{n!="3"}', '{n="9"}']),
    st.sampled_from(
        ["", "", "", " offset 30s", " offset 2m", " offset -15s", " @ 120", " @ end()"]
    ),
)
"""Before and after the place of a range."""
OF_RANGES = st.builds(
    "{}({})".format,
    st.sampled_from(["rate", "increase", "delta", "changes", "resets", "absent_over_time"])
    | st.sampled_from(["max_over_time", "avg_over_time", "last_over_time", "stddev_over_time"]),
    st.builds(lambda of, range_: range_.join(of), SELECTORS, st.sampled_from(["[1m]", "[150s]"])),
)


def around(inner):
    """What may stand around vectors."""
    return st.one_of(
        st.builds(
            "{} by ({}) ({})".format,
            st.sampled_from(["sum", "avg", "min", "count", "stddev", "group"]),
            st.sampled_from(["", "side", "n"]),
            inner,
        ),
        st.builds("{}({}, {})".format, st.sampled_from(["topk", "limitk"]), st.just(2), inner),
        st.builds(
            "({}) {} ({})".format,
            inner,
            st.sampled_from(["+", "/ on (n)", "> bool", "and", "or", "unless on (side)"]),
            inner,
        ),
        st.builds(
            "sum_over_time(({})[{}]{})".format,
            inner,
            st.sampled_from(["1m:15s", "2m:30s"]),
            st.sampled_from(["", " offset 45s", " offset -30s", " @ start()"]),
        ),
        st.builds('label_replace({}, "n", "x$1", "n", "(.)")'.format, inner),
        st.builds("absent({})".format, inner),
        st.builds("timestamp({})".format, inner),
    )


ANY_QUERY = st.recursive(st.one_of(SELECTORS.map("".join), OF_RANGES), around, max_leaves=4)


def outcome(engine, query, start, end):
    """The points, or the words of the refusal."""
    try:
        answer = engine.range(query, start, end, STEP)
    except QueryError as error:
        return str(error)
    return rows(answer.value), answer.stats.samples_per_step


@settings(max_examples=60, deadline=None)
@given(
    queries=st.lists(ANY_QUERY, min_size=1, max_size=3),
    actions=st.lists(
        st.tuples(
            st.sampled_from(["append", "stale", "delete", "ask", "ask", "ask"]),
            st.integers(0, 4),
            st.integers(0, 50),
            st.integers(1, 30),
        ),
        max_size=25,
    ),
)
def test_random_queries_are_answered_as_without_a_cache(queries, actions):
    rig = Rig()
    try:
        rig.fill(30)
        for kind, series, at, span in [("ask", 0, 0, 20), ("ask", 1, 0, 20), *actions]:
            if kind == "append":
                rig.append([series], at * STEP + 250, span)
            elif kind == "stale":
                rig.append([series], at * STEP + 500, STALE_NAN)
            elif kind == "delete":
                matcher = Matcher("n", MatchOp.EQUAL, str(series))
                rig.database.delete([[matcher]], at * STEP, (at + span) * STEP)
            else:
                query = queries[series % len(queries)]
                span_ms = (at * STEP, (at + span) * STEP)
                kept = outcome(rig.engine, query, *span_ms)
                assert kept == outcome(rig.plain, query, *span_ms), query
    finally:
        rig.close()
