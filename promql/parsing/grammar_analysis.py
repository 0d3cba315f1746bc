"""The parse table of `grammar.lark`, by lark's LALR analysis.

From: the grammar.   To: `tables.py`, which keeps what comes out beside the grammar.

    python -m promql.parsing.grammar_analysis > promql/parsing/grammar_tables.json

writes that file anew, as is to be done whenever the grammar, or what is here, has changed. Lark
numbers states as its sets happen to be ordered; here they are numbered as they are met from the
starts on, so that one grammar makes one file.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from lark import Lark
from lark.lexer import Lexer
from lark.parsers.lalr_analysis import Shift

from promql.parsing.lexing import END_OF_INPUT, KIND_OF
from promql.parsing.tables import GRAMMAR_PATH, Tables, pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lark.grammar import Rule

STARTS = ("expression", "selector")


class _NoLexer(Lexer):
    """Lark wants a lexer to build a parser; `lexing.py` does the work here."""

    def __init__(self, _conf: object) -> None:
        pass

    def lex(self, _lexer_state: Any, _parser_state: Any) -> Iterator[Any]:  # noqa: ANN401 lark's type
        """Never called."""
        return iter(())


def analyse() -> Tables:
    """Analyse the grammar (measured: 0.12 s with importing lark)."""
    lark = Lark(
        GRAMMAR_PATH.read_text(encoding="utf-8"), parser="lalr", lexer=_NoLexer, start=list(STARTS)
    )
    return _convert(lark.parser.parser._parse_table)


def _convert(table: Any) -> Tables:  # noqa: ANN401 lark's table is untyped
    states = _in_order(table)
    number = {state: at for at, state in enumerate(states)}
    rules = _rules(table)
    lefts = {name: at for at, name in enumerate(sorted({rule.origin.name for rule in rules}))}
    actions: list[dict[int, int]] = []
    gotos: list[dict[int, int]] = []
    ends = set(table.end_states.values())
    names = {**KIND_OF, "$END": END_OF_INPUT}
    for state in states:
        action: dict[int, int] = {}
        goto: dict[int, int] = {}
        for symbol, (what, argument) in sorted(table.states[state].items(), key=_symbol):
            if symbol in names:
                if what is Shift:
                    action[names[symbol]] = number[argument] + 1
                else:
                    action[names[symbol]] = -(rules[argument] + 1)
            elif symbol.startswith("$root"):
                continue
            else:
                goto[lefts[symbol]] = number[argument]
        if state in ends:
            action[END_OF_INPUT] = 0
        actions.append(action)
        gotos.append(goto)
    shapes = [(lefts[rule.origin.name], len(rule.expansion), rule.alias) for rule in rules]
    error = KIND_OF["ERROR"]
    faults: list[str | None] = [None] * len(actions)
    for state, action in enumerate(actions):
        after = action.get(error, 0)
        if after > 0:
            faults[state] = shapes[-_default(actions[after - 1]) - 1][2]
    defaults = [_default(action) for action in actions]
    hasty = [
        default != 0 and all(step == default for step in action.values())
        for default, action in zip(defaults, actions, strict=True)
    ]
    _skip_unit_rules(gotos, defaults, hasty, shapes)
    starts = {name: number[table.start_states[name]] for name in STARTS}
    return Tables(actions, defaults, hasty, gotos, shapes, faults, starts)


def _symbol(entry: tuple[str, object]) -> str:
    return entry[0]


def _in_order(table: Any) -> list[Any]:  # noqa: ANN401 lark's
    """Return all states, in the order in which they are met from the starts on."""
    states = dict.fromkeys(table.start_states[name] for name in STARTS)
    waiting = list(states)
    for state in waiting:
        for _, (what, argument) in sorted(table.states[state].items(), key=_symbol):
            if what is Shift and argument not in states:
                states[argument] = None
                waiting.append(argument)
    return waiting


def _rules(table: Any) -> dict[Rule, int]:  # noqa: ANN401 lark's
    """Return the number of each rule that some state reduces by."""
    used = {
        argument
        for row in table.states.values()
        for what, argument in row.values()
        if what is not Shift
    }

    def text(rule: Rule) -> tuple[str, list[str], str]:
        return rule.origin.name, [symbol.name for symbol in rule.expansion], rule.alias or ""

    return {rule: at for at, rule in enumerate(sorted(used, key=text))}


def _default(action: dict[int, int]) -> int:
    """Return the most common reduction of a state; none where ERROR can be shifted."""
    if action.get(KIND_OF["ERROR"], 0) > 0 or action.get(END_OF_INPUT) == 0:
        return 0
    counts = Counter(step for step in action.values() if step < 0)
    return counts.most_common(1)[0][0] if counts else 0


def _skip_unit_rules(
    gotos: list[dict[int, int]],
    defaults: list[int],
    hasty: list[bool],
    shapes: list[tuple[int, int, str | None]],
) -> None:
    """Let gotos pass over states that would only rename what they got.

    The layers of precedence are full of `a: b` without an action. Where the state after b does
    nothing but reduce by such a rule, going to where a leads saves the step.
    """
    for goto in gotos:
        for left in list(goto):
            target = goto[left]
            while hasty[target]:
                parent, length, alias = shapes[-defaults[target] - 1]
                if length != 1 or alias is not None or parent not in goto:
                    break
                target = goto[parent]
            goto[left] = target


if __name__ == "__main__":
    sys.stdout.write(pack(analyse()))
