"""The grammar, its actions and its wordings name the same things."""

from promql.parse import ACTIONS
from promql.parsing.faults import PLACES
from promql.parsing.lexing import KIND_OF
from promql.parsing.tables import load


def aliases():
    return {alias for _, _, alias in load().rules if alias}


def test_every_alternative_has_an_action_or_a_wording():
    assert aliases() == ACTIONS.keys() | PLACES.keys()


def test_every_error_place_is_reached_by_a_state():
    assert {fault for fault in load().faults if fault} == PLACES.keys()


def test_a_state_that_expects_something_in_particular_has_no_default():
    tables = load()
    for state, action in enumerate(tables.actions):
        if action.get(KIND_OF["ERROR"], 0) > 0:
            assert tables.defaults[state] == 0
            assert tables.faults[state] is not None


def test_only_states_that_cannot_shift_are_hasty():
    tables = load()
    hasty = [tables.actions[state] for state, is_hasty in enumerate(tables.hasty) if is_hasty]
    assert len(hasty) > 50
    assert all(step < 0 for action in hasty for step in action.values())
