"""Compiled loops over windows for what compares samples with their neighbours: the rate family.

From: `rate.py`.   To: matrices. Layout of the arguments as in `matrix.Windows`: series s has values
at `value_start[s]`, times at `time_start[s]`, and its window at step t is [first, stop) of row
`window_of[s]`. Bounds are trusted. Rows given are any slice of the series; `out` and `present`
[rows, T] are written in full. Sources: Prometheus' documentation of the functions, and the
order of its floating-point operations, so that results agree to the last digits.
Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

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
_WINDOWS = (_INTS, _INTS, _FLOATS, _INTS, _INTS, _OFFSETS, _OFFSETS)


@kernel(
    types.void(*_WINDOWS, _INTS, types.int64, types.boolean, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def extrapolated_change(
    times: Ints,
    time_start: Ints,
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    end_ms: Ints,
    range_ms: int,
    is_counter: bool,
    per_second: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the change over each window, extrapolated to its edges: rate, increase, delta.

    Shapes: `end_ms` int64[T]. Absent where a window holds fewer than two samples.
    """
    # Places where the counter fell, oldest first: a queue, as windows only move right.
    longest = 0
    for s in range(window_of.size):
        if first.shape[1] > 0:
            longest = max(longest, stop[window_of[s], first.shape[1] - 1])
    falls = np.empty(longest if is_counter else 0, dtype=np.int32)
    range_s = range_ms / 1000.0
    for s in range(value_start.size):
        base, time_base, w = value_start[s], time_start[s], window_of[s]
        head = 0
        tail = 0
        scanned = 1
        for t in range(first.shape[1]):
            low, high = first[w, t], stop[w, t]
            if high - low < 2:
                present[s, t] = False
                continue
            first_value = values[base + low]
            change = values[base + high - 1] - first_value
            if is_counter:
                # Invariant: falls[head:tail] are the i in (low, scanned) with value[i] below
                # value[i - 1]; adding the last value before each fall undoes the reset.
                scanned = max(scanned, low + 1)
                while scanned < high:
                    if values[base + scanned] < values[base + scanned - 1]:
                        falls[tail] = scanned
                        tail += 1
                    scanned += 1
                while head < tail and falls[head] <= low:
                    head += 1
                for k in range(head, tail):
                    change += values[base + falls[k] - 1]
            first_ms = times[time_base + low]
            last_ms = times[time_base + high - 1]
            to_start = (first_ms - (end_ms[t] - range_ms)) / 1000.0
            to_end = (end_ms[t] - last_ms) / 1000.0
            sampled = (last_ms - first_ms) / 1000.0
            spacing = sampled / (high - low - 1)
            # An edge farther away than a sample could be was not reached: half a spacing then.
            threshold = spacing * 1.1
            if to_start >= threshold:
                to_start = spacing / 2
            if is_counter and change > 0 and first_value >= 0:
                # A counter cannot have been below zero: not beyond where its line meets zero.
                to_start = min(to_start, sampled * (first_value / change))
            if to_end >= threshold:
                to_end = spacing / 2
            factor = (sampled + to_start + to_end) / sampled
            if per_second:
                factor /= range_s
            out[s, t] = change * factor
            present[s, t] = True


@kernel(
    types.float64(
        types.int64, types.float64, types.int64, types.float64, types.int64, types.boolean
    ),
    error_model="numpy",
)
def _on_line(
    left_ms: int, left: float, right_ms: int, right: float, at_ms: int, is_counter: bool
) -> float:
    """Return the value at `at_ms` on the line between two samples; a reset counts from zero."""
    if is_counter and right < left:
        left = 0.0
    return left + (right - left) * (at_ms - left_ms) / (right_ms - left_ms)


@kernel(
    types.void(
        *_WINDOWS,
        _INTS,
        types.int64,
        types.boolean,
        types.boolean,
        types.boolean,
        _OUT,
        _PRESENT,
    ),
    error_model="numpy",
)
def change_between_edges(
    times: Ints,
    time_start: Ints,
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    end_ms: Ints,
    range_ms: int,
    smoothed: bool,
    is_counter: bool,
    per_second: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the change from edge to edge of windows that are anchored or smoothed.

    Windows hold the samples beyond their edges that count (`extended.py`); empty ones are absent.
    """
    for s in range(value_start.size):
        base, time_base, w = value_start[s], time_start[s], window_of[s]
        for t in range(first.shape[1]):
            low, high = first[w, t], stop[w, t]
            present[s, t] = high > low
            if high <= low:
                continue
            begin, end = end_ms[t] - range_ms, end_ms[t]
            left, right = values[base + low], values[base + high - 1]
            if smoothed and times[time_base + low] < begin:
                left = _on_line(
                    times[time_base + low],
                    values[base + low],
                    times[time_base + low + 1],
                    values[base + low + 1],
                    begin,
                    is_counter,
                )
            if smoothed and times[time_base + high - 1] > end:
                right = _on_line(
                    times[time_base + high - 2],
                    values[base + high - 2],
                    times[time_base + high - 1],
                    values[base + high - 1],
                    end,
                    is_counter,
                )
            change = right - left
            if is_counter:
                previous = left
                for i in range(low, high):
                    if begin < times[time_base + i] < end:
                        if values[base + i] < previous:
                            change += previous
                        previous = values[base + i]
                if right < previous:
                    change += previous
            out[s, t] = change / (range_ms / 1000.0) if per_second else change


@kernel(
    types.void(*_WINDOWS, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def last_change(
    times: Ints,
    time_start: Ints,
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    is_rate: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the change between the last two samples: idelta, or, per second, irate."""
    for s in range(value_start.size):
        base, time_base, w = value_start[s], time_start[s], window_of[s]
        for t in range(first.shape[1]):
            low, high = first[w, t], stop[w, t]
            if high - low < 2:
                present[s, t] = False
                continue
            previous, last = values[base + high - 2], values[base + high - 1]
            change = last - previous
            if is_rate:
                if last < previous:  # the counter was reset: it counted `last` since
                    change = last
                elapsed_ms = times[time_base + high - 1] - times[time_base + high - 2]
                change /= elapsed_ms / 1000.0
            out[s, t] = change
            present[s, t] = True


@kernel(types.int64(types.float64, types.float64, types.boolean))
def _counts(before: float, after: float, only_falls: bool) -> int:
    """Return 1 if the pair is one to count, else 0. NaN to NaN is no change."""
    if only_falls:
        return 1 if after < before else 0
    return 1 if before != after and not (np.isnan(before) and np.isnan(after)) else 0


@kernel(
    types.void(_FLOATS, _INTS, _INTS, _OFFSETS, _OFFSETS, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def count_steps(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    only_falls: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write how often neighbouring samples differ (changes) or fall (resets) in each window."""
    for s in range(value_start.size):
        base, w = value_start[s], window_of[s]
        # Invariant: `found` counts the pairs (i - 1, i) with low < i < high.
        found = 0
        low_at = -1
        high_at = -1
        for t in range(first.shape[1]):
            low, high = first[w, t], stop[w, t]
            if high <= low:
                present[s, t] = False
                continue
            if low_at < 0 or low >= high_at:
                found, low_at, high_at = 0, low, low + 1
            while high_at < high:
                found += _counts(values[base + high_at - 1], values[base + high_at], only_falls)
                high_at += 1
            while low_at < low:
                found -= _counts(values[base + low_at], values[base + low_at + 1], only_falls)
                low_at += 1
            out[s, t] = found
            present[s, t] = True


@helper("UniTuple(float64, 2)(float64, float64, float64)", inline="always")
def compensated_add(addend: float, total: float, lost: float) -> tuple[float, float]:
    """Add with Kahan's and Neumaier's compensation; return the new total and what it lost."""
    new = total + addend
    if np.isinf(new):
        lost = 0.0
    elif abs(total) >= abs(addend):
        lost += (total - new) + addend
    else:
        lost += (addend - new) + total
    return new, lost


@helper(types.float64(_INTS, _FLOATS, types.int64, types.float64, types.boolean))
def line_of(times: Ints, values: Floats, now_ms: int, ahead_s: float, predict: bool) -> float:
    """Return the slope of the least-squares line through samples, or its value ahead of now."""
    # An origin near the values: with one at the epoch the squares lose all digits.
    origin = now_ms if predict else times[0]
    first_value = values[0]
    constant = True
    n = 0.0
    sum_x, lost_x = 0.0, 0.0
    sum_y, lost_y = 0.0, 0.0
    sum_xy, lost_xy = 0.0, 0.0
    sum_xx, lost_xx = 0.0, 0.0
    for i in range(values.size):
        y = values[i]
        if i > 0 and y != first_value:
            constant = False
        n += 1.0
        x = (times[i] - origin) / 1000.0
        sum_x, lost_x = compensated_add(x, sum_x, lost_x)
        sum_y, lost_y = compensated_add(y, sum_y, lost_y)
        sum_xy, lost_xy = compensated_add(x * y, sum_xy, lost_xy)
        sum_xx, lost_xx = compensated_add(x * x, sum_xx, lost_xx)
    if constant:
        slope, intercept = 0.0, first_value
        if np.isinf(first_value):
            slope, intercept = np.nan, np.nan
    else:
        sum_x += lost_x
        sum_y += lost_y
        sum_xy += lost_xy
        sum_xx += lost_xx
        slope = (sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n)
        intercept = sum_y / n - slope * sum_x / n
    return slope * ahead_s + intercept if predict else slope
