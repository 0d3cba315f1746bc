"""Compiled loops that read a few series of the head: less of everything that costs per call.

From: `few_rows.py`. The format of pages and time runs is described in `kernels.py`.
Columns of one number a row lie in one array, `facts` int64[FACTS, rows]: an argument more costs
more than what a few rows need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel
from tsdb.label_kernels import fold
from tsdb.read_kernels import decode_times, decode_values

if TYPE_CHECKING:
    Int = int | np.integer[Any]

    from tsdb.interface import Floats, Ints
    from tsdb.kernels import Small
    from tsdb.label_kernels import Slots, Words

FACTS = 11
START, END, COUNT, PAGE, BLOCK, LOW, HIGH = range(7)
TIME_START, VALUE_START, TIME_DEST, VALUE_DEST = range(7, FACTS)
"""What of a row is asked for, samples found, the page to look at next, the time block and which of
its samples are in range, where in the pools the row begins, and what of it is not yet written."""

_u8, _i32, _i64, _u64, _f64 = types.uint8, types.int32, types.int64, types.uint64, types.float64


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


_MIX_LOW, _MIX_HIGH = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


@kernel(
    _i64(
        _in(_i32), _in(_u8), _in(_i32), _in(_i64), _in(_i64, 2), _in(_u64, 2), _i64,
        _i64[:, ::1], _i64[:, ::1], _u64[:, ::1],
    ),
)  # fmt: skip
def copy_few(
    slots: Slots,
    fill: Small,
    block_of: Slots,
    page_head: Ints,
    block_times: Ints,
    open_bits: Words,
    readable_ms: Int,
    facts: Ints,
    times: Ints,
    bits: Words,
) -> Int:
    """Copy the open samples of a few series and what leads to the others; return the newest page.

    Under the lock, so that no sample can be sealed meanwhile. `facts[START]` and `facts[END]` are
    given, and START moved to `readable_ms` where it is before; `times`, `bits` [rows, SLAB] get the
    samples in range, at the places that they have in the slab. The page is -1 where no row has one
    that could be in range.
    """
    newest = np.int64(-1)
    for n in range(slots.size):
        slot = slots[n]
        start = max(facts[START, n], readable_ms)
        end = facts[END, n]
        lo, stop, block = np.int64(0), np.int64(fill[slot]), block_of[slot]
        while lo < stop and block_times[block, lo] < start:
            lo += 1
        hi = lo
        while hi < stop and block_times[block, hi] <= end:
            times[n, hi] = block_times[block, hi]
            bits[n, hi] = open_bits[slot, hi]
            hi += 1
        page = page_head[slot]
        if stop > 0 and block_times[block, 0] <= start:
            page = -1  # what is sealed is older than what is open
        facts[START, n], facts[COUNT, n], facts[PAGE, n] = start, hi - lo, page
        facts[BLOCK, n], facts[LOW, n], facts[HIGH, n] = block, lo, hi
        newest = max(newest, page)
    return newest


@kernel(
    _i64(_i64[:, ::1], _u64[:, ::1], _i32[::1], _i64[::1]),
)
def arrange_few(facts: Ints, sign: Words, leader: Slots, sizes: Ints) -> Int:
    """Say where the samples of each row go, and which rows share their times; return all samples.

    `sign` uint64[rows, 2] is that of `walk_pages`; `leader` int32[rows] gets the first row with the
    same times. `sizes` int64[2] gets the samples, and the times that are not shared.
    """
    values = own = np.int64(0)
    for row in range(leader.size):
        lo, hi = facts[LOW, row], facts[HIGH, row]
        if lo < hi:
            token = np.uint64(facts[BLOCK, row]) << np.uint64(16) | np.uint64(lo << 8 | hi)
            token |= np.uint64(1) << np.uint64(63)
            sign[row, 0] = fold(sign[row, 0] ^ token, np.uint64(_MIX_LOW))
            sign[row, 1] = fold(sign[row, 1] ^ token, np.uint64(_MIX_HIGH))
        first = 0
        while first < row and (
            sign[first, 0] != sign[row, 0]
            or sign[first, 1] != sign[row, 1]
            or facts[COUNT, first] != facts[COUNT, row]
        ):
            first += 1
        leader[row] = first
        count = facts[COUNT, row]
        facts[VALUE_START, row] = values
        values += count
        facts[VALUE_DEST, row] = values
        if first == row:
            facts[TIME_START, row] = own
            own += count
        else:
            facts[TIME_START, row] = facts[TIME_START, first]
        facts[TIME_DEST, row] = own
    sizes[0], sizes[1] = values, own
    return values


@kernel(
    types.void(
        _i64[:, ::1], _in(_i32), _in(_i64, 2), _in(_u64, 2), _u64[::1], _i64[::1]
    ),
)  # fmt: skip
def place_open(
    facts: Ints, leader: Slots, times: Ints, bits: Words, out_bits: Words, out_times: Ints
) -> None:
    """Write the open samples to the end of each row's part of the pools."""
    for row in range(leader.size):
        lo, hi = facts[LOW, row], facts[HIGH, row]
        facts[VALUE_DEST, row] -= hi - lo
        to = facts[VALUE_DEST, row] - lo
        for j in range(lo, hi):
            out_bits[to + j] = bits[row, j]
        if leader[row] == row:
            facts[TIME_DEST, row] -= hi - lo
            to = facts[TIME_DEST, row] - lo
            for j in range(lo, hi):
                out_times[to + j] = times[row, j]


@kernel(
    types.void(
        _in(_u64), _i64, _in(_i32), _in(_i64), _in(_u8), _in(_u8), _in(_i32),
        _i64[:, ::1], _f64[::1], _u64[::1], _i64[::1],
    ),
)  # fmt: skip
def decode_few(
    words: Words,
    base: Int,
    rows: Slots,
    positions: Ints,
    low: Small,
    high: Small,
    leader: Slots,
    facts: Ints,
    out: Floats,
    out_bits: Words,
    out_times: Ints,
) -> None:
    """Decode the pages of one segment: `decode_values` and `decode_times` in one call."""
    decode_values(words, base, rows, positions, low, high, facts[VALUE_DEST], out, out_bits)
    decode_times(words, base, rows, positions, low, high, leader, facts[TIME_DEST], out_times)
