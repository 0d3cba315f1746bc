"""Compiled decoding of float chunks, Prometheus' encoding 1 (XOR), and their frame in a segment.

From: `chunks.py`. To: columns of times and bits.
Source: Prometheus tsdb documentation (chunk format), Facebook's Gorilla paper for the principle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from gnomon.prometheus.bit_kernels import (
    BYTES_IN,
    INTS,
    INTS_IN,
    SLACK_BYTES,
    WORDS,
    bits_at,
    signed,
    uvarint_at,
    varint_at,
)
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    Whole = Any
    Word = Any

_XOR_STATE = types.Tuple(  # type: ignore[no-untyped-call]  # Numba has no types
    (types.int64, types.uint64, types.int64, types.int64)
)
SAMPLE_BYTES_MAX = 32
"""No float sample takes more: 68 bits of time, 77 of value."""


@kernel(
    types.void(BYTES_IN, INTS_IN, INTS, INTS, INTS, INTS),
)
def find_chunks(
    data: Bytes, at: Ints, start: Ints, stop: Ints, encoding: Ints, samples: Ints
) -> None:
    """Find the chunks that begin at bytes `at` of a segment.

    Shapes: int64[C] all. A chunk is its length (varint), the encoding's byte, at `start` - 1 in the
    result, the data, [start, stop), which begins with the number of samples, and a checksum. What
    does not fit into the segment gets encoding -1.
    """
    for c in range(at.size):
        encoding[c], samples[c], start[c], stop[c] = -1, 0, 0, 0
        head = at[c]
        if at[c] < 0 or head + 8 > data.size:
            continue
        # Ten bytes of varint at most; those that are there decide.
        length = np.uint64(0)
        end = head
        for k in range(10):
            if head + k >= data.size:
                break
            byte = np.uint64(data[head + k])
            length |= (byte & np.uint64(127)) << np.uint64(7 * k)
            end = head + k + 1
            if byte < np.uint64(128):
                break
        size = np.int64(length)
        if size < 2 or size > data.size or end + 1 + size + 4 > data.size:
            continue
        encoding[c] = data[end]
        start[c], stop[c] = end + 1, end + 1 + size
        samples[c] = (np.int64(data[end + 1]) << 8) | np.int64(data[end + 2])


@helper(_XOR_STATE(BYTES_IN, types.int64, types.uint64, types.int64, types.int64))
def xor_at(
    data: Bytes, at: Whole, word: Word, leading: Whole, trailing: Whole
) -> tuple[Whole, Word, Whole, Whole]:
    """Read the next word of a XOR series: where it ends, the word, and the window of its bits."""
    if bits_at(data, at, 1) == np.uint64(0):
        return at + 1, word, leading, trailing
    if bits_at(data, at + 1, 1) == np.uint64(0):
        at += 2
        meaningful = np.int64(64) - leading - trailing
    else:
        leading = np.int64(bits_at(data, at + 2, 5))
        meaningful = np.int64(bits_at(data, at + 7, 6))
        # 64 does not fit into six bits; 0 never needs to be said.
        if meaningful == 0:
            meaningful = np.int64(64)
        trailing = np.int64(64) - leading - meaningful
        at += 13
    if meaningful < 1 or trailing < 0:
        return np.int64(1) << np.int64(60), word, leading, trailing
    word ^= bits_at(data, at, meaningful) << np.uint64(trailing)
    return at + meaningful, word, leading, trailing


@kernel(
    types.void(
        BYTES_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS, WORDS, types.Array(types.bool_, 1, "C")
    ),
)
def decode_xor(
    data: Bytes,
    start: Ints,
    stop: Ints,
    samples: Ints,
    out: Ints,
    times: Ints,
    bits: Words,
    good: npt.NDArray[np.bool_],
) -> None:
    """Decode float chunks: chunk c to times[out[c]:][:samples[c]] and bits likewise.

    Shapes: `start`, `stop`, `samples`, `out` int64[C], positions from `find_chunks`; `good` bool[C]
    says of each whether its bytes were enough. Units: milliseconds; the bits are those of a double.
    """
    longest = 0
    for c in range(start.size):
        longest = max(longest, stop[c] - start[c])
    room = np.zeros(longest + SAMPLE_BYTES_MAX + SLACK_BYTES, np.uint8)
    for c in range(start.size):
        size = stop[c] - start[c]
        room[:size] = data[start[c] : stop[c]]
        room[size:] = 0
        limit = 8 * size
        base, count = out[c], samples[c]
        good[c] = size >= 2
        if count == 0 or not good[c]:
            continue
        time, end = varint_at(room, 2)
        if end < 0 or 8 * end + 64 > limit:
            good[c] = False
            continue
        at = 8 * end
        word = bits_at(room, at, 64)
        at += 64
        times[base], bits[base] = time, word
        delta = np.int64(0)
        leading, trailing = np.int64(0), np.int64(0)
        for n in range(1, count):
            if n == 1:
                step, end = uvarint_at(room, at >> 3)
                if end < 0:
                    good[c] = False
                    break
                delta = np.int64(step)
                at = 8 * end
            elif bits_at(room, at, 1) == np.uint64(0):
                at += 1
            else:
                width = 64
                ones = 4
                if bits_at(room, at + 1, 1) == np.uint64(0):
                    width, ones = 14, 2
                elif bits_at(room, at + 2, 1) == np.uint64(0):
                    width, ones = 17, 3
                elif bits_at(room, at + 3, 1) == np.uint64(0):
                    width, ones = 20, 4
                at += ones
                change = bits_at(room, at, width)
                at += width
                if width == 64:
                    delta += np.int64(change)
                else:
                    delta += signed(change, width)[0]
            time += delta
            if at < limit:
                at, word, leading, trailing = xor_at(room, at, word, leading, trailing)
            else:
                at = limit + 1
            if at > limit:
                good[c] = False
                break
            times[base + n], bits[base + n] = time, word
