"""The value of a duration expression: `[5m + step()]`, `offset (range() / 2)`.

From: `plan.py`, for the fields of nodes that hold an expression.   To: whole milliseconds.
Source: Prometheus' documentation of duration expressions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from promql.errors import RefusedQueryError, place_of
from promql.syntax import Binary, DurationCall, NumberLiteral, Paren, Unary

if TYPE_CHECKING:
    from promql.syntax import Expr, Span

_SECONDS_MAX = (2**63 - 1) / 1e9
"""What Go's time.Duration holds."""


def duration_ms(expr: Expr, *, step_ms: int, range_ms: int, negative: bool, query: str) -> int:
    """Return the value of a duration expression in milliseconds, towards zero.

    `step_ms` and `range_ms` are the query's. Raises RefusedQueryError for a division by zero, a
    value that does not fit, or one that is not positive unless `negative` allows it.
    """

    def refuse(message: str, span: Span) -> RefusedQueryError:
        place = place_of(query, span.start)
        return RefusedQueryError(f"{place}: parse error: {message}", query)

    def seconds(node: Expr) -> float:
        match node:
            case NumberLiteral(value=value):
                return value
            case Paren(expr=inner):
                return seconds(inner)
            case Unary(op=op, expr=inner):
                return -seconds(inner) if op == "-" else seconds(inner)
            case DurationCall(func="step"):
                return step_ms / 1000
            case DurationCall(func="range"):
                return range_ms / 1000
            case DurationCall(func="min_of" | "min", args=args):
                return min(seconds(arg) for arg in args)
            case DurationCall(func="max_of" | "max", args=args):
                return max(seconds(arg) for arg in args)
            case Binary(op=op, lhs=left, rhs=right):
                return _apply(op, seconds(left), seconds(right), node, refuse)
            case _:
                raise refuse("not a duration expression", node.span)

    value = seconds(expr)
    if value <= 0 and not negative:
        raise refuse("duration must be greater than 0", expr.span)
    if not -_SECONDS_MAX <= value <= _SECONDS_MAX:
        raise refuse("duration is out of range", expr.span)
    return int(value * 1000)


def _apply(op: str, left: float, right: float, node: Expr, refuse: _Refuse) -> float:
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if op == "^":
        try:
            return math.pow(left, right)
        except (OverflowError, ValueError):
            return math.nan
    if right == 0:
        raise refuse("division by zero" if op == "/" else "modulo by zero", node.span)
    return left / right if op == "/" else math.fmod(left, right)


if TYPE_CHECKING:
    from typing import Protocol

    class _Refuse(Protocol):
        def __call__(self, message: str, span: Span) -> RefusedQueryError: ...
