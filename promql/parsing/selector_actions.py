"""Actions of the grammar for selectors, their modifiers and durations.

From: `parse.py` calls `ACTIONS[alias](builder, pieces)` for every reduction.   To: `syntax.py`.

Nodes are immutable, so a modifier that comes after its selector makes a new one. The first fault
raises; what Prometheus would add after it never shows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from promql import literals
from promql.float_text import fixed_text
from promql.matchers import make_matcher
from promql.parsing.lexing import KIND_OF
from promql.syntax import (
    At,
    Binary,
    DurationCall,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    Subquery,
    Unary,
    VectorSelector,
)
from tsdb.interface import METRIC_NAME, Matcher, MatchOp

if TYPE_CHECKING:
    from promql.parsing.builder import Action, Builder, Pieces
    from promql.syntax import Expr

EXTENSION_FEATURE = "promql-extended-range-selectors"

_SUB = KIND_OF["SUB"]
_BEFORE_MODIFIER = (
    "modifier must be preceded by an instant vector selector or range vector selector or a subquery"
)


# Selectors


def _selector_name(builder: Builder, pieces: Pieces) -> VectorSelector:
    name = builder.value(pieces[0])
    matchers = (Matcher(METRIC_NAME, MatchOp.EQUAL, name),)
    return VectorSelector(name, matchers, span=builder.span(pieces[0]))


def _selector_name_braces(builder: Builder, pieces: Pieces) -> VectorSelector:
    token, (matchers, _, stop) = pieces
    name = builder.value(token)
    named = (*matchers, Matcher(METRIC_NAME, MatchOp.EQUAL, name))
    return VectorSelector(name, named, span=Span(builder.starts[token], stop))


def _selector_braces(_builder: Builder, pieces: Pieces) -> VectorSelector:
    matchers, start, stop = pieces[0]
    return VectorSelector("", tuple(matchers), span=Span(start, stop))


def _label_matchers(builder: Builder, pieces: Pieces) -> tuple[list[Matcher], int, int]:
    return pieces[1], builder.starts[pieces[0]], builder.stops[pieces[-1]]


def _label_matchers_empty(builder: Builder, pieces: Pieces) -> tuple[list[Matcher], int, int]:
    return [], builder.starts[pieces[0]], builder.stops[pieces[1]]


def _label_matcher(builder: Builder, pieces: Pieces) -> Matcher:
    name, op, token = pieces
    if type(name) is int:
        start, name = builder.starts[name], builder.value(name)
    else:
        name, start = name
    value = literals.unquote(builder.value(token))
    try:
        return make_matcher(name, MatchOp(builder.value(op)), value)
    except ValueError as error:
        raise builder.fault(str(error), start) from None


def _name_matcher(_builder: Builder, pieces: Pieces) -> Matcher:
    return Matcher(METRIC_NAME, MatchOp.EQUAL, pieces[0][0])


def _quoted_name(builder: Builder, pieces: Pieces) -> tuple[str, int]:
    return literals.unquote(builder.value(pieces[0])), builder.starts[pieces[0]]


def _matrix_selector(builder: Builder, pieces: Pieces) -> MatrixSelector:
    vector, bracket, length, closing = pieces
    if type(vector) is not VectorSelector:
        message = "ranges only allowed for vector selectors"
    # As in Prometheus, `@ start()`, `@ end()` and an offset that is an expression may stand here.
    elif vector.offset_ms:
        message = "no offset modifiers allowed before range"
    elif vector.at is not None and vector.at.timestamp_ms is not None:
        message = "no @ modifiers allowed before range"
    else:
        range_ms, range_expr = _milliseconds(length)
        span = Span(vector.span.start, builder.stops[closing])
        return MatrixSelector(vector, range_ms, range_expr, span=span)
    raise builder.fault(message, builder.starts[bracket])


def _subquery(builder: Builder, pieces: Pieces) -> Subquery:
    expr, _, length, _, step, closing = pieces
    range_ms, range_expr = _milliseconds(length)
    step_ms, step_expr = _milliseconds(step)
    span = Span(expr.span.start, builder.stops[closing])
    return Subquery(expr, range_ms, range_expr, step_ms, step_expr, span=span)


def _subquery_default_step(builder: Builder, pieces: Pieces) -> Subquery:
    expr, _, length, _, closing = pieces
    range_ms, range_expr = _milliseconds(length)
    span = Span(expr.span.start, builder.stops[closing])
    return Subquery(expr, range_ms, range_expr, span=span)


# Modifiers


def _offset(builder: Builder, pieces: Pieces) -> Expr:
    node, _, offset = pieces
    offset_ms, offset_expr = _milliseconds(_literal(offset) or _after_offset(offset))
    holder = node.vector if type(node) is MatrixSelector else node
    if not isinstance(holder, VectorSelector | Subquery):
        raise builder.fault(f"offset {_BEFORE_MODIFIER}", node.span.start)
    if holder.offset_ms or holder.offset_expr is not None:
        raise builder.fault("offset may not be set multiple times", node.span.start)
    changed = replace(holder, offset_ms=offset_ms, offset_expr=offset_expr)
    return _modified(node, changed, offset.span.stop)


def _after_offset(duration: Expr) -> Expr:
    """Return a duration that reads the same after `offset` when it is printed.

    There a sum goes on only after a leading parenthesis; `offset --1 + 2` must print as
    `offset (1 + 2)`, since `offset 1 + 2` adds 2 to the values.
    """
    first: Expr = duration
    while isinstance(first, Binary):
        first = first.lhs
    bare: Expr | None = first if first is not duration else None
    if isinstance(duration, Unary) and isinstance(duration.expr, Binary):
        bare = duration.expr
    if bare is None or isinstance(bare, Paren):
        return duration
    return Paren(duration, span=duration.span)


def _modified(node: Expr, changed: VectorSelector | Subquery, stop: int) -> Expr:
    """Return the node with a changed selector in it, reaching to the end of the modifier."""
    if type(node) is MatrixSelector:
        assert isinstance(changed, VectorSelector)
        return replace(node, vector=changed, span=Span(node.span.start, stop))
    return replace(changed, span=Span(changed.span.start, stop))


def _at(builder: Builder, node: Expr, at: At, stop: int) -> Expr:
    holder = node.vector if type(node) is MatrixSelector else node
    if not isinstance(holder, VectorSelector | Subquery):
        raise builder.fault(f"@ {_BEFORE_MODIFIER}", node.span.start)
    if holder.at is not None:
        raise builder.fault("@ <timestamp> may not be set multiple times", node.span.start)
    return _modified(node, replace(holder, at=at), stop)


def _at_timestamp(builder: Builder, pieces: Pieces) -> Expr:
    node, _, (seconds, stop) = pieces
    # The bounds are those of 64 bits before the factor of 1000, as in Prometheus.
    if not -(2.0**63) < seconds < 2.0**63:
        written = f"{seconds:f}" if math.isfinite(seconds) else fixed_text(seconds)
        message = f"timestamp out of bounds for @ modifier: {written}"
        raise builder.fault(message, node.span.start)
    return _at(builder, node, At(timestamp_ms=_rounded(seconds * 1000)), stop)


def _at_edge(builder: Builder, pieces: Pieces) -> Expr:
    node, _, edge, _, closing = pieces
    return _at(builder, node, At(edge=builder.value(edge).lower()), builder.stops[closing])


def _timestamp(_builder: Builder, pieces: Pieces) -> tuple[float, int]:
    return pieces[0].value, pieces[0].span.stop


def _timestamp_signed(builder: Builder, pieces: Pieces) -> tuple[float, int]:
    value = pieces[1].value
    stop: int = pieces[1].span.stop
    return -value if builder.kinds[pieces[0]] == _SUB else value, stop


def _extension(builder: Builder, pieces: Pieces) -> Expr:
    node, token = pieces
    word = builder.value(token).lower()
    if EXTENSION_FEATURE not in builder.features:
        message = f"{word} modifier is experimental and not enabled"
        raise builder.fault(message, node.span.start)
    holder = node.vector if type(node) is MatrixSelector else node
    if type(holder) is not VectorSelector:
        what = "is not supported for subqueries" if type(node) is Subquery else "not implemented"
        raise builder.fault(f"{word} modifier {what}", node.span.start)
    if holder.extension not in ("", word):
        message = "anchored and smoothed modifiers cannot be used together"
        raise builder.fault(message, node.span.start)
    return _modified(node, replace(holder, extension=word), builder.stops[token])


# Durations


def _rounded(value: float) -> int:
    """Round half away from zero, like Go."""
    whole = math.floor(abs(value) + 0.5)
    return -whole if value < 0 else whole


def _milliseconds(node: Expr) -> tuple[int, Expr | None]:
    """Return a duration that is a number in ms, or else the expression for it."""
    if type(node) is not NumberLiteral:
        return 0, node
    if node.is_duration:
        return round(node.value * 1000), None
    nanoseconds = _rounded(node.value * 1e9)
    whole = abs(nanoseconds) // 1_000_000
    return (-whole if nanoseconds < 0 else whole), None


def _literal(node: Expr) -> NumberLiteral | None:
    """Return the number that a duration comes down to, through parentheses."""
    while isinstance(node, Paren):
        node = node.expr
    return node if isinstance(node, NumberLiteral) else None


def _in_range(builder: Builder, node: NumberLiteral, position: int) -> NumberLiteral:
    if not abs(node.value) <= literals.DURATION_SECONDS_MAX:
        raise builder.fault("duration out of range", position)
    return node


def _duration_number(builder: Builder, pieces: Pieces) -> NumberLiteral:
    node: NumberLiteral = pieces[0]
    return _in_range(builder, node, node.span.start)


def _positive_duration(builder: Builder, pieces: Pieces) -> Expr:
    node: Expr = pieces[0]
    number = _literal(node)
    if number is None:
        return node
    if number.value <= 0:
        raise builder.fault("duration must be greater than 0", number.span.start)
    return number


def _duration_signed(builder: Builder, pieces: Pieces) -> Expr:
    sign, node = pieces
    start = builder.starts[sign]
    minus = builder.kinds[sign] == _SUB
    span = Span(start, node.span.stop)
    number = _literal(node)
    if number is not None:
        value = -number.value if minus else number.value
        return _in_range(builder, NumberLiteral(value, number.is_duration, span), start)
    # A plus keeps `offset +(step()) + 1` apart from `offset (step()) + 1`, a longer offset.
    if minus or type(node) is Paren:
        return Unary("-" if minus else "+", node, span)
    kept: Expr = replace(node, span=span)
    return kept


def _duration_signed_twice(builder: Builder, pieces: Pieces) -> Expr:
    outer, inner, node = pieces
    return _duration_signed(builder, [outer, _duration_signed(builder, [inner, node])])


def _duration_binary(builder: Builder, pieces: Pieces) -> Binary:
    left, sign, right = pieces
    op = builder.value(sign)
    number = _literal(right) if op in "/%" else None
    if number is not None and number.value == 0:
        what = "division" if op == "/" else "modulo"
        raise builder.fault(f"{what} by zero", builder.starts[sign])
    span = Span(left.span.start, right.span.stop)
    node = Binary(op, left, right, span=span, op_span=builder.span(sign))
    builder.grow(node)
    return node


def _duration_paren(builder: Builder, pieces: Pieces) -> Paren:
    return Paren(pieces[1], span=Span(builder.starts[pieces[0]], builder.stops[pieces[2]]))


def _duration_call(builder: Builder, pieces: Pieces) -> DurationCall:
    span = Span(builder.starts[pieces[0]], builder.stops[pieces[-1]])
    return DurationCall(builder.value(pieces[0]).lower(), span=span)


def _duration_call_two(builder: Builder, pieces: Pieces) -> DurationCall:
    span = Span(builder.starts[pieces[0]], builder.stops[pieces[-1]])
    arguments = (pieces[2], pieces[4])
    return DurationCall(builder.value(pieces[0]).lower(), arguments, span=span)


ACTIONS: dict[str, Action] = {
    "selector_name": _selector_name,
    "selector_name_braces": _selector_name_braces,
    "selector_braces": _selector_braces,
    "label_matchers": _label_matchers,
    "label_matchers_empty": _label_matchers_empty,
    "label_matcher": _label_matcher,
    "name_matcher": _name_matcher,
    "quoted_name": _quoted_name,
    "matrix_selector": _matrix_selector,
    "subquery": _subquery,
    "subquery_default_step": _subquery_default_step,
    "offset": _offset,
    "at_timestamp": _at_timestamp,
    "at_edge": _at_edge,
    "timestamp": _timestamp,
    "timestamp_signed": _timestamp_signed,
    "extension": _extension,
    "duration_number": _duration_number,
    "positive_duration": _positive_duration,
    "duration_signed": _duration_signed,
    "duration_signed_twice": _duration_signed_twice,
    "duration_binary": _duration_binary,
    "duration_paren": _duration_paren,
    "duration_call": _duration_call,
    "duration_call_two": _duration_call_two,
}
"""By the alias of the alternative in `grammar.lark`."""
