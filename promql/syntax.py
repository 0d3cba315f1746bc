"""The nodes of a PromQL expression: frozen values, each with its span in the text.

From: `parse.py`.   To: `check.py`, `format.py`, `plan.py`, `evaluate.py`.

Spans do not take part in equality, so parse(format(x)) == x. Durations are milliseconds, already
resolved where they are plain; where a duration is an expression (`[5m + step()]`) the `_expr`
field holds it and the plain field is 0 until `plan.py` resolves it for one query.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsdb.interface import Matcher


class ValueType(enum.Enum):
    """The type of an expression; the value is how Prometheus' messages and API call it."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    MATRIX = "range vector"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stands: character offsets into the query text, stop exclusive."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class At:
    """The `@` modifier: a fixed time in ms, or an end of the query ("start" or "end")."""

    timestamp_ms: int | None = None
    edge: str | None = None


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A scalar constant. `is_duration`: written as one (`5m`), so printed as one."""

    value: float
    is_duration: bool = False
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string constant, unescaped."""

    value: str
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """An instant selector. `name` is the metric name written before the braces, "" if none.

    `matchers` holds the name's own equality matcher too (last, as Prometheus keeps it).
    `extension` is "", "anchored" or "smoothed".
    """

    name: str
    matchers: tuple[Matcher, ...]
    offset_ms: int = 0
    offset_expr: Expr | None = None
    at: At | None = None
    extension: str = ""
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class MatrixSelector:
    """A range selector; offset, `@` and extension are those of `vector`."""

    vector: VectorSelector
    range_ms: int
    range_expr: Expr | None = None
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Subquery:
    """`expr[range:step]`. `step_ms` 0 with no `step_expr` means the default resolution."""

    expr: Expr
    range_ms: int
    range_expr: Expr | None = None
    step_ms: int = 0
    step_expr: Expr | None = None
    offset_ms: int = 0
    offset_expr: Expr | None = None
    at: At | None = None
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; `func` as in `signatures.py`."""

    func: str
    args: tuple[Expr, ...]
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`op by/without (grouping) (param, expr)`; `op` in lower case."""

    op: str
    expr: Expr
    param: Expr | None = None
    grouping: tuple[str, ...] = ()
    without: bool = False
    span: Span = field(default=Span(0, 0), compare=False)


class Cardinality(enum.Enum):
    """How many series may match on each side; the value is the API's own spelling."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """How two vectors pair up. `on` False means ignoring; `include` are group_x's labels.

    `fill_left`, `fill_right`: the value for a series that is missing on that side.
    """

    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    labels: tuple[str, ...] = ()
    on: bool = False
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """`lhs op rhs`, `op` in lower case.

    `matching` is set where both sides are vectors or where a matching clause was written.
    """

    op: str
    lhs: Expr
    rhs: Expr
    return_bool: bool = False
    matching: VectorMatching | None = None
    span: Span = field(default=Span(0, 0), compare=False)
    op_span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """`-expr` or `+expr`."""

    op: str
    expr: Expr
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Paren:
    """`(expr)`; kept so that printing gives the text back."""

    expr: Expr
    span: Span = field(default=Span(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class DurationCall:
    """`step()`, `range()`, `min_of(a, b)`, `max_of(a, b)` inside a duration expression."""

    func: str
    args: tuple[Expr, ...] = ()
    span: Span = field(default=Span(0, 0), compare=False)


Expr = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Call
    | Aggregation
    | Binary
    | Unary
    | Paren
    | DurationCall
)

SET_OPERATORS = frozenset({"and", "or", "unless"})
COMPARISON_OPERATORS = frozenset({"==", "!=", "<", "<=", ">", ">="})
PARAMETER_AGGREGATIONS = frozenset(
    {"topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"}
)
