"""Compiled loops of the aggregations that go by rank: quantiles, topk and its kin.

From: `aggregate.py`, `ranking.py`.   To: matrices.
Rows come group by group, in row order within a group, as Prometheus takes them. Where `present` is
False the value is garbage and is never used. Several steps are gone through side by side: what lies
beside a value in memory is of the next step. Plain Python twins are in the tests.
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
_OUT_INTS = types.int64[:, ::1]

_SIDE_BY_SIDE = 16
"""Steps whose values are gathered together: two lines of memory of each series."""


@helper(types.float64(types.float64[::1], types.int64), error_model="numpy")
def value_of_rank(values: Floats, rank: int) -> float:
    """Return the value of a rank, from 0, among numbers; none before it is larger afterwards.

    Numbers move: those before the rank are none larger, those after it none smaller.
    """
    low, high = 0, values.size - 1
    while low < high:
        # The middle of three: what is sorted already is the usual bad case.
        middle = (low + high) // 2
        if values[middle] < values[low]:
            values[middle], values[low] = values[low], values[middle]
        if values[high] < values[low]:
            values[high], values[low] = values[low], values[high]
        if values[high] < values[middle]:
            values[high], values[middle] = values[middle], values[high]
        pivot = values[middle]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return float(values[rank])


@helper(types.float64(types.float64[::1], types.int64, types.float64), error_model="numpy")
def _quantile_of(numbers: Floats, nans: int, q: float) -> float:
    """Return a quantile of numbers, which move, and of `nans` NaN, which rank lowest."""
    if math.isnan(q):
        return math.nan
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    total = numbers.size + nans
    rank = q * (total - 1)
    low = np.int64(rank)  # q is in 0..1, so cutting is rounding down
    high = low + 1 if low + 1 < total else low
    weight = rank - math.floor(rank)
    below, above = math.nan, math.nan
    if low >= nans:
        below = value_of_rank(numbers, int(low - nans))
    if high >= nans:
        above = below
        if high > low:
            # The least of what is behind the rank below; where that is NaN, of all.
            above = numbers[high - nans]
            for i in range(high - nans + 1, numbers.size):
                above = min(above, numbers[i])
    return below * (1.0 - weight) + above * weight


@kernel(
    types.void(
        _FLOATS2, _MASK2, _INTS1, _INTS1, _FLOATS1, types.int64, types.int64, _OUT, _OUT_INTS
    ),
    error_model="numpy",
)
def quantile_rows(
    values: Floats,
    present: Mask,
    order: Ints,
    start: Ints,
    quantiles: Floats,
    first: int,
    stop: int,
    out: Floats,
    counts: Ints,
) -> None:
    """Write the quantile of each group at the steps first to stop - 1, between two ranks.

    Shapes: `order` [series] holds the rows group by group, `start` [groups + 1] where each
    begins; `quantiles` [steps]; `out`, `counts` [groups, steps]. NaN values rank lowest.
    A quantile outside 0..1 gives an infinity, NaN gives NaN.
    """
    largest = 0
    for g in range(start.size - 1):
        largest = max(largest, start[g + 1] - start[g])
    held = np.empty((_SIDE_BY_SIDE, largest), dtype=np.float64)
    numbers = np.zeros(_SIDE_BY_SIDE, dtype=np.int64)
    nans = np.zeros(_SIDE_BY_SIDE, dtype=np.int64)
    for low in range(first, stop, _SIDE_BY_SIDE):
        high = min(low + _SIDE_BY_SIDE, stop)
        for g in range(start.size - 1):
            numbers[:] = 0
            nans[:] = 0
            for i in range(start[g], start[g + 1]):
                s = order[i]
                for t in range(low, high):
                    if present[s, t]:
                        value = values[s, t]
                        if math.isnan(value):
                            nans[t - low] += 1
                        else:
                            held[t - low, numbers[t - low]] = value
                            numbers[t - low] += 1
            for t in range(low, high):
                n = numbers[t - low]
                counts[g, t] = n + nans[t - low]
                if counts[g, t] > 0:
                    out[g, t] = _quantile_of(held[t - low, :n], nans[t - low], quantiles[t])


_HEAPS = 64
"""Steps that are gone through together: fewer values of a series side by side are waited for."""


@helper(types.boolean(types.float64, types.float64, types.boolean), error_model="numpy")
def _ranks_below(a: float, b: float, smallest: bool) -> bool:
    """Tell whether `a` goes before `b` out of the heap; NaN goes first."""
    if math.isnan(a):
        return True
    return a > b if smallest else a < b


@helper(
    types.int64(
        _FLOATS2,
        types.int64,
        types.int64,
        types.int64[::1],
        types.int64,
        types.int64,
        types.boolean,
    ),
    error_model="numpy",
)
def _offer(values: Floats, s: int, t: int, heap: Ints, n: int, k: int, smallest: bool) -> int:
    """Offer row `s` to a heap of `n` rows, by their values at step t; return how many it has now.

    Invariant: `heap[0]` is the kept row that the next better one throws out.
    """
    value = values[s, t]
    if n < k:
        j = n
        heap[n] = s
        while j > 0:
            parent = (j - 1) // 2
            if not _ranks_below(values[heap[j], t], values[heap[parent], t], smallest):
                break
            heap[j], heap[parent] = heap[parent], heap[j]
            j = parent
        return n + 1
    worst = values[heap[0], t]
    better = worst > value if smallest else worst < value
    if not (better or (math.isnan(worst) and not math.isnan(value))):
        return n
    heap[0] = s
    j = 0
    while 2 * j + 1 < n:
        child = 2 * j + 1
        if child + 1 < n and _ranks_below(
            values[heap[child + 1], t], values[heap[child], t], smallest
        ):
            child += 1
        if not _ranks_below(values[heap[child], t], values[heap[j], t], smallest):
            break
        heap[j], heap[child] = heap[child], heap[j]
        j = child
    return n


@kernel(
    types.void(
        _FLOATS2,
        _MASK2,
        _INTS1,
        _INTS1,
        _INTS1,
        types.boolean,
        types.int64,
        types.int64,
        types.boolean[:, ::1],
        types.int64[::1],
    ),
    error_model="numpy",
)
def select_top(
    values: Floats,
    present: Mask,
    order: Ints,
    start: Ints,
    k: Ints,
    smallest: bool,
    first: int,
    stop: int,
    keep: Mask,
    place: Ints,
) -> None:
    """Mark the `k[t]` largest (or `smallest`) values of each group at the steps first to stop - 1.

    Shapes: `order` [series] rows group by group, `start` [groups + 1]; `k` [steps]; `keep`
    [series, steps] all False at first; `place` [series]: where in the heap a row of the last step
    of all ended, which orders equal values as Prometheus' heap does.
    """
    room = 0
    for t in range(first, stop):
        room = max(room, k[t])
    heaps = np.empty((_HEAPS, min(room, order.size) + 1), dtype=np.int64)
    filled = np.zeros(_HEAPS, dtype=np.int64)
    worst = np.empty(_HEAPS, dtype=np.float64)
    for low in range(first, stop, _HEAPS):
        high = min(low + _HEAPS, stop)
        for g in range(start.size - 1):
            filled[:] = 0
            for i in range(start[g], start[g + 1]):
                s = order[i]
                for t in range(low, high):
                    h = t - low
                    if not present[s, t] or k[t] < 1:
                        continue
                    if filled[h] == k[t]:
                        value = values[s, t]
                        # Most are no better than what is kept: a NaN there lets all through.
                        if worst[h] <= value if smallest else worst[h] >= value:
                            continue
                    filled[h] = _offer(values, s, t, heaps[h], filled[h], k[t], smallest)
                    worst[h] = values[heaps[h, 0], t]
            for t in range(low, high):
                for i in range(filled[t - low]):
                    keep[heaps[t - low, i], t] = True
                    if t == k.size - 1:
                        place[heaps[t - low, i]] = i


@kernel(types.void(_MASK2, _INTS1, types.int64, _INTS1, types.boolean[:, ::1]))
def select_first(present: Mask, group_of: Ints, groups: int, k: Ints, keep: Mask) -> None:
    """Mark the first `k[t]` rows of each group that are present at each step."""
    seen = np.zeros((groups, present.shape[1]), dtype=np.int64)
    for s in range(present.shape[0]):
        g = group_of[s]
        for t in range(present.shape[1]):
            if present[s, t] and seen[g, t] < k[t]:
                seen[g, t] += 1
                keep[s, t] = True
