"""What is told of a query is what happens: plans, and what runs of them came to."""

import pytest

from promql.engine import Engine, EngineOptions
from promql.errors import ParseError, RefusedQueryError
from promql.explain_text import plan_members, plan_text
from promql.parse import FEATURES
from tests.promql.memory_reader import MemoryReader

SECOND, MINUTE = 1000, 60_000
START, END, STEP = 10 * MINUTE, 40 * MINUTE, 15 * SECOND
STEPS = (END - START) // STEP + 1


class Unchanged:
    """A source of changes that has none."""

    def change_ticket(self):
        return 0

    def oldest_change_ms(self, ticket):
        return None


@pytest.fixture
def engine():
    reader = MemoryReader()
    times = range(0, 60 * MINUTE, 15 * SECOND)
    for number in range(6):
        labels = {"__name__": "m_total", "job": "ab"[number % 2], "n": str(number)}
        reader.add(labels, times, [float(time) for time in times])
    engine = Engine(reader, EngineOptions(threads=1, features=FEATURES), changes=Unchanged())
    yield engine
    engine.close()


def nodes(explained):
    """All nodes with their depths, top down."""
    found, waiting = [], [(explained.root, 0)]
    while waiting:
        node, depth = waiting.pop()
        found.append((depth, node))
        waiting += [(operand, depth + 1) for operand in reversed(node.operands)]
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "sum by (job) ((rate(m_total[5m])))",
            [(0, "sum by (job)", None), (1, "rate", None), (2, "m_total[5m]", 0)],
            id="parentheses are no node",
        ),
        pytest.param(
            "m_total / on (job) group_left () max by (job) (m_total)",
            [
                (0, "/ on (job) group_left ()", None),
                (1, "m_total", 0),
                (1, "max by (job)", None),
                (2, "m_total", 0),
            ],
            id="two selectors of the same read it once",
        ),
        pytest.param(
            "m_total - m_total offset 1h",
            [(0, "-", None), (1, "m_total", 1), (1, "m_total offset 1h", 0)],
            id="times that do not touch are read apart",
        ),
        pytest.param(
            "topk(2, -m_total)",
            [(0, "topk", None), (1, "2", None), (1, "-", None), (2, "m_total", 0)],
            id="parameters are operands",
        ),
        pytest.param(
            'info(m_total, {a="b"})',
            [(0, "info", 0), (1, "m_total", 1)],
            id="info() reads for itself",
        ),
    ],
)
def test_the_tree_and_its_reads(engine, query, expected):
    found = nodes(engine.explain(query, START, END, STEP))
    assert [(depth, node.text, node.read) for depth, node in found] == expected
    assert all(node.measured is None for _, node in found)


def test_what_is_the_same_at_every_step_and_the_steps_of_a_subquery(engine):
    query = "max_over_time(rate(m_total[1m])[10m:1m]) + m_total @ end()"
    found = {node.text: node.notes for _, node in nodes(engine.explain(query, START, END, STEP))}
    assert found["[10m:1m]"] == ("40 steps of 1m",)
    assert found["m_total @ end()"] == ("once for all steps",)
    assert found["m_total[1m]"] == found["+"] == ()
    at_once = engine.explain(query, START, START, 0)
    assert "once for all steps" not in plan_text(at_once)
    assert "[10 steps of 1m]" in plan_text(at_once)


def test_a_read_says_for_whom_it_is_and_how_much_there_may_be(engine):
    (read,) = engine.explain("sum by (job) (m_total)", START, END, STEP).reads
    assert (read.func, read.grouping, read.by, read.selectors) == ("sum", ("job",), True, 1)
    assert read.matchers == ('__name__="m_total"',)
    assert (read.start_ms, read.end_ms) == (START - 5 * MINUTE + 1, END)
    assert (read.estimated_series, read.estimated_samples) == (6, 6 * 140)
    assert (read.series, read.samples) == (None, None)
    (read,) = engine.explain("m_total / rate(m_total[1m])", START, END, STEP).reads
    assert (read.func, read.selectors) == ("", 2)


def test_a_run_is_measured_node_by_node(engine):
    explained = engine.explain("max(m_total) > rate(m_total[1m])", START, END, STEP, analyze=True)
    answer = engine.range("max(m_total) > rate(m_total[1m])", START, END, STEP)
    assert explained.stats.samples_per_step == answer.stats.samples_per_step
    assert explained.stats.samples_peak == answer.stats.samples_peak
    (read,) = explained.reads
    assert (read.series, read.samples) == (6, 6 * 140)
    measured = {node.text: node.measured for _, node in nodes(explained)}
    extent = {text: (each.series, each.points) for text, each in measured.items() if each}
    assert extent["max"] == (1, STEPS)
    assert extent["rate"] == (6, 6 * STEPS)
    assert extent["m_total[1m]"] == (6, 6 * STEPS * 4)
    assert measured[">"].seconds >= measured["max"].seconds + measured["rate"].seconds > 0
    assert measured["rate"].chunks >= 1


def test_a_fold_is_told_and_its_operand_never_there(engine):
    explained = engine.explain("sum(rate(m_total[1m]))", START, END, STEP, analyze=True)
    (_, top), (_, rate), (_, selector) = nodes(explained)
    assert top.notes == ("its operand's results are folded as they are made",)
    assert (top.measured.series, top.measured.points) == (1, STEPS)
    assert rate.measured is selector.measured is None
    assert selector.read == 0


def test_a_query_that_reads_too_much_at_once_is_run_in_parts():
    reader = MemoryReader()
    times = range(0, 60 * MINUTE, SECOND)
    for number in range(600):
        reader.add({"__name__": "m", "n": str(number)}, times, [1.0] * len(times))
    engine = Engine(reader, EngineOptions(threads=1, samples_max=200_000))
    explained = engine.explain("sum(m)", START, END, STEP, analyze=True)
    engine.close()
    assert explained.parts >= 2
    assert explained.root.measured.points == STEPS
    assert f"in {explained.parts} parts of the time" in plan_text(explained)


def test_steps_are_kept_or_not(engine):
    assert engine.explain("m_total", START, END, STEP).keeps_steps
    assert not engine.explain("m_total @ end()", START, END, STEP).keeps_steps
    assert not engine.explain("m_total", START, START, 0).keeps_steps


def test_a_run_answers_from_no_cache_and_fills_none(engine):
    before = engine.result_cache.stats()
    engine.explain("m_total", START, END, STEP, analyze=True)
    assert engine.result_cache.stats() == before


@pytest.mark.parametrize("analyze", [False, True])
def test_errors_are_those_of_the_query(engine, analyze):
    with pytest.raises(ParseError, match="unexpected end of input"):
        engine.explain("m_total +", START, END, STEP, analyze=analyze)
    with pytest.raises(RefusedQueryError, match="must be Scalar or instant Vector"):
        engine.explain("m_total[5m]", START, END, STEP, analyze=analyze)
    assert engine.explain("m_total[5m]", START, START, 0, analyze=analyze).steps == 1


def test_for_eyes(engine):
    assert plan_text(engine.explain("sum(m_total offset 1m)", START, END, STEP)).splitlines() == [
        "steps  121 of 15s, from 1970-01-01T00:10:00Z to 1970-01-01T00:40:00Z, "
        "kept for the next refresh",
        'read   #0 {__name__="m_total"} from 1970-01-01T00:04:00.001Z to 1970-01-01T00:39:00Z, '
        "for sum: about 6 series, 840 samples",
        "",
        "sum",
        "  m_total offset 1m  [of read #0]",
    ]
    assert plan_text(engine.explain("1", START, START, 0)).splitlines() == [
        "steps  one, at 1970-01-01T00:10:00Z",
        "",
        "1",
    ]


def test_for_programs_also_of_a_deep_tree(engine):
    deep = engine.explain("-" * 900 + "m_total", START, START, 0, analyze=True)
    members = plan_members(deep)
    assert [node["depth"] for node in members["nodes"]] == list(range(901))
    assert members["nodes"][-1]["read"] == 0
    assert members["reads"][0]["read"] == {"series": 6, "samples": 6 * 20}
    assert members["parts"] == 1
    assert members["text"] == plan_text(deep)
