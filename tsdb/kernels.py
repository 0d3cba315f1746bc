"""Compiled loops of the head's write half: admit a batch, place it, seal what is full.

From: `append.py` through `head.py`. The order for one batch is `admit` (statuses; the series'
newest sample moves on), then the WAL, then `place` (samples become readable) or, if the WAL
failed, `revoke` (as if nothing had come). All three run under the head's lock.

A series' open samples are `open_bits[slot, 0:fill]`, their times `block_times[block, 0:fill]`.
A *time block* is shared by all slots that have seen the same times since they were last sealed:
a slot whose next time is not the block's next one leaves for a block of its own, and takes along
those that differ in the same way. 32 samples make a page, in 64-bit words:

    page   word 0   position of the series' page before this one, -1 if none
           word 1   bits 0-31 offset of the time run in the segment, 32-39 samples,
                    40-43 codec, 44-47 decimal exponent, 48-55 width
           then     CONSTANT: the bits. RAW: the bits of each. SCALED: first integer, least delta,
                    deltas above the least, `64 // width` in a word
    run    first time, last time, width (and samples << 8), least delta, deltas as above

A position is segment number * SEGMENT_WORDS + offset. Pages of the head are scratch: nothing reads
them after a restart, the WAL does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Int = int | np.integer[Any]

    from tsdb.interface import Floats, Ints
    from tsdb.label_kernels import Slots, Words

    Small = npt.NDArray[np.uint8]

SLAB = 32
"""Open samples of a series before they are sealed: 256 bytes of values."""
# Smaller slabs put more headers on disk, larger ones cost every series 8 bytes a sample in RAM.

SEGMENT_WORDS = 1 << 23
"""Words (of 8 bytes) in a segment of sealed pages: 64 MiB."""

PAGE_WORDS_MAX = 80
"""A page and its time run never take more: 2 + 34 + 4 + 32, rounded up."""

CONSTANT, RAW, SCALED = 0, 1, 2
STAGED, STAGE_BASE, FRESH, BLOCKS, FREE_BLOCKS, MIN_TIME, MAX_TIME, PAGES = range(8)
BATCH_MIN, BATCH_MAX = 8, 9
"""Places in the head's `state`: words staged, position of the first of them, the time block that
new slots join, blocks ever made and on the free stack, least and greatest time placed, pages; and
least and greatest time of one batch."""
STATE_SIZE = 10

STORED, DUPLICATE, CONFLICT, OUT_OF_BOUNDS, TOO_FAR_AHEAD, UNKNOWN = 0, 1, 2, 5, 6, 7
LATE = 8
"""Internal: the sample goes to the late buffer, which decides."""
NO_TIME: int = np.iinfo(np.int64).min
"""The newest time of a series that has none."""

_POWERS = np.array([1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6])

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


@kernel(
    types.void(
        _in(_i64), _in(_i64), _in(_u64), _in(_i64),
        _in(_i32), _i64[::1], _u64[::1],
        _u8[::1], _i64[::1], _u64[::1], _i64[::1],
    ),
)  # fmt: skip
def admit(
    refs: Ints,
    times: Ints,
    bits: Words,
    limits: Ints,
    generation: Slots,
    newest_time: Ints,
    newest_bits: Words,
    status: Small,
    prior_time: Ints,
    prior_bits: Words,
    counts: Ints,
) -> None:
    """Write the status of each sample and move its series' newest sample on.

    Shapes: `refs`, `times`, `bits`, `status`, `prior_time`, `prior_bits` [N]; per slot
    `generation`, `newest_time`, `newest_bits`; `counts` int64[9] by status. `limits` int64[6]:
    slots in use, greatest time taken, least time kept, least time that the head still takes
    (older is late), least time that is taken late, the status of what is older than that.
    `prior_*` keep what `revoke` needs. A sample of the series' newest time is a duplicate or a
    conflict by its bits; an older one is LATE.
    """
    slots, time_max, kept, floor, late_floor = limits[0], limits[1], limits[2], limits[3], limits[4]
    for i in range(refs.size):
        ref, time = refs[i], times[i]
        slot = ref & 0xFFFFFFFF
        if slot >= slots or generation[slot] != ref >> 32 or generation[slot] < 0:
            code = UNKNOWN
        elif time > time_max:
            code = TOO_FAR_AHEAD
        elif time < kept:
            code = OUT_OF_BOUNDS
        else:
            newest = newest_time[slot]
            if time > newest and time >= floor:
                code = STORED
                prior_time[i], prior_bits[i] = newest, newest_bits[slot]
                newest_time[slot], newest_bits[slot] = time, bits[i]
            elif time == newest:
                code = DUPLICATE if bits[i] == newest_bits[slot] else CONFLICT
            elif time < late_floor:
                code = limits[5]
            else:
                code = LATE
        status[i] = code
        counts[code] += 1


@kernel(
    types.void(
        _in(_i64), _in(_u8), _in(_i64), _in(_u64), _i64[::1], _u64[::1]
    ),
)  # fmt: skip
def revoke(
    refs: Ints,
    status: Small,
    prior_time: Ints,
    prior_bits: Words,
    newest_time: Ints,
    newest_bits: Words,
) -> None:
    """Undo `admit`, last sample first."""
    for i in range(refs.size - 1, -1, -1):
        if status[i] == STORED:
            slot = refs[i] & 0xFFFFFFFF
            newest_time[slot], newest_bits[slot] = prior_time[i], prior_bits[i]


@helper(_i64(_u64))
def _bit_length(number: np.uint64) -> Int:
    length = 0
    while number:
        number >>= np.uint64(1)
        length += 1
    return length


@helper(_i64(_in(_i64), _i64, _u64[::1], _i64))
def _pack_deltas(numbers: Ints, count: Int, words: Words, at: Int) -> Int:
    """Write the least delta at `words[at]` and the deltas behind; return the width in bits."""
    least = greatest = np.int64(0)
    if count > 1:
        least = greatest = numbers[1] - numbers[0]
    for j in range(2, count):
        delta = numbers[j] - numbers[j - 1]
        least, greatest = min(least, delta), max(greatest, delta)
    width = _bit_length(np.uint64(greatest - least))
    words[at] = np.uint64(least)
    if width == 0:
        return 0
    per_word = 64 // width
    for j in range(1, count):
        place, inside = divmod(j - 1, per_word)
        if inside == 0:
            words[at + 1 + place] = np.uint64(0)
        above = np.uint64(numbers[j] - numbers[j - 1] - least)
        words[at + 1 + place] |= above << np.uint64(inside * width)
    return width


@helper(_i64(_i64, _i64))
def _packed_words(count: Int, width: Int) -> Int:
    """Count the words that `_pack_deltas` writes behind the least delta."""
    if width == 0:
        return 0
    per_word = 64 // width
    return (count - 1 + per_word - 1) // per_word


@helper(_i64(_in(_i64), _i64, _u64[::1], _i64))
def _write_run(times: Ints, count: Int, words: Words, at: Int) -> Int:
    """Write a time run at `words[at]`; return the words it took."""
    words[at], words[at + 1] = np.uint64(times[0]), np.uint64(times[count - 1])
    width = _pack_deltas(times, count, words, at + 3)
    words[at + 2] = np.uint64(width | count << 8)
    return 4 + _packed_words(count, width)


@kernel(_i64(_in(_f64), _in(_u64), _i64, _u64[::1], _i64, _i64[::1]))
def _write_values(
    values: Floats, bits: Words, count: Int, words: Words, at: Int, scratch: Ints
) -> Int:
    """Write values at `words[at]`; return words | codec << 16 | exponent << 20 | width << 24.

    Invariant: reading gives back the same bits. A decimal scale is taken only if dividing each
    integer by it gives the very value; -0.0, NaN and infinities never do and are stored raw.
    """
    same = True
    for j in range(1, count):
        if bits[j] != bits[0]:
            same = False
            break
    if same:
        words[at] = bits[0]
        return 1 | CONSTANT << 16
    for exponent in range(_POWERS.size):
        scale = _POWERS[exponent]
        exact = True
        for j in range(count):
            scaled = np.rint(values[j] * scale)
            # `not <`: true for NaN as well.
            if not abs(scaled) < 9007199254740992.0 or scaled / scale != values[j]:
                exact = False
                break
            if scaled == 0.0 and bits[j] != 0:
                exact = False
                break
            scratch[j] = np.int64(scaled)
        if exact:
            words[at] = np.uint64(scratch[0])
            width = _pack_deltas(scratch, count, words, at + 1)
            # Wider than half a word saves nothing over the raw bits.
            if width <= 32:
                size = 2 + _packed_words(count, width)
                return size | SCALED << 16 | exponent << 20 | width << 24
            break
    for j in range(count):
        words[at + j] = bits[j]
    return count | RAW << 16


@helper(_i64(_i64[::1], _i32[::1], _i64))
def _take_block(state: Ints, free_blocks: Slots, block_count: Int) -> Int:
    """Return a time block that nobody uses, or -1 if there is no room."""
    if state[FREE_BLOCKS] > 0:
        state[FREE_BLOCKS] -= 1
        return int(free_blocks[state[FREE_BLOCKS]])
    if state[BLOCKS] >= block_count:
        return -1
    state[BLOCKS] += 1
    return int(state[BLOCKS] - 1)


@helper(types.void(_i64, _i32[::1], _i32[::1], _i64[::1]))
def _leave_block(block: Int, users: Slots, free_blocks: Slots, state: Ints) -> None:
    """Count one user less; the last one gives the block back."""
    users[block] -= np.int32(1)
    if users[block] == 0:
        free_blocks[state[FREE_BLOCKS]] = np.int32(block)
        state[FREE_BLOCKS] += 1


@kernel(
    _i64(
        _in(_i64), _in(_i64), _in(_u64), _in(_u8), _i64,
        _f64[:, ::1], _u64[:, ::1], _u8[::1], _i32[::1], _u32[::1], _i64[::1],
        _i64[:, ::1], _i32[::1], _i32[::1], _i32[::1], _i32[::1], _i64[::1], _i32[::1],
        _u64[::1], _i64[::1], _i64[::1],
    ),
)  # fmt: skip
def place(
    refs: Ints,
    times: Ints,
    bits: Words,
    status: Small,
    begin: Int,
    open_values: Floats,
    open_bits: Words,
    fill: Small,
    block_of: Slots,
    version: npt.NDArray[np.uint32],
    page_head: Ints,
    block_times: Ints,
    block_fill: Slots,
    users: Slots,
    fork: Slots,
    fork_at: Slots,
    block_run: Ints,
    free_blocks: Slots,
    words: Words,
    scratch: Ints,
    state: Ints,
) -> Int:
    """Put the STORED samples from `begin` on into their slots, sealing what gets full.

    Returns how far it came: it stops where a time block is needed and none is left, or where the
    staging area `words` may not hold one more page; the caller makes room and calls again.
    Shapes: `open_values`, `open_bits` [slots, 32], the same memory; `fill`, `block_of` (-1: none),
    `version`, `page_head` per slot; `block_times` int64[blocks, 32]. Per block: `block_fill` times
    in it, `users` slots that share it, `fork` the block that left it last, `fork_at` the place
    where it left its own origin, `block_run` position of its time run, -1 if not written.
    `scratch` int64[32].
    Invariant: `version[slot]` changes whenever what a reader saw of `open_bits[slot, :fill]` or of
    the times may be overwritten, that is when the slot is sealed or changes its block.
    """
    for i in range(begin, refs.size):
        if status[i] != STORED:
            continue
        slot, time = refs[i] & 0xFFFFFFFF, times[i]
        k = np.int64(fill[slot])
        block = np.int64(block_of[slot])
        if k == SLAB - 1 and state[STAGED] + PAGE_WORDS_MAX > words.size:
            return i
        if k == 0:
            joined = state[FRESH]
            if joined < 0 or users[joined] == 0 or block_times[joined, 0] != time:
                joined = _take_block(state, free_blocks, block_times.shape[0])
                if joined < 0:
                    return i
                block_times[joined, 0] = time
                block_fill[joined], users[joined] = 1, 0
                fork[joined], fork_at[joined], block_run[joined] = -1, -1, -1
                state[FRESH] = joined
            users[joined] += np.int32(1)
            block_of[slot] = np.int32(joined)
            block = joined
        elif k < block_fill[block] and block_times[block, k] == time:
            pass  # somebody who shares the block was here before
        elif k == block_fill[block] or users[block] == 1:
            block_times[block, k] = time
            block_fill[block] = np.int32(k + 1)
            block_run[block] = -1
        else:
            joined = np.int64(fork[block])
            fits = joined >= 0 and users[joined] > 0 and fork_at[joined] == k
            if not fits or block_times[joined, k] != time:
                joined = _take_block(state, free_blocks, block_times.shape[0])
                if joined < 0:
                    return i
                for j in range(k):
                    block_times[joined, j] = block_times[block, j]
                block_times[joined, k] = time
                block_fill[joined], users[joined] = np.int32(k + 1), 0
                fork[joined], fork_at[joined], block_run[joined] = -1, np.int32(k), -1
                fork[block] = np.int32(joined)
            users[joined] += np.int32(1)
            _leave_block(block, users, free_blocks, state)
            block_of[slot] = np.int32(joined)
            version[slot] += np.uint32(1)
            block = joined
        open_bits[slot, k] = bits[i]
        fill[slot] = np.uint8(k + 1)
        state[BATCH_MIN] = min(state[BATCH_MIN], time)
        state[BATCH_MAX] = max(state[BATCH_MAX], time)
        if k + 1 < SLAB:
            continue
        base = state[STAGE_BASE]
        run = block_run[block]
        if run < 0 or run // SEGMENT_WORDS != base // SEGMENT_WORDS:
            run = base + state[STAGED]
            state[STAGED] += _write_run(block_times[block], SLAB, words, state[STAGED])
            block_run[block] = run
        at = state[STAGED]
        coded = _write_values(open_values[slot], open_bits[slot], SLAB, words, at + 2, scratch)
        words[at] = np.uint64(page_head[slot])
        words[at + 1] = np.uint64(run % SEGMENT_WORDS | SLAB << 32 | (coded >> 16) << 40)
        state[STAGED] += 2 + (coded & 0xFFFF)
        state[PAGES] += 1
        page_head[slot] = base + at
        fill[slot], block_of[slot] = 0, -1
        version[slot] += np.uint32(1)
        _leave_block(block, users, free_blocks, state)
    return refs.size
