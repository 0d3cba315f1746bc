"""Nodes to the JSON tree that `/api/v1/parse_query` answers with.

To: `api`. Written from a stack as text at once: JSON libraries refuse deep trees. Members are in
alphabetical order, as Go writes them. Durations and times are whole milliseconds.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from promql.float_text import fixed_text
from promql.format import format_expr
from promql.signatures import SIGNATURES
from promql.syntax import (
    Aggregation,
    Binary,
    Call,
    DurationCall,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from promql.syntax import Expr, VectorMatching

    Pieces = list[str | Expr]

_TYPE_NAMES = {
    ValueType.SCALAR: "scalar",
    ValueType.VECTOR: "vector",
    ValueType.MATRIX: "matrix",
    ValueType.STRING: "string",
}


def tree_json(expr: Expr) -> bytes:
    """Return the tree as JSON.

    >>> from promql.parse import parse
    >>> tree_json(parse("-1"))
    b'{"type":"numberLiteral","val":"-1"}'
    """
    written: list[str] = []
    waiting: Pieces = [expr]
    while waiting:
        piece = waiting.pop()
        if isinstance(piece, str):
            written.append(piece)
        else:
            waiting.extend(reversed(_pieces(piece)))
    return "".join(written).encode()


def _pieces(node: Expr) -> Pieces:
    match node:
        case NumberLiteral():
            return [f'{{"type":"numberLiteral","val":"{fixed_text(node.value)}"}}']
        case StringLiteral():
            return [f'{{"type":"stringLiteral","val":{_text(node.value)}}}']
        case VectorSelector():
            return ["{", _selector(node), '"type":"vectorSelector"}']
        case MatrixSelector():
            extra = f'"range":{node.range_ms},{_expression("rangeExpr", node.range_expr)}'
            return ["{", _selector(node.vector, extra), '"type":"matrixSelector"}']
        case Subquery():
            return ['{"expr":', node.expr, ",", _subquery(node), '"type":"subquery"}']
        case Call():
            tail = f'],"func":{_function(node.func)},"type":"call"}}'
            return ['{"args":[', *_joined(node.args), tail]
        case Aggregation():
            param: Pieces = ["null"] if node.param is None else [node.param]
            end = f'"type":"aggregation","without":{_bool(node.without)}}}'
            middle = f',"grouping":{_texts(node.grouping)},"op":"{node.op}","param":'
            return ['{"expr":', node.expr, middle, *param, ",", end]
        case Binary():
            middle = f',"matching":{_matching(node.matching)},"op":"{node.op}","rhs":'
            head = f'{{"bool":{_bool(node.return_bool)},"lhs":'
            return [head, node.lhs, middle, node.rhs, ',"type":"binaryExpr"}']
        case Unary():
            return ['{"expr":', node.expr, f',"op":"{node.op}","type":"unaryExpr"}}']
        case Paren():
            return ['{"expr":', node.expr, ',"type":"parenExpr"}']
        case DurationCall():
            raise AssertionError("a duration expression is no node of the tree")


def _joined(nodes: Iterable[Expr]) -> Pieces:
    pieces: Pieces = []
    for node in nodes:
        if pieces:
            pieces.append(",")
        pieces.append(node)
    return pieces


def _selector(node: VectorSelector, extra: str = "") -> str:
    matchers = ",".join(
        f'{{"name":{_text(m.name)},"type":"{m.op.value}","value":{_text(m.value)}}}'
        for m in node.matchers
    )
    anchored = '"anchored":true,' if node.extension == "anchored" else ""
    smoothed = '"smoothed":true,' if node.extension == "smoothed" else ""
    return (
        f'{anchored}"matchers":[{matchers}],"name":{_text(node.name)},'
        f"{_offset(node)}{extra}{smoothed}{_at(node)}"
    )


def _subquery(node: Subquery) -> str:
    step = f'"step":{node.step_ms},{_expression("stepExpr", node.step_expr)}'
    return (
        f'{_offset(node)}"range":{node.range_ms},{_expression("rangeExpr", node.range_expr)}'
        f"{_at(node, step)}"
    )


def _offset(node: VectorSelector | Subquery) -> str:
    return f'"offset":{node.offset_ms},{_expression("offsetExpr", node.offset_expr)}'


def _expression(name: str, node: Expr | None) -> str:
    """Return a duration expression as text, where there is one."""
    return "" if node is None else f'"{name}":{_text(format_expr(node))},'


def _at(node: VectorSelector | Subquery, between: str = "") -> str:
    edge, timestamp = "null", "null"
    if node.at is not None and node.at.timestamp_ms is not None:
        timestamp = str(node.at.timestamp_ms)
    elif node.at is not None:
        edge = f'"{node.at.edge}"'
    return f'"startOrEnd":{edge},{between}"timestamp":{timestamp},'


def _function(name: str) -> str:
    signature = SIGNATURES[name]
    types = ",".join(f'"{_TYPE_NAMES[kind]}"' for kind in signature.arguments)
    return (
        f'{{"argTypes":[{types}],"name":"{name}",'
        f'"returnType":"{_TYPE_NAMES[signature.returns]}","variadic":{signature.variadic}}}'
    )


def _matching(matching: VectorMatching | None) -> str:
    if matching is None:
        return "null"
    fills = ""
    if matching.fill_left is not None or matching.fill_right is not None:
        left, right = _fill(matching.fill_left), _fill(matching.fill_right)
        fills = f'"fillValues":{{"lhs":{left},"rhs":{right}}},'
    return (
        f'{{"card":"{matching.cardinality.value}",{fills}"include":{_texts(matching.include)},'
        f'"labels":{_texts(matching.labels)},"on":{_bool(matching.on)}}}'
    )


def _fill(value: float | None) -> str:
    if value is None:
        return "null"
    # JSON has no infinities, so those are texts, as the values of samples are.
    return fixed_text(value) if math.isfinite(value) else f'"{fixed_text(value)}"'


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _texts(values: Iterable[str]) -> str:
    return f"[{','.join(map(_text, values))}]"


def _text(value: str) -> str:
    # A byte that is no UTF-8 has no place in JSON; Go writes the replacement character, too.
    valid = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return json.dumps(valid, ensure_ascii=False)
