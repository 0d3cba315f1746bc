import pytest

from promql.errors import RefusedQueryError
from promql.parse import FEATURES, parse
from promql.plan import QueryTimes, make_plan
from promql.syntax import MatrixSelector, Subquery, VectorSelector

MINUTE = 60_000


def planned(text, start=0, end=None, step=0):
    expr = parse(text, FEATURES)
    times = QueryTimes(
        start_ms=start,
        end_ms=start if end is None else end,
        step_ms=step,
        lookback_ms=5 * MINUTE,
        default_subquery_step_ms=MINUTE,
    )
    return make_plan(expr, times, text), expr


def ranges(plan):
    return [(selection.start_ms, selection.end_ms) for selection in plan.selections]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        pytest.param("m", 700_001, 2_000_000, id="a selector looks back, left open"),
        pytest.param("m offset 1m", 640_001, 1_940_000, id="an offset moves both ends"),
        pytest.param("m offset -1m", 760_001, 2_060_000, id="a negative offset moves forward"),
        pytest.param("m @ 500", 200_001, 500_000, id="@ fixes the time for all steps"),
        pytest.param("m @ end()", 1_700_001, 2_000_000, id="@ end() is the query's end"),
        pytest.param("m @ start() offset 1m", 640_001, 940_000, id="an offset applies after @"),
        pytest.param("rate(m[1m])", 940_001, 2_000_000, id="a range needs no lookback"),
        pytest.param("rate(m[1m] anchored)", 640_001, 2_000_000, id="an anchored range does"),
        pytest.param(
            "rate(m[1m] smoothed)", 640_001, 2_300_000, id="a smoothed one looks ahead too"
        ),
        pytest.param(
            "max_over_time(m[2m:])",
            # The first multiple of 1m after 880 s is 900 s, the last up to 2000 s is 1980 s.
            600_001,
            1_980_000,
            id="a subquery evaluates at aligned steps",
        ),
        pytest.param(
            "max_over_time(m[2m:1m] offset 1m)", 540_001, 1_920_000, id="a subquery's offset"
        ),
        pytest.param(
            "max_over_time(rate(m[1m])[2m:1m] @ 300)", 180_001, 300_000, id="a fixed subquery"
        ),
        pytest.param(
            "max_over_time(m[2m:1m] offset -2m)", 720_001, 2_100_000, id="a subquery ahead"
        ),
    ],
)
def test_what_is_read(text, first, last):
    plan, _ = planned(text, 1_000_000, 2_000_000, 10_000)
    assert ranges(plan) == [(first, last)]


def test_a_subquery_in_a_subquery_reaches_as_far_back_as_both():
    plan, _ = planned("max_over_time(min_over_time(m[2m:1m])[5m:1m])", 600_000)
    # Outer steps 360 s to 600 s, inner ones from 300 s on, then the lookback.
    assert ranges(plan) == [(1, 600_000)]


@pytest.mark.parametrize("time_ms", [-1000, 0, 1, 59_999, 60_000, -60_000])
def test_subquery_steps_are_the_multiples_within_the_left_open_range(time_ms):
    plan, expr = planned("m[3m:1m]", time_ms)
    steps = plan.inner[id(expr)].steps_ms().tolist()
    assert steps == [
        t for t in range(-600_000, 600_000, MINUTE) if time_ms - 3 * MINUTE < t <= time_ms
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "rate(m[5m]) / rate(m[1m])", [(300_001, 600_000)], id="overlapping ranges read once"
        ),
        pytest.param(
            'm{a="1", b="2"} + m{b="2", a="1"}',
            [(300_001, 600_000)],
            id="the order of matchers does not matter",
        ),
        pytest.param(
            "m + m offset 1d",
            [(300_001 - 86_400_000, 600_000 - 86_400_000), (300_001, 600_000)],
            id="ranges far apart are not bridged",
        ),
        pytest.param("m + n", [(300_001, 600_000)] * 2, id="other matchers, other selections"),
    ],
)
def test_selections_are_shared(text, expected):
    plan, _ = planned(text, 600_000)
    assert sorted(ranges(plan)) == sorted(expected)
    assert set(plan.selection_of.values()) == set(range(len(plan.selections)))


def test_shared_selections_carry_only_hints_true_for_all():
    plan, _ = planned("sum by (a) (rate(m[5m]))", 600_000)
    hints = plan.selections[0].hints
    assert (hints.func, hints.range_ms) == ("rate", 300_000)
    plan, _ = planned("rate(m[5m]) / m", 600_000)
    assert plan.selections[0].hints.func == ""


def test_an_aggregation_hints_its_grouping():
    plan, _ = planned("sum by (a, b) (m)", 600_000)
    hints = plan.selections[0].hints
    assert (hints.func, hints.grouping, hints.by) == ("sum", ("a", "b"), True)


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("m", False),
        ("m @ 1", True),
        ("sum(m @ 1)", True),
        ("rate(m[1m] @ 1)", True),
        ("max_over_time(m[1m:10s] @ 1)", True),
        ("max_over_time((m @ 1)[1m:10s])", False),
        ("m @ 1 + n", False),
        ("m @ 1 + n @ 2", True),
        ("-(m @ 1)", True),
        ("1 + 2", True),
        ("time()", False),
        ("timestamp(m @ 1)", False),
        ("predict_linear(m[1m] @ 1, 60)", False),
        ("topk(scalar(n), m @ 1)", False),
    ],
)
def test_what_is_the_same_at_every_step(text, fixed):
    plan, expr = planned(text, 0, 600_000, 1000)
    assert (id(expr) in plan.invariant) == fixed


@pytest.mark.parametrize(
    ("text", "range_ms"),
    [
        ("m[5m + 1m]", 360_000),
        ("m[step() * 3]", 30_000),
        ("m[range() / 2]", 500_000),
        ("m[2 ^ 3]", 8000),
        ("m[-(-1m)]", 60_000),
        ("m[7 % 4]", 3000),
        ("m[min_of(step(), 5s)]", 5000),
        ("m[max_of(step(), 5s)]", 10_000),
        ("m[1.5]", 1500),
    ],
)
def test_durations_are_resolved_for_the_query(text, range_ms):
    plan, expr = planned(f"rate({text})", 1_000_000, 2_000_000, 10_000)
    (selector,) = expr.args
    assert isinstance(selector, MatrixSelector)
    assert plan.looks[id(selector)].range_ms == range_ms


def test_offsets_and_subqueries_take_duration_expressions_too():
    plan, expr = planned("m offset (step() * -1)", 1_000_000, 2_000_000, 10_000)
    assert isinstance(expr, VectorSelector)
    assert plan.looks[id(expr)].offset_ms == -10_000
    plan, expr = planned("m[1m + 1m : 15s * 2] offset (1m * 2)", 600_000)
    assert isinstance(expr, Subquery)
    inner = plan.inner[id(expr)]
    assert (inner.look.range_ms, inner.step_ms, inner.look.offset_ms) == (120_000, 30_000, 120_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate(m[step() - 5m])", "1:8: parse error: duration must be greater than 0"),
        ("rate(m[step() / (step() - step())])", "1:8: parse error: division by zero"),
        ("rate(m[step() % (step() - step())])", "1:8: parse error: modulo by zero"),
        ("rate(m[range() ^ 30])", "1:8: parse error: duration is out of range"),
    ],
)
def test_a_duration_without_a_value_is_refused(text, message):
    with pytest.raises(RefusedQueryError) as caught:
        planned(text, 0, 10_000, 10_000)
    assert str(caught.value) == message


@pytest.mark.parametrize("time_ms", [2**63 - 1, -(2**63)])
@pytest.mark.parametrize("text", ["m", "rate(m[1m] offset 1y)", "m offset -1y", "m[1y:1d]"])
def test_the_ends_of_time_do_not_overflow(text, time_ms):
    plan, _ = planned(text, time_ms)
    for start_ms, end_ms in ranges(plan):
        assert -(2**63) <= start_ms <= end_ms < 2**63
    for inner in plan.inner.values():
        assert inner.steps_ms().size == 365


def test_a_subquery_finer_than_memory_is_planned_but_not_laid_out():
    plan, expr = planned("m[100y:1ms]", 0)
    assert plan.inner[id(expr)].step_count == 100 * 365 * 86_400_000
