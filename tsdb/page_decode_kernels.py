"""Compiled loops that read pages: bytes to runs of values or times.

From: `pages.py`, which owns every array here.
To:   the same. `FORMAT.md` has the byte table.

Bounds of what is read are checked once a page, before its loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel
from tsdb.page_word_kernels import (
    BIAS,
    BITS,
    BYTES_IN,
    DELTA,
    DELTA2,
    EXCEPTIONS,
    FLOATS,
    INTS,
    INTS_IN,
    ONE,
    PACKED,
    PACKED_BITS_MAX,
    PLAIN,
    POW10,
    STEP,
    TRANSFORM,
    WORDS,
    ZERO,
    ZIGZAG,
    load_word,
    take_length,
    take_varint,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ints

    Words = npt.NDArray[np.uint64]


@helper(types.void(BYTES_IN, types.int64, types.int64, types.int64, WORDS))
def _unpack_low_bits(data: Bytes, at: int, bits: int, count: int, words: Words) -> None:
    """Shift `count` words left by `bits` and fill in the bits packed at `data[at:]`."""
    shift = np.uint64(bits)
    mask = (ONE << shift) - ONE
    # Words whose eight bytes end inside the data are loaded whole, the last few byte by byte.
    quick = min(count, max(0, ((data.size - 8 - at) * 8) // bits))
    position = 0
    for i in range(quick):
        word = load_word(data, at + (position >> 3)) >> np.uint64(position & 7)
        words[i] = (words[i] << shift) | (word & mask)
        position += bits
    for i in range(quick, count):
        word = ZERO
        byte_at = at + (position >> 3)
        for b in range(min(8, data.size - byte_at)):
            word |= np.uint64(data[byte_at + b]) << np.uint64(8 * b)
        words[i] = (words[i] << shift) | ((word >> np.uint64(position & 7)) & mask)
        position += bits


@helper(types.void(BYTES_IN, types.int64, types.int64, types.int64, types.int64, WORDS))
def _join_planes(data: Bytes, at: int, planes: int, stride: int, count: int, words: Words) -> None:
    """Put `count` words together from byte planes of `stride` bytes each."""
    # Slices, since an index that may be negative keeps the compiler from using wide instructions.
    low = data[at : at + count]
    if planes == 1:
        for i in range(count):
            words[i] = np.uint64(low[i])
        return
    high = data[at + stride : at + stride + count]
    for i in range(count):
        words[i] = np.uint64(low[i]) | (np.uint64(high[i]) << np.uint64(8))
    for plane in range(2, planes):
        shift = np.uint64(8 * plane)
        more = data[at + plane * stride : at + plane * stride + count]
        for i in range(count):
            words[i] |= np.uint64(more[i]) << shift


@helper(types.void(WORDS, types.int64, types.uint64, types.uint64, types.uint64))
def _sum_differences(
    words: Words, transform: int, value: np.uint64, bias: np.uint64, step: np.uint64
) -> None:
    """Turn the words of a whole page, of which the last `transform` are unset, into samples.

    `words` has as many places as there are samples wanted; it comes with one word fewer for a
    difference, two fewer for second differences.
    """
    count = words.size
    if transform == DELTA:
        carried = value
        offset = bias * step
        # Words move up by one place: word i becomes sample i + 1.
        for i in range(count - 1):
            delta = words[i] * step + offset
            words[i] = carried
            carried += delta
        words[count - 1] = carried
        return
    difference = bias * step
    carried = value
    # Sample i + 2 has the second difference i; two samples are kept in registers.
    following = value + difference
    for i in range(count - 2):
        difference += words[i] * step
        words[i] = carried
        carried = following
        following += difference
    if count > 1:
        words[count - 2] = carried
        words[count - 1] = following
    else:
        words[0] = value


@helper(types.void(WORDS, types.int64, FLOATS))
def _to_values(words: Words, exponent: int, out: Floats) -> None:
    """Write integers divided by a power of ten."""
    if exponent == 0:
        for i in range(out.size):
            out[i] = np.float64(np.int64(words[i]))
        return
    power = POW10[exponent]
    for i in range(out.size):
        out[i] = np.float64(np.int64(words[i])) / power


@kernel(
    types.int64(
        BYTES_IN,
        INTS_IN,
        INTS_IN,
        BYTES_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        FLOATS,
        INTS,
    ),
)
def decode_pages(
    data: Bytes,
    at: Ints,
    stop: Ints,
    noise: Bytes,
    noise_at: Ints,
    count: Ints,
    skip: Ints,
    take: Ints,
    out_at: Ints,
    out: Floats,
    out_bits: Ints,
) -> int:
    """Decode `take` samples of each page from sample `skip` on, to `out[out_at:]`.

    Shapes: `data`, `noise` uint8[any]; the rest int64[P]; `out` float64[any] and `out_bits`, the
    same memory as int64. Page p is `data[at[p] : stop[p]]` and holds `count[p]` samples; its packed
    bits, if it has some, are at `noise[noise_at[p]:]`.
    Returns -1, or the number of the first page whose bytes cannot be a page.
    Bounds trusted: 0 <= skip, take >= 1, skip + take <= count, and room in `out`.
    """
    longest = 0
    for p in range(count.size):
        longest = max(longest, count[p])
    words = np.empty(longest, np.uint64)
    cursor = np.empty(1, np.int64)
    for p in range(count.size):
        if at[p] < 0 or stop[p] > data.size or stop[p] - at[p] < 3:
            return p
        flags = data[at[p]] & 255
        exponent = data[at[p] + 1] & 15
        planes = data[at[p] + 1] >> 4
        cursor[0] = at[p] + 2
        packed = 0
        if flags & PACKED:
            packed = data[cursor[0]] & 255
            cursor[0] += 1
        folded = take_varint(data, cursor, stop[p])
        value = (folded >> ONE) ^ (ZERO - (folded & ONE))
        bias = ZERO
        step = ONE
        if flags & BIAS:
            folded = take_varint(data, cursor, stop[p])
            bias = (folded >> ONE) ^ (ZERO - (folded & ONE))
        if flags & STEP:
            step = take_varint(data, cursor, stop[p])
        bad = 0
        bad_at = 0
        bad_words = 0
        if flags & EXCEPTIONS:
            bad = take_length(data, cursor, stop[p])
            if not 0 <= bad <= count[p]:
                return p
            bad_at = cursor[0]
            for _ in range(bad):
                take_varint(data, cursor, stop[p])
            bad_words = cursor[0]
            cursor[0] += 8 * bad
        transform = flags & TRANSFORM
        left = count[p] - transform
        body = cursor[0]
        if planes > 8 or packed > PACKED_BITS_MAX or transform > DELTA2 or left < 0:
            return p
        noise_bytes = (left * packed + 7) // 8
        body_stop = body + planes * left
        if body_stop > stop[p]:
            return p
        if packed and not 0 <= noise_at[p] <= noise.size - noise_bytes:
            return p
        # Only the words up to the last sample wanted.
        end = skip[p] + take[p]
        needed = max(0, min(left, end - transform))
        first, last = out_at[p], out_at[p] + take[p]
        if planes == 0:
            if not packed and transform == PLAIN:
                if flags & BITS:
                    out_bits[first:last] = np.int64(value)
                else:
                    out[first:last] = np.float64(np.int64(value)) / POW10[exponent]
                needed = -1
            else:
                words[:needed] = ZERO
        else:
            _join_planes(data, body, planes, left, needed, words)
        if needed >= 0:
            if packed:
                _unpack_low_bits(noise, noise_at[p], packed, needed, words)
            if flags & ZIGZAG:
                for i in range(needed):
                    words[i] = (words[i] >> ONE) ^ (ZERO - (words[i] & ONE))
            if transform == PLAIN:
                for i in range(needed):
                    words[i] = words[i] * step + value
            else:
                _sum_differences(words[:end], transform, value, bias, step)
            if flags & BITS:
                for i in range(take[p]):
                    out_bits[first + i] = np.int64(words[skip[p] + i])
            else:
                _to_values(words[skip[p] : end], exponent, out[first:last])
        if bad:
            cursor[0] = bad_at
            index = 0
            for j in range(bad):
                gap = take_length(data, cursor, stop[p])
                index += gap
                if gap < 0 or index >= count[p]:
                    return p
                if skip[p] <= index < end:
                    word = ZERO
                    for b in range(8):
                        word |= np.uint64(data[bad_words + 8 * j + b]) << np.uint64(8 * b)
                    out_bits[first + index - skip[p]] = np.int64(word)
    return -1
