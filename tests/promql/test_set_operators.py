"""`and`, `or`, `unless`, against one step at a time with dicts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.syntax import Cardinality, VectorMatching
from tests.promql.matrices import assert_same, by_labels, key
from tests.promql.step_by_step import at_step, over_steps, set_operation
from tests.promql.vectors import ROWS, STEPS, evaluate, matchings


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["and", "or", "unless"]), ROWS, ROWS, matchings([Cardinality.MANY_TO_MANY]))
def test_set_operators_look_at_each_step_alone(op, left, right, matching):
    expected = over_steps(
        STEPS,
        lambda step: set_operation(op, at_step(left, step), at_step(right, step), matching),
    )
    assert_same(by_labels(evaluate(op, left, right, matching)), expected)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_or_without_a_clause_matches_all_labels_but_the_name(left, right):
    expected = over_steps(
        STEPS,
        lambda step: set_operation(
            "or", at_step(left, step), at_step(right, step), VectorMatching()
        ),
    )
    assert_same(by_labels(evaluate("or", left, right, None)), expected)


LEFT = [({"__name__": "m", "a": "1"}, [1, 1]), ({"__name__": "m", "a": "2"}, [2, None])]
RIGHT = [({"__name__": "n", "a": "1"}, [5, None]), ({"__name__": "n", "a": "3"}, [None, 6])]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        pytest.param(
            "and", {key(__name__="m", a="1"): [1, None]}, id="and keeps what the right side has too"
        ),
        pytest.param(
            "unless",
            {key(__name__="m", a="1"): [None, 1], key(__name__="m", a="2"): [2, None]},
            id="unless keeps the rest",
        ),
        pytest.param(
            "or",
            {
                key(__name__="m", a="1"): [1, 1],
                key(__name__="m", a="2"): [2, None],
                key(__name__="n", a="3"): [None, 6],
            },
            id="or adds what the left side lacks",
        ),
    ],
)
def test_names_stay_and_presence_decides_step_by_step(op, expected):
    assert by_labels(evaluate(op, LEFT, RIGHT, VectorMatching(), steps=2)) == expected


def test_rows_that_are_left_nowhere_are_left_out():
    result = evaluate("and", LEFT, [], VectorMatching(), steps=2)
    assert result.series_count == 0


def test_or_lays_equal_labels_at_different_steps_into_one_row():
    left, right = [({"a": "1"}, [1, None])], [({"a": "1"}, [None, 2])]
    assert by_labels(evaluate("or", left, right, None, steps=2)) == {key(a="1"): [1, 2]}
