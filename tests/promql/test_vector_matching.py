"""Binary operators between vectors, against one step at a time with dicts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.errors import ExecutionError
from promql.syntax import Cardinality, VectorMatching
from tests.promql.matrices import assert_same, by_labels
from tests.promql.step_by_step import RefusedError, at_step, over_steps, vector_binary
from tests.promql.vectors import ROWS, STEPS, evaluate, matchings


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["+", "-", "==", "!=", "<", ">="]),
    ROWS,
    ROWS,
    matchings([Cardinality.ONE_TO_ONE, Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY]),
    st.booleans(),
)
def test_every_step_is_what_that_step_alone_gives(op, left, right, matching, return_bool):
    return_bool = return_bool and op not in "+-"
    refusals = []
    for step in range(STEPS):
        try:
            vector_binary(op, at_step(left, step), at_step(right, step), matching, return_bool)
        except RefusedError as refused:
            refusals.append(str(refused))
    if refusals:
        with pytest.raises(ExecutionError) as raised:
            evaluate(op, left, right, matching, return_bool)
        assert str(raised.value).startswith(tuple(refusals))
        return
    expected = over_steps(
        STEPS,
        lambda step: vector_binary(
            op, at_step(left, step), at_step(right, step), matching, return_bool
        ),
    )
    assert_same(by_labels(evaluate(op, left, right, matching, return_bool)), expected)


A1, A2 = {"__name__": "m", "a": "1"}, {"__name__": "m", "a": "2"}
B1 = {"__name__": "n", "a": "1"}
B1X, B1Y = {"__name__": "n", "a": "1", "x": "p"}, {"__name__": "n", "a": "1", "x": "q"}
ON_A = VectorMatching(Cardinality.ONE_TO_ONE, ("a",), True)


@pytest.mark.parametrize(
    ("left", "right", "matching", "message"),
    [
        pytest.param(
            [(A1, [1])],
            [(B1X, [1]), (B1Y, [2])],
            ON_A,
            'found duplicate series for the match group {a="1"} on the right hand-side of the'
            ' operation: [{__name__="n", a="1", x="q"}, {__name__="n", a="1", x="p"}]'
            ";many-to-many matching not allowed: matching labels must be unique on one side",
            id="two on the one side, the later series first",
        ),
        pytest.param(
            [(B1X, [1]), (B1Y, [2])],
            [(A1, [1])],
            VectorMatching(Cardinality.ONE_TO_MANY, ("a",), True),
            'found duplicate series for the match group {a="1"} on the left hand-side of the'
            ' operation: [{__name__="n", a="1", x="q"}, {__name__="n", a="1", x="p"}]'
            ";many-to-many matching not allowed: matching labels must be unique on one side",
            id="under group_right the one side is the left one",
        ),
        pytest.param(
            [(A1, [1])],
            [(B1X, [1]), (B1Y, [2])],
            VectorMatching(Cardinality.ONE_TO_ONE, ("x",), False),
            'found duplicate series for the match group {a="1"} on the right hand-side of the'
            ' operation: [{__name__="n", a="1", x="q"}, {__name__="n", a="1", x="p"}]'
            ";many-to-many matching not allowed: matching labels must be unique on one side",
            id="ignoring names the labels that are left",
        ),
        pytest.param(
            [(B1X, [1]), (B1Y, [2])],
            [(A1, [1])],
            ON_A,
            "multiple matches for labels: many-to-one matching must be explicit"
            " (group_left/group_right)",
            id="two on the many side need group_left",
        ),
        pytest.param(
            [({"a": "1", "x": "p"}, [1]), ({"a": "1", "x": "q"}, [2])],
            [({"a": "1"}, [1])],
            VectorMatching(Cardinality.MANY_TO_ONE, ("a",), True, ("x",)),
            "multiple matches for labels: grouping labels must ensure unique matches",
            id="an included label that makes two results the same",
        ),
        pytest.param(
            [({"a": "1", "x": "p"}, [1]), ({"a": "2", "x": "p"}, [2])],
            [({"a": "1"}, [1]), ({"a": "2"}, [1])],
            VectorMatching(Cardinality.MANY_TO_ONE, ("a",), True, ("a", "x")),
            None,
            id="an included label deletes, but these stay apart",
        ),
    ],
)
def test_messages(left, right, matching, message):
    if message is None:
        assert len(by_labels(evaluate("+", left, right, matching, steps=1))) == 2
        return
    with pytest.raises(ExecutionError) as raised:
        evaluate("+", left, right, matching, steps=1)
    assert str(raised.value) == message


def test_series_that_follow_each_other_may_share_a_match_group():
    result = evaluate("+", [(A1, [1, 2])], [(B1X, [10, None]), (B1Y, [None, 20])], ON_A, steps=2)
    assert by_labels(result) == {(("a", "1"),): [11, 22]}


def test_an_included_label_may_change_from_step_to_step():
    matching = VectorMatching(Cardinality.MANY_TO_ONE, ("a",), True, ("x",))
    result = evaluate(
        "+", [(A1, [1, 2])], [(B1X, [10, None]), (B1Y, [None, 20])], matching, steps=2
    )
    assert by_labels(result) == {
        (("a", "1"), ("x", "p")): [11, None],
        (("a", "1"), ("x", "q")): [None, 22],
    }


def test_duplicates_do_not_matter_where_the_other_side_is_empty():
    right = [(B1X, [1, 1]), (B1Y, [2, None])]
    result = evaluate("+", [(A1, [None, 5])], right, ON_A, steps=2)
    assert by_labels(result) == {(("a", "1"),): [None, 6]}


def test_what_a_comparison_filters_away_is_still_one_match_too_many():
    with pytest.raises(ExecutionError, match="many-to-one matching must be explicit"):
        evaluate(">", [(B1X, [0]), (B1Y, [0])], [(A1, [1])], ON_A, steps=1)


FILLED = [(A1, [1, None]), (A2, [2, 2])]
FILLING = [(B1, [10, 10]), ({"__name__": "n", "a": "3"}, [30, None])]


@pytest.mark.parametrize(
    ("fill_left", "fill_right", "expected"),
    [
        pytest.param(
            None, 100.0, {"1": [11, None], "2": [102, 102]}, id="fill_right completes the left"
        ),
        pytest.param(
            200.0, None, {"1": [11, 210], "3": [230, None]}, id="fill_left completes the right"
        ),
        pytest.param(
            0.0,
            0.0,
            {"1": [11, 10], "2": [2, 2], "3": [30, None]},
            id="fill completes both, step by step",
        ),
    ],
)
def test_missing_partners_are_filled_in(fill_left, fill_right, expected):
    matching = VectorMatching(Cardinality.ONE_TO_ONE, ("a",), True, (), fill_left, fill_right)
    result = evaluate("+", FILLED, FILLING, matching, steps=2)
    assert by_labels(result) == {(("a", a),): values for a, values in expected.items()}


def test_a_filled_in_many_side_has_the_labels_of_the_match_group_and_the_included_ones():
    matching = VectorMatching(Cardinality.MANY_TO_ONE, ("a",), True, ("x",), 0.0, None)
    result = evaluate("+", [(A2, [1])], [(B1X, [10])], matching, steps=1)
    assert by_labels(result) == {(("a", "1"), ("x", "p")): [10]}
