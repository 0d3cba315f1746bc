"""Text to nodes.

From: the engine, rules, the API.   To: `check.py` is called on what comes out.

The driver runs the table of `parsing/tables.py` the way yacc would, because the messages that
users know depend on it: default reductions happen before a wrong token is noticed, and the token
after a finished piece is not looked at before the piece's own faults. It keeps its own stack, so
nesting costs memory only; how deep an expression may be is decided by `check.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promql.check import check
from promql.errors import ParseError
from promql.parsing import expression_actions, selector_actions, table_loading
from promql.parsing.builder import Builder
from promql.parsing.faults import unexpected
from promql.parsing.lexing import END_OF_INPUT, LEXICAL_ERROR, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from promql.parsing.tables import Tables
    from promql.syntax import Expr
    from tsdb.interface import Matcher

FEATURES = frozenset(
    {
        "promql-experimental-functions",
        "promql-duration-expr",
        "promql-extended-range-selectors",
        "promql-binop-fill-modifiers",
        "promql-per-step-stats",
        "use-start-timestamps",
    }
)
"""The features that change what is accepted, what it means, or what is told of it.

Duration expressions are accepted without theirs.
"""


def parse(text: str, features: Iterable[str] = ()) -> Expr:
    """Return the checked expression of a query.

    Raises `ParseError` with Prometheus' text and position, for syntax as well as for types.
    """
    expr: Expr = _run(text, "expression", frozenset(features))
    check(expr, text)
    return expr


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """Return the matchers of a series selector, as `match[]` parameters hold one.

    Raises `ParseError`. Matchers that all accept the empty string are allowed here; see
    `check.selects_something` for where they are not.
    """
    selector = _run(text, "selector", frozenset())
    matchers: tuple[Matcher, ...] = selector.matchers
    return matchers


TEXT_MAX = 1 << 20
"""Characters of a query. A megabyte of operators takes 3 s and 500 MB; URLs end there as well."""


def _run(text: str, start: str, features: frozenset[str]) -> Any:  # noqa: ANN401 any piece
    if len(text) > TEXT_MAX:
        raise ParseError(f"query is longer than {TEXT_MAX} characters", "", None)
    table, reducers = _machine()
    tokens = tokenize(text)
    if tokens.kinds[0] == END_OF_INPUT and start == "expression":
        raise ParseError("no expression found in input", text, 0 if text else None)
    builder = Builder(tokens, features)
    kinds, actions, defaults = tokens.kinds, table.actions, table.defaults
    hasty, gotos = table.hasty, table.gotos
    states = [table.starts[start]]
    pieces: list[Any] = []
    at = 0
    while True:
        state = states[-1]
        if hasty[state]:
            step = defaults[state]
        else:
            kind = kinds[at]
            if kind == LEXICAL_ERROR:
                raise ParseError(tokens.fault, text, tokens.starts[at])
            found = actions[state].get(kind)
            step = defaults[state] if found is None else found
            if step > 0:
                states.append(step - 1)
                pieces.append(at)
                at += 1
                continue
            if step == 0:
                if found == 0:
                    return pieces[0]
                place = next((table.faults[s] for s in reversed(states) if table.faults[s]), None)
                raise ParseError(unexpected(kind, tokens.value(at), place), text, tokens.starts[at])
        left, length, action = reducers[-step - 1]
        if action is not None:
            if length:
                args = pieces[-length:]
                del pieces[-length:]
                pieces.append(action(builder, args))
            else:
                pieces.append(action(builder, []))
        if length:
            del states[-length:]
        states.append(gotos[states[-1]][left])


ACTIONS = expression_actions.ACTIONS | selector_actions.ACTIONS
"""What to do for each named alternative of the grammar; the others pass on what they got."""

_made: tuple[Tables, list[tuple[int, int, Callable[[Builder, list[Any]], Any] | None]]] | None = (
    None
)


def _machine() -> tuple[Tables, list[tuple[int, int, Callable[[Builder, list[Any]], Any] | None]]]:
    """Return the table with its actions, made at the first use."""
    global _made
    if _made is None:
        table = table_loading.load()
        reducers = [
            (left, length, ACTIONS.get(alias) if alias else None)
            for left, length, alias in table.rules
        ]
        _made = table, reducers
    return _made
