"""Copying, thinning and comparing ragged buckets, compiled.

From: `columns.py`, `algebra.py`.   Layout as in
`tsdb.interface.HistogramColumns`; the lists written have been given the right size.
Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types

from promql.histograms.addition_kernels import (
    FLOATS,
    INDEXES,
    INTS,
    OUT_FLOATS,
    OUT_INDEXES,
    OUT_INTS,
    READ,
    Read,
)
from promql.histograms.side_kernels import CUSTOM
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Indexes = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]


@kernel(types.void(INTS, INDEXES, FLOATS, INTS, INTS, OUT_INDEXES, OUT_FLOATS))
def gather_buckets(
    start: Ints,
    index: Indexes,
    count: Floats,
    rows: Ints,
    new_start: Ints,
    new_index: Indexes,
    new_count: Floats,
) -> None:
    """Copy the buckets of `rows`, the n-th to `new_start[n]` and on."""
    for n in range(rows.size):
        low = start[rows[n]]
        to = new_start[n]
        for k in range(new_start[n + 1] - to):
            new_index[to + k] = index[low + k]
            new_count[to + k] = count[low + k]


@kernel(types.int64(INTS, INDEXES, FLOATS, OUT_INTS, OUT_INDEXES, OUT_FLOATS))
def keep_populated(
    start: Ints,
    index: Indexes,
    count: Floats,
    new_start: Ints,
    new_index: Indexes,
    new_count: Floats,
) -> int:
    """Copy the buckets whose count is not zero; return how many there are."""
    used = 0
    for h in range(start.size - 1):
        for k in range(start[h], start[h + 1]):
            if count[k] != 0:
                new_index[used] = index[k]
                new_count[used] = count[k]
                used += 1
        new_start[h + 1] = used
    return used


@helper(types.boolean(types.float64, types.float64))
def _same(a: float, b: float) -> bool:
    """Tell whether two floats are the same number, any NaN being like any other."""
    return a == b or (a != a and b != b)


@helper(
    types.boolean(
        *(INDEXES, FLOATS, types.int64, types.int64), *(INDEXES, FLOATS, types.int64, types.int64)
    )
)
def _same_buckets(
    index_a: Indexes,
    count_a: Floats,
    a: int,
    stop_a: int,
    index_b: Indexes,
    count_b: Floats,
    b: int,
    stop_b: int,
) -> bool:
    """Tell whether two sides have the same populated buckets."""
    while True:
        while a < stop_a and count_a[a] == 0:
            a += 1
        while b < stop_b and count_b[b] == 0:
            b += 1
        if a == stop_a or b == stop_b:
            return a == stop_a and b == stop_b
        if index_a[a] != index_b[b] or not _same(count_a[a], count_b[b]):
            return False
        a += 1
        b += 1


@helper(types.boolean(READ, types.int64, READ, types.int64))
def same_histogram(a: Read, i: int, b: Read, j: int) -> bool:
    """Tell whether two histograms are equal: layout, counts and sum; hints do not matter."""
    if (
        a.schema[i] != b.schema[j]
        or not _same(a.observations[i], b.observations[j])
        or not _same(a.sum[i], b.sum[j])
        or a.zero_threshold[i] != b.zero_threshold[j]
        or not _same(a.zero_count[i], b.zero_count[j])
    ):
        return False
    if a.schema[i] == CUSTOM:
        if a.bounds_count[i] != b.bounds_count[j]:
            return False
        for k in range(a.bounds_count[i]):
            if a.bounds[a.bounds_start[i] + k] != b.bounds[b.bounds_start[j] + k]:
                return False
    return _same_buckets(
        a.positive_index,
        a.positive_count,
        a.positive_start[i],
        a.positive_start[i + 1],
        b.positive_index,
        b.positive_count,
        b.positive_start[j],
        b.positive_start[j + 1],
    ) and _same_buckets(
        a.negative_index,
        a.negative_count,
        a.negative_start[i],
        a.negative_start[i + 1],
        b.negative_index,
        b.negative_count,
        b.negative_start[j],
        b.negative_start[j + 1],
    )


@kernel(types.void(READ, READ, types.boolean[::1]))
def same_rows(a: Read, b: Read, out: Mask) -> None:
    """Compare two columns of histograms row by row."""
    for h in range(out.size):
        out[h] = same_histogram(a, h, b, h)


@kernel(types.void(READ, INTS, INTS, OUT_FLOATS))
def count_changes(source: Read, start: Ints, stop: Ints, out: Floats) -> None:
    """Count in each run how many histograms differ from the one before."""
    for r in range(out.size):
        changes = 0
        for h in range(start[r] + 1, stop[r]):
            if not same_histogram(source, h, source, h - 1):
                changes += 1
        out[r] = changes
