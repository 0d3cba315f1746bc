"""The grammar, its actions and its wordings name the same things."""

import subprocess
import sys

from promql.parse import ACTIONS
from promql.parsing import tables
from promql.parsing.faults import PLACES
from promql.parsing.lexing import KIND_OF
from promql.parsing.table_loading import load
from promql.parsing.tables import TABLES_PATH
from tests.conftest import ROOT


def aliases():
    return {alias for _, _, alias in load().rules if alias}


def test_every_alternative_has_an_action_or_a_wording():
    assert aliases() == ACTIONS.keys() | PLACES.keys()


def test_every_error_place_is_reached_by_a_state():
    assert {fault for fault in load().faults if fault} == PLACES.keys()


def test_a_state_that_expects_something_in_particular_has_no_default():
    table = load()
    for state, action in enumerate(table.actions):
        if action.get(KIND_OF["ERROR"], 0) > 0:
            assert table.defaults[state] == 0
            assert table.faults[state] is not None


def test_only_states_that_cannot_shift_are_hasty():
    table = load()
    hasty = [table.actions[state] for state, is_hasty in enumerate(table.hasty) if is_hasty]
    assert len(hasty) > 50
    assert all(step < 0 for action in hasty for step in action.values())


def test_the_kept_table_is_that_of_the_grammar():
    made = subprocess.run(
        [sys.executable, "-m", "promql.parsing.grammar_analysis"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert made.stdout == TABLES_PATH.read_text(encoding="utf-8")


def test_a_kept_table_of_another_grammar_is_not_used(tmp_path, monkeypatch):
    grammar = tmp_path / "grammar.lark"
    grammar.write_bytes(tables.GRAMMAR_PATH.read_bytes() + b"\n// Edited.\n")
    kept = load()
    monkeypatch.setattr(tables, "GRAMMAR_PATH", grammar)
    assert tables.unpack(TABLES_PATH.read_text(encoding="utf-8")) is None
    analysed = load.__wrapped__()
    assert len(analysed.rules) == len(kept.rules)
    assert len(analysed.actions) == len(kept.actions)


def test_a_query_is_parsed_without_lark():
    program = "import sys, promql.parse as p; p.parse('a + b'); print('lark' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert ran.stdout == "False\n"
