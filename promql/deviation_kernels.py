"""Compiled loops over windows for standard deviation and variance, many windows side by side.

From: `over_time.py`.   To: matrices. Layout of the arguments as in `rate_kernels.py`.

A running variance divides at every sample, and each sample waits for the one before. Windows do not
wait for each other: steady ones of a series (`steady_kernels.py`) are done together, else one
window of several series that share their times. Each window's samples are taken in their order, so
each result has the bits that the plain loop gives it; what is not finite is left to that loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from promql.rate_kernels import compensated_add
from promql.steady_kernels import deal
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
_OUT1 = types.float64[::1]
_OUT = types.float64[:, ::1]
_PRESENT = types.boolean[:, ::1]

_TOGETHER = 64
"""Windows of a series side by side: with their sums of four kinds, they stay in nearest cache."""

_FEW = 4
"""Fewer steps in a row gain nothing."""

_SERIES = 8
"""Series side by side."""


@helper(types.float64(_FLOATS, types.int64, types.int64), error_model="numpy")
def variance_of(values: Floats, low: int, high: int) -> float:
    """Return Welford's running variance of values[low:high], compensated."""
    count = 0.0
    mean, mean_lost = 0.0, 0.0
    squares, squares_lost = 0.0, 0.0
    for i in range(low, high):
        count += 1.0
        value = values[i]
        away = value - (mean + mean_lost)
        mean, mean_lost = compensated_add(away / count, mean, mean_lost)
        squares, squares_lost = compensated_add(
            away * (value - (mean + mean_lost)), squares, squares_lost
        )
    return (squares + squares_lost) / count


@helper(
    types.void(_OUT1, types.int64, types.int64, types.int64, types.int64, _OUT1),
    error_model="numpy",
)
def _vary_each(dealt: Floats, hands: int, far: int, count: int, width: int, sums: Floats) -> None:
    """Take `count` values into each of `width` variances: those from hands * k on, as dealt.

    `sums` float64[4 * width or more] is written: first the sums of squares about the mean, then
    what they lost; then means and what these lost.
    """
    squares, squares_lost = sums[:width], sums[width : 2 * width]
    means, means_lost = sums[2 * width : 3 * width], sums[3 * width : 4 * width]
    for k in range(means.size):
        means[k] = 0.0
        means_lost[k] = 0.0
        squares[k] = 0.0
        squares_lost[k] = 0.0
    for i in range(count):
        at = (i % hands) * far + i // hands
        row = dealt[at : at + means.size]
        n = float(i + 1)
        for k in range(means.size):
            value, mean = row[k], means[k]
            away = value - (mean + means_lost[k])
            added = away / n
            new = mean + added
            first = abs(mean) >= abs(added)
            larger = mean if first else added
            smaller = added if first else mean
            lost = means_lost[k] + ((larger - new) + smaller)
            means[k] = new
            means_lost[k] = lost
            added = away * (value - (new + lost))
            total = squares[k]
            new = total + added
            first = abs(total) >= abs(added)
            larger = total if first else added
            smaller = added if first else total
            squares_lost[k] += (larger - new) + smaller
            squares[k] = new


@kernel(
    types.void(_FLOATS, _INTS, _INTS, _OFFSETS, _OFFSETS, _OFFSETS, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def deviation_windows(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    steady: Offsets,
    root: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the variance or (`root`) the standard deviation of each window; absent where empty.

    Shapes: `steady` [W, T] as `steady_windows` wrote it.
    """
    steps = first.shape[1]
    room, longest = 0, 0
    for w in range(first.shape[0]):
        for t in range(steps):
            room = max(room, stop[w, t])
            longest = max(longest, stop[w, t] - first[w, t])
    sums = np.empty(4 * max(_TOGETHER, _SERIES), dtype=np.float64)
    dealt = np.empty(max(2 * room, _SERIES * longest), dtype=np.float64)
    s = 0
    while s < value_start.size:
        w = window_of[s]
        rows = 1
        while rows < _SERIES and s + rows < value_start.size and window_of[s + rows] == w:
            rows += 1
        t = 0
        while t < steps:
            low, count = int(first[w, t]), int(stop[w, t] - first[w, t])
            together = int(min(steady[w, t], _TOGETHER))
            if count <= 0:
                for r in range(s, s + rows):
                    present[r, t] = False
                t += 1
            elif together < _FEW:
                for r in range(rows):
                    own = values[value_start[s + r] + low : value_start[s + r] + low + count]
                    for i in range(count):
                        dealt[i * rows + r] = own[i]
                _vary_each(dealt, count, rows, count, rows, sums)
                for r in range(rows):
                    variance = (sums[r] + sums[rows + r]) / count
                    if not np.isfinite(sums[r]):
                        begin = value_start[s + r] + low
                        variance = variance_of(values, begin, begin + count)
                    out[s + r, t] = np.sqrt(variance) if root else variance
                    present[s + r, t] = True
                t += 1
            else:
                moved = int(first[w, t + 1]) - low
                for r in range(s, s + rows):
                    begin = value_start[r] + low
                    part = values[begin : begin + count + moved * (together - 1)]
                    far = deal(part, moved, dealt)
                    _vary_each(dealt, moved, far, count, together, sums)
                    for k in range(together):
                        variance = (sums[k] + sums[together + k]) / count
                        if not np.isfinite(sums[k]):
                            variance = variance_of(part, k * moved, k * moved + count)
                        out[r, t + k] = np.sqrt(variance) if root else variance
                        present[r, t + k] = True
                t += together
        s += rows
