"""Compiled loops over label columns and over matrices (series x steps).

From: `labels.py`, `same_labels.py`, `aggregate.py`, `ranking.py`, `binary.py`, `histogram.py`.
Every kernel trusts its bounds: callers make the group numbers and row indices. Where `present`
is False the value is garbage and is never read. Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Ids = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

_IDS2 = types.Array(types.uint32, 2, "C", readonly=True)
_INTS1 = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS2 = types.Array(types.float64, 2, "C", readonly=True)
_MASK2 = types.Array(types.boolean, 2, "C", readonly=True)


@kernel(types.int64(_IDS2, types.int64[::1], types.int64[::1]))
def group_rows(ids: Ids, group_of: Ints, first: Ints) -> int:
    """Give the distinct columns of `ids` numbers in order of first appearance; return how many.

    Shapes: `ids` uint32[labels, series]; written: `group_of` int64[series], and the first series
    of each group in the front of `first` int64[series].
    """
    labels, series = ids.shape
    hashes = np.full(series, np.uint64(0x9E3779B97F4A7C15), dtype=np.uint64)
    for label in range(labels):
        for s in range(series):
            h = (hashes[s] ^ np.uint64(ids[label, s])) * np.uint64(0xFF51AFD7ED558CCD)
            hashes[s] = h ^ (h >> np.uint64(32))
    bits = 4
    while (1 << bits) < 2 * series:
        bits += 1
    mask = (1 << bits) - 1
    # Open addressing, at most half full: a slot holds the number of a group, or -1.
    slots = np.full(1 << bits, np.int64(-1), dtype=np.int64)
    groups = 0
    for s in range(series):
        at = np.int64(hashes[s] & np.uint64(mask))
        while True:
            group = slots[at]
            if group < 0:
                slots[at] = groups
                first[groups] = s
                group_of[s] = groups
                groups += 1
                break
            r = first[group]
            same = hashes[r] == hashes[s]
            if same:
                for label in range(labels):
                    if ids[label, r] != ids[label, s]:
                        same = False
                        break
            if same:
                group_of[s] = group
                break
            at = (at + 1) & mask
    return groups


@kernel(
    types.int64(_FLOATS2, _MASK2, _INTS1, types.float64[:, ::1], types.boolean[:, ::1]),
)
def merge_rows(
    values: Floats, present: Mask, group_of: Ints, out: Floats, out_present: Mask
) -> int:
    """Lay the rows of each group over each other; return a step where two collide, or -1.

    Shapes: `values`, `present` [series, steps], `group_of` int64[series]; `out`, `out_present`
    [groups, steps], the latter all False at first.
    """
    for s in range(values.shape[0]):
        g = group_of[s]
        for t in range(values.shape[1]):
            if present[s, t]:
                if out_present[g, t]:
                    return t
                out[g, t] = values[s, t]
                out_present[g, t] = True
    return -1


@kernel(
    types.int64(_MASK2, _INTS1, types.int64),
)
def first_collision(present: Mask, group_of: Ints, groups: int) -> int:
    """Return the first step at which two rows of one group are present, or -1.

    Shapes: `present` [series, steps], `group_of` int64[series], numbers below `groups`.
    """
    steps = present.shape[1]
    seen = np.zeros((groups, steps), dtype=np.bool_)
    first = steps
    for s in range(present.shape[0]):
        g = group_of[s]
        for t in range(first):  # later steps cannot matter any more
            if present[s, t]:
                if seen[g, t]:
                    first = t
                    break
                seen[g, t] = True
    return first if first < steps else -1


@kernel(types.void(_MASK2, _INTS1, types.boolean[:, ::1]))
def any_present(present: Mask, group_of: Ints, out: Mask) -> None:
    """Mark in `out` [groups, steps] where some row of the group is present."""
    for s in range(present.shape[0]):
        g = group_of[s]
        for t in range(present.shape[1]):
            if present[s, t]:
                out[g, t] = True
