"""One side of a native histogram under construction: its buckets, merged, made coarser, thinned.

From: `addition_kernels.py`.   A side is three lists: `index` rising, `count`, and `lost`, what
rounding has taken from each count. Results are written in place; return values are new lengths.
Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types

from promql.histograms.bounds_kernels import compensated, exponential_bound
from tsdb.kernel_compilation import helper

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int32]

CUSTOM = -53
"""Schema of custom buckets; see `tsdb.interface.CUSTOM_BUCKETS_SCHEMA`."""

_FLOATS = types.Array(types.float64, 1, "C", readonly=True)
_INDEXES = types.Array(types.int32, 1, "C", readonly=True)
_OUT_FLOATS = types.float64[::1]
_OUT_INDEXES = types.int32[::1]
_THREE = types.UniTuple(types.float64, 3)  # type: ignore[no-untyped-call]
_NEXT = types.Tuple((types.int64, types.int64, types.float64, types.float64))  # type: ignore[no-untyped-call]
_LIST = (_INDEXES, _FLOATS, _FLOATS, types.int64, types.int64)


@helper(
    _THREE(types.float64, types.float64, types.float64, types.int64, *_LIST, *_LIST, types.boolean),
    error_model="numpy",
)
def zero_bucket_at(
    threshold: float,
    zero: float,
    lost: float,
    schema: int,
    positive_index: Indexes,
    positive_count: Floats,
    positive_lost: Floats,
    positive_low: int,
    positive_high: int,
    negative_index: Indexes,
    negative_count: Floats,
    negative_lost: Floats,
    negative_low: int,
    negative_high: int,
    has_lost: bool,
) -> tuple[float, float, float]:
    """Return zero count, its compensation and threshold of a zero bucket widened to `threshold`.

    A populated bucket that the threshold would cut moves it outwards to that bucket's end.
    """
    while True:
        total, rest = zero, lost
        for k in range(positive_low, positive_high):
            if exponential_bound(positive_index[k] - 1, schema) >= threshold:
                break
            total, rest = compensated(positive_count[k], total, rest)
            if has_lost:
                total, rest = compensated(positive_lost[k], total, rest)
            upper = exponential_bound(positive_index[k], schema)
            if upper > threshold:
                if positive_count[k] != 0:
                    threshold = upper
                break
        again = False
        for k in range(negative_low, negative_high):
            if exponential_bound(negative_index[k] - 1, schema) >= threshold:
                break
            total, rest = compensated(negative_count[k], total, rest)
            if has_lost:
                total, rest = compensated(negative_lost[k], total, rest)
            upper = exponential_bound(negative_index[k], schema)
            if upper > threshold:
                if negative_count[k] != 0:
                    # What was done on the positive side holds no more.
                    threshold = upper
                    again = True
                break
        if not again:
            return total, rest, threshold


@helper(
    types.int64(
        *(_OUT_INDEXES, _OUT_FLOATS, _OUT_FLOATS),
        *(_INDEXES, _FLOATS, types.int64, types.int64),
    )
)
def start_side(
    index: Indexes,
    count: Floats,
    lost: Floats,
    other_index: Indexes,
    other_count: Floats,
    low: int,
    high: int,
) -> int:
    """Begin a side with a copy of buckets [low, high); return how many there are."""
    for k in range(high - low):
        index[k] = other_index[low + k]
        count[k] = other_count[low + k]
        lost[k] = 0.0
    return high - low


@helper(
    types.int64(_OUT_INDEXES, _OUT_FLOATS, _OUT_FLOATS, types.int64, types.int64, types.float64),
    error_model="numpy",
)
def drop_inner(
    index: Indexes, count: Floats, lost: Floats, n: int, schema: int, threshold: float
) -> int:
    """Take out the buckets inside the zero bucket, and the empty ones; return how many stay."""
    kept = 0
    for k in range(n):
        if count[k] != 0 and exponential_bound(index[k] - 1, schema) >= threshold:
            index[kept], count[kept], lost[kept] = index[k], count[k], lost[k]
            kept += 1
    return kept


@helper(
    types.int64(_OUT_INDEXES, _OUT_FLOATS, _OUT_FLOATS, types.int64, types.int64, types.boolean),
    error_model="numpy",
)
def coarsen(
    index: Indexes, count: Floats, lost: Floats, n: int, shift: int, compensate: bool
) -> int:
    """Merge buckets to the resolution `shift` schemas lower, in place; return their number."""
    kept = 0
    for k in range(n):
        target = ((index[k] - 1) >> shift) + 1
        if kept > 0 and index[kept - 1] == target:
            if compensate:
                total, rest = compensated(count[k], count[kept - 1], lost[kept - 1])
                total, rest = compensated(lost[k], total, rest)
                count[kept - 1], lost[kept - 1] = total, rest
            else:
                count[kept - 1] += count[k]
        else:
            index[kept], count[kept], lost[kept] = target, count[k], lost[k]
            kept += 1
    return kept


@helper(
    _NEXT(_INDEXES, _FLOATS, types.int64, types.int64, types.int64, types.float64, types.boolean),
    error_model="numpy",
)
def _next_bucket(
    index: Indexes, count: Floats, at: int, stop: int, shift: int, factor: float, compensate: bool
) -> tuple[int, int, float, float]:
    """Return the place after the bucket at `at`, its coarser index, its count, what was lost."""
    target = ((index[at] - 1) >> shift) + 1
    total, lost = count[at], 0.0
    at += 1
    while shift > 0 and at < stop and ((index[at] - 1) >> shift) + 1 == target:
        total, lost = compensated(count[at], total, lost)
        at += 1
    if not compensate:
        lost = 0.0
    if factor != 1.0:
        if abs(factor) == 1.0:
            return at, target, -total, -lost
        return at, target, total / factor, lost / factor
    return at, target, total, lost


@helper(
    types.int64(
        *(_OUT_INDEXES, _OUT_FLOATS, _OUT_FLOATS, types.int64),
        *(_OUT_INDEXES, _OUT_FLOATS, _OUT_FLOATS),
        *(_INDEXES, _FLOATS, types.int64, types.int64),
        *(types.int64, types.int64, types.float64, types.float64, types.boolean),
    ),
    error_model="numpy",
)
def merge(
    index: Indexes,
    count: Floats,
    lost: Floats,
    n: int,
    spare_index: Indexes,
    spare_count: Floats,
    spare_lost: Floats,
    other_index: Indexes,
    other_count: Floats,
    low: int,
    high: int,
    shift: int,
    schema: int,
    threshold: float,
    factor: float,
    compensate: bool,
) -> int:
    """Add the other's buckets [low, high), made coarser by `shift`, to a side; return its size.

    Its buckets within the threshold are left out (custom ones have none). What they count is
    divided by `factor` on the way.
    """
    if schema != CUSTOM:
        # By their own bounds, before they are merged: a coarser bucket can lie across the edge
        # of the zero bucket, which counts its inner part already.
        while low < high and exponential_bound(other_index[low], schema + shift) <= threshold:
            low += 1
    k = 0
    at = low
    if shift == 0 and low < high:
        # Most layouts are equal, or one is the front of the other: then nothing is moved, and
        # the loops are plain.
        while k < n and index[k] < other_index[low]:
            k += 1
        first = k
        while k < n and at < high and index[k] == other_index[at]:
            k += 1
            at += 1
        if compensate:
            for i in range(k - first):
                value = other_count[low + i] / factor
                count[first + i], lost[first + i] = compensated(
                    value, count[first + i], lost[first + i]
                )
        elif factor == 1.0:
            for i in range(k - first):
                count[first + i] += other_count[low + i]
        else:
            for i in range(k - first):
                count[first + i] += other_count[low + i] / factor
    # Invariant: spare[:made] holds what is merged of side[:k] and other[:at].
    while at < high:
        after, target, value, rest = _next_bucket(
            other_index, other_count, at, high, shift, factor, compensate
        )
        while k < n and index[k] < target:
            k += 1
        if k == n or index[k] != target:
            break
        if compensate:
            count[k], lost[k] = compensated(value, count[k], lost[k])
            if rest != 0:
                count[k], lost[k] = compensated(rest, count[k], lost[k])
        else:
            count[k] += value
        at = after
        k += 1
    if at == high:
        return n
    made = k
    spare_index[:k] = index[:k]
    spare_count[:k] = count[:k]
    spare_lost[:k] = lost[:k]
    while at < high:
        at, target, value, rest = _next_bucket(
            other_index, other_count, at, high, shift, factor, compensate
        )
        while k < n and index[k] < target:
            spare_index[made], spare_count[made], spare_lost[made] = index[k], count[k], lost[k]
            made += 1
            k += 1
        if k < n and index[k] == target:
            total, less = count[k], lost[k]
            if compensate:
                total, less = compensated(value, total, less)
                if rest != 0:
                    total, less = compensated(rest, total, less)
            else:
                total += value
            spare_index[made], spare_count[made], spare_lost[made] = target, total, less
            k += 1
        else:
            spare_index[made], spare_count[made], spare_lost[made] = target, value, rest
        made += 1
    while k < n:
        spare_index[made], spare_count[made], spare_lost[made] = index[k], count[k], lost[k]
        made += 1
        k += 1
    index[:made] = spare_index[:made]
    count[:made] = spare_count[:made]
    lost[:made] = spare_lost[:made]
    return made
