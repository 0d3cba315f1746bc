"""The parse table of `grammar.lark` as plain numbers, with default reductions.

From: `grammar.lark`, through lark's LALR analysis.   To: `parse.py`.

Prometheus' parser comes from yacc, and its error messages depend on how yacc behaves: a state
reduces by its most common rule when the next token fits nowhere, and a state that can only reduce
does so before the next token is even read. Lark's own driver does neither, so the table is taken
from lark and driven in `parse.py`. Invariant: a default reduction never changes what is accepted,
only what is on the stack when a wrong token is noticed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lark import Lark
from lark.lexer import Lexer
from lark.parsers.lalr_analysis import Shift

from promql.parsing.lexing import END_OF_INPUT, KIND_OF, TERMINALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lark.grammar import Rule

GRAMMAR_PATH = Path(__file__).with_name("grammar.lark")
STARTS = ("expression", "selector")


@dataclass(frozen=True, slots=True)
class Tables:
    """What `parse.py` needs to run.

    `actions[state]` maps a terminal to state + 1 (shift), to -(rule + 1) (reduce) or to 0 (done).
    `defaults[state]` is -(rule + 1), or 0 if a wrong token is an error there. `hasty[state]` says
    that the state reduces by its default without looking. `gotos[state]` maps a rule's left side.
    `rules[rule]` is (left side, length, alias or None). `faults[state]` is the alias of the error
    alternative that the state could go on with, or None.
    """

    actions: list[dict[int, int]]
    defaults: list[int]
    hasty: list[bool]
    gotos: list[dict[int, int]]
    rules: list[tuple[int, int, str | None]]
    faults: list[str | None]
    starts: dict[str, int]


class _NoLexer(Lexer):
    """Lark wants a lexer to build a parser; `lexing.py` does the work here."""

    def __init__(self, _conf: object) -> None:
        pass

    def lex(self, _lexer_state: Any, _parser_state: Any) -> Iterator[Any]:  # noqa: ANN401 lark's type
        """Never called."""
        return iter(())


@cache
def load() -> Tables:
    """Analyse the grammar, once per process (measured: 0.12 s with importing lark)."""
    lark = Lark(
        GRAMMAR_PATH.read_text(encoding="utf-8"), parser="lalr", lexer=_NoLexer, start=list(STARTS)
    )
    return _convert(lark.parser.parser._parse_table)


def _convert(table: Any) -> Tables:  # noqa: ANN401 lark's table is untyped
    rules: dict[Rule, int] = {}
    lefts: dict[str, int] = {}
    actions: list[dict[int, int]] = []
    gotos: list[dict[int, int]] = []
    ends = set(table.end_states.values())
    names = {**KIND_OF, "$END": END_OF_INPUT}
    for state in range(len(table.states)):
        action: dict[int, int] = {}
        goto: dict[int, int] = {}
        for symbol, (what, argument) in table.states[state].items():
            if symbol in names:
                if what is Shift:
                    action[names[symbol]] = argument + 1
                else:
                    action[names[symbol]] = -(rules.setdefault(argument, len(rules)) + 1)
            elif symbol.startswith("$root"):
                continue
            else:
                goto[lefts.setdefault(symbol, len(lefts))] = argument
        if state in ends:
            action[END_OF_INPUT] = 0
        actions.append(action)
        gotos.append(goto)
    shapes = [
        (lefts.setdefault(rule.origin.name, len(lefts)), len(rule.expansion), rule.alias)
        for rule in rules
    ]
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
    return Tables(actions, defaults, hasty, gotos, shapes, faults, dict(table.start_states))


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


assert len(set(TERMINALS)) == len(TERMINALS), "a terminal is named twice"
