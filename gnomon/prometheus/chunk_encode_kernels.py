"""Compiled encoding of float chunks, Prometheus' encoding 1 (XOR), framed as in a chunk file.

From: `exporting.py`. To: bytes of chunk files. The inverse of `chunk_kernels.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from gnomon.prometheus.bit_kernels import INTS, INTS_IN, crc32c
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    Whole = Any
    Word = Any

CHUNK_BYTES_MAX = 64
"""A chunk without its samples: length, encoding, count, first time, checksum."""
SAMPLE_BYTES_MAX = 19
"""68 bits of time and 77 of value."""

_BYTES = types.Array(types.uint8, 1, "C")
_WORDS_IN = types.Array(types.uint64, 1, "C", readonly=True)


@helper(types.int64(_BYTES, types.int64, types.uint64, types.int64))
def _put_bits(out: Bytes, at: Whole, word: Word, count: Whole) -> Whole:
    """Write the low `count` bits of a word at bit `at`, on zeros; return where they end."""
    left = count
    while left > 0:
        free = 8 - (at & 7)
        take = min(free, left)
        part = (word >> np.uint64(left - take)) & ((np.uint64(1) << np.uint64(take)) - np.uint64(1))
        out[at >> 3] |= np.uint8(part << np.uint64(free - take))
        at += take
        left -= take
    return at


@helper(types.int64(_BYTES, types.int64, types.uint64))
def put_uvarint(out: Bytes, at: Whole, word: Word) -> Whole:
    """Write a varint at byte `at`; return where it ends."""
    while word >= np.uint64(128):
        out[at] = np.uint8(word & np.uint64(127)) | np.uint8(128)
        word >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(word)
    return at + 1


@kernel(types.int64(types.uint64))
def _bit_length(word: Word) -> Whole:
    """Return how many bits a word needs."""
    length = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(step) != np.uint64(0):
            word >>= np.uint64(step)
            length += step
    return length + np.int64(word != np.uint64(0))


@kernel(types.int64(_BYTES, INTS_IN, _WORDS_IN, types.int64, types.int64))
def _encode(out: Bytes, times: Ints, bits: Words, first: Whole, count: Whole) -> Whole:
    """Write one chunk's data at the beginning of `out`, which is zero; return its bytes."""
    out[0], out[1] = count >> 8, count & 255
    time = times[first]
    end = put_uvarint(out, 2, (np.uint64(time) << np.uint64(1)) ^ np.uint64(time >> 63))
    word = bits[first]
    at = _put_bits(out, 8 * end, word, 64)
    delta = np.int64(0)
    # No window yet: it would have to be wider than a word.
    leading, trailing = np.int64(65), np.int64(0)
    for n in range(1, count):
        step = times[first + n] - time
        if n == 1:
            at = 8 * put_uvarint(out, at >> 3, np.uint64(step))
        else:
            change = step - delta
            if change == 0:
                at += 1
            elif -8191 <= change <= 8192:
                at = _put_bits(out, _put_bits(out, at, np.uint64(0b10), 2), np.uint64(change), 14)
            elif -65535 <= change <= 65536:
                at = _put_bits(out, _put_bits(out, at, np.uint64(0b110), 3), np.uint64(change), 17)
            elif -524287 <= change <= 524288:
                at = _put_bits(out, _put_bits(out, at, np.uint64(0b1110), 4), np.uint64(change), 20)
            else:
                at = _put_bits(out, _put_bits(out, at, np.uint64(0b1111), 4), np.uint64(change), 64)
        time, delta = times[first + n], step
        differs = bits[first + n] ^ word
        word = bits[first + n]
        if differs == np.uint64(0):
            at += 1
            continue
        length = _bit_length(differs)
        now_leading = min(np.int64(31), 64 - length)
        now_trailing = _bit_length(differs & (~differs + np.uint64(1))) - 1
        if leading <= now_leading and trailing <= now_trailing:
            at = _put_bits(out, at, np.uint64(0b10), 2)
        else:
            leading, trailing = now_leading, now_trailing
            at = _put_bits(out, at, np.uint64(0b11), 2)
            at = _put_bits(out, at, np.uint64(leading), 5)
            at = _put_bits(out, at, np.uint64((64 - leading - trailing) & 63), 6)
        at = _put_bits(out, at, differs >> np.uint64(trailing), 64 - leading - trailing)
    return (at + 7) >> 3


@kernel(types.int64(INTS_IN, _WORDS_IN, INTS_IN, INTS_IN, _BYTES, INTS))
def encode_chunks(
    times: Ints, bits: Words, first: Ints, count: Ints, out: Bytes, start: Ints
) -> Whole:
    """Write chunks one behind the other, each framed; return how many bytes.

    Chunk c has the samples first[c] to first[c] + count[c] (65535 at most) of `times` and `bits`.
    Shapes: `first`, `count`, `start` int64[C]; `start` gets where each begins in `out`, which has
    room for `CHUNK_BYTES_MAX` and `SAMPLE_BYTES_MAX` a sample.
    """
    longest = 0
    for c in range(count.size):
        longest = max(longest, count[c])
    room = np.zeros(longest * SAMPLE_BYTES_MAX + CHUNK_BYTES_MAX, np.uint8)
    at = np.int64(0)
    for c in range(first.size):
        start[c] = at
        size = _encode(room, times, bits, first[c], count[c])
        at = put_uvarint(out, at, np.uint64(size))
        out[at] = 1
        out[at + 1 : at + 1 + size] = room[:size]
        room[:size] = 0
        crc = crc32c(out, at, at + 1 + size)
        at += 1 + size
        for k in range(4):
            out[at + k] = np.uint8((crc >> np.uint32(24 - 8 * k)) & np.uint32(255))
        at += 4
    return at
