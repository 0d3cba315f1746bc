"""Functions of one value: mathematics, trigonometry, rounding, clamping.

From: `functions.py`.   Every one works on the whole matrix, series x steps, absent cells and all
(their garbage is never looked at again), and drops the metric name. Where Go's math package
differs from C's, Go's way is followed here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from promql.matrix import Matrix, ScalarSteps
from promql.same_labels import without_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call

    Floats = npt.NDArray[np.float64]
    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]


def map_values(matrix: Matrix, function: Callable[[Floats], Floats], ctx: EvalContext) -> Matrix:
    """Return the matrix with `function` applied to all values and the names dropped."""
    with np.errstate(all="ignore"):
        values = np.ascontiguousarray(function(matrix.values), dtype=np.float64)
    return without_name(
        Matrix(matrix.labels, values, matrix.present, matrix.drop_name),
        delayed=ctx.delayed_name_removal,
    )


def _mapped(function: Callable[[Floats], Floats]) -> Implementation:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
        return map_values(_vector(args[0]), function, ctx)

    return implementation


def _vector(operand: Operand) -> Matrix:
    assert isinstance(operand, Matrix)
    return operand


def _steps(operand: Operand) -> Floats:
    assert isinstance(operand, ScalarSteps)
    return operand.values


def _log2(values: Floats) -> Floats:
    """Return the logarithm as Go computes it: exact for powers of two."""
    fraction, exponent = np.frexp(values)
    result: Floats = np.where(
        fraction == 0.5, exponent - 1.0, np.log(fraction) * (1 / math.log(2)) + exponent
    )
    return result


def _log10(values: Floats) -> Floats:
    # A quotient of rounded logarithms is a digit off, and ten's logarithm would be below one.
    return _log2(values) * math.log10(2)


def _sgn(values: Floats) -> Floats:
    """Return 1 or -1, and zeros and NaN as they are."""
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


def go_max(a: Floats, b: Floats) -> Floats:
    """Return the larger; NaN if either is, but for +Inf, which beats NaN; 0 beats -0."""
    larger = np.maximum(a, b)
    larger = np.where((larger == 0) & ~(np.signbit(a) & np.signbit(b)), 0.0, larger)
    result: Floats = np.where((a == np.inf) | (b == np.inf), np.inf, larger)
    return result


def go_min(a: Floats, b: Floats) -> Floats:
    """Return the smaller; NaN if either is, but for -Inf, which beats NaN; -0 beats 0."""
    return -go_max(-a, -b)


def _clamp(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Keep values within bounds; at a step whose bounds are crossed nothing remains."""
    vector, low, high = _vector(args[0]), _steps(args[1]), _steps(args[2])
    uncrossed = Matrix(
        vector.labels, vector.values, vector.present & ~(high < low), vector.drop_name
    )
    return map_values(uncrossed, lambda values: go_max(low, go_min(high, values)), ctx)


def _clamp_min(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    low = _steps(args[1])
    return map_values(_vector(args[0]), lambda values: go_max(low, values), ctx)


def _clamp_max(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    high = _steps(args[1])
    return map_values(_vector(args[0]), lambda values: go_min(high, values), ctx)


def _round(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Round to the nearest multiple, halves up. Dividing by the inverse is Prometheus' way."""
    nearest = _steps(args[1]) if len(args) > 1 else np.ones(1)
    with np.errstate(all="ignore"):
        inverse = 1.0 / nearest
    return map_values(
        _vector(args[0]), lambda values: np.floor(values * inverse + 0.5) / inverse, ctx
    )


FUNCTIONS: dict[str, Implementation] = {
    "abs": _mapped(np.abs),
    "ceil": _mapped(np.ceil),
    "floor": _mapped(np.floor),
    "exp": _mapped(np.exp),
    "sqrt": _mapped(np.sqrt),
    "ln": _mapped(np.log),
    "log2": _mapped(_log2),
    "log10": _mapped(_log10),
    "sgn": _mapped(_sgn),
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "sin": _mapped(np.sin),
    "cos": _mapped(np.cos),
    "tan": _mapped(np.tan),
    "asin": _mapped(np.arcsin),
    "acos": _mapped(np.arccos),
    "atan": _mapped(np.arctan),
    "sinh": _mapped(np.sinh),
    "cosh": _mapped(np.cosh),
    "tanh": _mapped(np.tanh),
    "asinh": _mapped(np.arcsinh),
    "acosh": _mapped(np.arccosh),
    "atanh": _mapped(np.arctanh),
    "deg": _mapped(lambda values: values * 180 / np.pi),
    "rad": _mapped(lambda values: values * np.pi / 180),
}
"""Implementation by function name."""
