"""Compiled loops of rate, increase and delta where many series share their times.

From: `rate_lines.py`.   To: matrices. Layout of the arguments as in `rate_kernels.py`.

How far a change is extrapolated depends on times alone, but for counters that would have begun
below zero; so it is worked out once for a row of windows ("a line"), and a series then costs a
subtraction and a product for each step. Every result has the bits that
`rate_kernels.extrapolated_change` gives it, which is its twin in the tests.
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
_FLOATS2 = types.Array(types.float64, 2, "C", readonly=True)
_OFFSETS = types.Array(types.int32, 2, "C", readonly=True)
_OUT = types.float64[:, ::1]
_OUT_OFFSETS = types.int32[:, ::1]
_PRESENT = types.boolean[:, ::1]

_SPAN = 16
"""Steps that are done together where windows do not move by as many samples each."""

_TOGETHER = 64
"""Steps that are done side by side at most: where one of them needs a closer look, all get it."""


@helper(
    types.int64(
        _FLOATS, types.int64, types.int64, types.int64, _FLOATS, _FLOATS, types.float64[::1]
    ),
    error_model="numpy",
)
def _changes(
    values: Floats, low: int, last: int, moved: int, by: Floats, near: Floats, to: Floats
) -> int:
    """Write the change of windows that move by `moved` samples; return of how many it is unsure.

    The first is that from values[low] to values[last].
    """
    unsure = 0
    if moved == 1:
        left = values[low : low + to.size]
        right = values[last : last + to.size]
        for i in range(to.size):
            change = right[i] - left[i]
            to[i] = change * by[i]
            # Not "at most": a product that is not a number tells nothing.
            unsure += (change > 0) & (not (left[i] > near[i] * change))
        return unsure
    for i in range(to.size):
        first_value = values[low + i * moved]
        change = values[last + i * moved] - first_value
        to[i] = change * by[i]
        unsure += (change > 0) & (not (first_value > near[i] * change))
    return unsure


@helper(
    types.float64(
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.float64,
        types.float64,
        types.boolean,
        types.boolean,
    ),
    error_model="numpy",
)
def _factor(
    first_ms: int,
    last_ms: int,
    end_ms: int,
    range_ms: int,
    samples: int,
    first_value: float,
    change: float,
    is_rising_counter: bool,
    per_second: bool,
) -> float:
    """Return by what the change between the outer samples of a window is multiplied."""
    to_start = (first_ms - (end_ms - range_ms)) / 1000.0
    to_end = (end_ms - last_ms) / 1000.0
    sampled = (last_ms - first_ms) / 1000.0
    spacing = sampled / (samples - 1)
    # An edge farther away than a sample could be was not reached: half a spacing then.
    threshold = spacing * 1.1
    if to_start >= threshold:
        to_start = spacing / 2
    if is_rising_counter:
        # A counter cannot have been below zero: not beyond where its line meets zero.
        to_start = min(to_start, sampled * (first_value / change))
    if to_end >= threshold:
        to_end = spacing / 2
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor /= range_ms / 1000.0
    return factor


@kernel(
    types.void(
        _INTS,
        _INTS,
        _OFFSETS,
        _OFFSETS,
        _INTS,
        types.int64,
        types.boolean,
        _OUT,
        _OUT,
        _OUT_OFFSETS,
        _OUT_OFFSETS,
    ),
    error_model="numpy",
)
def draw_lines(
    times: Ints,
    time_start: Ints,
    first: Offsets,
    stop: Offsets,
    end_ms: Ints,
    range_ms: int,
    per_second: bool,
    factor: Floats,
    reach: Floats,
    held: Offsets,
    steady: Offsets,
) -> None:
    """Write what all series share whose windows are a row of `first` and `stop`.

    Shapes: `time_start` int64[W]: where the times of each row of windows lie; the rest [W, T],
    `end_ms` int64[T]. Written: `factor`, by which a change is multiplied; `reach`: where the first
    value is more than `reach` times the change, a line through both is above zero at the left
    edge; `held`: for how many steps from here on windows hold two samples or more; `steady`: for
    how many of these each window is the one before, moved by as many samples, at least one.
    """
    steps = end_ms.size
    for w in range(first.shape[0]):
        base = time_start[w]
        later = 0  # by how many samples the next window moves
        for t in range(steps - 1, -1, -1):
            low, high = first[w, t], stop[w, t]
            if high - low < 2:
                held[w, t] = 0
                steady[w, t] = 0
                later = 0
                continue
            first_ms, last_ms = times[base + low], times[base + high - 1]
            factor[w, t] = _factor(
                first_ms, last_ms, end_ms[t], range_ms, high - low, 0.0, 0.0, False, per_second
            )
            # More than rounding takes away: who is above is so for certain.
            sampled_ms = last_ms - first_ms
            reach[w, t] = (first_ms - (end_ms[t] - range_ms)) / sampled_ms * 1.000001
            held[w, t] = 1
            steady[w, t] = 1
            moved = 0
            if t + 1 < steps and held[w, t + 1] > 0:
                held[w, t] = held[w, t + 1] + 1
                moved = first[w, t + 1] - low
                if moved < 1 or stop[w, t + 1] - high != moved:
                    moved = 0
            if moved > 0:
                steady[w, t] = steady[w, t + 1] + 1 if moved == later else 2
            later = moved


@kernel(
    types.void(
        _INTS,
        _INTS,
        _FLOATS,
        _INTS,
        _INTS,
        _OFFSETS,
        _OFFSETS,
        _INTS,
        types.int64,
        types.boolean,
        types.boolean,
        _FLOATS2,
        _FLOATS2,
        _OFFSETS,
        _OFFSETS,
        _OUT,
        _PRESENT,
    ),
    error_model="numpy",
)
def change_along_lines(
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
    factor: Floats,
    reach: Floats,
    held: Offsets,
    steady: Offsets,
    out: Floats,
    present: Mask,
) -> None:
    """Write the change over each window, extrapolated to its edges: rate, increase, delta.

    Shapes: `factor`, `reach`, `held`, `steady` [W, T] as `draw_lines` wrote them. Absent where a
    window holds fewer than two samples.
    """
    steps = first.shape[1]
    longest = 0
    if is_counter and steps > 0:
        for s in range(window_of.size):
            longest = max(longest, stop[window_of[s], steps - 1])
    falls = np.empty(longest + 1, dtype=np.int32)
    for s in range(value_start.size):
        base, time_base, w = value_start[s], time_start[s], window_of[s]
        here, known = present[s], held[w]
        for t in range(here.size):
            here[t] = known[t] > 0
        # Where the counter fell: falls[head:tail], oldest first. Windows only move right. The
        # place after the last is beyond all windows.
        head = 0
        tail = 0
        if is_counter and steps > 0 and stop[w, steps - 1] > 0:
            low = first[w, 0]
            inside = values[base + low : base + stop[w, steps - 1]]
            fallen = 0
            for i in range(1, inside.size):
                fallen += inside[i] < inside[i - 1]
            if fallen > 0:
                for i in range(1, inside.size):
                    if inside[i] < inside[i - 1]:
                        falls[tail] = low + i
                        tail += 1
        falls[tail] = np.int32(0x7FFFFFFF)
        t = 0
        while t < steps:
            if held[w, t] == 0:
                t += 1
                continue
            low, high = first[w, t], stop[w, t]
            while falls[head] <= low:
                head += 1
            if falls[head] < high:
                # The last value before each fall undoes it.
                first_value = values[base + low]
                change = values[base + high - 1] - first_value
                k = head
                while falls[k] < high:
                    change += values[base + falls[k] - 1]
                    k += 1
                if change > 0 and first_value >= 0:
                    out[s, t] = change * _factor(
                        times[time_base + low],
                        times[time_base + high - 1],
                        end_ms[t],
                        range_ms,
                        high - low,
                        first_value,
                        change,
                        True,
                        per_second,
                    )
                else:
                    out[s, t] = change * factor[w, t]
                t += 1
                continue
            unsure = 0
            together = int(min(steady[w, t], _TOGETHER))
            moved = int(first[w, t + 1] - low) if together > 1 else 1
            together = min(together, (int(falls[head]) - high) // moved + 1)
            if together >= 4:
                unsure = _changes(
                    values,
                    base + low,
                    base + high - 1,
                    moved,
                    factor[w, t : t + together],
                    reach[w, t : t + together],
                    out[s, t : t + together],
                )
            else:
                together = int(min(held[w, t], _SPAN))
                i = 0
                while i < together and stop[w, t + i] <= falls[head]:
                    first_value = values[base + first[w, t + i]]
                    change = values[base + stop[w, t + i] - 1] - first_value
                    out[s, t + i] = change * factor[w, t + i]
                    unsure += change > 0 and not (first_value > reach[w, t + i] * change)
                    i += 1
                together = i
            if is_counter and unsure > 0:
                for i in range(t, t + together):
                    first_value = values[base + first[w, i]]
                    change = values[base + stop[w, i] - 1] - first_value
                    sure = first_value > reach[w, i] * change
                    if change > 0 and first_value >= 0 and not sure:
                        out[s, i] = change * _factor(
                            times[time_base + first[w, i]],
                            times[time_base + stop[w, i] - 1],
                            end_ms[i],
                            range_ms,
                            stop[w, i] - first[w, i],
                            first_value,
                            change,
                            True,
                            per_second,
                        )
            t += together
