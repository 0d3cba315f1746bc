"""Trimming native histograms, compiled: what they hold below or above a value.

From: `algebra.py`.   A bucket that the value is inside of is shared out as quantiles
interpolate. Source: Prometheus' trim operators. Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from numba import types

from promql.histograms.addition_kernels import FLOATS, OUT_FLOATS, READ, Read
from promql.histograms.side_kernels import CUSTOM
from promql.histograms.value_kernels import count_below, upper_bound
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@helper(types.float64(types.float64, types.float64, types.boolean, types.boolean))
def _typical(lower: float, upper: float, positive: bool, linear: bool) -> float:
    """Return the value at which a trimmed bucket's observations are taken for the new sum."""
    if math.isinf(lower):
        if math.isinf(upper):
            return 0.0
        return upper / 2.0 if upper > 0 else upper
    if math.isinf(upper):
        return lower
    if linear:
        return (lower + upper) / 2.0
    mean = math.sqrt(abs(lower * upper))
    return mean if positive else -mean


_KEPT = types.UniTuple(types.float64, 2)  # type: ignore[no-untyped-call]


@helper(
    _KEPT(types.float64, types.float64, types.float64, types.float64, types.boolean),
    error_model="numpy",
)
def _kept_of_open(
    lower: float, upper: float, count: float, at: float, is_upper: bool
) -> tuple[float, float]:
    """Return what stays of a bucket without end on one side, cut at `at`, and its typical value.

    How observations lie in it is not known: it stays or goes as a whole; but one that ends above
    zero and has no beginning is taken to begin at zero.
    """
    if lower == -math.inf:
        ends = upper != math.inf
        if is_upper:
            if at >= upper:
                return count, 0.0
            if ends and at > 0 and upper > 0:
                return count * at / upper, at / 2.0
            return (count, at) if upper <= 0 else (0.0, 0.0)
        if at <= lower:
            return count, 0.0
        if ends and at >= 0 and upper > at:
            return count * (1.0 - at / upper), (at + upper) / 2.0
        return 0.0, 0.0
    if not is_upper and at >= lower:
        return count, at
    return 0.0, 0.0


@kernel(
    _KEPT(
        *(types.float64, types.float64, types.float64, types.float64),
        *(types.boolean, types.boolean, types.boolean),
    ),
    error_model="numpy",
)
def _kept(
    lower: float,
    upper: float,
    count: float,
    at: float,
    is_upper: bool,
    positive: bool,
    linear: bool,
) -> tuple[float, float]:
    """Return what stays of a bucket trimmed at `at`, and the value at which to take it."""
    if (upper <= at) if is_upper else (lower >= at):
        return count, _typical(lower, upper, positive, linear)
    if (lower >= at) if is_upper else (upper <= at):
        return 0.0, 0.0
    if math.isnan(at):
        return 0.0, 0.0
    if lower == -math.inf or upper == math.inf:
        return _kept_of_open(lower, upper, count, at, is_upper)
    below = count_below(at, lower, upper, count, linear)
    if is_upper:
        return below, _typical(lower, at, positive, linear)
    return count - below, _typical(at, upper, positive, linear)


@helper(
    _KEPT(types.float64, types.float64, types.float64, types.float64, types.boolean),
    error_model="numpy",
)
def _kept_of_zero(
    lower: float, upper: float, count: float, at: float, is_upper: bool
) -> tuple[float, float]:
    """Return what stays of the zero bucket trimmed at `at`, and the value at which to take it."""
    if at <= lower:
        return (0.0, 0.0) if is_upper else (count, (lower + upper) / 2.0)
    if at >= upper:
        return (count, (lower + upper) / 2.0) if is_upper else (0.0, 0.0)
    if is_upper:
        return count * ((at - lower) / (upper - lower)), (lower + at) / 2.0
    return count * ((upper - at) / (upper - lower)), (at + upper) / 2.0


@kernel(
    types.void(
        *(READ, FLOATS, types.boolean),
        *(OUT_FLOATS, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS),
    ),
    error_model="numpy",
)
def trim_rows(
    source: Read,
    at: Floats,
    is_upper: bool,
    count: Floats,
    total: Floats,
    zero_count: Floats,
    positive_count: Floats,
    negative_count: Floats,
) -> None:
    """Write what each histogram counts below its cut (`is_upper`) or above it.

    Count and sum are made anew from the buckets, but only where a bucket changed.
    Shapes: the last two as the source's lists, the others one for each histogram.
    """
    bounds = source.bounds
    for row in range(at.size):
        cut = at[row]
        schema = source.schema[row]
        linear = schema == CUSTOM
        start, n = source.bounds_start[row], source.bounds_count[row]
        number = amount = 0.0
        changed = has_positive = has_negative = False
        for k in range(source.positive_start[row], source.positive_start[row + 1]):
            value = source.positive_count[k]
            positive_count[k] = value
            if value == 0:
                continue
            has_positive = True
            index = source.positive_index[k]
            kept, typical = _kept(
                upper_bound(bounds, start, n, index - 1, schema),
                upper_bound(bounds, start, n, index, schema),
                value,
                cut,
                is_upper,
                True,
                linear,
            )
            number += kept
            amount += typical * kept
            changed |= kept != value
            positive_count[k] = kept
        for k in range(source.negative_start[row], source.negative_start[row + 1]):
            value = source.negative_count[k]
            negative_count[k] = value
            if value == 0:
                continue
            has_negative = True
            index = source.negative_index[k]
            kept, typical = _kept(
                -upper_bound(bounds, start, n, index, schema),
                -upper_bound(bounds, start, n, index - 1, schema),
                value,
                cut,
                is_upper,
                False,
                linear,
            )
            number += kept
            amount += typical * kept
            changed |= kept != value
            negative_count[k] = kept
        zero = source.zero_count[row]
        zero_count[row] = zero
        if zero > 0:
            low, high = -source.zero_threshold[row], source.zero_threshold[row]
            if has_negative and not has_positive:
                high = 0.0
            if has_positive and not has_negative:
                low = 0.0
            kept, typical = _kept_of_zero(low, high, zero, cut, is_upper)
            number += kept
            amount += typical * kept
            changed |= kept != zero
            zero_count[row] = kept
        count[row] = number if changed else source.observations[row]
        total[row] = amount if changed else source.sum[row]
