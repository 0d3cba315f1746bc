"""Compiled writing of protobuf's wire format: numbers, bytes, doubles.

To: the kernels that answer remote reads, and those of `gnomon/forwarding/`.
Loops trust their room: who calls them sized `out`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any

_U = np.uint64

u8 = types.Array(types.uint8, 1, "C")
u8r = types.Array(types.uint8, 1, "C", readonly=True)
i64 = types.Array(types.int64, 1, "C")
i64r = types.Array(types.int64, 1, "C", readonly=True)
u64r = types.Array(types.uint64, 1, "C", readonly=True)
i32r = types.Array(types.int32, 1, "C", readonly=True)
i32 = types.Array(types.int32, 1, "C")
u32r = types.Array(types.uint32, 1, "C", readonly=True)


@helper(types.int64(types.uint64))
def varint_size(number: np.uint64) -> Whole:
    """Return how many bytes a varint takes."""
    size = 1
    while number > _U(127):
        number >>= _U(7)
        size += 1
    return size


@helper(types.int64(u8, types.int64, types.uint64))
def put_varint(out: Bytes, at: Whole, number: np.uint64) -> Whole:
    """Write a varint; return where it ends."""
    while number > _U(127):
        out[at] = np.uint8(number & _U(0x7F)) | np.uint8(0x80)
        number >>= _U(7)
        at += 1
    out[at] = np.uint8(number)
    return at + 1


@helper(types.int64(u8, types.int64, types.uint64))
def put_word(out: Bytes, at: Whole, word: np.uint64) -> Whole:
    """Write eight bytes, the lowest first; return where they end."""
    for byte in range(8):
        out[at + byte] = np.uint8(word & _U(0xFF))
        word >>= _U(8)
    return at + 8


@helper(types.int64(u8, types.int64, u8r, types.int64, types.int64))
def put_span(out: Bytes, at: Whole, data: Bytes, start: Whole, stop: Whole) -> Whole:
    """Copy `data[start:stop]`; return where it ends."""
    for k in range(start, stop):
        out[at] = data[k]
        at += 1
    return at


@helper(types.uint64(types.int64))
def zigzag(number: Whole) -> np.uint64:
    """Fold a number, so that small ones of either sign are small."""
    return _U((number << 1) ^ (number >> 63))
