"""Nodes to text: on one line as errors and rules show it, or laid out for reading.

From: the API's format_query, rule display, generator URLs, error texts.
`parse(format_expr(x)) == x`, and `parse(prettify(x)) == x`.

Both forms are written piece by piece from a stack, so a deep expression needs no deep recursion.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from promql.float_text import fixed_text
from promql.literals import format_duration
from promql.quoting import quote
from promql.syntax import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
    DurationCall,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from tsdb.interface import METRIC_NAME, MatchOp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from promql.syntax import At, Expr, VectorMatching
    from tsdb.interface import Matcher

    Pieces = list[str | Expr]

LINE_BYTES_MAX = 100
"""What is longer on one line is spread over several."""

_INDENT = "  "
_PLAIN_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_NO_LABEL_WORDS = frozenset({"inf", "nan", "without"})
"""What is read as something else than a label between the parentheses of `by` and `on`."""


def format_expr(expr: Expr) -> str:
    """Write an expression on one line.

    >>> from promql.parse import parse
    >>> format_expr(parse("sum(rate(a{c='d',b=~'x'}[300]))by(e)"))
    'sum by (e) (rate(a{b=~"x",c="d"}[5m]))'
    """
    written: list[str] = []
    waiting: Pieces = [expr]
    while waiting:
        piece = waiting.pop()
        if isinstance(piece, str):
            written.append(piece)
        else:
            waiting.extend(reversed(_pieces(piece)))
    return "".join(written)


def prettify(expr: Expr) -> str:
    """Write an expression as `format_query` does: one node a line where a line gets too long."""
    widths = _widths(expr)
    written: list[str] = []
    # None says: what comes next starts without its indentation.
    waiting: list[str | tuple[Expr, int] | None] = [(expr, 0)]
    trim = False
    while waiting:
        piece = waiting.pop()
        if piece is None:
            trim = True
        elif isinstance(piece, str):
            shown = piece.lstrip() if trim else piece
            trim = trim and not shown
            written.append(shown)
        else:
            node, level = piece
            waiting.extend(reversed(_lines(node, level, widths[id(node)] > LINE_BYTES_MAX)))
    return "".join(written)


def headline(expr: Expr) -> str:
    """Write what an expression is without its operands, as a plan names it.

    >>> from promql.parse import parse
    >>> headline(parse("sum by (e) (rate(a[5m]))")), headline(parse("a / on (b) c"))
    ('sum by (e)', '/ on (b)')
    """
    match expr:
        case Call(func=func):
            return func
        case Aggregation():
            return _aggregation_head(expr).rstrip()
        case Binary():
            return _operator(expr)
        case Unary(op=op):
            return op
        case Subquery():
            return _subquery_suffix(expr)
        case Paren():
            return "()"
        case _:
            return format_expr(expr)


def _widths(expr: Expr) -> dict[int, int]:
    """Return the length in bytes of every node written on one line, by id."""
    widths: dict[int, int] = {}
    waiting: list[tuple[Expr, Pieces | None]] = [(expr, None)]
    while waiting:
        node, pieces = waiting.pop()
        if pieces is None:
            pieces = _pieces(node)
            waiting.append((node, pieces))
            waiting.extend((piece, None) for piece in pieces if not isinstance(piece, str))
        else:
            widths[id(node)] = sum(
                len(piece.encode("utf-8", "surrogatepass"))
                if isinstance(piece, str)
                else widths[id(piece)]
                for piece in pieces
            )
    return widths


def _lines(node: Expr, level: int, too_long: bool) -> list[str | tuple[Expr, int] | None]:
    """Return what a node consists of when laid out at a level."""
    indent = _INDENT * level
    if isinstance(node, Unary):
        return [indent + node.op, None, (node.expr, level)]
    if too_long:
        if isinstance(node, Aggregation):
            head: list[str | tuple[Expr, int] | None] = [f"{indent}{_aggregation_head(node)}(\n"]
            if node.param is not None:
                head += [(node.param, level + 1), ",\n"]
            return [*head, (node.expr, level + 1), f"\n{indent})"]
        if isinstance(node, Binary):
            operator = f"\n{indent}{_operator(node)}\n"
            return [(node.lhs, level + 1), operator, (node.rhs, level + 1)]
        if isinstance(node, Call):
            call: list[str | tuple[Expr, int] | None] = [f"{indent}{node.func}("]
            for index, argument in enumerate(node.args):
                call += [",\n" if index else "\n", (argument, level + 1)]
            return [*call, f"\n{indent})"]
        if isinstance(node, Paren):
            return [f"{indent}(\n", (node.expr, level + 1), f"\n{indent})"]
        if isinstance(node, Subquery):
            return [(node.expr, level), _subquery_suffix(node)]
    elif isinstance(node, Subquery):
        # As in Prometheus: a short subquery is not indented.
        indent = ""
    return [indent + format_expr(node)]


def _pieces(node: Expr) -> Pieces:
    """Return what a node consists of on one line."""
    match node:
        case NumberLiteral():
            return [_number(node)]
        case StringLiteral():
            return [quote(node.value)]
        case VectorSelector():
            return [_vector(node), _modifiers(node, extension=True)]
        case MatrixSelector():
            vector = node.vector
            length = _duration(node.range_ms, node.range_expr)
            extension = f" {vector.extension}" if vector.extension else ""
            return [f"{_vector(vector)}[{length}]{extension}", _modifiers(vector, extension=False)]
        case Subquery():
            return [node.expr, _subquery_suffix(node)]
        case Call():
            return [f"{node.func}(", *_joined(node.args), ")"]
        case Aggregation():
            head = f"{_aggregation_head(node)}("
            if node.param is not None:
                return [head, node.param, ", ", node.expr, ")"]
            return [head, node.expr, ")"]
        case Binary():
            return [node.lhs, f" {_operator(node)} ", node.rhs]
        case Unary():
            return [node.op, node.expr]
        case Paren():
            return ["(", node.expr, ")"]
        case DurationCall():
            return [f"{node.func}(", *_joined(node.args), ")"]


def _joined(nodes: Iterable[Expr]) -> Pieces:
    pieces: Pieces = []
    for node in nodes:
        if pieces:
            pieces.append(", ")
        pieces.append(node)
    return pieces


def _number(node: NumberLiteral) -> str:
    if not node.is_duration:
        return fixed_text(node.value)
    # Whole milliseconds are all that a duration literal can say.
    return format_duration(round(node.value * 1000))


def _duration(milliseconds: int, expr: Expr | None) -> str:
    return format_duration(milliseconds) if expr is None else format_expr(expr)


def _aggregation_head(node: Aggregation) -> str:
    if node.without:
        return f"{node.op} without ({_labels(node.grouping)}) "
    if node.grouping:
        return f"{node.op} by ({_labels(node.grouping)}) "
    return node.op


def _labels(names: Iterable[str]) -> str:
    return ", ".join(
        name if _PLAIN_LABEL.match(name) and name.lower() not in _NO_LABEL_WORDS else quote(name)
        for name in names
    )


def _operator(node: Binary) -> str:
    text = f"{node.op} bool" if node.return_bool else node.op
    return text if node.matching is None else text + _matching(node.matching)


def _matching(matching: VectorMatching) -> str:
    text = ""
    grouped = matching.cardinality in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)
    if matching.labels or matching.on or grouped:
        text = f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if grouped:
        side = "left" if matching.cardinality is Cardinality.MANY_TO_ONE else "right"
        text += f" group_{side} ({_labels(matching.include)})"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and right is not None and (left == right or (left != left != right)):
        return f"{text} fill ({fixed_text(left)})"
    if left is not None:
        text += f" fill_left ({fixed_text(left)})"
    if right is not None:
        text += f" fill_right ({fixed_text(right)})"
    return text


def _vector(node: VectorSelector) -> str:
    shown = sorted(
        format_matcher(matcher)
        for matcher in node.matchers
        if not _is_name(matcher, node.name) or not matcher.value
    )
    return f"{node.name}{{{','.join(shown)}}}" if shown else node.name


def _is_name(matcher: Matcher, name: str) -> bool:
    return matcher.name == METRIC_NAME and matcher.op is MatchOp.EQUAL and matcher.value == name


def format_matcher(matcher: Matcher) -> str:
    """Write one matcher as it stands between braces."""
    name = matcher.name if _PLAIN_LABEL.match(matcher.name) else quote(matcher.name)
    return f"{name}{matcher.op.value}{quote(matcher.value)}"


def _modifiers(node: VectorSelector | Subquery, *, extension: bool) -> str:
    text = _at(node.at)
    if extension and isinstance(node, VectorSelector) and node.extension:
        text += f" {node.extension}"
    if node.offset_expr is not None or node.offset_ms:
        text += f" offset {_duration(node.offset_ms, node.offset_expr)}"
    return text


def _at(at: At | None) -> str:
    if at is None:
        return ""
    if at.timestamp_ms is None:
        return f" @ {at.edge}()"
    # As a float, of which far times have fewer digits.
    return f" @ {float(at.timestamp_ms) / 1000:.3f}"


def _subquery_suffix(node: Subquery) -> str:
    step = ""
    if node.step_ms or node.step_expr is not None:
        step = _duration(node.step_ms, node.step_expr)
    length = _duration(node.range_ms, node.range_expr)
    return f"[{length}:{step}]{_modifiers(node, extension=False)}"
