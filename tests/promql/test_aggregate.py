"""Folding aggregations: groups, then each one against plain Python."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.aggregate import aggregate
from promql.syntax import Aggregation
from tests.promql.matrices import ANY, assert_same, by_labels, context, key, matrix, scalar

NAN, INF = math.nan, math.inf
BIG = 9.988465674311579e307


def fold(op, values, param=None):
    """Aggregate one group at one step."""
    ctx = context(1)
    vector = matrix([({"i": str(i)}, [value]) for i, value in enumerate(values)], ctx)
    node = Aggregation(op, ANY, ANY if param is not None else None)
    result = aggregate(node, vector, None if param is None else scalar(param), ctx)
    return by_labels(result).get((), [None])[0]


@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        pytest.param("sum", [], None, id="nothing has no sum"),
        pytest.param("sum", [1, 1e100, 1, -1e100], 2.0, id="a sum loses nothing to rounding"),
        pytest.param("sum", [INF, 1, INF], INF, id="an infinite sum is not made NaN"),
        pytest.param("sum", [INF, -INF], NAN, id="opposite infinities have no sum"),
        pytest.param("sum", [1, NAN, 2], NAN, id="not a number spreads"),
        pytest.param("avg", [1, 1e100, 1, -1e100], 0.5, id="nor does a mean lose to rounding"),
        pytest.param("avg", [BIG] * 4, BIG, id="a mean whose sum would overflow"),
        pytest.param("avg", [-BIG, -BIG, BIG, BIG], 0.0, id="and one that comes back"),
        pytest.param("avg", [INF, INF, 3], INF, id="the mean of infinities"),
        pytest.param("avg", [INF, INF, -INF], NAN, id="opposite infinities have no mean"),
        pytest.param("min", [NAN, 2, 1], 1.0, id="min passes over NaN"),
        pytest.param("max", [1, NAN, 2], 2.0, id="max passes over NaN"),
        pytest.param("max", [NAN, NAN], NAN, id="unless there is nothing else"),
        pytest.param("min", [INF, NAN], INF, id="infinity is something else"),
        pytest.param("count", [NAN, 1, 2], 3.0, id="NaN counts"),
        pytest.param("count", [], None, id="an empty group is not there at all"),
        pytest.param("group", [5, 6], 1.0, id="group is one"),
        pytest.param("stdvar", [1, 2, 3, 4], 1.25, id="variance of the population"),
        pytest.param("stddev", [2, 4], 1.0, id="and its root"),
        pytest.param("stdvar", [7], 0.0, id="one value does not vary"),
        pytest.param("stdvar", [INF], NAN, id="infinity has no variance"),
        pytest.param("stddev", [1, NAN], NAN, id="nor has NaN"),
    ],
)
def test_fold(op, values, expected):
    result = fold(op, values)
    assert (result is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("q", "values", "expected"),
    [
        pytest.param(0.5, [3, 1], 2.0, id="between two values"),
        pytest.param(0.5, [3, 1, 2], 2.0, id="at a value"),
        pytest.param(0.0, [3, 1, 2], 1.0, id="zero is the smallest"),
        pytest.param(1.0, [3, 1, 2], 3.0, id="one is the largest"),
        pytest.param(0.75, [0, 1, 4], 2.5, id="weighted"),
        pytest.param(-0.1, [1], -INF, id="below zero"),
        pytest.param(1.1, [1], INF, id="above one"),
        pytest.param(NAN, [1], NAN, id="not a number"),
        pytest.param(0.0, [1, NAN], NAN, id="NaN ranks lowest"),
        pytest.param(1.0, [1, NAN], 1.0, id="and not highest"),
        pytest.param(0.5, [], None, id="of nothing"),
    ],
)
def test_quantile(q, values, expected):
    result = fold("quantile", values, q)
    assert (result is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(result, expected)


@pytest.mark.parametrize(
    ("q", "warnings"),
    [
        pytest.param(0.5, [], id="none for a quantile"),
        pytest.param(2.0, ["2"], id="one above"),
        pytest.param(NAN, ["NaN"], id="one that is no number"),
    ],
)
def test_a_quantile_that_is_none_is_warned_of_even_if_nothing_is_there(q, warnings):
    ctx = context(1)
    aggregate(Aggregation("quantile", ANY, ANY), matrix([], ctx), scalar(q), ctx)
    assert ctx.annotations.warnings == [
        f"PromQL warning: quantile value should be between 0 and 1, got {text} (1:1)"
        for text in warnings
    ]


ROWS = [
    ({"__name__": "m", "a": "1", "b": "x"}, [1, 10]),
    ({"__name__": "m", "a": "2", "b": "x"}, [2, None]),
    ({"__name__": "n", "a": "1"}, [4, 40]),
]


@pytest.mark.parametrize(
    ("grouping", "without", "expected"),
    [
        pytest.param((), False, {(): [7, 50]}, id="all in one"),
        pytest.param(
            ("a",), False, {key(a="1"): [5, 50], key(a="2"): [2, None]}, id="by one label"
        ),
        pytest.param(
            ("b",), False, {key(b="x"): [3, 10], (): [4, 40]}, id="who lacks the label is a group"
        ),
        pytest.param(("zzz",), False, {(): [7, 50]}, id="by a label that nobody has"),
        pytest.param(
            ("__name__",),
            False,
            {key(__name__="m"): [3, 10], key(__name__="n"): [4, 40]},
            id="by name",
        ),
        pytest.param(
            ("b",), True, {key(a="1"): [5, 50], key(a="2"): [2, None]}, id="without drops the name"
        ),
        pytest.param(
            (),
            True,
            {key(a="1", b="x"): [1, 10], key(a="2", b="x"): [2, None], key(a="1"): [4, 40]},
            id="without nothing keeps all but the name",
        ),
    ],
)
def test_groups(grouping, without, expected):
    ctx = context(2)
    node = Aggregation("sum", ANY, None, grouping, without)
    assert_same(by_labels(aggregate(node, matrix(ROWS, ctx), None, ctx)), expected)


@pytest.mark.parametrize(
    ("rows", "dropped", "expected"),
    [
        pytest.param(
            [({"__name__": "m", "i": "1"}, [None]), ({"__name__": "m", "i": "2"}, [1])],
            [1],
            True,
            id="the first series that is there decides",
        ),
        pytest.param(
            [({"__name__": "m", "i": "1"}, [1]), ({"__name__": "m", "i": "2"}, [1])],
            [1],
            False,
            id="not a later one",
        ),
    ],
)
def test_a_group_by_name_takes_over_the_mark_to_drop_it(rows, dropped, expected):
    ctx = context(1, delayed_name_removal=True)
    node = Aggregation("sum", ANY, None, ("__name__",))
    result = aggregate(node, matrix(rows, ctx, dropped), None, ctx)
    assert result.drop_name.tolist() == [expected]


def test_the_quantile_may_change_from_step_to_step():
    ctx = context(3)
    vector = matrix([({"i": "1"}, [1, 1, None]), ({"i": "2"}, [3, 3, 3])], ctx)
    result = aggregate(Aggregation("quantile", ANY, ANY), vector, scalar(0, 1, 0.5), ctx)
    assert by_labels(result) == {(): [1, 3, 3]}


CELLS = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda x: x + 0.0))
TABLES = st.lists(
    st.tuples(st.sampled_from("123"), st.lists(CELLS, min_size=3, max_size=3)), max_size=8
)
PLAIN = {
    "sum": math.fsum,
    "avg": statistics.fmean,
    "min": min,
    "max": max,
    "count": len,
    "group": lambda values: 1.0,
    "stdvar": statistics.pvariance,
    "stddev": statistics.pstdev,
}


@settings(deadline=None)
@given(TABLES, st.sampled_from(sorted(PLAIN)))
def test_every_group_and_step_alone(table, op):
    ctx = context(3)
    vector = matrix([({"g": g, "i": str(i)}, row) for i, (g, row) in enumerate(table)], ctx)
    expected = {}
    for group in {g for g, _ in table}:
        columns = zip(*(row for g, row in table if g == group), strict=True)
        held = [[value for value in column if value is not None] for column in columns]
        if any(held):
            expected[key(g=group)] = [PLAIN[op](values) if values else None for values in held]
    result = by_labels(aggregate(Aggregation(op, ANY, None, ("g",)), vector, None, ctx))
    assert set(result) == set(expected)
    for labels, values in expected.items():
        for got, want in zip(result[labels], values, strict=True):
            assert (got is None) == (want is None)
            if want is not None:
                # Variances of nearly equal values cancel: allow for their size.
                assert got == pytest.approx(want, rel=1e-9, abs=1e-3 if op[:3] == "std" else 1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=9), st.floats(0, 1))
def test_quantiles_agree_with_numpy(values, q):
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        np.testing.assert_allclose(
            fold("quantile", finite, q), np.quantile(finite, q), rtol=1e-9, atol=1e-9
        )
