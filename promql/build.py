"""Actions of the grammar: reduced pieces to nodes, with the faults that are noticed on the way.

From: `parse.py` calls `ACTIONS[alias](builder, pieces)` for every reduction.   To: `syntax.py`.

Pieces are token numbers (terminals), nodes, or the small values that the actions here return.
The first fault raises; what Prometheus would add after it never shows. Nodes are immutable, so a
modifier that comes after its selector makes a new one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from promql import literals
from promql.check import DEPTH_MAX, TOO_DEEP
from promql.errors import ParseError
from promql.float_text import fixed_text
from promql.label_names import is_label_name
from promql.lexing import KIND_OF
from promql.matchers import make_matcher
from promql.quoting import quote
from promql.signatures import EXPERIMENTAL_AGGREGATIONS, SIGNATURES
from promql.syntax import (
    PARAMETER_AGGREGATIONS,
    SET_OPERATORS,
    Aggregation,
    At,
    Binary,
    Call,
    Cardinality,
    DurationCall,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
)
from promql.value_types import value_type
from tsdb.interface import METRIC_NAME, Matcher, MatchOp

if TYPE_CHECKING:
    from collections.abc import Callable

    from promql.lexing import Tokens
    from promql.syntax import Expr

    Pieces = list[Any]

FUNCTIONS_FEATURE = "promql-experimental-functions"
EXTENSION_FEATURE = "promql-extended-range-selectors"
FILL_FEATURE = "promql-binop-fill-modifiers"

_SUB = KIND_OF["SUB"]
_SELECTOR_NODES = (VectorSelector, MatrixSelector, Subquery)
_BEFORE_MODIFIER = (
    "modifier must be preceded by an instant vector selector or range vector selector or a subquery"
)


class Builder:
    """What the actions share while one text is parsed."""

    __slots__ = (
        "binary_depths",
        "binary_types",
        "features",
        "kinds",
        "starts",
        "stops",
        "text",
        "tokens",
    )

    def __init__(self, tokens: Tokens, features: frozenset[str]) -> None:
        self.tokens, self.text, self.features = tokens, tokens.text, features
        self.kinds, self.starts, self.stops = tokens.kinds, tokens.starts, tokens.stops
        # Of binary nodes, by id: they stay alive as long as the builder does.
        self.binary_types: dict[int, ValueType] = {}
        self.binary_depths: dict[int, int] = {}

    def fault(self, message: str, position: int) -> ParseError:
        """Return the error to raise for a fault at a character offset."""
        return ParseError(message, self.text, position)

    def value(self, token: int) -> str:
        """Return the text of a token."""
        return self.text[self.starts[token] : self.stops[token]]

    def span(self, token: int) -> Span:
        """Return where a token stands."""
        return Span(self.starts[token], self.stops[token])

    def grow(self, node: Binary) -> None:
        """Refuse a chain of operators early that `check.py` would refuse after all of it."""
        depths = self.binary_depths
        depth = 1 + max(depths.get(id(node.lhs), 1), depths.get(id(node.rhs), 1))
        if depth > DEPTH_MAX:
            raise self.fault(TOO_DEEP, node.span.start)
        depths[id(node)] = depth

    def type_of(self, node: Expr) -> ValueType:
        """Return the type of a node; those of its binary parts are known already."""
        return value_type(node, self.binary_types)


def _position(node: Expr) -> int:
    return node.span.start


# Literals


def _number(builder: Builder, pieces: Pieces) -> NumberLiteral:
    token = pieces[0]
    try:
        value = literals.parse_number(builder.value(token))
    except ValueError as error:
        raise builder.fault(str(error), builder.starts[token]) from None
    return NumberLiteral(value, span=builder.span(token))


def _duration(builder: Builder, pieces: Pieces) -> NumberLiteral:
    token = pieces[0]
    try:
        milliseconds = literals.parse_duration(builder.value(token))
    except ValueError as error:
        raise builder.fault(str(error), builder.starts[token]) from None
    seconds, rest = divmod(milliseconds, 1000)
    # Two roundings where one would do, because Go's Duration.Seconds has them: 4s653ms is
    # 4.6530000000000005.
    return NumberLiteral(seconds + rest / 1000, is_duration=True, span=builder.span(token))


def _string(builder: Builder, pieces: Pieces) -> StringLiteral:
    token = pieces[0]
    return StringLiteral(literals.unquote(builder.value(token)), span=builder.span(token))


# Expressions


def _paren(builder: Builder, pieces: Pieces) -> Paren:
    return Paren(pieces[1], span=Span(builder.starts[pieces[0]], builder.stops[pieces[2]]))


def _unary(builder: Builder, pieces: Pieces) -> Unary | NumberLiteral:
    sign, operand = pieces
    span = Span(builder.starts[sign], operand.span.stop)
    minus = builder.kinds[sign] == _SUB
    if type(operand) is NumberLiteral:
        value = -operand.value if minus else operand.value
        return NumberLiteral(value, operand.is_duration, span)
    return Unary("-" if minus else "+", operand, span)


def _binary(builder: Builder, pieces: Pieces) -> Binary:
    left, sign, (return_bool, matching), right = pieces
    op = builder.value(sign).lower()
    filled = matching.fill_left is not None or matching.fill_right is not None
    if filled and FILL_FEATURE not in builder.features:
        message = "binop fill modifiers are experimental and not enabled"
        raise builder.fault(message, left.span.start)
    left_type, right_type = builder.type_of(left), builder.type_of(right)
    both_vectors = left_type is ValueType.VECTOR and right_type is ValueType.VECTOR
    kept: VectorMatching | None = matching
    if not both_vectors and not matching.labels and not filled:
        kept = None
    elif op in SET_OPERATORS and matching.cardinality is Cardinality.ONE_TO_ONE:
        kept = replace(matching, cardinality=Cardinality.MANY_TO_MANY)
    node = Binary(
        op,
        left,
        right,
        return_bool,
        kept,
        span=Span(left.span.start, right.span.stop),
        op_span=builder.span(sign),
    )
    builder.grow(node)
    scalars = left_type is ValueType.SCALAR and right_type is ValueType.SCALAR
    builder.binary_types[id(node)] = ValueType.SCALAR if scalars else ValueType.VECTOR
    return node


def _call(builder: Builder, pieces: Pieces) -> Call:
    token, (arguments, stop) = pieces
    name = builder.value(token)
    signature = SIGNATURES.get(name)
    start = builder.starts[token]
    if signature is None:
        raise builder.fault(f'unknown function with name "{name}"', start)
    if signature.experimental and FUNCTIONS_FEATURE not in builder.features:
        raise builder.fault(f'function "{name}" is not enabled', start)
    return Call(name, tuple(arguments), span=Span(start, stop))


def _call_body(builder: Builder, pieces: Pieces) -> tuple[list[Expr], int]:
    return pieces[1], builder.stops[pieces[2]]


def _call_body_empty(builder: Builder, pieces: Pieces) -> tuple[list[Expr], int]:
    return [], builder.stops[pieces[1]]


def _trailing_comma(builder: Builder, pieces: Pieces) -> None:
    message = "trailing commas not allowed in function call args"
    raise builder.fault(message, builder.starts[pieces[1]])


def _aggregation(
    builder: Builder,
    token: int,
    modifier: tuple[bool, list[str], int],
    body: tuple[list[Expr], int],
) -> Aggregation:
    arguments, stop = body
    without, labels, modifier_stop = modifier
    op = builder.value(token).lower()
    start = builder.starts[token]
    if not arguments:
        raise builder.fault("no arguments for aggregate expression provided", start)
    if op in EXPERIMENTAL_AGGREGATIONS and FUNCTIONS_FEATURE not in builder.features:
        raise builder.fault(
            f"{op}() is experimental and must be enabled with --enable-feature={FUNCTIONS_FEATURE}",
            start,
        )
    wanted = 2 if op in PARAMETER_AGGREGATIONS else 1
    if len(arguments) != wanted:
        raise builder.fault(
            "wrong number of arguments for aggregate expression provided, "
            f"expected {wanted}, got {len(arguments)}",
            start,
        )
    return Aggregation(
        op,
        arguments[-1],
        arguments[0] if wanted == 2 else None,
        tuple(labels),
        without,
        span=Span(start, max(stop, modifier_stop)),
    )


def _aggregation_plain(builder: Builder, pieces: Pieces) -> Aggregation:
    return _aggregation(builder, pieces[0], (False, [], 0), pieces[1])


def _aggregation_modifier_first(builder: Builder, pieces: Pieces) -> Aggregation:
    return _aggregation(builder, pieces[0], pieces[1], pieces[2])


def _aggregation_modifier_last(builder: Builder, pieces: Pieces) -> Aggregation:
    return _aggregation(builder, pieces[0], pieces[2], pieces[1])


def _list_of_one(_builder: Builder, pieces: Pieces) -> Pieces:
    return [pieces[0]]


def _list_append(_builder: Builder, pieces: Pieces) -> Pieces:
    # The list was made by _list_of_one for this one reduction chain; nobody else holds it.
    pieces[0].append(pieces[2])
    items: Pieces = pieces[0]
    return items


# Grouping and matching


def _grouping_by(_builder: Builder, pieces: Pieces) -> tuple[bool, list[str], int]:
    labels, stop = pieces[1]
    return False, labels, stop


def _grouping_without(_builder: Builder, pieces: Pieces) -> tuple[bool, list[str], int]:
    labels, stop = pieces[1]
    return True, labels, stop


def _grouping_labels(builder: Builder, pieces: Pieces) -> tuple[list[str], int]:
    return pieces[1], builder.stops[pieces[-1]]


def _grouping_labels_empty(builder: Builder, pieces: Pieces) -> tuple[list[str], int]:
    return [], builder.stops[pieces[1]]


def _label_word(builder: Builder, pieces: Pieces) -> str:
    return builder.value(pieces[0])


def _label_string(builder: Builder, pieces: Pieces) -> str:
    name = literals.unquote(builder.value(pieces[0]))
    if not is_label_name(name):
        message = f"invalid label name for grouping: {quote(name)}"
        raise builder.fault(message, builder.starts[pieces[0]])
    return name


def _bool_absent(_builder: Builder, _pieces: Pieces) -> tuple[bool, VectorMatching]:
    return False, VectorMatching()


def _bool_present(_builder: Builder, _pieces: Pieces) -> tuple[bool, VectorMatching]:
    return True, VectorMatching()


def _matching_on(_builder: Builder, pieces: Pieces) -> tuple[bool, VectorMatching]:
    return pieces[0][0], VectorMatching(labels=tuple(pieces[2][0]), on=True)


def _matching_ignoring(_builder: Builder, pieces: Pieces) -> tuple[bool, VectorMatching]:
    return pieces[0][0], VectorMatching(labels=tuple(pieces[2][0]))


def _group_left(_builder: Builder, pieces: Pieces) -> tuple[bool, VectorMatching]:
    return _grouped(pieces, Cardinality.MANY_TO_ONE)


def _group_right(_builder: Builder, pieces: Pieces) -> tuple[bool, VectorMatching]:
    return _grouped(pieces, Cardinality.ONE_TO_MANY)


def _grouped(pieces: Pieces, cardinality: Cardinality) -> tuple[bool, VectorMatching]:
    (return_bool, matching), _, (labels, _) = pieces
    return return_bool, replace(matching, cardinality=cardinality, include=tuple(labels))


def _include_absent(_builder: Builder, _pieces: Pieces) -> tuple[list[str], int]:
    return [], 0


def _bin_modifier_fills(_builder: Builder, pieces: Pieces) -> tuple[bool, VectorMatching]:
    (return_bool, matching), (left, right) = pieces
    return return_bool, replace(matching, fill_left=left, fill_right=right)


def _fill_value(_builder: Builder, pieces: Pieces) -> float:
    number: float = pieces[1].value
    return number


def _fill_value_signed(builder: Builder, pieces: Pieces) -> float:
    number: float = pieces[2].value
    return -number if builder.kinds[pieces[1]] == _SUB else number


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
    if not isinstance(holder, _SELECTOR_NODES):
        raise builder.fault(f"offset {_BEFORE_MODIFIER}", _position(node))
    assert not isinstance(holder, MatrixSelector)
    if holder.offset_ms or holder.offset_expr is not None:
        raise builder.fault("offset may not be set multiple times", _position(node))
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
        raise builder.fault(f"@ {_BEFORE_MODIFIER}", _position(node))
    if holder.at is not None:
        raise builder.fault("@ <timestamp> may not be set multiple times", _position(node))
    return _modified(node, replace(holder, at=at), stop)


def _at_timestamp(builder: Builder, pieces: Pieces) -> Expr:
    node, _, (seconds, stop) = pieces
    # The bounds are those of 64 bits before the factor of 1000, as in Prometheus.
    if not -(2.0**63) < seconds < 2.0**63:
        written = f"{seconds:f}" if math.isfinite(seconds) else fixed_text(seconds)
        message = f"timestamp out of bounds for @ modifier: {written}"
        raise builder.fault(message, _position(node))
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
        raise builder.fault(message, _position(node))
    holder = node.vector if type(node) is MatrixSelector else node
    if type(holder) is not VectorSelector:
        what = "is not supported for subqueries" if type(node) is Subquery else "not implemented"
        raise builder.fault(f"{word} modifier {what}", _position(node))
    if holder.extension not in ("", word):
        message = "anchored and smoothed modifiers cannot be used together"
        raise builder.fault(message, _position(node))
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


ACTIONS: dict[str, Callable[[Builder, Pieces], Any]] = {
    "number": _number,
    "duration": _duration,
    "string": _string,
    "paren": _paren,
    "unary": _unary,
    "binary": _binary,
    "call": _call,
    "call_body": _call_body,
    "call_body_empty": _call_body_empty,
    "trailing_comma": _trailing_comma,
    "aggregation": _aggregation_plain,
    "aggregation_modifier_first": _aggregation_modifier_first,
    "aggregation_modifier_last": _aggregation_modifier_last,
    "list_of_one": _list_of_one,
    "list_append": _list_append,
    "grouping_by": _grouping_by,
    "grouping_without": _grouping_without,
    "grouping_labels": _grouping_labels,
    "grouping_labels_empty": _grouping_labels_empty,
    "label_word": _label_word,
    "label_string": _label_string,
    "bool_absent": _bool_absent,
    "bool_present": _bool_present,
    "matching_on": _matching_on,
    "matching_ignoring": _matching_ignoring,
    "group_left": _group_left,
    "group_right": _group_right,
    "include_absent": _include_absent,
    "bin_modifier_fills": _bin_modifier_fills,
    "fill_value": _fill_value,
    "fill_value_signed": _fill_value_signed,
    "fill_both": lambda _, pieces: (pieces[1], pieces[1]),
    "fill_left": lambda _, pieces: (pieces[1], None),
    "fill_right": lambda _, pieces: (None, pieces[1]),
    "fill_left_right": lambda _, pieces: (pieces[1], pieces[3]),
    "fill_right_left": lambda _, pieces: (pieces[3], pieces[1]),
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
