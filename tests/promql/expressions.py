"""Random valid expressions as nodes, for hypothesis: only what a text can mean.

Operands that bind looser than their operator are put in parentheses, as the parser would have
found them; matchers are sorted, as printing sorts them.
"""

from hypothesis import strategies as st

from promql.format import format_matcher
from promql.signatures import AGGREGATIONS, SIGNATURES
from promql.syntax import (
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
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
)
from promql.value_types import value_type
from tsdb.interface import Matcher, MatchOp

MATCH_OPS = st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL])
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\ufffd"), max_size=5)
LABELS = st.sampled_from(["a", "sum", "on", "Inf", "without", "b c", "é", 'q"', "_"])
LEVELS = {
    "or": 1, "and": 2, "unless": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "</": 3,
    ">/": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 7,
}  # fmt: skip
UNARY_LEVEL = 6
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def level(node):
    """How tightly the outermost thing of a node binds."""
    if isinstance(node, Binary):
        return LEVELS[node.op]
    if isinstance(node, Unary):
        return UNARY_LEVEL
    # What prints with a sign is read back as a sign.
    signed = isinstance(node, NumberLiteral) and (node.value < 0 or node.value == float("inf"))
    return UNARY_LEVEL if signed else 9


def at_least(node, wanted):
    return node if level(node) >= wanted else Paren(node)


@st.composite
def numbers(draw):
    if draw(st.booleans()):
        seconds, rest = draw(st.integers(0, 10**9)), draw(st.integers(0, 999))
        sign = draw(st.sampled_from([1, -1]))
        return NumberLiteral(sign * (seconds + rest / 1000), is_duration=True)
    return NumberLiteral(draw(st.floats(allow_nan=False)))


@st.composite
def positive_durations(draw, depth):
    """What may stand in brackets: milliseconds, or an expression instead."""
    if depth <= 0 or draw(st.integers(0, 3)):
        return draw(st.integers(1, 10**12)), None
    return 0, draw(duration_expressions(depth))


@st.composite
def duration_expressions(draw, depth):
    kind = draw(st.integers(0, 4 if depth > 0 else 0))
    if kind == 0:
        return DurationCall(draw(st.sampled_from(["step", "range"])))
    parts = duration_parts(depth - 1)
    if kind == 1:
        return DurationCall(draw(st.sampled_from(["min_of", "max_of"])), (draw(parts), draw(parts)))
    if kind == 2:
        return Paren(draw(duration_expressions(depth - 1)))
    if kind == 3:
        return Unary("-", at_least(draw(duration_expressions(depth - 1)), UNARY_LEVEL))
    op = draw(st.sampled_from(["+", "-", "*", "/", "%", "^"]))
    return Binary(op, *sides(op, draw(parts), draw(parts)))


def duration_parts(depth):
    # Zero would be refused as a divisor, and minus of a plain number is a number.
    plain = st.integers(1, 10**9).map(lambda s: NumberLiteral(s, is_duration=True))
    return plain | duration_expressions(depth)


def sides(op, lhs, rhs):
    """Both operands with the parentheses that the operator makes necessary."""
    own = LEVELS[op]
    if op == "^":
        return at_least(lhs, own + 1), at_least(rhs, UNARY_LEVEL)
    return at_least(lhs, own), at_least(rhs, own + 1)


@st.composite
def modifiers(draw, depth):
    at = draw(
        st.none()
        | st.sampled_from([At(edge="start"), At(edge="end")])
        | st.integers(-(10**14), 10**14).map(lambda ms: At(timestamp_ms=ms))
    )
    offset_ms, offset_expr = draw(st.integers(-(10**12), 10**12) | st.just(0)), None
    if depth > 0 and not draw(st.integers(0, 4)):
        # What starts with a parenthesis would swallow operators behind the selector.
        offset_ms, sign = 0, draw(st.sampled_from("+-"))
        offset_expr = Unary(sign, Paren(draw(duration_expressions(depth))))
    return {"at": at, "offset_ms": offset_ms, "offset_expr": offset_expr}


@st.composite
def selectors(draw, depth, *, extensions=("", "anchored", "smoothed")):
    name = draw(st.sampled_from(["", "foo", "sum", "a:b", "start", "fill"]))
    matchers = draw(st.lists(st.builds(Matcher, LABELS, MATCH_OPS, TEXTS), max_size=3))
    if not name:
        matchers.append(Matcher("__name__", MatchOp.EQUAL, draw(TEXTS.filter(bool))))
    matchers.sort(key=format_matcher)
    if name:
        matchers.append(Matcher("__name__", MatchOp.EQUAL, name))
    extension = draw(st.sampled_from(extensions))
    return VectorSelector(name, tuple(matchers), extension=extension, **draw(modifiers(depth)))


@st.composite
def ranges(draw, depth):
    range_ms, range_expr = draw(positive_durations(depth))
    if draw(st.booleans()):
        return MatrixSelector(draw(selectors(depth)), range_ms, range_expr)
    step_ms, step_expr = draw(positive_durations(depth) | st.just((0, None)))
    inner = draw(vectors(depth - 1))
    if level(inner) < 9:
        inner = Paren(inner)
    return Subquery(inner, range_ms, range_expr, step_ms, step_expr, **draw(modifiers(depth)))


@st.composite
def matchings(draw, op):
    labels = tuple(draw(st.lists(LABELS, max_size=2)))
    on = draw(st.booleans())
    if op in SET_OPERATORS:
        return VectorMatching(Cardinality.MANY_TO_MANY, labels, on)
    cardinality = draw(
        st.sampled_from([Cardinality.ONE_TO_ONE, Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY])
    )
    include = ()
    if cardinality is not Cardinality.ONE_TO_ONE:
        include = tuple(
            label for label in draw(st.lists(LABELS, max_size=2)) if label not in labels
        )
    fills = st.none() | st.floats(allow_nan=False)
    return VectorMatching(cardinality, labels, on, include, draw(fills), draw(fills))


@st.composite
def binaries(draw, depth, *, scalars):
    lhs = draw(expressions(depth - 1, scalars=scalars))
    rhs = draw(expressions(depth - 1, scalars=scalars))
    both = all(value_type(side) is ValueType.VECTOR for side in (lhs, rhs))
    neither = all(value_type(side) is ValueType.SCALAR for side in (lhs, rhs))
    op = draw(st.sampled_from([op for op in LEVELS if both or op not in SET_OPERATORS]))
    return_bool = op in COMPARISONS and (neither or draw(st.booleans()))
    if neither and op in ("</", ">/"):
        op = "+"
    matching = draw(matchings(op)) if both else None
    return Binary(op, *sides(op, lhs, rhs), return_bool, matching)


@st.composite
def calls(draw, depth, returns):
    names = [name for name, s in SIGNATURES.items() if s.returns is returns and name != "info"]
    signature = SIGNATURES[draw(st.sampled_from(names))]
    return Call(signature.name, tuple(draw(of_type(kind, depth)) for kind in signature.arguments))


@st.composite
def aggregations(draw, depth):
    op = draw(st.sampled_from(sorted(AGGREGATIONS)))
    kind = AGGREGATIONS[op]
    param = draw(of_type(kind, depth - 1)) if kind else None
    grouping = tuple(draw(st.lists(LABELS, max_size=2)))
    return Aggregation(op, draw(vectors(depth - 1)), param, grouping, draw(st.booleans()))


def of_type(kind, depth):
    if kind is ValueType.SCALAR:
        return expressions(depth - 1, scalars=True).filter(
            lambda e: value_type(e) is ValueType.SCALAR
        )
    if kind is ValueType.VECTOR:
        return vectors(depth - 1)
    if kind is ValueType.MATRIX:
        return ranges(depth - 1)
    return st.builds(StringLiteral, TEXTS)


@st.composite
def vectors(draw, depth):
    kind = draw(st.integers(0, 5 if depth > 0 else 0))
    if kind == 0:
        return draw(selectors(depth))
    if kind == 1:
        return draw(calls(depth, ValueType.VECTOR))
    if kind == 2:
        return draw(aggregations(depth))
    if kind == 3:
        return Paren(draw(vectors(depth - 1)))
    if kind == 4:
        inner = at_least(draw(vectors(depth - 1)), UNARY_LEVEL)
        return Unary(draw(st.sampled_from("+-")), inner)
    return draw(binaries(depth, scalars=False))


def expressions(depth, *, scalars=True):
    """Scalars and vectors; without `scalars`, vectors mostly."""
    if not scalars:
        return vectors(depth)
    if depth <= 0:
        return numbers() | selectors(0)
    return (
        numbers()
        | vectors(depth)
        | binaries(depth, scalars=True)
        | calls(depth, ValueType.SCALAR)
        | expressions(depth - 1).map(Paren)
    )
