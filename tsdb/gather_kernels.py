"""The compiled loop that copies sealed pages of some series to one place.

From: `head_gathering.py`. The format of pages and time runs is described in `kernels.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel
from tsdb.kernels import CONSTANT, PAGE_WORDS_MAX, RAW

if TYPE_CHECKING:
    Int = int | np.integer[Any]

    from tsdb.interface import Ints
    from tsdb.label_kernels import Words

_i64, _u64 = types.int64, types.uint64
_INTS_IN = types.Array(_i64, 1, "C", readonly=True)
_WORDS_IN = types.Array(_u64, 1, "C", readonly=True)
_LOW_HALF = 0xFFFFFFFF


@helper(_i64(_i64, _i64))
def _packed_words(count: Int, width: Int) -> Int:
    """Count the words that the packed deltas of `count` numbers take."""
    if width == 0:
        return 0
    per_word = 64 // width
    return (count - 1 + per_word - 1) // per_word


@helper(_i64(_u64))
def _page_words(entry: np.uint64) -> Int:
    """Count the words of the page whose second word is `entry`."""
    samples = np.int64(entry >> np.uint64(32)) & 0xFF
    codec = np.int64(entry >> np.uint64(40)) & 15
    if codec == CONSTANT:
        return 3
    if codec == RAW:
        return 2 + samples
    return 4 + _packed_words(samples, np.int64(entry >> np.uint64(48)) & 0xFF)


@kernel(
    _i64(
        _WORDS_IN, _i64, _i64, _i64, _i64[::1], _INTS_IN, _i64, _i64, _INTS_IN,
        _i64[::1], _i64[::1], _i64[:, ::1], _u64[::1], _i64[::1],
    ),
)  # fmt: skip
def gather_pages(
    words: Words,
    base: Int,
    low: Int,
    begin: Int,
    cursor: Ints,
    until: Ints,
    start: Int,
    end: Int,
    behind: Ints,
    heads: Ints,
    tails: Ints,
    runs: Ints,
    out: Words,
    used: Ints,
) -> Int:
    """Copy the pages of each row's chain that lie at `low` or later; return the row to go on from.

    `words` is the segment at position `base` <= `low`. `cursor` int64[rows] is the next page to
    look at, -1 when there is none; on return it points before `low`. A chain ends at `until[row]`,
    which was copied before, with all behind it, to `behind[row]` (both -1: it was not). Pages with
    samples in [start, end] are copied to `out`, with their time runs, each of these once: `heads`
    and `tails` int64[rows] are where the newest and the oldest page of a row came to lie, -1 before
    there is one; the chain is made anew among the copies. `used` int64[2]: words of `out` in use,
    and rows of `runs` int64[power of two, 2], which says where the run at an offset (plus 1, 0 for
    none) of this segment was copied to. Where one or the other has no room the loop stops.
    """
    mask = runs.shape[0] - 1
    for row in range(begin, cursor.size):
        position = cursor[row]
        while position >= low:
            if position == until[row]:
                position = -1
                break
            at = position - base
            entry = words[at + 1]
            run = np.int64(entry & np.uint64(_LOW_HALF))
            first, last = np.int64(words[run]), np.int64(words[run + 1])
            if last < start:
                position = -1
                break
            if first <= end:
                if used[0] + PAGE_WORDS_MAX > out.size or 2 * used[1] > mask:
                    cursor[row] = position
                    return row
                place = (run * 0x9E3779B1) >> 7 & mask
                while runs[place, 0] != 0 and runs[place, 0] != run + 1:
                    place = (place + 1) & mask
                to = used[0]
                if runs[place, 0] == 0:
                    facts = np.int64(words[run + 2])
                    size = 4 + _packed_words(facts >> 8, facts & 0xFF)
                    out[to : to + size] = words[run : run + size]
                    runs[place, 0], runs[place, 1] = run + 1, to
                    used[1] += 1
                    to += size
                size = _page_words(entry)
                out[to] = np.uint64(behind[row])
                out[to + 1] = entry >> np.uint64(32) << np.uint64(32) | np.uint64(runs[place, 1])
                out[to + 2 : to + size] = words[at + 2 : at + size]
                if tails[row] < 0:
                    heads[row] = to
                else:
                    out[tails[row]] = np.uint64(to)
                tails[row] = to
                used[0] = to + size
            if first <= start:
                position = -1  # all others are older: their memory is left alone
                break
            position = np.int64(words[at])
        cursor[row] = position
    return cursor.size
