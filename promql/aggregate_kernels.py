"""Compiled loops of the aggregations: many rows into one per group, at every step.

From: `aggregate_folds.py`. What goes by rank is in `rank_kernels.py`.
`group_of` names the row of the answer each series goes to. Series are taken in row order, as
Prometheus takes them, so that rounding agrees. Where `present` is False the value is garbage and is
never used. Folds go on where an earlier call for the same groups ended. Plain Python twins are in
the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
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
