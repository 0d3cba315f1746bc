"""Compiled loops of the head's read half: snapshot rows, find their pages, decode into pools.

From: `head.py`. The format of pages and time runs is described in `kernels.py`.
Reading goes segment by segment, newest first, since the pages of a series are chained backwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel
from tsdb.kernels import CONSTANT, RAW
from tsdb.label_kernels import fold
from tsdb.page_word_kernels import POW10

if TYPE_CHECKING:
    import numpy.typing as npt

    Int = int | np.integer[Any]

    from tsdb.interface import Floats, Ints
    from tsdb.kernels import Small
    from tsdb.label_kernels import Slots, Words

_u8, _u32, _i32, _i64, _u64, _f64 = (
    types.uint8,
    types.uint32,
    types.int32,
    types.int64,
    types.uint64,
    types.float64,
)


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


_MIX_LOW, _MIX_HIGH = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


@helper(_i64(_in(_u64), _i64, _i64, _i64, _i64))
def _delta(words: Words, at: Int, j: Int, width: Int, least: Int) -> Int:
    """Return the j-th (from 1) packed delta of those that start at `words[at]`."""
    if width == 0:
        return least
    per_word = 64 // width
    mask = ~np.uint64(0) >> np.uint64(64 - width)
    word = words[at + (j - 1) // per_word]
    return least + np.int64(word >> np.uint64(((j - 1) % per_word) * width) & mask)


@kernel(
    types.void(
        _in(_i32), _in(_u8), _in(_i32), _in(_u32), _in(_i64), _in(_i64),
        _u8[::1], _i32[::1], _u32[::1], _i64[::1], _i64[::1],
    ),
)  # fmt: skip
def snapshot_rows(
    slots: Slots,
    fill: Small,
    block_of: Slots,
    version: npt.NDArray[np.uint32],
    page_head: Ints,
    newest_time: Ints,
    row_fill: Small,
    row_block: Slots,
    row_version: npt.NDArray[np.uint32],
    row_page: Ints,
    row_newest: Ints,
) -> None:
    """Copy what says which samples a series has now. Under the lock, a few ns a row."""
    for n in range(slots.size):
        slot = slots[n]
        row_fill[n], row_block[n] = fill[slot], block_of[slot]
        row_version[n], row_page[n] = version[slot], page_head[slot]
        row_newest[n] = newest_time[slot]


@kernel(
    types.void(
        _in(_u8), _in(_i32), _in(_i64, 2), _in(_i64), _in(_i64), _u8[::1], _u8[::1]
    ),
)  # fmt: skip
def open_bounds(
    row_fill: Small,
    row_block: Slots,
    block_times: Ints,
    start: Ints,
    end: Ints,
    low: Small,
    high: Small,
) -> None:
    """Write which open samples of each row lie in [start, end]: `low` to `high`, exclusive."""
    for n in range(row_fill.size):
        lo = hi = 0
        if row_fill[n] > 0:
            block = row_block[n]
            stop = np.int64(row_fill[n])
            while lo < stop and block_times[block, lo] < start[n]:
                lo += 1
            hi = lo
            while hi < stop and block_times[block, hi] <= end[n]:
                hi += 1
        low[n], high[n] = np.uint8(lo), np.uint8(hi)


@kernel(
    _i64(
        _in(_u64), _i64, _i64, _i64[::1], _in(_i64), _in(_i64),
        _i32[::1], _i64[::1], _u8[::1], _u8[::1], _i64[::1], _u64[:, ::1], _i64[::1],
    ),
)  # fmt: skip
def walk_pages(
    words: Words,
    base: Int,
    begin: Int,
    cursor: Ints,
    start: Ints,
    end: Ints,
    out_row: Slots,
    out_position: Ints,
    out_low: Small,
    out_high: Small,
    row_count: Ints,
    row_sign: Words,
    found: Ints,
) -> Int:
    """Follow each row's chain through one segment; return the row to go on from.

    `words` is the segment at position `base`. `cursor` int64[rows] is the next page to look at,
    -1 when there is none; on return it points into an older segment. Pages with samples in
    [start, end] are written to `out_*` from `found[0]` on, newest first; where `out_*` ends the
    walk stops, to be resumed with new arrays. `row_count` gains the samples found, `row_sign`
    uint64[rows, 2] takes in which times they have, so that equal signs mean equal times.
    """
    count = found[0]
    for row in range(begin, cursor.size):
        position = cursor[row]
        while position >= base:
            at = position - base
            entry = words[at + 1]
            run = np.int64(entry & np.uint64(0xFFFFFFFF))
            first, last = np.int64(words[run]), np.int64(words[run + 1])
            if last < start[row]:
                position = -1
                break
            if first <= end[row]:
                if count == out_row.size:
                    cursor[row] = position
                    found[0] = count
                    return row
                samples = np.int64(entry >> np.uint64(32)) & 0xFF
                lo, hi = 0, samples
                if first < start[row] or last > end[row]:
                    width = np.int64(words[run + 2]) & 0xFF
                    least = np.int64(words[run + 3])
                    time, hi = first, np.int64(0)
                    for j in range(samples):
                        if j > 0:
                            time += _delta(words, run + 4, j, width, least)
                        lo += time < start[row]
                        hi += time <= end[row]
                if lo < hi:
                    out_row[count], out_position[count] = row, position
                    out_low[count], out_high[count] = np.uint8(lo), np.uint8(hi)
                    count += 1
                    row_count[row] += hi - lo
                    token = np.uint64(base + run) << np.uint64(16) | np.uint64(lo << 8 | hi)
                    row_sign[row, 0] = fold(row_sign[row, 0] ^ token, np.uint64(_MIX_LOW))
                    row_sign[row, 1] = fold(row_sign[row, 1] ^ token, np.uint64(_MIX_HIGH))
            if first <= start[row]:
                position = -1  # all others are older: their memory is left alone
                break
            position = np.int64(words[at])
        cursor[row] = position
    found[0] = count
    return cursor.size


@helper(types.void(_in(_u64), _i64, _i64, _i64, _i64, _f64[::1], _u64[::1]))
def _decode_page(
    words: Words, at: Int, lo: Int, hi: Int, to: Int, out: Floats, out_bits: Words
) -> None:
    """Decode samples `lo` to `hi` of the page at `words[at]` to `out[to:]`."""
    entry = words[at + 1] >> np.uint64(40)
    codec = np.int64(entry & np.uint64(15))
    if codec == CONSTANT:
        out_bits[to : to + hi - lo] = words[at + 2]
        return
    if codec == RAW:
        out_bits[to : to + hi - lo] = words[at + 2 + lo : at + 2 + hi]
        return
    width = np.int64(entry >> np.uint64(8)) & 0xFF
    number: Int = np.int64(words[at + 2])
    least = np.int64(words[at + 3])
    part = out[to : to + hi - lo]
    if width == 0:
        number += lo * least
        for i in range(part.size):
            part[i] = np.float64(number + i * least)
    else:
        per_word = np.int64(64) // width
        mask = ~np.uint64(0) >> np.uint64(64 - width)
        if lo == 0:
            part[0] = np.float64(number)
        place = at + 4
        j: Int = np.int64(1)
        while j < hi:
            word = words[place]
            place += 1
            stop: Int = min(j + per_word, hi)
            if j >= lo:
                for k in range(j - lo, stop - lo):
                    number += least + np.int64(word & mask)
                    word >>= np.uint64(width)
                    part[k] = np.float64(number)
            else:
                for k in range(j, stop):
                    number += least + np.int64(word & mask)
                    word >>= np.uint64(width)
                    if k >= lo:
                        part[k - lo] = np.float64(number)
            j = stop
    exponent = np.int64(entry >> np.uint64(4)) & 15
    if exponent > 0:
        scale = POW10[exponent]
        for i in range(part.size):
            part[i] /= scale


@helper(
    types.void(
        _in(_u64), _i64, _in(_i32), _in(_i64), _in(_u8), _in(_u8),
        _i64[::1], _f64[::1], _u64[::1],
    ),
)  # fmt: skip
def decode_values(
    words: Words,
    base: Int,
    rows: Slots,
    positions: Ints,
    low: Small,
    high: Small,
    dest: Ints,
    out: Floats,
    out_bits: Words,
) -> None:
    """Decode samples `low` to `high` of each page of one segment into the pool.

    `dest` int64[rows] is where the row's samples end that are not yet decoded; pages come newest
    first, so each writes just before it. `out` and `out_bits` are the same memory.
    """
    for e in range(rows.size):
        lo, hi = np.int64(low[e]), np.int64(high[e])
        dest[rows[e]] -= hi - lo
        _decode_page(words, positions[e] - base, lo, hi, dest[rows[e]], out, out_bits)


@kernel(types.void(_in(_i32), _in(_u8), _in(_u8), _i64[::1], _i64[::1]))
def place_pages(rows: Slots, low: Small, high: Small, dest: Ints, to: Ints) -> None:
    """Write where the samples of each page go, and move `dest` before them.

    `dest` int64[rows] is where the row's samples end that have no place yet; pages come newest
    first. `to` has one number a page.
    """
    for e in range(rows.size):
        dest[rows[e]] -= np.int64(high[e]) - np.int64(low[e])
        to[e] = dest[rows[e]]


@kernel(
    types.void(
        _in(_u64), _i64, _in(_i64), _in(_u8), _in(_u8), _in(_i64), _f64[::1], _u64[::1],
    ),
)  # fmt: skip
def decode_placed(
    words: Words,
    base: Int,
    positions: Ints,
    low: Small,
    high: Small,
    to: Ints,
    out: Floats,
    out_bits: Words,
) -> None:
    """Decode samples `low` to `high` of each page of one segment to `out[to:]`.

    `out` and `out_bits` are the same memory. Pages that have their places may be decoded in any
    order, by any thread.
    """
    for e in range(positions.size):
        _decode_page(
            words,
            positions[e] - base,
            np.int64(low[e]),
            np.int64(high[e]),
            to[e],
            out,
            out_bits,
        )


@kernel(
    types.void(
        _in(_u64), _i64, _in(_i32), _in(_i64), _in(_u8), _in(_u8),
        _in(_i32), _i64[::1], _i64[::1],
    ),
)  # fmt: skip
def decode_times(
    words: Words,
    base: Int,
    rows: Slots,
    positions: Ints,
    low: Small,
    high: Small,
    leader: Slots,
    dest: Ints,
    out: Ints,
) -> None:
    """Decode the times of pages as `decode_values` does values, for rows that lead only."""
    for e in range(rows.size):
        row = rows[e]
        if leader[row] != row:
            continue
        lo, hi = np.int64(low[e]), np.int64(high[e])
        dest[row] -= hi - lo
        to = dest[row] - lo
        run = np.int64(words[positions[e] - base + 1] & np.uint64(0xFFFFFFFF))
        width, least = np.int64(words[run + 2]) & 0xFF, np.int64(words[run + 3])
        time = np.int64(words[run])
        per_word = np.int64(64) // width if width else np.int64(64)
        mask = ~np.uint64(0) >> np.uint64(64 - width) if width else np.uint64(0)
        place, inside, word = run + 4, np.int64(0), np.uint64(0)
        for j in range(hi):
            if j > 0:
                if inside == 0:
                    word, inside = words[place], per_word
                    place += 1
                time += least + np.int64(word & mask)
                word >>= np.uint64(width)
                inside -= 1
            if j >= lo:
                out[to + j] = time


@kernel(
    types.void(
        _in(_u8), _in(_u8), _in(_i32), _i64[::1], _u64[:, ::1], _i32[::1], _i32[::1]
    ),
)  # fmt: skip
def share_times(
    low: Small,
    high: Small,
    row_block: Slots,
    row_count: Ints,
    row_sign: Words,
    table: Slots,
    leader: Slots,
) -> None:
    """Count the open samples in and give each row the first row that has the same times.

    `table` int32[power of two, above rows] is all -1. Signs are two mixed 64-bit lanes over
    positions of time runs, which no client chooses: chance alone could make two of them equal.
    """
    mask = np.uint64(table.size - 1)
    for row in range(low.size):
        lo, hi = np.int64(low[row]), np.int64(high[row])
        if lo < hi:
            row_count[row] += hi - lo
            token = np.uint64(row_block[row]) << np.uint64(16) | np.uint64(lo << 8 | hi)
            token |= np.uint64(1) << np.uint64(63)
            row_sign[row, 0] = fold(row_sign[row, 0] ^ token, np.uint64(_MIX_LOW))
            row_sign[row, 1] = fold(row_sign[row, 1] ^ token, np.uint64(_MIX_HIGH))
        at = row_sign[row, 0] & mask
        leader[row] = row
        while table[at] >= 0:
            other = table[at]
            same = row_sign[other, 0] == row_sign[row, 0] and row_sign[other, 1] == row_sign[row, 1]
            if same and row_count[other] == row_count[row]:
                leader[row] = other
                break
            at = (at + np.uint64(1)) & mask
        if leader[row] == row:
            table[at] = np.int32(row)


@kernel(
    types.void(
        _in(_i32), _in(_u8), _in(_u8), _in(_i32), _in(_u64, 2), _in(_i64, 2), _in(_i32),
        _i64[::1], _i64[::1], _u64[::1], _i64[::1],
    ),
)  # fmt: skip
def copy_open(
    slots: Slots,
    low: Small,
    high: Small,
    row_block: Slots,
    open_bits: Words,
    block_times: Ints,
    leader: Slots,
    value_dest: Ints,
    time_dest: Ints,
    out_bits: Words,
    out_times: Ints,
) -> None:
    """Copy open samples to the end of each row's part of the pools, and move `*_dest` before them.

    Takes no lock: what a writer overwrote meanwhile, `changed_rows` tells afterwards.
    """
    for row in range(slots.size):
        lo, hi = np.int64(low[row]), np.int64(high[row])
        if lo >= hi:
            continue
        value_dest[row] -= hi - lo
        to = value_dest[row] - lo
        for j in range(lo, hi):
            out_bits[to + j] = open_bits[slots[row], j]
        if leader[row] == row:
            time_dest[row] -= hi - lo
            to = time_dest[row] - lo
            for j in range(lo, hi):
                out_times[to + j] = block_times[row_block[row], j]


@kernel(types.void(_in(_u64), _in(_i64), _in(_i64), _u64[::1]))
def put_open(open_bits: Words, open_stop: Ints, stop: Ints, out_bits: Words) -> None:
    """Write the open samples of each row so that they end before `out_bits[stop[row]]`.

    Those of row r end at `open_bits[open_stop[r]]`, where those of the next begin.
    """
    first = np.int64(0)
    for row in range(open_stop.size):
        to = stop[row] - open_stop[row]
        for j in range(first, open_stop[row]):
            out_bits[to + j] = open_bits[j]
        first = open_stop[row]


@kernel(_i64(_in(_i32), _in(_u32), _in(_u32), _i64[::1]))
def changed_rows(
    slots: Slots,
    version: npt.NDArray[np.uint32],
    row_version: npt.NDArray[np.uint32],
    out: Ints,
) -> Int:
    """Write the rows whose slot was sealed or moved since the snapshot; return how many."""
    count = 0
    for row in range(slots.size):
        if version[slots[row]] != row_version[row]:
            out[count] = row
            count += 1
    return count
