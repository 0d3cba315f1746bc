"""Whether the types of an expression fit, with Prometheus' messages in Prometheus' order.

From: `parse.py`, after the syntax is known to be good. Walks with a stack of its own: a text of
fifty thousand additions is a deep tree, and must end in an answer or an error, not in a crash.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from promql.errors import ParseError
from promql.matchers import matches_empty
from promql.quoting import quote
from promql.signatures import AGGREGATIONS, SIGNATURES
from promql.syntax import (
    COMPARISON_OPERATORS,
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Cardinality,
    DurationCall,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)
from promql.value_types import value_type
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from promql.syntax import Expr
    from tsdb.interface import Matcher

DEPTH_MAX = 1000
"""How many nodes deep an expression may be. Prometheus has no such limit, dashboards need ten."""

_FRAMES_PER_LEVEL = 8
# Planning, evaluating, comparing and hashing recurse through an expression, with up to five frames
# a level (measured); Python's own limit would stop them at a depth of 200.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + _FRAMES_PER_LEVEL * DEPTH_MAX))

_SCALAR, _VECTOR = ValueType.SCALAR, ValueType.VECTOR
TOO_DEEP = f"expression is nested too deeply, more than {DEPTH_MAX} levels"
_NO_MATCHER = "vector selector must contain at least one non-empty matcher"


def check(expr: Expr, text: str) -> ValueType:
    """Return the type of an expression. Raises `ParseError` for the first fault."""
    return _Checker(text).run(expr)


def selects_something(matchers: Iterable[Matcher]) -> bool:
    """Return whether at least one matcher rules out the empty string."""
    return any(not matches_empty(matcher) for matcher in matchers)


class _Checker:
    """One walk. Work to do is a stack of calls; types of finished children are another."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.types: list[ValueType] = []
        self.work: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    def run(self, expr: Expr) -> ValueType:
        self.work.append((self.visit, (expr, 1)))
        work = self.work
        while work:
            step, arguments = work.pop()
            step(*arguments)
        return self.types.pop()

    def fault(self, message: str, node: Expr) -> ParseError:
        return ParseError(message, self.text, node.span.start)

    def visit(self, node: Expr, depth: int, lenient: bool = False) -> None:
        """Plan the checks of one node: what is pushed last happens first."""
        if depth > DEPTH_MAX:
            raise self.fault(TOO_DEEP, node)
        work, deeper = self.work, depth + 1
        if isinstance(node, Binary):
            work.append((self.judge_binary, (node,)))
            work.append((self.visit, (node.rhs, deeper)))
            work.append((self.visit, (node.lhs, deeper)))
        elif isinstance(node, VectorSelector):
            self.check_selector(node, lenient)
            self.measure(depth, node.offset_expr)
            self.types.append(_VECTOR)
        elif isinstance(node, Call):
            self.plan_call(node, deeper)
        elif isinstance(node, Aggregation):
            work.append((self.types.append, (_VECTOR,)))
            if node.param is not None:
                wanted = AGGREGATIONS[node.op]
                work.append((self.expect, (node.param, wanted, "aggregation parameter")))
                work.append((self.visit, (node.param, deeper)))
            work.append((self.expect, (node.expr, _VECTOR, "aggregation expression")))
            work.append((self.visit, (node.expr, deeper)))
        elif isinstance(node, Paren):
            work.append((self.visit, (node.expr, deeper)))
        elif isinstance(node, Unary):
            work.append((self.judge_unary, (node,)))
            work.append((self.visit, (node.expr, deeper)))
        elif isinstance(node, MatrixSelector):
            self.check_selector(node.vector, lenient=False)
            self.measure(depth, node.range_expr, node.vector.offset_expr)
            self.types.append(ValueType.MATRIX)
        elif isinstance(node, Subquery):
            self.measure(depth, node.range_expr, node.step_expr, node.offset_expr)
            work.append((self.judge_subquery, (node,)))
            work.append((self.visit, (node.expr, deeper)))
        else:
            self.types.append(value_type(node))

    def expect(self, node: Expr, wanted: ValueType, where: str) -> None:
        got = self.types.pop()
        if got is not wanted:
            raise self.fault(f"expected type {wanted.value} in {where}, got {got.value}", node)

    def check_selector(self, node: VectorSelector, lenient: bool) -> None:
        if node.name:
            for matcher in node.matchers[:-1]:
                if matcher.name == METRIC_NAME:
                    names = f"{quote(node.name)} or {quote(matcher.value)}"
                    raise self.fault(f"metric name must not be set twice: {names}", node)
        elif not lenient and not selects_something(node.matchers):
            raise self.fault(_NO_MATCHER, node)

    def measure(self, depth: int, *durations: Expr | None) -> None:
        """Refuse duration expressions that are too deep; there is nothing else to check."""
        waiting = [(node, depth + 1) for node in durations if node is not None]
        while waiting:
            node, at = waiting.pop()
            if at > DEPTH_MAX:
                raise self.fault(TOO_DEEP, node)
            if isinstance(node, Binary):
                waiting += ((node.lhs, at + 1), (node.rhs, at + 1))
            elif isinstance(node, Paren | Unary):
                waiting.append((node.expr, at + 1))
            elif isinstance(node, DurationCall):
                waiting += ((argument, at + 1) for argument in node.args)

    def judge_unary(self, node: Unary) -> None:
        got = self.types[-1]
        if got is not _SCALAR and got is not _VECTOR:
            raise self.fault(
                "unary expression only allowed on expressions of type scalar or instant vector, "
                f'got "{got.value}"',
                node,
            )

    def judge_subquery(self, node: Subquery) -> None:
        got = self.types.pop()
        if got is not _VECTOR:
            names = {_SCALAR: "scalar", ValueType.MATRIX: "matrix", ValueType.STRING: "string"}
            raise self.fault(
                f"subquery is only allowed on instant vector, got {names[got]} instead", node
            )
        self.types.append(ValueType.MATRIX)

    def plan_call(self, node: Call, deeper: int) -> None:
        signature = SIGNATURES[node.func]
        wanted, got = len(signature.arguments), len(node.args)
        least = wanted - 1 if signature.variadic else wanted
        name = f'"{node.func}"'
        if signature.variadic == 0 and got != wanted:
            message = f"expected {wanted} argument(s) in call to {name}, got {got}"
            raise self.fault(message, node)
        if got < least:
            message = f"expected at least {least} argument(s) in call to {name}, got {got}"
            raise self.fault(message, node)
        if signature.variadic > 0 and got > least + signature.variadic:
            most = least + signature.variadic
            message = f"expected at most {most} argument(s) in call to {name}, got {got}"
            raise self.fault(message, node)
        is_info = node.func == "info"
        if is_info and got > 1:
            self.check_info(node)
        self.work.append((self.types.append, (signature.returns,)))
        for index in range(got - 1, -1, -1):
            argument = node.args[index]
            kind = signature.arguments[min(index, wanted - 1)]
            self.work.append((self.expect, (argument, kind, f"call to function {name}")))
            # Only info's second argument may be a selector that selects everything.
            self.work.append((self.visit, (argument, deeper, is_info and index == 1)))

    def check_info(self, node: Call) -> None:
        selector = node.args[1]
        got = value_type(selector)
        if got is not _VECTOR:
            raise self.fault(
                f'expected type instant vector in call to function "info", got {got.value}', node
            )
        if not isinstance(selector, VectorSelector):
            raise self.fault("expected label selectors only", selector)
        if selector.name:
            message = "expected label selectors only, got vector selector instead"
            raise self.fault(message, selector)

    def judge_binary(self, node: Binary) -> None:
        right, left = self.types.pop(), self.types.pop()
        op, matching = node.op, node.matching
        scalars = left is _SCALAR and right is _SCALAR
        if node.return_bool and op not in COMPARISON_OPERATORS:
            raise self.at_operator(node, "bool modifier can only be used on comparison operators")
        if op in COMPARISON_OPERATORS and not node.return_bool and scalars:
            raise self.at_operator(node, "comparisons between scalars must use BOOL modifier")
        if matching is not None and matching.on:
            for label in matching.labels:
                if label in matching.include:
                    raise self.at_operator(
                        node,
                        f"label {quote(label)} must not occur in ON and GROUP clause at once",
                    )
        for side, got in ((node.lhs, left), (node.rhs, right)):
            if got is not _SCALAR and got is not _VECTOR:
                message = "binary expression must contain only scalar and instant vector types"
                raise self.fault(message, side)
        if left is not _VECTOR or right is not _VECTOR:
            # Without labels or fills `parsing/expression_actions.py` dropped the clause already.
            if matching is not None and matching.labels:
                raise self.fault("vector matching only allowed between instant vectors", node)
            if matching is not None:
                message = "filling in missing series only allowed between instant vectors"
                raise self.fault(message, node)
            if op in SET_OPERATORS:
                message = f'set operator "{op}" not allowed in binary scalar expression'
                raise self.fault(message, node)
        elif op in SET_OPERATORS and matching is not None:
            if matching.cardinality is not Cardinality.MANY_TO_MANY:
                raise self.fault(f'no grouping allowed for "{op}" operation', node)
            if matching.fill_left is not None or matching.fill_right is not None:
                message = "filling in missing series not allowed for set operators"
                raise self.fault(message, node)
        self.types.append(_SCALAR if scalars else _VECTOR)

    def at_operator(self, node: Binary, message: str) -> ParseError:
        """Return an error where Prometheus points: at what follows the left side."""
        at = node.lhs.span.stop
        while self.text[at] in " \t\n\r":
            at += 1
        return ParseError(message, self.text, at)
