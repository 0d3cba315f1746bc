"""Compiled loops over windows that move as many samples from step to step, many steps side by side.

From: `over_time.py`, `rate.py`.   To: matrices. Layout of the arguments as in `rate_kernels.py`.

What adds up all samples of a window waits for each sum before it can add the next. Steps do not
wait for each other: so the sums of many windows take their first samples, then all their second
ones, and so on. Each window's are still added in their order, and each result has the bits that the
plain loops give it; sums that are not finite are left to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from promql.rate_kernels import line_of
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

TOGETHER = 256
"""Windows that are summed side by side: their sums stay in the processor's nearest cache."""

FEW = 8
"""Fewer steps than this gain nothing."""

_SERIES = 8
"""Series whose windows are added up side by side where steps are too few."""

_FEW_EXTREMES = 4
"""The same for extremes: what is done for a run costs as much as a look at some windows."""

_LANES = 32
"""Values of one window that are compared side by side."""


@kernel(types.void(_OFFSETS, _OFFSETS, types.int32[:, ::1]))
def steady_windows(first: Offsets, stop: Offsets, steady: Offsets) -> None:
    """Write for how many steps from here on each window is the one before, moved by some samples.

    The number is the same in all of these steps, and not 0.
    Shapes: [W, T] each. 0 where a window is empty, 1 where the next is another.
    """
    steps = first.shape[1]
    for w in range(first.shape[0]):
        later = 0  # by how many the next window moves
        for t in range(steps - 1, -1, -1):
            if stop[w, t] <= first[w, t]:
                steady[w, t] = 0
                later = 0
                continue
            steady[w, t] = 1
            moved = 0
            if t + 1 < steps:
                moved = first[w, t + 1] - first[w, t]
                if moved < 1 or stop[w, t + 1] - stop[w, t] != moved:
                    moved = 0
            if moved > 0:
                steady[w, t] = steady[w, t + 1] + 1 if moved == later else 2
            later = moved


@kernel(types.void(_INTS, _INTS, _OFFSETS, _OFFSETS, _INTS, _OFFSETS, types.int32[:, ::1]))
def regular_windows(
    times: Ints,
    time_start: Ints,
    first: Offsets,
    stop: Offsets,
    now_ms: Ints,
    steady: Offsets,
    regular: Offsets,
) -> None:
    """Write for how many steps windows are steady and their samples as far from now as before.

    Shapes: `time_start` int64[W], where the times of each row lie; `now_ms` int64[T], or empty:
    then a window's first sample is what its samples are far from. The rest [W, T].
    """
    longest = 0
    for w in range(first.shape[0]):
        if first.shape[1] > 0:
            longest = max(longest, stop[w, first.shape[1] - 1])
    equal = np.empty(longest + 1, dtype=np.int32)
    for w in range(first.shape[0]):
        base = time_start[w]
        count = stop[w, first.shape[1] - 1] if first.shape[1] > 0 else 0
        # How many gaps between samples, from this one on, are as long as this.
        for j in range(count - 2, -1, -1):
            equal[j] = 1
            if j + 2 < count:
                gap = times[base + j + 1] - times[base + j]
                if times[base + j + 2] - times[base + j + 1] == gap:
                    equal[j] = equal[j + 1] + 1
        for t in range(first.shape[1] - 1, -1, -1):
            regular[w, t] = 1 if steady[w, t] > 0 else 0
            if steady[w, t] < 2:
                continue
            low, high = first[w, t], stop[w, t]
            gap = times[base + low + 1] - times[base + low]
            moved = first[w, t + 1] - low
            same = equal[low] >= high - 1 + moved - low
            if now_ms.size > 0:
                same = same and now_ms[t + 1] - now_ms[t] == moved * gap
            if same:  # what comes after may be another run, which moves otherwise
                regular[w, t] = min(regular[w, t + 1] + 1, steady[w, t])


@helper(types.int64(_FLOATS, types.int64, _OUT1))
def deal(values: Floats, hands: int, dealt: Floats) -> int:
    """Deal values out in turn, hand by hand; return how far apart hands begin in `dealt`.

    So values[i + hands * k] is dealt[(i % hands) * far + i // hands + k]: for windows that move by
    `hands` samples, what is side by side is so in memory.
    """
    far = -(-values.size // hands)
    for hand in range(hands):
        for j in range((values.size - hand + hands - 1) // hands):
            dealt[hand * far + j] = values[hand + j * hands]
    return far


@helper(
    types.void(_FLOATS, types.int64, types.int64, types.int64, _OUT1, _OUT1), error_model="numpy"
)
def add_to_each(
    dealt: Floats, hands: int, far: int, count: int, totals: Floats, lost: Floats
) -> None:
    """Add `count` values from hands * k on to the compensated sum k, for each k."""
    for k in range(totals.size):
        totals[k] = 0.0
        lost[k] = 0.0
    for i in range(count):
        at = (i % hands) * far + i // hands
        row = dealt[at : at + totals.size]
        for k in range(totals.size):
            value, total = row[k], totals[k]
            new = total + value
            first = abs(total) >= abs(value)
            larger = total if first else value
            smaller = value if first else total
            lost[k] += (larger - new) + smaller
            totals[k] = new


@helper(types.void(_FLOATS, types.int64, types.int64, _FLOATS, _OUT1, _OUT1), error_model="numpy")
def _add_products_to_each(
    dealt: Floats, hands: int, far: int, by: Floats, totals: Floats, lost: Floats
) -> None:
    """Add value hands * k + i times by[i] to the compensated sum k, for each i in turn and k."""
    for k in range(totals.size):
        totals[k] = 0.0
        lost[k] = 0.0
    for i in range(by.size):
        at = (i % hands) * far + i // hands
        row = dealt[at : at + totals.size]
        x = by[i]
        for k in range(totals.size):
            value, total = x * row[k], totals[k]
            new = total + value
            first = abs(total) >= abs(value)
            larger = total if first else value
            smaller = value if first else total
            lost[k] += (larger - new) + smaller
            totals[k] = new


@helper(types.int64(_OFFSETS))
def room_of(stop: Offsets) -> int:
    """Return how many samples a run has at most, as far as windows go."""
    longest = 0
    for w in range(stop.shape[0]):
        if stop.shape[1] > 0:
            longest = max(longest, stop[w, stop.shape[1] - 1])
    return longest


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
        _FLOATS,
        types.boolean,
        _OFFSETS,
        _OUT,
        _PRESENT,
    ),
    error_model="numpy",
)
def regress_regular(
    times: Ints,
    time_start: Ints,
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    now_ms: Ints,
    ahead_s: Floats,
    predict: bool,
    regular: Offsets,
    out: Floats,
    present: Mask,
) -> None:
    """Write the slope of the least-squares line (deriv), or the line's value ahead of now.

    Shapes: `now_ms` int64[T], `ahead_s` float64[T]; both unused for the slope. `regular` [W, T] as
    `regular_windows` wrote it. Absent where a window holds fewer than two samples.
    """
    longest = 0
    for w in range(first.shape[0]):
        for t in range(first.shape[1]):
            longest = max(longest, stop[w, t] - first[w, t])
    xs = np.empty(longest, dtype=np.float64)
    dealt = np.empty(max(2 * room_of(stop), _SERIES * longest), dtype=np.float64)
    sum_y = np.empty(TOGETHER, dtype=np.float64)
    lost_y = np.empty(TOGETHER, dtype=np.float64)
    sum_xy = np.empty(TOGETHER, dtype=np.float64)
    lost_xy = np.empty(TOGETHER, dtype=np.float64)
    s = 0
    while s < value_start.size:
        # Series of one run, whose windows are of the same times.
        time_base, w = time_start[s], window_of[s]
        rows = 1
        while rows < _SERIES and s + rows < value_start.size and window_of[s + rows] == w:
            rows += 1
        t = 0
        while t < first.shape[1]:
            low, high = int(first[w, t]), int(stop[w, t])
            count = high - low
            together = max(1, int(min(regular[w, t], TOGETHER)))
            if count < 2:
                for r in range(s, s + rows):
                    present[r, t] = False
                t += 1
                continue
            origin = now_ms[t] if predict else times[time_base + low]
            for i in range(count):
                xs[i] = (times[time_base + low + i] - origin) / 1000.0
            x = xs[:count]
            add_to_each(x, 1, count, count, sum_y[:1], lost_y[:1])
            sum_x = sum_y[0] + lost_y[0]
            _add_products_to_each(x, 1, count, x, sum_xy[:1], lost_xy[:1])
            sum_xx = sum_xy[0] + lost_xy[0]
            by_steps = together >= FEW
            if not by_steps:
                together = 1
                for r in range(rows):
                    own = values[value_start[s + r] + low : value_start[s + r] + high]
                    for i in range(count):
                        dealt[i * rows + r] = own[i]
                add_to_each(dealt, count, rows, count, sum_y[:rows], lost_y[:rows])
                _add_products_to_each(dealt, count, rows, x, sum_xy[:rows], lost_xy[:rows])
            moved = int(first[w, t + 1] - low) if together > 1 else 1
            n = float(count)
            for r in range(rows):
                base = value_start[s + r]
                part = values[base + low : base + high + moved * (together - 1)]
                if by_steps:
                    far = deal(part, moved, dealt)
                    add_to_each(dealt, moved, far, count, sum_y[:together], lost_y[:together])
                    _add_products_to_each(
                        dealt, moved, far, x, sum_xy[:together], lost_xy[:together]
                    )
                still = 0
                for k in range(together):
                    at = k * moved
                    of = k if by_steps else r
                    present[s + r, t + k] = True
                    # Invariant: part[at:still] are equal.
                    still = max(still, at + 1)
                    while still < at + count and part[still] == part[at]:
                        still += 1
                    if still == at + count:
                        slope, intercept = 0.0, part[at]
                        if np.isinf(part[at]):
                            slope, intercept = np.nan, np.nan
                    elif np.isfinite(sum_y[of]) and np.isfinite(sum_xy[of]):
                        y = sum_y[of] + lost_y[of]
                        xy = sum_xy[of] + lost_xy[of]
                        slope = (xy - sum_x * y / n) / (sum_xx - sum_x * sum_x / n)
                        intercept = y / n - slope * sum_x / n
                    else:
                        out[s + r, t + k] = line_of(
                            times[time_base + low + at : time_base + high + at],
                            part[at : at + count],
                            now_ms[t + k],
                            ahead_s[t + k],
                            predict,
                        )
                        continue
                    out[s + r, t + k] = slope * ahead_s[t + k] + intercept if predict else slope
            t += together
        s += rows


@helper(types.void(_OUT1, _OUT1, types.boolean, _OUT1), error_model="numpy")
def _choose(one: Floats, other: Floats, largest: bool, best: Floats) -> None:
    """Write the better one of each two values. To other memory, or it would not vectorise."""
    if largest:
        for j in range(best.size):
            a, b = one[j], other[j]
            best[j] = b if (b > a) | (a != a) else a  # a != a: NaN
    else:
        for j in range(best.size):
            a, b = one[j], other[j]
            best[j] = b if (b < a) | (a != a) else a


@helper(types.float64(_FLOATS, types.boolean, _OUT1), error_model="numpy")
def _extreme_of(window: Floats, largest: bool, best: Floats) -> float:
    """Return the least or greatest of one window; `best` is room for a few, side by side."""
    lanes = best.size
    for j in range(lanes):
        best[j] = window[min(j, window.size - 1)]
    sign = 1.0 if largest else -1.0
    for at in range(lanes, window.size - lanes + 1, lanes):
        row = window[at : at + lanes]
        for j in range(lanes):
            a, b = best[j], row[j]
            best[j] = b if (sign * b > sign * a) | (a != a) else a
    found = best[0]
    for j in range(1, lanes):
        if sign * best[j] > sign * found or np.isnan(found):
            found = best[j]
    for j in range(window.size - window.size % lanes, window.size):
        if sign * window[j] > sign * found or np.isnan(found):
            found = window[j]
    if found == 0.0:  # of zeros, whose signs differ, the first
        for value in window:
            if value == 0.0:
                return float(value)
    return float(found)


@kernel(
    types.void(_FLOATS, _INTS, _INTS, _OFFSETS, _OFFSETS, _OFFSETS, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def extreme_of_steady(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    steady: Offsets,
    largest: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the least or (`largest`) greatest value of each window; absent where one is empty.

    Shapes: `steady` [W, T] as `steady_windows` wrote it; where it is small, each window is looked
    at as a whole. NaN gives way to every number; among equals the first counts.
    """
    longest = 0
    for w in range(first.shape[0]):
        if first.shape[1] > 0:
            longest = max(longest, stop[w, first.shape[1] - 1])
    best = np.empty(longest, dtype=np.float64)
    next_best = np.empty(longest, dtype=np.float64)
    lanes = np.empty(_LANES, dtype=np.float64)
    for s in range(value_start.size):
        base, w = value_start[s], window_of[s]
        t = 0
        while t < first.shape[1]:
            together = int(steady[w, t])
            present[s, t] = together > 0
            if together == 0:
                t += 1
                continue
            low, count = base + first[w, t], int(stop[w, t] - first[w, t])
            if together < _FEW_EXTREMES:
                out[s, t] = _extreme_of(values[low : low + count], largest, lanes)
                t += 1
                continue
            moved = int(first[w, t + 1] - first[w, t])
            size = count + moved * (together - 1)
            best[:size] = values[low : low + size]
            # Invariant: best[j] is that of `span` samples from j on. Spans double, and the last
            # two overlap: the better of a sample and itself is itself.
            span = 1
            while 2 * span <= count:
                left = size - 2 * span + 1
                _choose(best[:left], best[span : span + left], largest, next_best[:left])
                best, next_best = next_best, best
                span *= 2
            behind = count - span
            if moved == 1:
                _choose(
                    best[:together],
                    best[behind : behind + together],
                    largest,
                    out[s, t : t + together],
                )
            else:
                for k in range(together):
                    a, b = best[k * moved], best[k * moved + behind]
                    better = b > a if largest else b < a
                    out[s, t + k] = b if better or np.isnan(a) else a
            present[s, t : t + together] = True
            t += together
