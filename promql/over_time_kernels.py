"""Compiled loops over windows for what summarises all samples of one: the `_over_time` family.

From: `over_time.py`.   To: matrices. Layout and promises as in `rate_kernels.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from promql.rank_kernels import value_of_rank
from promql.rate_kernels import compensated_add
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int32, 2, "C", readonly=True)
_OUT = types.float64[:, ::1]
_PRESENT = types.boolean[:, ::1]
_VALUE_WINDOWS = (_FLOATS, _INTS, _INTS, _OFFSETS, _OFFSETS)

SUM, AVG, STDVAR, STDDEV = 0, 1, 2, 3
COUNT, PRESENT, FIRST, LAST = 4, 5, 6, 7
MIN, MAX = 0, 1


@helper(types.float64(_FLOATS, types.int64, types.int64), error_model="numpy")
def sum_of(values: Floats, low: int, high: int) -> float:
    """Return the compensated sum of values[low:high]."""
    total, lost = 0.0, 0.0
    for i in range(low, high):
        total, lost = compensated_add(values[i], total, lost)
    return total if np.isinf(total) else total + lost


@helper(types.float64(_FLOATS, types.int64, types.int64), error_model="numpy")
def average_of(values: Floats, low: int, high: int) -> float:
    """Return the mean of values[low:high]: a sum; once it overflows, a running mean."""
    total, lost = values[low], 0.0
    mean = 0.0
    running = False
    for i in range(low + 1, high):
        count = float(i - low + 1)
        if not running:
            new_total, new_lost = compensated_add(values[i], total, lost)
            if not np.isinf(new_total):
                total, lost = new_total, new_lost
                continue
            running = True
            mean = total / (count - 1.0)
            lost /= count - 1.0
        share = (count - 1.0) / count
        mean, lost = compensated_add(values[i] / count, share * mean, share * lost)
    if running:
        return mean + lost
    count = float(high - low)
    return float(total / count + lost / count)


@kernel(
    types.void(*_VALUE_WINDOWS, types.int64, _OUT, _PRESENT),
    error_model="numpy",
)
def reduce_windows(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    reduction: int,
    out: Floats,
    present: Mask,
) -> None:
    """Write one of COUNT ... LAST of each window; absent where a window is empty."""
    for s in range(value_start.size):
        base, w = value_start[s], window_of[s]
        for t in range(first.shape[1]):
            low, high = base + first[w, t], base + stop[w, t]
            present[s, t] = high > low
            if high <= low:
                continue
            if reduction == COUNT:
                out[s, t] = high - low
            elif reduction == PRESENT:
                out[s, t] = 1.0
            elif reduction == FIRST:
                out[s, t] = values[low]
            else:
                out[s, t] = values[high - 1]


@kernel(
    types.void(*_VALUE_WINDOWS, _INTS, _INTS, types.int64, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def extreme_windows(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    times: Ints,
    time_start: Ints,
    extreme: int,
    as_time: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the least or greatest value of each window, or (`as_time`) its sample's time in s.

    NaN gives way to every number. Among equals the first counts, but for the time the last.
    """
    latest = as_time
    sign = -1.0 if extreme == MIN else 1.0
    longest = 0
    for s in range(window_of.size):
        if first.shape[1] > 0:
            longest = max(longest, stop[window_of[s], first.shape[1] - 1])
    # Invariant: queue[head:tail] are rising offsets whose values fall; each is the best of all
    # samples from it up to `scanned`. A sample enters and leaves once: linear in the samples.
    queue = np.empty(longest, dtype=np.int32)
    for s in range(value_start.size):
        base, w = value_start[s], window_of[s]
        head = 0
        tail = 0
        scanned = 0
        for t in range(first.shape[1]):
            low, high = first[w, t], stop[w, t]
            present[s, t] = high > low
            if high <= low:
                continue
            if scanned < low:
                scanned = low
                head, tail = 0, 0
            while scanned < high:
                value = sign * values[base + scanned]
                while tail > head:
                    last = sign * values[base + queue[tail - 1]]
                    if np.isnan(value):
                        beaten = np.isnan(last) and latest
                    elif np.isnan(last):
                        beaten = True
                    else:
                        beaten = value >= last if latest else value > last
                    if not beaten:
                        break
                    tail -= 1
                queue[tail] = scanned
                tail += 1
                scanned += 1
            while queue[head] < low:
                head += 1
            if as_time:
                out[s, t] = times[time_start[s] + queue[head]] / 1000.0
            else:
                out[s, t] = values[base + queue[head]]


@helper(types.int64(types.float64[::1], types.int64, types.float64))
def _place_of(ordered: Floats, count: int, value: float) -> int:
    """Return how many of the first `count` values, which rise, are less than `value`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@helper(types.int64(types.float64[::1], types.int64, types.float64))
def _put(ordered: Floats, count: int, value: float) -> int:
    """Put a number among `count` that rise; return how many there are now."""
    place = _place_of(ordered, count, value)
    for i in range(count, place, -1):
        ordered[i] = ordered[i - 1]
    ordered[place] = value
    return count + 1


@helper(types.int64(types.float64[::1], types.int64, types.float64))
def _take(ordered: Floats, count: int, value: float) -> int:
    """Take a number from `count` that rise, of which it is one; return how many are left."""
    place = _place_of(ordered, count, value)
    if value == 0.0:  # the one of its sign, of which there is one
        while np.signbit(ordered[place]) != np.signbit(value):
            place += 1
    for i in range(place, count - 1):
        ordered[i] = ordered[i + 1]
    return count - 1


@helper(types.void(types.float64[::1], types.int64))
def _sort(values: Floats, count: int) -> None:
    """Sort the first `count` values, numbers all."""
    if count > 32:
        values[:count].sort()
        return
    for i in range(1, count):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@helper(types.void(types.float64[::1], types.int64, types.float64), error_model="numpy")
def _part(numbers: Floats, nans: int, q: float) -> None:
    """Move numbers so that those of the two ranks at a quantile are where sorting puts them."""
    rank = q * (numbers.size + nans - 1.0)
    if not 0 <= q <= 1:
        return
    low = max(0, int(np.floor(rank)) - nans)
    value_of_rank(numbers, low)
    if low + 1 < numbers.size:
        value_of_rank(numbers[low + 1 :], 0)


@helper(
    types.float64(types.float64, types.float64[::1], types.int64, types.int64),
    error_model="numpy",
)
def _quantile(q: float, ordered: Floats, numbers: int, count: int) -> float:
    """Return the q-quantile, 0 <= q <= 1, of `count` values: NaN, then `numbers` that rise."""
    nans = count - numbers
    rank = q * (count - 1.0)
    floor = np.floor(rank)
    low = max(0, int(floor))
    high = min(count - 1, low + 1)
    weight = rank - floor
    below = np.nan if low < nans else ordered[low - nans]
    above = np.nan if high < nans else ordered[high - nans]
    return float(below * (1.0 - weight) + above * weight)


@kernel(
    types.void(*_VALUE_WINDOWS, _FLOATS, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def quantile_windows(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    quantiles: Floats,
    deviation: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write a quantile of each window, or (`deviation`) the median absolute deviation from it.

    Shapes: `quantiles` float64[T]; below 0 gives -Inf, above 1 +Inf, NaN gives NaN.
    """
    longest = 0
    for w in range(first.shape[0]):
        for t in range(first.shape[1]):
            longest = max(longest, stop[w, t] - first[w, t])
    ordered = np.empty(longest + 1, dtype=np.float64)
    away = np.empty(longest, dtype=np.float64)
    for s in range(value_start.size):
        base, w = value_start[s], window_of[s]
        # Invariant: the numbers among values[begin:end] are ordered[:numbers], which rise, or else
        # are only `parted`.
        numbers = 0
        parted = False
        begin = base
        end = base
        for t in range(first.shape[1]):
            low, high = base + first[w, t], base + stop[w, t]
            count = high - low
            present[s, t] = count > 0
            if count <= 0:
                continue
            # Where much is new, sorting all costs less than putting each to its place.
            if parted or low >= end or 4 * (high - end + low - begin) > count:
                numbers = 0
                for i in range(low, high):
                    if not np.isnan(values[i]):
                        ordered[numbers] = values[i]
                        numbers += 1
                # What is sorted serves the next window; two ranks alone are found in less time.
                serves = deviation
                if t + 1 < first.shape[1]:
                    new = base + stop[w, t + 1] - high + first[w, t + 1] - first[w, t]
                    serves = serves or 4 * new <= stop[w, t + 1] - first[w, t + 1]
                parted = not serves and numbers > 32
                if not parted:
                    _sort(ordered, numbers)
                else:
                    _part(ordered[:numbers], count - numbers, quantiles[t])
            else:
                for i in range(begin, low):
                    if not np.isnan(values[i]):
                        numbers = _take(ordered, numbers, values[i])
                for i in range(end, high):
                    if not np.isnan(values[i]):
                        numbers = _put(ordered, numbers, values[i])
            begin, end = low, high
            q = quantiles[t]
            if np.isnan(q):
                out[s, t] = np.nan
            elif q < 0:
                out[s, t] = -np.inf
            elif q > 1:
                out[s, t] = np.inf
            else:
                out[s, t] = _quantile(q, ordered, numbers, count)
                if deviation:
                    known = 0
                    for i in range(low, high):
                        distance = abs(values[i] - out[s, t])
                        if not np.isnan(distance):
                            away[known] = distance
                            known += 1
                    _sort(away, known)
                    out[s, t] = _quantile(q, away, known, count)


@kernel(
    types.void(*_VALUE_WINDOWS, _FLOATS, _FLOATS, _OUT, _PRESENT),
    error_model="numpy",
)
def smooth_windows(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    smoothing: Floats,
    trending: Floats,
    out: Floats,
    present: Mask,
) -> None:
    """Write double exponential smoothing (Holt's linear method) of each window of two or more.

    Shapes: `smoothing`, `trending` float64[T], the factors, both within (0, 1).
    """
    for s in range(value_start.size):
        base, w = value_start[s], window_of[s]
        for t in range(first.shape[1]):
            low, high = base + first[w, t], base + stop[w, t]
            present[s, t] = high - low >= 2
            if high - low < 2:
                continue
            level_factor, trend_factor = smoothing[t], trending[t]
            before = 0.0
            level = values[low]
            trend = values[low + 1] - values[low]
            for i in range(low + 1, high):
                if i > low + 1:
                    trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend
                before, level = (
                    level,
                    level_factor * values[i] + (1.0 - level_factor) * (level + trend),
                )
            out[s, t] = level
