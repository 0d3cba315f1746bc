"""What one native histogram says: its buckets in order, quantile, fraction, variance.

From: `histogram_values.py`, `histogram_text.py`.   Buckets are walked as Prometheus walks them:
negative ones from the lowest up, the zero bucket if it counts anything, positive ones up;
those that overlap the zero bucket are cut at its edge.
Sources: the specification of native histograms, Prometheus' documentation of the functions, and
the order of its floating-point operations, so that results agree to the last digits.
Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from numba import njit, types

from promql.native_bounds_kernels import (
    binary_logarithm,
    compensated,
    exponential_bound,
    power_of_two,
)
from promql.native_kernels import (
    FLOATS,
    OUT_CODES,
    OUT_FLOATS,
    OUT_INTS,
    READ,
    Read,
)
from promql.native_side_kernels import CUSTOM

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.int8]
    Flags = npt.NDArray[np.uint8]

NAN_RESULT, NAN_SKEW = 1, 2
"""Flags of `quantiles`: NaN observations made the result NaN, or skewed it upwards."""

_BUCKET = types.Tuple((types.float64, types.float64, types.float64))  # type: ignore[no-untyped-call]


@njit(types.int64(READ, types.int64), cache=True, nogil=True)
def _places(source: Read, row: int) -> int:
    """Return how many buckets there are to walk: all listed ones and the zero bucket."""
    positive = source.positive_start[row + 1] - source.positive_start[row]
    negative = source.negative_start[row + 1] - source.negative_start[row]
    return int(positive + negative + 1)


@njit(types.float64(READ, types.int64, types.int64), cache=True, nogil=True)
def upper_bound(source: Read, row: int, index: int) -> float:
    """Return the upper bound of a positive bucket, which is the lower one of the next."""
    if source.schema[row] != CUSTOM:
        return exponential_bound(index, source.schema[row])
    if index < 0:
        return -math.inf
    if index >= source.bounds_count[row]:
        return math.inf
    return float(source.bounds[source.bounds_start[row] + index])


@njit(_BUCKET(READ, types.int64, types.int64), cache=True, nogil=True)
def _bucket(source: Read, row: int, place: int) -> tuple[float, float, float]:
    """Return lower bound, upper bound and count of the bucket at a place, rising.

    The zero bucket counts 0 where its count is not above zero: it is not to be seen then.
    """
    threshold = source.zero_threshold[row]
    negative = source.negative_start[row + 1] - source.negative_start[row]
    if place < negative:
        at = source.negative_start[row + 1] - 1 - place
        index = source.negative_index[at]
        lower = -exponential_bound(index, source.schema[row])
        upper = min(-exponential_bound(index - 1, source.schema[row]), -threshold)
        return lower, upper, source.negative_count[at]
    if place == negative:
        zero = source.zero_count[row]
        return -threshold, threshold, zero if zero > 0 else 0.0
    at = source.positive_start[row] + place - negative - 1
    index = source.positive_index[at]
    lower, upper = upper_bound(source, row, index - 1), upper_bound(source, row, index)
    if source.schema[row] != CUSTOM and lower < threshold:
        lower = threshold
    return lower, upper, source.positive_count[at]


@njit(
    types.int64(READ, OUT_INTS, OUT_CODES, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS),
    cache=True,
    nogil=True,
)
def list_buckets(
    source: Read, start: Ints, rule: Codes, lower: Floats, upper: Floats, count: Floats
) -> int:
    """Write the populated buckets of every histogram, rising; return how many there are.

    `rule` says which bounds belong to a bucket: 0 the upper, 1 the lower, 2 neither, 3 both.
    """
    used = 0
    for row in range(start.size - 1):
        negative = source.negative_start[row + 1] - source.negative_start[row]
        for place in range(_places(source, row)):
            low, high, value = _bucket(source, row, place)
            if value == 0:
                continue
            lower[used], upper[used], count[used] = low, high, value
            if source.schema[row] == CUSTOM:
                # Only the very first bucket has no neighbour below that could own its bound.
                rule[used] = 3 if low == -math.inf else 0
            elif place == negative:
                rule[used] = 3
            else:
                rule[used] = 1 if place < negative else 0
            used += 1
        start[row + 1] = used
    return used


@njit(
    types.void(READ, FLOATS, OUT_FLOATS, types.uint8[::1]),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def quantiles(source: Read, quantile: Floats, out: Floats, flags: Flags) -> None:
    """Write one quantile of each histogram, and whether NaN observations spoilt it."""
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
        places = _places(source, row)
        # From the nearer end; with NaN observations, which are in the count but in no bucket, from
        # below, as if they were above all buckets.
        upwards = has_nan or q < 0.5
        rank = q * total if upwards else (1.0 - q) * total
        hidden = source.negative_start[row + 1] - source.negative_start[row]
        lower = upper = value = seen = 0.0
        step = 0
        while step < places:
            place = step if upwards else places - 1 - step
            step += 1
            low, high, number = _bucket(source, row, place)
            if number == 0 and place == hidden:
                continue
            lower, upper, value = low, high, number
            if number == 0:
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
                seen += _bucket(source, row, step)[2]
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


@njit(
    types.float64(types.float64, types.float64, types.float64, types.float64, types.boolean),
    cache=True,
    nogil=True,
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


@njit(
    types.void(READ, FLOATS, FLOATS, OUT_FLOATS, types.uint8[::1]),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def fractions(source: Read, lower: Floats, upper: Floats, out: Floats, flags: Flags) -> None:
    """Write which share of observations lies between two values; flag those with NaN among them.

    NaN observations are between no two values.
    """
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
        for place in range(_places(source, row)):
            low, high, count = _bucket(source, row, place)
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


@njit(types.void(READ, OUT_FLOATS), cache=True, nogil=True, error_model="numpy")
def variances(source: Read, out: Floats) -> None:
    """Write the variance of each histogram, all observations of a bucket taken at one value.

    That is the geometric mean of its bounds, for custom buckets the arithmetic one, for
    the zero bucket 0.
    """
    for row in range(out.size):
        mean = source.sum[row] / source.observations[row]
        total = lost = 0.0
        for place in range(_places(source, row)):
            low, high, count = _bucket(source, row, place)
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
