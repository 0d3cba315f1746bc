"""What one native histogram says: its buckets in order, quantile, fraction, variance.

From: `values.py`, `text.py`.   Buckets are walked as Prometheus walks them:
negative ones from the lowest up, the zero bucket if it counts anything, positive ones up;
those that overlap the zero bucket are cut at its edge.
Sources: the specification of native histograms, Prometheus' documentation of the functions, and
the order of its floating-point operations, so that results agree to the last digits.
Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import types

from promql.histograms.addition_kernels import (
    FLOATS,
    OUT_CODES,
    OUT_FLOATS,
    OUT_INTS,
    READ,
    Read,
)
from promql.histograms.bounds_kernels import (
    binary_logarithm,
    compensated,
    exponential_bound,
    power_of_two,
)
from promql.histograms.side_kernels import CUSTOM
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.int8]
    Flags = npt.NDArray[np.uint8]

NAN_RESULT, NAN_SKEW = 1, 2
"""Flags of `quantiles`: NaN observations made the result NaN, or skewed it upwards."""

_WALKED = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]


@helper(types.float64(FLOATS, types.int64, types.int64, types.int64, types.int64))
def upper_bound(bounds: Floats, start: int, n: int, index: int, schema: int) -> float:
    """Return the upper bound of a positive bucket, which is the lower one of the next.

    A custom one is among the `n` of `bounds` from `start` on; without end beyond them.
    """
    if schema != CUSTOM:
        return float(exponential_bound(index, schema))
    if index < 0:
        return -math.inf
    return float(bounds[start + index]) if index < n else math.inf


@helper(_WALKED(READ, types.int64, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS))
def _walk(
    source: Read, row: int, lower: Floats, upper: Floats, count: Floats
) -> tuple[int, int, int]:
    """Write a histogram's buckets, rising; return how many, how many negative, and with zero.

    The arrays are large enough for all listed buckets and the zero bucket.
    """
    threshold, zero = source.zero_threshold[row], source.zero_count[row]
    schema = source.schema[row]
    used = 0
    index, counts = source.negative_index, source.negative_count
    low = source.negative_start[row]
    for k in range(source.negative_start[row + 1] - 1, low - 1, -1):
        lower[used] = -exponential_bound(index[k], schema)
        upper[used] = min(-exponential_bound(index[k] - 1, schema), -threshold)
        count[used] = counts[k]
        used += 1
    negative = used
    if zero > 0:
        lower[used], upper[used], count[used] = -threshold, threshold, zero
        used += 1
    inner = used
    index, counts = source.positive_index, source.positive_count
    bounds, start, n = source.bounds, source.bounds_start[row], source.bounds_count[row]
    before, bound = -(1 << 40), 0.0
    for k in range(source.positive_start[row], source.positive_start[row + 1]):
        at = index[k]
        if before != at - 1:
            bound = upper_bound(bounds, start, n, at - 1, schema)
        lower[used] = bound if schema == CUSTOM else max(bound, threshold)
        bound = upper_bound(bounds, start, n, at, schema)
        upper[used] = bound
        count[used] = counts[k]
        before = at
        used += 1
    return used, negative, inner


@kernel(types.int64(READ))
def _longest(source: Read) -> int:
    """Return the most buckets that any histogram has, with the zero bucket."""
    longest = 0
    positive, negative = source.positive_start, source.negative_start
    for row in range(positive.size - 1):
        here = positive[row + 1] - positive[row] + negative[row + 1] - negative[row]
        longest = max(longest, here)
    return int(longest + 1)


@kernel(
    types.int64(READ, OUT_INTS, OUT_CODES, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS),
)
def list_buckets(
    source: Read, start: Ints, rule: Codes, lower: Floats, upper: Floats, count: Floats
) -> int:
    """Write the populated buckets of every histogram, rising; return how many there are.

    `rule` says which bounds belong to a bucket: 0 the upper, 1 the lower, 2 neither, 3 both.
    """
    longest = _longest(source)
    lows, highs, counts = np.empty(longest), np.empty(longest), np.empty(longest)
    schema = source.schema
    used = 0
    for row in range(start.size - 1):
        size, negative, inner = _walk(source, row, lows, highs, counts)
        for k in range(size):
            if counts[k] == 0:
                continue
            lower[used], upper[used], count[used] = lows[k], highs[k], counts[k]
            if schema[row] == CUSTOM:
                # Only the very first bucket has no neighbour below that could own its bound.
                rule[used] = 3 if lows[k] == -math.inf else 0
            elif k < negative:
                rule[used] = 1
            else:
                rule[used] = 3 if k < inner else 0
            used += 1
        start[row + 1] = used
    return used


@kernel(
    types.void(READ, FLOATS, OUT_FLOATS, types.uint8[::1]),
    error_model="numpy",
)
def quantiles(source: Read, quantile: Floats, out: Floats, flags: Flags) -> None:
    """Write one quantile of each histogram, and whether NaN observations spoilt it."""
    longest = _longest(source)
    lows, highs, counts = np.empty(longest), np.empty(longest), np.empty(longest)
    for row in range(out.size):
        flags[row] = 0
        q, total = quantile[row], source.observations[row]
        if q < 0:
            out[row] = -math.inf
            continue
        if q > 1:
            out[row] = math.inf
            continue
        if total == 0 or math.isnan(q):
            out[row] = math.nan
            continue
        custom = source.schema[row] == CUSTOM
        has_nan = math.isnan(source.sum[row])
        places, _, _ = _walk(source, row, lows, highs, counts)
        # From the nearer end; with NaN observations, which are in the count but in no bucket, from
        # below, as if they were above all buckets.
        upwards = has_nan or q < 0.5
        rank = q * total if upwards else (1.0 - q) * total
        lower = upper = value = seen = 0.0
        step = 0
        while step < places:
            place = step if upwards else places - 1 - step
            step += 1
            lower, upper, value = lows[place], highs[place], counts[place]
            if value == 0:
                continue
            seen += value
            if seen >= rank:
                break
        if custom:
            if lower == -math.inf:
                if upper <= 0:
                    out[row] = upper
                    continue
                lower = 0.0
            elif upper == math.inf:
                out[row] = lower
                continue
        elif lower < 0 < upper:
            positive = source.positive_start[row + 1] > source.positive_start[row]
            negative = source.negative_start[row + 1] > source.negative_start[row]
            if positive and not negative:
                lower = 0.0
            elif negative and not positive:
                upper = 0.0
        seen = min(seen, total)
        if seen < rank:
            out[row] = math.nan if has_nan else upper
            flags[row] = NAN_RESULT if has_nan else 0
            continue
        rank = rank - (seen - value) if upwards else seen - rank
        if has_nan:
            while step < places:
                seen += counts[step]
                step += 1
            if seen < total:
                flags[row] = NAN_SKEW
        share = rank / value
        if custom or lower <= 0 <= upper:
            out[row] = lower + (upper - lower) * share
            continue
        low, high = binary_logarithm(abs(lower)), binary_logarithm(abs(upper))
        if lower > 0:
            out[row] = power_of_two(low + (high - low) * share)
        else:
            out[row] = -power_of_two(high + (low - high) * (1.0 - share))


@helper(
    types.float64(types.float64, types.float64, types.float64, types.float64, types.boolean),
    error_model="numpy",
)
def count_below(value: float, lower: float, upper: float, count: float, linear: bool) -> float:
    """Return how much of a bucket lies below a value inside of it."""
    if linear:
        return count * (value - lower) / (upper - lower)
    low, high = binary_logarithm(abs(lower)), binary_logarithm(abs(upper))
    at = binary_logarithm(abs(value))
    if value > 0:
        return count * ((at - low) / (high - low))
    return count * (1.0 - (at - high) / (low - high))


@kernel(
    types.void(READ, FLOATS, FLOATS, OUT_FLOATS, types.uint8[::1]),
    error_model="numpy",
)
def fractions(source: Read, lower: Floats, upper: Floats, out: Floats, flags: Flags) -> None:
    """Write which share of observations lies between two values; flag those with NaN among them.

    NaN observations are between no two values.
    """
    longest = _longest(source)
    lows, highs, counts = np.empty(longest), np.empty(longest), np.empty(longest)
    for row in range(out.size):
        flags[row] = 0
        bottom, top, total = lower[row], upper[row], source.observations[row]
        if total == 0 or math.isnan(bottom) or math.isnan(top):
            out[row] = math.nan
            continue
        if bottom >= top:
            out[row] = 0.0
            continue
        custom = source.schema[row] == CUSTOM
        positive = source.positive_start[row + 1] > source.positive_start[row]
        negative = source.negative_start[row + 1] > source.negative_start[row]
        rank = 0.0
        below_bottom = below_top = -1.0
        found_bottom = found_top = False
        size, _, _ = _walk(source, row, lows, highs, counts)
        for k in range(size):
            low, high, count = lows[k], highs[k], counts[k]
            if count == 0:
                continue
            zero = low <= 0 <= high
            if zero and positive and not negative:
                low = 0.0
            elif zero and negative and not positive:
                high = 0.0
            linear = custom or zero
            if not found_bottom and low >= bottom:
                below_bottom, found_bottom = rank, True
            if not found_top and low >= top:
                below_top, found_top = rank, True
            if not found_bottom and low < bottom < high:
                found_bottom = True
                if linear and low == -math.inf:
                    below_bottom = count
                else:
                    below_bottom = rank + count_below(bottom, low, high, count, linear)
            if not found_top and low < top < high:
                found_top = True
                if linear and low == -math.inf:
                    below_top = count
                else:
                    below_top = rank + count_below(top, low, high, count, linear)
            rank += count
        counted = total
        if math.isnan(source.sum[row]):
            counted = rank
            if counted < total:
                flags[row] = 1
        if not found_bottom or below_bottom > counted:
            below_bottom = counted
        if not found_top or below_top > counted:
            below_top = counted
        out[row] = (below_top - below_bottom) / total


@kernel(types.void(READ, OUT_FLOATS), error_model="numpy")
def variances(source: Read, out: Floats) -> None:
    """Write the variance of each histogram, all observations of a bucket taken at one value.

    That is the geometric mean of its bounds, for custom buckets the arithmetic one, for
    the zero bucket 0.
    """
    longest = _longest(source)
    lows, highs, counts = np.empty(longest), np.empty(longest), np.empty(longest)
    for row in range(out.size):
        mean = source.sum[row] / source.observations[row]
        total = lost = 0.0
        size, _, _ = _walk(source, row, lows, highs, counts)
        for k in range(size):
            low, high, count = lows[k], highs[k], counts[k]
            if count == 0:
                continue
            if source.schema[row] == CUSTOM:
                value = (high + low) / 2.0
            elif low <= 0 <= high:
                value = 0.0
            else:
                value = math.sqrt(high * low)
                if high < 0:
                    value = -value
            off = value - mean
            total, lost = compensated(count * off * off, total, lost)
        out[row] = (total + lost) / source.observations[row]
