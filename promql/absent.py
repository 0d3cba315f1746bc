"""The labels of the one series that says "nothing is there": what the matchers promise.

From: `absent()` and `absent_over_time()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from promql.syntax import MatrixSelector, Paren, VectorSelector
from tsdb.interface import METRIC_NAME, MatchOp

if TYPE_CHECKING:
    from promql.syntax import Expr


def absent_labels(expr: Expr) -> dict[str, str]:
    """Return the labels that every series of the selector would have: those matched with `=`.

    A label with several matchers is left out; so is the name. Other expressions promise nothing.
    Order decides as in Prometheus: a second matcher of a label takes it away, for good if both
    are equalities.
    """
    while isinstance(expr, Paren):
        expr = expr.expr
    if isinstance(expr, MatrixSelector):
        expr = expr.vector
    if not isinstance(expr, VectorSelector):
        return {}
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in expr.matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
            labels[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return {name: value for name, value in labels.items() if value}
