"""Compiled loops of the aggregations: many rows into one per group, at every step.

From: `aggregate_folds.py`, `aggregate.py`, `ranking.py`.
`group_of` names the row of the answer each series goes to. Series are taken in row order, as
Prometheus takes them, so that rounding agrees. Where `present` is False the value is garbage and is
never used. Folds go on where an earlier call for the same groups ended. Plain Python twins are in
the tests.
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
_MASK1 = types.Array(types.boolean, 1, "C", readonly=True)
_MASK2 = types.Array(types.boolean, 2, "C", readonly=True)
_OUT1 = types.float64[::1]
_OUT = types.float64[:, ::1]
_OUT_INTS = types.int64[:, ::1]
_WHOLE = types.int64[::1]
_BEGUN = types.boolean[::1]
_ROWS = (_FLOATS2, _MASK2, _INTS1)


@helper(types.boolean(_MASK1))
def _is_whole(present: Mask) -> bool:
    """Tell whether a row is present at every step. Counted, not searched: that vectorises."""
    found = 0
    for t in range(present.size):
        found += present[t]
    return found == present.size


@helper(types.void(_FLOATS1, _OUT1, _OUT1), error_model="numpy")
def _add_row(row: Floats, out: Floats, lost: Floats) -> None:
    """Add a whole row to sums that have values at every step; no branch, so that it vectorises."""
    for t in range(row.size):
        value, total = row[t], out[t]
        new = total + value
        first = abs(total) >= abs(value)
        larger = total if first else value
        smaller = value if first else total
        carry = lost[t] + ((larger - new) + smaller)
        lost[t] = 0.0 if abs(new) == math.inf else carry
        out[t] = new


@kernel(types.void(_MASK2, _INTS1, _OUT_INTS, _WHOLE), error_model="numpy")
def count_rows(present: Mask, group_of: Ints, counts: Ints, whole: Ints) -> None:
    """Count the rows of each group that are present at each step.

    Shapes: `present` [series, steps], `group_of` [series]; zero at first: `counts` [groups, steps]
    and `whole` [groups], which counts the rows that are present at all steps.
    """
    for s in range(present.shape[0]):
        g = group_of[s]
        if _is_whole(present[s]):
            whole[g] += 1
            continue
        for t in range(present.shape[1]):
            if present[s, t]:
                counts[g, t] += 1


@kernel(
    types.void(*_ROWS, _OUT, _OUT, _OUT_INTS, _WHOLE, _BEGUN),
    error_model="numpy",
)
def sum_rows(
    values: Floats,
    present: Mask,
    group_of: Ints,
    out: Floats,
    lost: Floats,
    counts: Ints,
    whole: Ints,
    begun: Mask,
) -> None:
    """Add the rows to the sums of their groups, compensated after Kahan and Neumaier.

    Shapes: `values`, `present` [series, steps]; zero at first: `out`, `lost` (the compensation),
    `counts` [groups, steps], `whole`, `begun` [groups]. A row that is present at all steps is
    counted in `whole`, any other in `counts`. An infinite partial sum throws its compensation
    away, which would be NaN.
    """
    for s in range(values.shape[0]):
        g = group_of[s]
        if _is_whole(present[s]):
            if not begun[g]:
                out[g, :] = values[s]
                whole[g] = 1
                begun[g] = True
                continue
            if whole[g] > 0:
                _add_row(values[s], out[g], lost[g])
                whole[g] += 1
                continue
        begun[g] = True
        for t in range(values.shape[1]):
            if not present[s, t]:
                continue
            value = values[s, t]
            counts[g, t] += 1
            if counts[g, t] + whole[g] == 1:
                out[g, t] = value
                continue
            total = out[g, t]
            new = total + value
            if math.isinf(new):
                lost[g, t] = 0.0
            elif abs(total) >= abs(value):
                lost[g, t] += (total - new) + value
            else:
                lost[g, t] += (value - new) + total
            out[g, t] = new


@kernel(
    types.void(*_ROWS, _OUT, _OUT, types.boolean[:, ::1], _OUT_INTS, _WHOLE, _BEGUN, _BEGUN),
    error_model="numpy",
)
def mean_rows(
    values: Floats,
    present: Mask,
    group_of: Ints,
    out: Floats,
    lost: Floats,
    running: Mask,
    counts: Ints,
    whole: Ints,
    begun: Mask,
    overflown: Mask,
) -> None:
    """Add the rows to the means of their groups.

    A mean is a compensated sum, or a running mean once the sum overflows. Shapes as for `sum_rows`;
    `running` [groups, steps], `overflown` [groups], False at first.
    Invariant: where `running` is False `out` is the sum so far, else the mean so far; `lost` is the
    compensation of either. `overflown` says of a group whether any of it is running.
    """
    for s in range(values.shape[0]):
        g = group_of[s]
        if _is_whole(present[s]) and not overflown[g]:
            if not begun[g]:
                out[g, :] = values[s]
                whole[g] = 1
                begun[g] = True
                continue
            if whole[g] > 0:
                infinite = 0
                for t in range(values.shape[1]):
                    infinite += abs(out[g, t] + values[s, t]) == math.inf
                if infinite == 0:
                    _add_row(values[s], out[g], lost[g])
                    whole[g] += 1
                    continue
        begun[g] = True
        for t in range(values.shape[1]):
            if not present[s, t]:
                continue
            value = values[s, t]
            counts[g, t] += 1
            count = float(counts[g, t] + whole[g])
            if count == 1.0:
                out[g, t] = value
                continue
            total, carry = out[g, t], lost[g, t]
            if not running[g, t]:
                new = total + value
                if not math.isinf(new):
                    if abs(total) >= abs(value):
                        lost[g, t] = carry + ((total - new) + value)
                    else:
                        lost[g, t] = carry + ((value - new) + total)
                    out[g, t] = new
                    continue
                running[g, t] = True
                overflown[g] = True
                total /= count - 1.0
                carry /= count - 1.0
            share = (count - 1.0) / count
            total *= share
            carry *= share
            value /= count
            new = total + value
            if math.isinf(new):
                carry = 0.0
            elif abs(total) >= abs(value):
                carry += (total - new) + value
            else:
                carry += (value - new) + total
            out[g, t], lost[g, t] = new, carry


@kernel(
    types.void(*_ROWS, types.boolean, _OUT, _OUT_INTS, _WHOLE, _BEGUN),
    error_model="numpy",
)
def extreme_rows(
    values: Floats,
    present: Mask,
    group_of: Ints,
    largest: bool,
    out: Floats,
    counts: Ints,
    whole: Ints,
    begun: Mask,
) -> None:
    """Keep the smallest (or `largest`) of each group; NaN only where there is nothing else.

    Shapes as for `sum_rows`.
    """
    for s in range(values.shape[0]):
        g = group_of[s]
        if _is_whole(present[s]):
            if not begun[g]:
                out[g, :] = values[s]
                whole[g] = 1
                begun[g] = True
                continue
            if whole[g] > 0:
                for t in range(values.shape[1]):
                    value, best = values[s, t], out[g, t]
                    better = best < value if largest else best > value
                    out[g, t] = value if better or math.isnan(best) else best
                whole[g] += 1
                continue
        begun[g] = True
        for t in range(values.shape[1]):
            if not present[s, t]:
                continue
            value = values[s, t]
            counts[g, t] += 1
            best = out[g, t]
            better = best < value if largest else best > value
            if counts[g, t] + whole[g] == 1 or better or math.isnan(best):
                out[g, t] = value


@kernel(types.void(*_ROWS, _OUT, _OUT, _OUT_INTS), error_model="numpy")
def variance_rows(
    values: Floats, present: Mask, group_of: Ints, out: Floats, means: Floats, counts: Ints
) -> None:
    """Add the rows to the sums of squared deviations of their groups, after Welford.

    Shapes as for `sum_rows`; `means` is zero at first. NaN: wherever a value of the group is NaN
    or infinite.
    """
    for s in range(values.shape[0]):
        g = group_of[s]
        for t in range(values.shape[1]):
            if not present[s, t]:
                continue
            value = values[s, t]
            counts[g, t] += 1
            if counts[g, t] == 1:
                means[g, t] = value
                out[g, t] = 0.0 if math.isfinite(value) else math.nan
                continue
            delta = value - means[g, t]
            means[g, t] += delta / counts[g, t]
            out[g, t] += delta * (value - means[g, t])


@kernel(types.void(_FLOATS2, _MASK2, _INTS1, _INTS1, _FLOATS1, _OUT, _OUT_INTS))
def quantile_rows(
    values: Floats,
    present: Mask,
    order: Ints,
    start: Ints,
    quantiles: Floats,
    out: Floats,
    counts: Ints,
) -> None:
    """Write the quantile of each group, interpolated between the two nearest ranks.

    Shapes: `order` [series] holds the rows group by group, `start` [groups + 1] where each
    begins; `quantiles` [steps]; `out`, `counts` [groups, steps]. NaN values rank lowest.
    A quantile outside 0..1 gives an infinity, NaN gives NaN.
    """
    held = np.empty(order.size, dtype=np.float64)
    for g in range(start.size - 1):
        for t in range(values.shape[1]):
            nans = 0
            n = 0
            for i in range(start[g], start[g + 1]):
                s = order[i]
                if present[s, t]:
                    if math.isnan(values[s, t]):
                        nans += 1
                    else:
                        held[n] = values[s, t]
                        n += 1
            total = n + nans
            counts[g, t] = total
            if total == 0:
                continue
            q = quantiles[t]
            if math.isnan(q):
                out[g, t] = math.nan
            elif q < 0:
                out[g, t] = -math.inf
            elif q > 1:
                out[g, t] = math.inf
            else:
                ranked = held[:n]
                ranked.sort()
                rank = q * (total - 1)
                low = np.int64(rank)  # q is in 0..1, so cutting is rounding down
                high = low + 1 if low + 1 < total else low
                weight = rank - math.floor(rank)
                below = math.nan if low < nans else ranked[low - nans]
                above = math.nan if high < nans else ranked[high - nans]
                out[g, t] = below * (1.0 - weight) + above * weight


@helper(types.boolean(types.float64, types.float64, types.boolean), error_model="numpy")
def _ranks_below(a: float, b: float, smallest: bool) -> bool:
    """Tell whether `a` goes before `b` out of the heap; NaN goes first."""
    if math.isnan(a):
        return True
    return a > b if smallest else a < b


@kernel(
    types.void(
        _FLOATS2,
        _MASK2,
        _INTS1,
        _INTS1,
        _INTS1,
        types.boolean,
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
    keep: Mask,
    place: Ints,
) -> None:
    """Mark the `k[t]` largest (or `smallest`) values of each group at each step.

    Shapes: `order` [series] rows group by group, `start` [groups + 1]; `k` [steps]; `keep`
    [series, steps] all False at first; `place` [series]: where in the heap a row of the last step
    ended, which orders equal values as Prometheus' heap does.
    Invariant: `heap[0]` is the kept value that the next better one throws out.
    """
    room = 0
    for t in range(k.size):
        room = max(room, k[t])
    heap = np.empty(min(room, order.size) + 1, dtype=np.int64)
    for t in range(values.shape[1]):
        if k[t] < 1:
            continue
        for g in range(start.size - 1):
            n = 0
            for i in range(start[g], start[g + 1]):
                s = order[i]
                if not present[s, t]:
                    continue
                value = values[s, t]
                if n < k[t]:
                    j = n
                    heap[n] = s
                    n += 1
                    while j > 0:
                        parent = (j - 1) // 2
                        if not _ranks_below(values[heap[j], t], values[heap[parent], t], smallest):
                            break
                        heap[j], heap[parent] = heap[parent], heap[j]
                        j = parent
                    continue
                worst = values[heap[0], t]
                better = worst > value if smallest else worst < value
                if not (better or (math.isnan(worst) and not math.isnan(value))):
                    continue
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
            for i in range(n):
                keep[heap[i], t] = True
                place[heap[i]] = i


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
