"""The type of an expression, from its form alone.

To: `parsing/builder.py`, `check.py`, `engine.py`. Whether the expression is valid is not asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from collections.abc import Mapping

    from promql.syntax import Expr

_BY_FORM: dict[type, ValueType] = {
    NumberLiteral: ValueType.SCALAR,
    StringLiteral: ValueType.STRING,
    VectorSelector: ValueType.VECTOR,
    MatrixSelector: ValueType.MATRIX,
    Subquery: ValueType.MATRIX,
    Aggregation: ValueType.VECTOR,
    DurationCall: ValueType.SCALAR,
}
_NOTHING_KNOWN: dict[int, ValueType] = {}


def value_type(node: Expr, known: Mapping[int, ValueType] = _NOTHING_KNOWN) -> ValueType:
    """Return the type of an expression without recursion, however deep it is.

    `known` holds types of binary nodes by `id`, where the caller keeps such.
    """
    # A binary node is a scalar only if all that its operands come down to are scalars.
    open_nodes = [node]
    under_binary = False
    while open_nodes:
        current = open_nodes.pop()
        while isinstance(current, Paren | Unary):
            current = current.expr
        if isinstance(current, Binary):
            if id(current) not in known:
                under_binary = True
                open_nodes += (current.rhs, current.lhs)
                continue
            found = known[id(current)]
        elif isinstance(current, Call):
            found = SIGNATURES[current.func].returns
        else:
            found = _BY_FORM[type(current)]
        if not under_binary:
            return found
        if found is not ValueType.SCALAR:
            return ValueType.VECTOR
    return ValueType.SCALAR
