import json

import pytest
from hypothesis import HealthCheck, given, settings

from promql.parse import FEATURES, parse
from promql.tree_json import tree_json
from tests.promql.expressions import expressions

VECTOR = {
    "matchers": [{"name": "__name__", "type": "=", "value": "foo"}],
    "name": "foo",
    "offset": 0,
    "startOrEnd": None,
    "timestamp": None,
    "type": "vectorSelector",
}


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        pytest.param("foo", VECTOR, id="a vector"),
        pytest.param(
            "foo[5m] @ start() offset -1s",
            {**VECTOR, "type": "matrixSelector", "range": 300_000, "startOrEnd": "start",
             "offset": -1000},
            id="a range with modifiers",
        ),
        pytest.param(
            "foo[5m:] @ 1.5",
            {"expr": VECTOR, "offset": 0, "range": 300_000, "startOrEnd": None, "step": 0,
             "timestamp": 1500, "type": "subquery"},
            id="a subquery",
        ),
        pytest.param("'a\\xff'", {"type": "stringLiteral", "val": "a\ufffd"}, id="no text"),
        pytest.param("1e21", {"type": "numberLiteral", "val": "1" + "0" * 21}, id="a number"),
        pytest.param(
            "-foo", {"expr": VECTOR, "op": "-", "type": "unaryExpr"}, id="a sign"
        ),
        pytest.param(
            "scalar(foo)",
            {"args": [VECTOR], "type": "call", "func": {"argTypes": ["vector"], "name": "scalar",
             "returnType": "scalar", "variadic": 0}},
            id="a call",
        ),
        pytest.param(
            "topk by (a) (1, foo)",
            {"expr": VECTOR, "grouping": ["a"], "op": "topk", "type": "aggregation",
             "param": {"type": "numberLiteral", "val": "1"}, "without": False},
            id="an aggregation",
        ),
        pytest.param(
            "foo + on(a) group_left(b) fill_left(1) foo",
            {"bool": False, "lhs": VECTOR, "op": "+", "rhs": VECTOR, "type": "binaryExpr",
             "matching": {"card": "many-to-one", "include": ["b"], "labels": ["a"], "on": True,
                          "fillValues": {"lhs": 1, "rhs": None}}},
            id="a binary expression",
        ),
        pytest.param("foo anchored", {**VECTOR, "anchored": True}, id="anchored"),
        pytest.param(
            "foo[1 + 2]",
            {**VECTOR, "type": "matrixSelector", "range": 0, "rangeExpr": "1 + 2"},
            id="a duration expression",
        ),
    ],
)  # fmt: skip
def test_tree(text, tree):
    assert json.loads(tree_json(parse(text, FEATURES))) == tree


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(expressions(3))
def test_members_are_in_alphabetical_order(expr):
    members = []
    json.loads(tree_json(expr), object_pairs_hook=lambda pairs: members.append(pairs))
    assert members
    assert all(pairs == sorted(pairs, key=lambda pair: pair[0]) for pairs in members)
