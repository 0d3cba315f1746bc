import math
import threading
from dataclasses import replace

import pytest

from promql.aggregate import aggregate
from promql.context import Budget
from promql.errors import ExecutionError, TooManySamplesError
from promql.matrix import StringValue
from promql.syntax import Aggregation
from tests.promql.matrices import ANY, by_labels, context, key, matrix

ROWS = [
    ({"__name__": "m", "a": "1", "b": "x"}, [6, 6]),
    ({"__name__": "m", "a": "2", "b": "x"}, [6, 7]),
    ({"__name__": "m", "a": "1", "b": "y"}, [8, None]),
]


def counted(label, rows, grouping=(), without=False):
    ctx = context(len(rows[0][1]))
    node = Aggregation("count_values", ANY, ANY, grouping, without)
    return by_labels(aggregate(node, matrix(rows, ctx), StringValue(label), ctx))


@pytest.mark.parametrize(
    ("label", "grouping", "without", "expected"),
    [
        pytest.param(
            "v",
            (),
            False,
            {key(v="6"): [2, 1], key(v="7"): [None, 1], key(v="8"): [1, None]},
            id="each value at the steps where it occurs",
        ),
        pytest.param(
            "v",
            ("a",),
            False,
            {
                key(a="1", v="6"): [1, 1],
                key(a="1", v="8"): [1, None],
                key(a="2", v="6"): [1, None],
                key(a="2", v="7"): [None, 1],
            },
            id="in groups",
        ),
        pytest.param(
            "a",
            ("a",),
            False,
            {key(a="6"): [2, 1], key(a="7"): [None, 1], key(a="8"): [1, None]},
            id="the value takes the place of a label it is named after",
        ),
        pytest.param(
            "v",
            ("a", "v"),
            True,
            {key(b="x"): [2, 2], key(b="y"): [1, None]},
            id="without the value's own label only numbers remain",
        ),
        pytest.param(
            "__name__",
            ("a",),
            True,
            {key(b="x"): [2, 2], key(b="y"): [1, None]},
            id="the name is never among the labels that remain",
        ),
    ],
)
def test_counted(label, grouping, without, expected):
    assert counted(label, ROWS, grouping, without) == expected


def test_values_are_told_apart_by_what_they_print_as():
    values = [0.0, -0.0, math.nan, -math.nan, 1e21, math.inf]
    rows = [({"i": str(i)}, [value]) for i, value in enumerate(values)]
    texts = ["0", "-0", "NaN", "1000000000000000000000", "+Inf"]
    assert counted("v", rows) == {key(v=text): [2.0 if text == "NaN" else 1.0] for text in texts}


def test_nothing_has_no_values():
    assert counted("v", [({"a": "1"}, [None])]) == {}


@pytest.mark.parametrize(
    ("label", "quoted"),
    [
        pytest.param("", '""', id="empty"),
        pytest.param("a\udcc5z", '"a\\xc5z"', id="not UTF-8"),
    ],
)
def test_a_bad_label_name_is_an_error(label, quoted):
    with pytest.raises(ExecutionError) as raised:
        counted(label, ROWS)
    assert str(raised.value) == f"invalid label name {quoted}"


def test_more_values_than_the_budget_has_room_for_are_refused_before_they_are_laid_out():
    ctx = context(1100)
    rows = [({"i": "1"}, [float(step) for step in range(1100)])]
    ctx = replace(ctx, budget=Budget(10, math.inf, threading.Event()))
    node = Aggregation("count_values", ANY, ANY)
    with pytest.raises(TooManySamplesError):
        aggregate(node, matrix(rows, ctx), StringValue("v"), ctx)
