"""Where Prometheus says that something stands, when there is something to tell of it.

From: whoever evaluates, with the node in work.   To: `annotations.py`.

Prometheus takes arguments out of their parentheses as it goes, but not those that it has packed as
the same at every step, which it does where the call around is not. Of a subquery it makes a
selector that was never written, and so stands at the begin of the query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from promql.plan import TIME_DEPENDENT
from promql.syntax import (
    Aggregation,
    Binary,
    Call,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)

if TYPE_CHECKING:
    from promql.syntax import Expr


def argument_place(call: Call, index: int) -> Span:
    """Return the place of an argument of a call."""
    argument = call.args[index]
    if isinstance(argument, Paren) and _is_fixed(argument) and not _is_fixed(call):
        return argument.span
    return _inside(argument)


def parameter_place(node: Aggregation) -> Span:
    """Return the place of an aggregation's parameter, or its own if it has none."""
    return node.span if node.param is None else _inside(node.param)


def _inside(argument: Expr) -> Span:
    while isinstance(argument, Paren):
        argument = argument.expr
    return Span(0, 0) if isinstance(argument, Subquery) else argument.span


def _is_fixed(node: Expr) -> bool:
    """Say whether Prometheus takes an expression for the same at every step."""
    match node:
        case NumberLiteral() | StringLiteral():
            return True
        case VectorSelector(at=at) | Subquery(at=at):
            return at is not None
        case MatrixSelector(vector=vector):
            return vector.at is not None
        case Call(func=func, args=args):
            return func not in TIME_DEPENDENT and all(map(_is_fixed, args))
        case Binary(lhs=lhs, rhs=rhs):
            return _is_fixed(lhs) and _is_fixed(rhs)
        case Paren(expr=inner) | Unary(expr=inner) | Aggregation(expr=inner):
            return _is_fixed(inner)
        case _:
            return False
