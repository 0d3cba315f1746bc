"""Compiled loops of the log: batches of samples to bytes and back, label spans to one text.

From: `append.py` through `wal.py`; back through `replay.py`. `FORMAT` of a samples payload, all
little-endian:

    u32 samples, u8 time mode, u8 ref mode, u16 zero
    times: mode 0 one i64 for all; mode 1 i64 and i32 more for each; mode 2 i64 for each
    refs:  mode 0 i64 of the first, the others follow by one; modes 1 and 2 as with times
    classes: two bits a value, four to a byte, low bits first
    values: class 0 is +0.0 and takes nothing; 1 an integer as i16; 2 an integer as i32; 3 the bits
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ints
    from tsdb.label_kernels import Slots, Words

    Int = int | np.integer[Any]
    Small = npt.NDArray[np.uint8]

_u8, _i32, _i64, _u64, _f64 = types.uint8, types.int32, types.int64, types.uint64, types.float64


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@helper(_i64(_u8[::1], _i64, _u64, _i64))
def _put(out: Bytes, at: Int, number: Int, size: Int) -> Int:
    """Write `size` bytes; return the place behind them."""
    word = np.uint64(number)
    for j in range(size):
        out[at + j] = np.uint8(word >> np.uint64(8 * j) & np.uint64(0xFF))
    return at + size


# With a place that has no sign, and a size that is known, these are one store each.


@helper(types.void(_u8[::1], _u64, _u64))
def _put_two(out: Bytes, at: np.uint64, word: np.uint64) -> None:
    out[at] = np.uint8(word & np.uint64(0xFF))
    out[at + np.uint64(1)] = np.uint8(word >> np.uint64(8) & np.uint64(0xFF))


@helper(types.void(_u8[::1], _u64, _u64))
def _put_four(out: Bytes, at: np.uint64, word: np.uint64) -> None:
    out[at] = np.uint8(word & np.uint64(0xFF))
    out[at + np.uint64(1)] = np.uint8(word >> np.uint64(8) & np.uint64(0xFF))
    out[at + np.uint64(2)] = np.uint8(word >> np.uint64(16) & np.uint64(0xFF))
    out[at + np.uint64(3)] = np.uint8(word >> np.uint64(24) & np.uint64(0xFF))


@kernel(_u64(_in(_u8), _i64, _i64))
def _get(data: Bytes, at: Int, size: Int) -> Int:
    """Read `size` bytes, without sign."""
    word = np.uint64(0)
    for j in range(size):
        word |= np.uint64(data[at + j]) << np.uint64(8 * j)
    return word


@helper(_i64(_u8[::1], _i64, _in(_i64), _i64))
def _put_numbers(out: Bytes, at: Int, numbers: Ints, mode: Int) -> Int:
    if mode == 2:
        for i in range(numbers.size):
            at = _put(out, at, np.uint64(numbers[i]), 8)
        return at
    at = _put(out, at, np.uint64(numbers[0]), 8)
    if mode == 1:
        for i in range(numbers.size):
            at = _put(out, at, np.uint64(numbers[i] - numbers[0]), 4)
    return at


@helper(_i64(_in(_u8), _i64, _i64[::1], _i64, _i64))
def _get_numbers(data: Bytes, at: Int, numbers: Ints, mode: Int, rise: Int) -> Int:
    """Read what `_put_numbers` wrote; return the place behind it, -1 if `data` ends before."""
    size = numbers.size
    needed = 8 * size if mode == 2 else 8 + (4 * size if mode == 1 else 0)
    if mode > 2 or at + needed > data.size:
        return -1
    if mode == 2:
        for i in range(size):
            numbers[i] = np.int64(_get(data, at + 8 * i, 8))
        return at + needed
    first = np.int64(_get(data, at, 8))
    for i in range(size):
        if mode == 1:
            numbers[i] = first + np.int64(np.int32(_get(data, at + 8 + 4 * i, 4)))
        else:
            numbers[i] = first + i * rise
    return at + needed


@helper(_i64(_in(_i64), _i64))
def _mode(numbers: Ints, rise: Int) -> Int:
    """Choose how numbers are written: an arithmetic run, near the first, or each in full."""
    first = numbers[0]
    run, near = True, True
    for i in range(numbers.size):
        away = numbers[i] - first
        run = run and away == i * rise
        near = near and -2147483648 <= away <= 2147483647
    return 0 if run else (1 if near else 2)


@kernel(
    _i64(_in(_i64), _in(_i64), _in(_f64), _in(_u64), _u8[::1])
)  # fmt: skip
def encode_samples(refs: Ints, times: Ints, values: Floats, bits: Words, out: Bytes) -> Int:
    """Write a batch to `out` (25 bytes a sample and 40 more suffice); return its bytes.

    Shapes: all [N], N > 0; `values` and `bits` are the same memory.
    """
    size = refs.size
    time_mode, ref_mode = _mode(times, 0), _mode(refs, 1)
    at = _put(out, 0, np.uint64(size), 4)
    at = _put(out, at, np.uint64(time_mode), 1)
    at = _put(out, at, np.uint64(ref_mode), 1)
    at = _put(out, at, np.uint64(0), 2)
    at = _put_numbers(out, at, times, time_mode)
    at = _put_numbers(out, at, refs, ref_mode)
    classes = at
    at += (size + 3) // 4
    four = 0
    for i in range(size):
        value = values[i]
        code = 3
        if bits[i] == 0:
            code = 0
        elif -2147483648.0 <= value <= 2147483647.0:
            number = np.int64(value)
            # -0.0 equals 0.0 and is not it, so an integer 0 never takes this way.
            if np.float64(number) == value and number != 0:
                if -32768 <= number <= 32767:
                    code = 1
                    _put_two(out, np.uint64(at), np.uint64(number))
                    at += 2
                else:
                    code = 2
                    _put_four(out, np.uint64(at), np.uint64(number))
                    at += 4
        if code == 3:
            _put_four(out, np.uint64(at), bits[i])
            _put_four(out, np.uint64(at + 4), bits[i] >> np.uint64(32))
            at += 8
        four |= code << (2 * (i & 3))
        if i & 3 == 3 or i == size - 1:
            out[classes + i // 4] = np.uint8(four)
            four = 0
    return at


@kernel(
    _i64(_in(_u8), _i64[::1], _i64[::1], _f64[::1], _u64[::1])
)  # fmt: skip
def decode_samples(data: Bytes, refs: Ints, times: Ints, values: Floats, bits: Words) -> Int:
    """Read back what `encode_samples` wrote; return its bytes, -1 if they cannot be right.

    `refs`, `times`, `values` and `bits` (the same memory) are as long as the count in `data` says.
    """
    size = refs.size
    at = _get_numbers(data, 8, times, np.int64(data[4]), 0)
    if at < 0:
        return -1
    at = _get_numbers(data, at, refs, np.int64(data[5]), 1)
    classes = at
    if at < 0 or at + (size + 3) // 4 > data.size:
        return -1
    at += (size + 3) // 4
    for i in range(size):
        code = np.int64(data[classes + i // 4] >> np.uint8(2 * (i % 4))) & 3
        if at + (2 * code if code < 3 else 8) > data.size:
            return -1
        if code == 0:
            bits[i] = np.uint64(0)
        elif code == 1:
            values[i] = np.float64(np.int16(_get(data, at, 2)))
            at += 2
        elif code == 2:
            values[i] = np.float64(np.int32(_get(data, at, 4)))
            at += 4
        else:
            bits[i] = _get(data, at, 8)
            at += 8
    return at


@kernel(
    types.void(
        _in(_u8), _in(_i64), _in(_i64), _in(_i64),
        _i64[::1], _i64[::1], _f64[::1], _u64[::1], _u8[::1],
    ),
)  # fmt: skip
def decode_batches(
    data: Bytes,
    starts: Ints,
    stops: Ints,
    first: Ints,
    refs: Ints,
    times: Ints,
    values: Floats,
    bits: Words,
    good: Small,
) -> None:
    """Read back many batches; batch k lies at `data[starts[k]:stops[k]]`.

    Its samples, as many as it says itself, go to `first[k]` to `first[k + 1]` of the columns;
    `good[k]` is 1 if they are right. Shapes: `starts`, `stops`, `good` [K]; `first` [K + 1].
    """
    for k in range(starts.size):
        low, high = first[k], first[k + 1]
        size = decode_samples(
            data[starts[k] : stops[k]],
            refs[low:high],
            times[low:high],
            values[low:high],
            bits[low:high],
        )
        good[k] = 1 if size == stops[k] - starts[k] else 0


@kernel(types.void(_in(_u8), _in(_i32, 2), _u8[::1]))
def copy_spans(data: Bytes, spans: Slots, out: Bytes) -> None:
    """Copy the names and values of all labels one behind the other."""
    at = 0
    for k in range(spans.shape[0]):
        for part in range(2):
            for i in range(spans[k, 2 * part], spans[k, 2 * part + 1]):
                out[at] = data[i]
                at += 1
