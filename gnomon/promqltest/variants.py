"""The same question asked otherwise: an instant query pinned with `@`, moved in time, as a range.

From: `runner.py`.   To: the engine, which must give the same answer.
What upstream checks besides every instant case: step invariance, and that a range evaluation
agrees with an instant one. Source: the corpus README.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from promql.syntax import (
    At,
    Call,
    DurationCall,
    Expr,
    MatrixSelector,
    Subquery,
    VectorSelector,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIME_DEPENDENT_NAMES = """
time timestamp minute hour day_of_month day_of_week day_of_year days_in_month month year
predict_linear start end step range
"""
TIME_DEPENDENT = frozenset(_TIME_DEPENDENT_NAMES.split())
"""Functions whose answer depends on the evaluation time, whatever their arguments are."""

STEP_DEPENDENT = ("start()", "end()", "range()", "step()")
"""Texts that give another answer in a range query than in an instant one."""


def nodes(expr: Expr) -> Iterator[Expr]:
    """Yield a node and all below it."""
    yield expr
    for child in _children(expr):
        yield from nodes(child)


def _children(expr: Expr) -> Iterator[Expr]:
    for item in dataclasses.fields(expr):
        value = getattr(expr, item.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Expr):
                yield child


def time_dependent(expr: Expr) -> bool:
    """Say whether moving the evaluation time may change the answer despite `@` everywhere."""
    for node in nodes(expr):
        if isinstance(node, Call | DurationCall) and node.func in TIME_DEPENDENT:
            return True
        at = node.at if isinstance(node, VectorSelector | Subquery) else None
        if at is not None and at.edge is not None:
            return True
    return False


def pinned(expr: Expr, time_ms: int) -> Expr:
    """Return the expression with `@ time` on every selector and subquery that has no `@`.

    What stands inside a subquery stays as it is.
    """
    if isinstance(expr, VectorSelector | Subquery):
        if expr.at is not None:
            return expr
        return dataclasses.replace(expr, at=At(timestamp_ms=time_ms))
    changes: dict[str, Expr | tuple[Expr, ...]] = {}
    if isinstance(expr, MatrixSelector):
        changes["vector"] = pinned(expr.vector, time_ms)
    else:
        for item in dataclasses.fields(expr):
            value = getattr(expr, item.name)
            if isinstance(value, Expr):
                changes[item.name] = pinned(value, time_ms)
            elif isinstance(value, tuple) and any(isinstance(child, Expr) for child in value):
                changes[item.name] = tuple(pinned(child, time_ms) for child in value)
    return dataclasses.replace(expr, **changes)  # type: ignore[arg-type] # fields of the same node


def other_times(time_ms: int) -> list[int]:
    """Return the times at which a pinned query must give the answer of `time_ms`."""
    if time_ms == 0:
        return [-1000, 0, 1000]
    return [0, time_ms // 5, time_ms, 10 * time_ms, -10 * time_ms]
