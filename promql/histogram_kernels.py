"""Compiled loops over classic histograms: groups of bucket rows, at every step.

From: `histogram.py`.   `order` holds the bucket rows group by group, and in a group by upper
bound (NaN last); `start` int64[groups + 1] says where each group begins. A step sees the buckets
that are present at it. Plain Python twins are in the tests.

Divisions by zero are the rule here (an empty bucket, a zero rank), hence NumPy's error model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

_INTS1 = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS1 = types.Array(types.float64, 1, "C", readonly=True)
_FLOATS2 = types.Array(types.float64, 2, "C", readonly=True)
_MASK2 = types.Array(types.boolean, 2, "C", readonly=True)
_OUT = types.float64[:, ::1]
_OUT_MASK = types.boolean[:, ::1]
_BUFFER = types.float64[::1]

_SMALLEST_NORMAL = 2.2250738585072014e-308
_LARGEST = 1.7976931348623157e308
_TOLERANCE = 1e-12


@helper(
    types.int64(
        _FLOATS2, _MASK2, _INTS1, types.int64, types.int64, types.int64, _FLOATS1, _BUFFER, _BUFFER
    ),
    error_model="numpy",
)
def _gather(
    values: Floats,
    present: Mask,
    order: Ints,
    low: int,
    high: int,
    step: int,
    bounds: Floats,
    upper: Floats,
    count: Floats,
) -> int:
    """Copy one histogram at one step, adding up buckets of equal bound; return how many."""
    n = 0
    for i in range(low, high):
        s = order[i]
        if not present[s, step]:
            continue
        if n > 0 and upper[n - 1] == bounds[s]:
            count[n - 1] += values[s, step]
        else:
            upper[n] = bounds[s]
            count[n] = values[s, step]
            n += 1
    return n


@helper(types.boolean(types.float64, types.float64), error_model="numpy")
def _almost_equal(a: float, b: float) -> bool:
    """Tell whether two counts differ by no more than rounding; NaN equals NaN."""
    if math.isnan(a) and math.isnan(b):
        return True
    if a == b:
        return True
    total = abs(a) + abs(b)
    difference = abs(a - b)
    if a == 0 or b == 0 or total < _SMALLEST_NORMAL:
        return difference < _TOLERANCE * _SMALLEST_NORMAL
    return difference / min(total, _LARGEST) < _TOLERANCE


@helper(types.boolean(_BUFFER, types.int64), error_model="numpy")
def _force_rising(count: Floats, n: int) -> bool:
    """Make cumulative counts rise; tell whether more than rounding had to be undone."""
    forced = False
    before = count[0]
    for i in range(1, n):
        now = count[i]
        if now == before:
            continue
        if _almost_equal(before, now):
            count[i] = before
        elif now < before:
            count[i] = before
            forced = True
        else:
            before = now
    return forced


@helper(types.float64(types.float64, _BUFFER, _BUFFER, types.int64), error_model="numpy")
def _quantile(q: float, upper: Floats, count: Floats, n: int) -> float:
    """Interpolate in the bucket that holds the rank; counts rise, the last bound is +Inf."""
    if n < 2 or count[n - 1] == 0:
        return math.nan
    rank = q * count[n - 1]
    low, high = 0, n - 1  # the first bucket, but for the last, that reaches the rank
    while low < high:
        middle = (low + high) // 2
        if count[middle] >= rank:
            high = middle
        else:
            low = middle + 1
    if low == n - 1:
        return float(upper[n - 2])
    if low == 0 and upper[0] <= 0:
        return float(upper[0])
    begin = 0.0 if low == 0 else upper[low - 1]
    below = 0.0 if low == 0 else count[low - 1]
    return float(begin + (upper[low] - begin) * ((rank - below) / (count[low] - below)))


@kernel(
    types.void(
        _FLOATS2, _MASK2, _INTS1, _INTS1, _FLOATS1, _FLOATS1, _OUT, _OUT_MASK, types.boolean[::1]
    ),
    error_model="numpy",
)
def quantiles_of_buckets(
    values: Floats,
    present: Mask,
    order: Ints,
    start: Ints,
    bounds: Floats,
    quantiles: Floats,
    out: Floats,
    out_present: Mask,
    forced: Mask,
) -> None:
    """Write the quantile of each histogram at each step, and which ones had falling counts.

    Shapes: `values`, `present` [series, steps]; `bounds` [series]; `quantiles` [steps]; `out`,
    `out_present` [groups, steps], the latter False at first; `forced` [groups] likewise.
    NaN: no bucket of +Inf, fewer than two buckets, no observations, or a quantile of NaN.
    """
    upper = np.empty(order.size + 1, dtype=np.float64)
    count = np.empty(order.size + 1, dtype=np.float64)
    for g in range(start.size - 1):
        for t in range(values.shape[1]):
            n = _gather(values, present, order, start[g], start[g + 1], t, bounds, upper, count)
            if n == 0:
                continue
            out_present[g, t] = True
            q = quantiles[t]
            if math.isnan(q):
                out[g, t] = math.nan
            elif q < 0:
                out[g, t] = -math.inf
            elif q > 1:
                out[g, t] = math.inf
            elif upper[n - 1] != math.inf:
                out[g, t] = math.nan
            else:
                if _force_rising(count, n):
                    forced[g] = True
                out[g, t] = _quantile(q, upper, count, n)


@helper(
    types.float64(types.float64, types.float64, _BUFFER, _BUFFER, types.int64), error_model="numpy"
)
def _fraction(lower: float, upper_value: float, upper: Floats, count: Floats, n: int) -> float:
    """Return the share of observations between two values, linear inside a bucket.

    A bucket without end on either side is not interpolated in: it counts as empty up to there.
    """
    total = count[n - 1]
    if total == 0 or math.isnan(lower) or math.isnan(upper_value):
        return math.nan
    if lower >= upper_value:
        return 0.0
    low_rank, high_rank = math.nan, math.nan  # NaN: not found yet
    low_found, high_found = False, False
    rank = 0.0
    for i in range(n):
        end = upper[i]
        first = 0.0 if end > 0 else -math.inf
        begin = first if i == 0 else upper[i - 1]
        if not low_found and begin >= lower:
            low_rank, low_found = rank, True
        if not high_found and begin >= upper_value:
            high_rank, high_found = rank, True
        if low_found and high_found:
            break
        width, inside = end - begin, count[i] - rank
        if not low_found and begin < lower < end:
            low_found = True
            endless = begin == -math.inf
            low_rank = count[i] if endless else rank + inside * (lower - begin) / width
        if not high_found and begin < upper_value < end:
            high_found = True
            endless = begin == -math.inf
            high_rank = count[i] if endless else rank + inside * (upper_value - begin) / width
        if low_found and high_found:
            break
        rank = count[i]
    if not low_found or low_rank > total:
        low_rank = total
    if not high_found or high_rank > total:
        high_rank = total
    return float((high_rank - low_rank) / total)


@kernel(
    types.void(_FLOATS2, _MASK2, _INTS1, _INTS1, _FLOATS1, _FLOATS1, _FLOATS1, _OUT, _OUT_MASK),
    error_model="numpy",
)
def fractions_of_buckets(
    values: Floats,
    present: Mask,
    order: Ints,
    start: Ints,
    bounds: Floats,
    lower: Floats,
    upper_value: Floats,
    out: Floats,
    out_present: Mask,
) -> None:
    """Write the share of observations between `lower` and `upper_value`, each [steps].

    Other shapes as for `quantiles_of_buckets`. NaN: no bucket of +Inf, nothing observed, a NaN.
    """
    upper = np.empty(order.size + 1, dtype=np.float64)
    count = np.empty(order.size + 1, dtype=np.float64)
    for g in range(start.size - 1):
        for t in range(values.shape[1]):
            n = _gather(values, present, order, start[g], start[g + 1], t, bounds, upper, count)
            if n == 0:
                continue
            out_present[g, t] = True
            if upper[n - 1] != math.inf:
                out[g, t] = math.nan
            else:
                out[g, t] = _fraction(lower[t], upper_value[t], upper, count, n)
