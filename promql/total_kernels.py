"""Compiled loops over windows for sums and means, of windows that overlap and of those that do not.

From: `over_time.py`.   To: matrices. Layout of the arguments as in `rate_kernels.py`.

Where windows overlap much, a sample is not added to each of them. The samples are cut into blocks
as long as a window, so that every window is the end of one block and the beginning of the next:
sums from each sample to the end of its block, and from its beginning, are worked out once. Sums are
compensated, both parts and where they meet, so that results are as near the truth as those of
one sum after the other, which Prometheus makes, though not always the same in the last digit.
Several series of one run are added up side by side. Where windows overlap little, they are summed
one by one, many side by side, in their order. Sums that are not finite, or might overflow on the
way, are left to plain loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from promql.over_time_kernels import average_of, sum_of
from promql.steady_kernels import FEW, TOGETHER, add_to_each, deal, room_of
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

_SERIES = 16
"""Series side by side."""

_SAVING_MIN = 4
"""By how many times fewer additions blocks are worth it, with several series; a sum of one sample
after the other waits for itself, so that series alone gain only by so many times more."""

_LONG = 32
"""Samples of a window below which nothing is gained: those have Prometheus' very bits."""

_LARGE = 1e290
"""Beyond, sums might overflow in one order and not in another."""


@helper(types.boolean(_FLOATS))
def _is_large(values: Floats) -> bool:
    """Say whether any number is so large that sums might overflow. Counted: that vectorises."""
    found = 0
    for value in values:
        found += abs(value) > _LARGE
    return found > 0


@helper(
    types.void(
        _FLOATS,
        _INTS,
        types.int64,
        types.int64,
        types.int64,
        types.boolean,
        _OUT1,
        types.int64,
        _OUT,
    ),
    error_model="numpy",
)
def _slide(
    values: Floats,
    starts: Ints,
    count: int,
    moved: int,
    together: int,
    average: bool,
    work: Floats,
    to: int,
    out: Floats,
) -> None:
    """Write sums or means of windows of `count` samples that move by `moved`, of some series.

    Shapes: `starts` int64[rows], where the first window of each begins; `out` [rows, T], written
    from column `to` on; `work` is room for 2 * rows * count + 3 * rows.
    """
    rows = starts.size
    # The samples of a block, which become sums from each of them to the end of the block.
    ends = work[: rows * count]
    ends_lost = work[rows * count : 2 * rows * count]
    at = 2 * rows * count
    total, lost = work[at : at + rows], work[at + rows : at + 2 * rows]
    now = work[at + 2 * rows : at + 3 * rows]
    by = float(count) if average else 1.0
    k = 0
    begin = 0
    while k < together:
        for r in range(rows):
            total[r] = 0.0
            lost[r] = 0.0
            own = values[starts[r] + begin : starts[r] + begin + count]
            for i in range(count):
                ends[i * rows + r] = own[i]
        # The additions stand here twice: calls with parts of arrays cost as much as they do.
        for i in range(count - 1, -1, -1):
            row, row_lost = ends[i * rows : (i + 1) * rows], ends_lost[i * rows : (i + 1) * rows]
            for r in range(rows):
                one, other = total[r], row[r]
                new = one + other
                first = abs(one) >= abs(other)
                larger = one if first else other
                smaller = other if first else one
                left = lost[r] + ((larger - new) + smaller)
                lost[r] = left
                total[r] = new
                row[r] = new
                row_lost[r] = left
        for r in range(rows):
            total[r] = 0.0
            lost[r] = 0.0
        added = 0
        while k < together and k * moved < begin + count:
            into = k * moved - begin
            while added < into:
                beyond = begin + count + added
                for r in range(rows):
                    now[r] = values[starts[r] + beyond]
                for r in range(rows):
                    one, other = total[r], now[r]
                    new = one + other
                    first = abs(one) >= abs(other)
                    larger = one if first else other
                    smaller = other if first else one
                    lost[r] += (larger - new) + smaller
                    total[r] = new
                added += 1
            row, row_lost = (
                ends[into * rows : (into + 1) * rows],
                ends_lost[into * rows : (into + 1) * rows],
            )
            for r in range(rows):
                one, other = row[r], total[r]
                new = one + other
                first = abs(one) >= abs(other)
                larger = one if first else other
                smaller = other if first else one
                left = row_lost[r] + lost[r] + ((larger - new) + smaller)
                # As one number and its rest: these do not depend on where the parts meet, so that
                # the mean of what stands still does.
                whole = new + left
                now[r] = whole / by + (left - (whole - new)) / by
            for r in range(rows):
                out[r, to + k] = now[r]
            k += 1
        begin += count


@kernel(
    types.void(_FLOATS, _INTS, _INTS, _OFFSETS, _OFFSETS, _OFFSETS, types.boolean, _OUT, _PRESENT),
    error_model="numpy",
)
def total_windows(
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    steady: Offsets,
    average: bool,
    out: Floats,
    present: Mask,
) -> None:
    """Write the sum or (`average`) the mean of each window; absent where a window is empty.

    Shapes: `steady` [W, T] as `steady_windows` wrote it.
    """
    steps = first.shape[1]
    longest = 0
    for w in range(first.shape[0]):
        for t in range(steps):
            longest = max(longest, stop[w, t] - first[w, t])
    totals = np.empty(TOGETHER, dtype=np.float64)
    lost = np.empty(TOGETHER, dtype=np.float64)
    # Hands that are one short end with a place that nobody uses: one more for each.
    dealt = np.empty(2 * room_of(stop), dtype=np.float64)
    work = np.empty(_SERIES * (2 * longest + 3), dtype=np.float64)
    starts = np.empty(_SERIES, dtype=np.int64)
    s = 0
    while s < value_start.size:
        w = window_of[s]
        rows = 1
        while rows < _SERIES and s + rows < value_start.size and window_of[s + rows] == w:
            rows += 1
        t = 0
        while t < steps:
            low, count = int(first[w, t]), int(stop[w, t] - first[w, t])
            together = max(1, int(steady[w, t]))
            if count <= 0:
                for r in range(s, s + rows):
                    present[r, t] = False
                t += 1
                continue
            moved = int(first[w, t + 1] - low) if together > 1 else count
            size = count + moved * (together - 1)
            saving = _SAVING_MIN if rows >= _SERIES // 4 else 6 * _SAVING_MIN
            slides = count >= _LONG and together * count > saving * size
            for r in range(rows):
                starts[r] = value_start[s + r] + low
                slides = slides and not _is_large(values[starts[r] : starts[r] + size])
            if slides:
                _slide(
                    values,
                    starts[:rows],
                    count,
                    moved,
                    together,
                    average,
                    work,
                    t,
                    out[s : s + rows],
                )
            else:
                together = min(together, TOGETHER)
                size = count + moved * (together - 1)
            for r in range(rows):
                part = values[starts[r] : starts[r] + size]
                to, there = out[s + r, t : t + together], present[s + r, t : t + together]
                if not slides and together >= FEW:
                    far = deal(part, moved, dealt)
                    add_to_each(dealt, moved, far, count, totals[:together], lost[:together])
                    by = float(count) if average else 1.0
                    for k in range(together):
                        to[k] = totals[k] / by + lost[k] / by
                alone = not slides and together < FEW
                strange = 0
                for k in range(together):
                    there[k] = True
                    strange += not abs(to[k]) < np.inf
                if strange == 0 and not alone:
                    continue
                for k in range(together):
                    if not alone and np.isfinite(to[k]):
                        continue
                    if average:
                        to[k] = average_of(part, k * moved, k * moved + count)
                    else:
                        to[k] = sum_of(part, k * moved, k * moved + count)
            t += together
        s += rows
