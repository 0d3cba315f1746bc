"""Functions between scalars and vectors, of the query's own times, and of what is not there.

From: `functions.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from promql.absent import absent_labels
from promql.elementwise import go_max, go_min
from promql.labels import SeriesLabels
from promql.matrix import Matrix, ScalarSteps
from promql.same_labels import without_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call

    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]


def vector_of(scalar: ScalarSteps, ctx: EvalContext) -> Matrix:
    """Return the vector of one series without labels, present at every step."""
    return Matrix(
        SeriesLabels.empty(1, ctx.symbols),
        np.ascontiguousarray(scalar.values[np.newaxis, :]),
        np.ones((1, ctx.step_count), dtype=np.bool_),
        np.zeros(1, dtype=np.bool_),
    )


def time_steps(ctx: EvalContext) -> ScalarSteps:
    """Return the time of each step, in seconds."""
    return ScalarSteps(ctx.steps_ms / 1000.0)


def _constant(value: float, ctx: EvalContext) -> ScalarSteps:
    return ScalarSteps(np.full(ctx.step_count, value))


def _time(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return time_steps(ctx)


def _timestamp(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Return the time of each sample where a selector kept it, else that of the step."""
    (vector,) = args
    assert isinstance(vector, Matrix)
    times = vector.float_time
    if times is None:
        steps = time_steps(ctx).values
        times = np.ascontiguousarray(np.broadcast_to(steps, vector.values.shape))
    return without_name(
        Matrix(vector.labels, times, vector.occupied, vector.drop_name),
        delayed=ctx.delayed_name_removal,
    )


def _start_timestamp(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Return the start of each sample where a selector kept it, and nothing where none did."""
    (vector,) = args
    assert isinstance(vector, Matrix)
    starts, present = vector.float_time, vector.occupied
    if starts is None:
        starts, present = vector.values, np.zeros_like(vector.present)
    return without_name(
        Matrix(vector.labels, starts, present, vector.drop_name),
        delayed=ctx.delayed_name_removal,
    )


def _vector(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    (scalar,) = args
    assert isinstance(scalar, ScalarSteps)
    return vector_of(scalar, ctx)


def _scalar(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Return the value of the only float at each step, NaN where there is none or several."""
    (vector,) = args
    assert isinstance(vector, Matrix)
    if vector.series_count == 0:
        return _constant(math.nan, ctx)
    only = vector.present.argmax(axis=0)
    values = vector.values[only, np.arange(ctx.step_count)]
    alone = np.count_nonzero(vector.present, axis=0) == 1
    return ScalarSteps(np.where(alone, values, np.nan))


def _absent(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Return 1 wherever the vector is empty, with the labels its selector promises."""
    (vector,) = args
    assert isinstance(vector, Matrix)
    return Matrix(
        SeriesLabels.from_dicts([absent_labels(node.args[0])], ctx.symbols),
        np.ones((1, ctx.step_count)),
        np.logical_not(vector.occupied.any(axis=0))[np.newaxis, :],
        np.zeros(1, dtype=np.bool_),
    )


def _pi(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _constant(math.pi, ctx)


def _start(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _constant(ctx.start_ms / 1000.0, ctx)


def _end(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _constant(ctx.end_ms / 1000.0, ctx)


def _range(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _constant((ctx.end_ms - ctx.start_ms) / 1000.0, ctx)


def _step(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _constant(ctx.query_step_ms / 1000.0, ctx)


def _min_of(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    a, b = args
    assert isinstance(a, ScalarSteps)
    assert isinstance(b, ScalarSteps)
    return ScalarSteps(go_min(a.values, b.values))


def _max_of(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    a, b = args
    assert isinstance(a, ScalarSteps)
    assert isinstance(b, ScalarSteps)
    return ScalarSteps(go_max(a.values, b.values))


FUNCTIONS: dict[str, Implementation] = {
    "absent": _absent,
    "end": _end,
    "max_of": _max_of,
    "min_of": _min_of,
    "pi": _pi,
    "range": _range,
    "scalar": _scalar,
    "start": _start,
    "start_timestamp": _start_timestamp,
    "step": _step,
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
}
"""Implementation by function name."""
