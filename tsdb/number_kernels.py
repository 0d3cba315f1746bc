"""Compiled loops that write refs and times of a batch, and read them back.

From and to: `wal_kernels.py`. `FORMAT.md` says what the modes mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper

if TYPE_CHECKING:
    from tsdb.interface import Bytes, Ints

    Int = int | np.integer[Any]

RUN, NEAR, EACH, RUNS, RISES, CYCLE = 0, 1, 2, 3, 4, 5
"""How numbers are written: one run; i4 above the first; i8; runs; rises; rises that come again."""

_u8, _i64, _u64 = types.uint8, types.int64, types.uint64


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


# With a place that has no sign, and a size that is known, this is one store.
@helper(types.void(_u8[::1], _u64, _u64))
def put_eight(out: Bytes, at: np.uint64, word: np.uint64) -> None:
    """Write eight bytes, the lowest first."""
    for j in range(np.uint64(8)):
        out[at + j] = np.uint8(word >> (np.uint64(8) * j) & np.uint64(0xFF))


@helper(_u64(_in(_u8), _i64, _i64))
def get_some(data: Bytes, at: Int, size: Int) -> Int:
    """Read `size` bytes, without sign."""
    word = np.uint64(0)
    for j in range(size):
        word |= np.uint64(data[at + j]) << np.uint64(8 * j)
    return word


@helper(_u64(_in(_u8), _u64))
def get_eight(data: Bytes, at: np.uint64) -> np.uint64:
    """Read eight bytes, the lowest first."""
    word = np.uint64(0)
    for j in range(np.uint64(8)):
        word |= np.uint64(data[at + j]) << (np.uint64(8) * j)
    return word


@helper(_i64(_u8[::1], _i64, _u64))
def _put_varint(out: Bytes, at: Int, word: np.uint64) -> Int:
    """Write seven bits a byte, low ones first; return the place behind."""
    while word >= np.uint64(128):
        out[at] = np.uint8(word & np.uint64(127) | np.uint64(128))
        word >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(word)
    return at + 1


@helper("UniTuple(int64, 2)(Array(uint8, 1, 'C', readonly=True), int64)")
def _get_varint(data: Bytes, at: Int) -> tuple[Int, Int]:
    """Return the number, its bits as they are, and the place behind it, -1 if there is none."""
    word = np.uint64(0)
    for j in range(10):
        if at + j >= data.size:
            break
        byte = data[at + j]
        word |= np.uint64(byte & np.uint8(127)) << np.uint64(7 * j)
        if byte < 128:
            return np.int64(word), at + j + 1
    return 0, -1


@helper(_u64(_i64))
def _folded(number: Int) -> np.uint64:
    """Return 0, 1, 2, 3 for 0, -1, 1, -2, and so on."""
    return np.uint64((number << 1) ^ (number >> 63))


@helper(_i64(_i64))
def _unfolded(number: Int) -> Int:
    word = np.uint64(number)
    return np.int64(word >> np.uint64(1)) ^ -np.int64(word & np.uint64(1))


@helper(_i64(_in(_i64)))
def _period(numbers: Ints) -> Int:
    """Return after how many numbers they begin again and again, all of them if they do not."""
    period = 1
    while period < numbers.size and numbers[period] != numbers[0]:
        period += 1
    for i in range(period, numbers.size):
        if numbers[i] != numbers[i - period]:
            return numbers.size
    return period


@helper(_i64(_in(_i64), _i64))
def mode_of(numbers: Ints, rise: Int) -> Int:
    """Choose how numbers are written; `rise` is what each of a run is above the one before."""
    runs = 1
    for i in range(1, numbers.size):
        runs += 1 if numbers[i] - numbers[i - 1] != rise else 0
    if runs == 1:
        return RUN
    if 2 * _period(numbers) <= numbers.size:
        return CYCLE
    return RUNS if 3 * runs < numbers.size else RISES


@helper(_i64(_u8[::1], _i64, _in(_i64), _i64, _i64))
def put_numbers(out: Bytes, at: Int, numbers: Ints, mode: Int, rise: Int) -> Int:
    """Write numbers in the mode that `mode_of` chose; return the place behind them."""
    if mode == RUN:
        put_eight(out, np.uint64(at), np.uint64(numbers[0]))
        return at + 8
    before = np.int64(0)
    if mode in (RISES, CYCLE):
        count: Int = numbers.size
        if mode == CYCLE:
            count = _period(numbers)
            at = _put_varint(out, at, np.uint64(count))
        for i in range(count):
            at = _put_varint(out, at, _folded(numbers[i] - before))
            before = numbers[i]
        return at
    first = 0
    for i in range(1, numbers.size + 1):
        if i == numbers.size or numbers[i] - numbers[i - 1] != rise:
            at = _put_varint(out, at, _folded(numbers[first] - before))
            at = _put_varint(out, at, np.uint64(i - first))
            before = numbers[i - 1]
            first = i
    return at


@helper(_i64(_in(_u8), _i64, _i64[::1], _i64, _i64))
def get_numbers(data: Bytes, at: Int, numbers: Ints, mode: Int, rise: Int) -> Int:
    """Read what `put_numbers` wrote, now or in older logs; return the place behind it, or -1."""
    size = numbers.size
    before = np.int64(0)
    if mode in (RISES, CYCLE):
        count: Int = np.int64(size)
        if mode == CYCLE:
            count, at = _get_varint(data, at)
            if at < 0 or count <= 0 or count > size:
                return -1
        for i in range(count):
            folded, at = _get_varint(data, at)
            if at < 0:
                return -1
            before += _unfolded(folded)
            numbers[i] = before
        for i in range(count, size):
            numbers[i] = numbers[i - count]
        return at
    if mode == RUNS:
        i = 0
        while i < size:
            folded, at = _get_varint(data, at)
            if at < 0:
                return -1
            count, at = _get_varint(data, at)
            if at < 0 or count <= 0 or count > size - i:
                return -1
            before += _unfolded(folded)
            for _ in range(count):
                numbers[i] = before
                before += rise
                i += 1
            before -= rise
        return at
    needed = 8 * size if mode == EACH else 8 + (4 * size if mode == NEAR else 0)
    if mode > EACH or at + needed > data.size:
        return -1
    if mode == EACH:
        for i in range(size):
            numbers[i] = np.int64(get_some(data, at + 8 * i, 8))
        return at + needed
    first = np.int64(get_some(data, at, 8))
    for i in range(size):
        if mode == NEAR:
            numbers[i] = first + np.int64(np.int32(get_some(data, at + 8 + 4 * i, 4)))
        else:
            numbers[i] = first + i * rise
    return at + needed
