"""The labels of the one series that says "nothing is there": what the matchers promise.

From: `absent()` and `absent_over_time()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import re2

from promql.syntax import MatrixSelector, Paren, VectorSelector
from tsdb.interface import METRIC_NAME, MatchOp

if TYPE_CHECKING:
    from promql.syntax import Expr
    from tsdb.interface import Matcher


def absent_labels(expr: Expr) -> dict[str, str]:
    """Return the labels that every series of the selector would have: those matched with `=`.

    The name is left out. Other expressions promise nothing. Order decides as in Prometheus: a
    matcher that follows an equality of the same label takes the label away. Those that take
    series away come last in that order, for its storage has moved them there by then.
    """
    while isinstance(expr, Paren):
        expr = expr.expr
    if isinstance(expr, MatrixSelector):
        expr = expr.vector
    if not isinstance(expr, VectorSelector):
        return {}
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in sorted(expr.matchers, key=_takes_away):
        if matcher.name == METRIC_NAME:
            continue
        if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
            labels[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return {name: value for name, value in labels.items() if value}


def _takes_away(matcher: Matcher) -> bool:
    """Tell whether storage reads the matcher as "all but these": where no label at all fits."""
    if matcher.op is MatchOp.NOT_EQUAL:
        return bool(matcher.value)
    if matcher.op is MatchOp.NOT_MATCHES:
        return re2.fullmatch(f"(?s:{matcher.value})", "") is None
    return False
