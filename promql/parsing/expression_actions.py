"""Actions of the grammar for literals, operators, calls, aggregations and matching clauses.

From: `parse.py` calls `ACTIONS[alias](builder, pieces)` for every reduction.   To: `syntax.py`.

The first fault raises; what Prometheus would add after it never shows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from promql import literals
from promql.label_names import is_label_name
from promql.parsing.lexing import KIND_OF
from promql.quoting import quote
from promql.signatures import EXPERIMENTAL_AGGREGATIONS, SIGNATURES
from promql.syntax import (
    PARAMETER_AGGREGATIONS,
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Cardinality,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Unary,
    ValueType,
    VectorMatching,
)

if TYPE_CHECKING:
    from promql.parsing.builder import Action, Builder, Pieces
    from promql.syntax import Expr

FUNCTIONS_FEATURE = "promql-experimental-functions"
FILL_FEATURE = "promql-binop-fill-modifiers"

_SUB = KIND_OF["SUB"]


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


ACTIONS: dict[str, Action] = {
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
}
"""By the alias of the alternative in `grammar.lark`."""
