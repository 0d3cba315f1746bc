"""Compiled reading of bits, variable-length numbers and CRC-32C, for all of Prometheus' files.

To: `chunk_kernels.py`, `histogram_kernels.py`, `record_kernels.py`, `index_kernels.py`.
Positions are in bits where a name says so; the caller leaves room for 16 bytes behind what is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    # Numba's own mixture of int and NumPy's scalars, which mypy holds apart.
    Whole = Any
    Word = Any

BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)
INTS_IN = types.Array(types.int64, 1, "C", readonly=True)
INTS = types.Array(types.int64, 1, "C")
WORDS = types.Array(types.uint64, 1, "C")
FLOATS = types.Array(types.float64, 1, "C")
PAIR = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]  # Numba has no types
NUMBER_END = types.Tuple((types.int64, types.int64))  # type: ignore[no-untyped-call]  # as above
WORD_END = types.Tuple((types.uint64, types.int64))  # type: ignore[no-untyped-call]  # as above

SLACK_BYTES = 16
"""Room behind what is read: a number may be looked at before it is known to be cut off."""

_POLYNOMIAL = 0x82F63B78


def _crc_tables() -> npt.NDArray[np.uint32]:
    """Return the tables of CRC-32C for eight bytes at a time (Castagnoli, reflected)."""
    table = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        table[0, byte] = crc
    for byte in range(256):
        for k in range(1, 8):
            before = int(table[k - 1, byte])
            table[k, byte] = (before >> 8) ^ int(table[0, before & 255])
    return table


_CRC = _crc_tables()


@kernel(types.uint32(BYTES_IN, types.int64, types.int64))
def crc32c(data: Bytes, start: Whole, stop: Whole) -> Word:
    """Return the CRC-32C of data[start:stop], eight bytes a step."""
    crc = np.uint32(0xFFFFFFFF)
    at = start
    while stop - at >= 8:
        low = crc ^ (
            np.uint32(data[at])
            | (np.uint32(data[at + 1]) << np.uint32(8))
            | (np.uint32(data[at + 2]) << np.uint32(16))
            | (np.uint32(data[at + 3]) << np.uint32(24))
        )
        crc = (
            _CRC[7, low & np.uint32(255)]
            ^ _CRC[6, (low >> np.uint32(8)) & np.uint32(255)]
            ^ _CRC[5, (low >> np.uint32(16)) & np.uint32(255)]
            ^ _CRC[4, low >> np.uint32(24)]
            ^ _CRC[3, data[at + 4]]
            ^ _CRC[2, data[at + 5]]
            ^ _CRC[1, data[at + 6]]
            ^ _CRC[0, data[at + 7]]
        )
        at += 8
    while at < stop:
        crc = _CRC[0, (crc ^ np.uint32(data[at])) & np.uint32(255)] ^ (crc >> np.uint32(8))
        at += 1
    return crc ^ np.uint32(0xFFFFFFFF)


@helper(types.uint64(BYTES_IN, types.int64, types.int64))
def bits_at(data: Bytes, at: Whole, count: Whole) -> Word:
    """Return the `count` bits (1 to 64) from bit `at` on, the highest of a byte first."""
    byte = at >> 3
    word = np.uint64(0)
    for k in range(8):
        word = (word << np.uint64(8)) | np.uint64(data[byte + k])
    shift = np.uint64(at & 7)
    if shift > np.uint64(0):
        word = (word << shift) | (np.uint64(data[byte + 8]) >> (np.uint64(8) - shift))
    return word >> np.uint64(64 - count)


@kernel(PAIR(types.uint64, types.int64))
def signed(word: Word, count: Whole) -> tuple[Whole, Whole]:
    """Return a number of `count` bits (below 64) as Prometheus signs it, and `count`.

    The largest magnitude is positive: 2^(count - 1) stands for itself.
    """
    value = np.int64(word)
    if value > (np.int64(1) << np.int64(count - 1)):
        value -= np.int64(1) << np.int64(count)
    return value, count


@helper(WORD_END(BYTES_IN, types.int64))
def uvarint_at(data: Bytes, at: Whole) -> tuple[Word, Whole]:
    """Return the varint at byte `at` and where it ends; -1 where it is longer than ten bytes."""
    word = np.uint64(0)
    for k in range(10):
        byte = np.uint64(data[at + k])
        word |= (byte & np.uint64(127)) << np.uint64(7 * k)
        if byte < np.uint64(128):
            return word, at + k + 1
    return word, np.int64(-1)


@helper(NUMBER_END(BYTES_IN, types.int64))
def varint_at(data: Bytes, at: Whole) -> tuple[Whole, Whole]:
    """Return the signed (zigzag) varint at byte `at` and where it ends; -1 as above."""
    word, end = uvarint_at(data, at)
    value = np.int64(word >> np.uint64(1))
    if word & np.uint64(1):
        value = ~value
    return value, end


@helper(types.uint64(BYTES_IN, types.int64))
def be64_at(data: Bytes, at: Whole) -> Word:
    """Return the eight bytes at `at` as one number, the highest first."""
    word = np.uint64(0)
    for k in range(8):
        word = (word << np.uint64(8)) | np.uint64(data[at + k])
    return word


@kernel(
    types.void(BYTES_IN, INTS_IN, INTS_IN, types.Array(types.bool_, 1, "C")),
)
def check_crcs(data: Bytes, start: Ints, stop: Ints, good: npt.NDArray[np.bool_]) -> None:
    """Say of each data[start:stop] whether the four bytes behind it are its CRC-32C, big-endian.

    Shapes: int64[N], bool[N]. What does not lie within `data` is not good.
    """
    for n in range(start.size):
        at, end = start[n], stop[n]
        if at < 0 or end < at or end + 4 > data.size:
            good[n] = False
            continue
        stored = np.uint32(0)
        for k in range(4):
            stored = (stored << np.uint32(8)) | np.uint32(data[end + k])
        good[n] = crc32c(data, at, end) == stored
