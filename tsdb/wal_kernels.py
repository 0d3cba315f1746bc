"""Compiled loops of the log: batches of samples to bytes and back, label spans to one text.

From: `append.py` through `sample_record.py`; back also. `FORMAT.md` has the layout of a
samples payload. Values are coded alone, or against those of an earlier batch of the same series: of
a scrape most values are what they were, or a little more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel
from tsdb.number_kernels import (
    RUN,
    get_eight,
    get_numbers,
    get_some,
    mode_of,
    put_eight,
    put_numbers,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ints
    from tsdb.label_kernels import Slots, Words

    Int = int | np.integer[Any]
    Small = npt.NDArray[np.uint8]

ALONE, BASE, BASED = 0, 1, 2
"""The role of a record: neither, one that others may build upon, one that builds upon another."""
ROLES_AT = 8
"""Where the number of the base lies, and behind it, in a record that builds upon it, its place."""

CODED = 1
"""How values are written now: by codes of four bits. 0 are the classes of older logs."""

_ZERO, _SAME, _RAW = 0, 1, 15
_SCALES = np.array([1.0, 1e3, 1e6, 1e9])
"""A value is an integer divided by one of these, exactly, if it can be."""
_SCALE_OF = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 0])
_BYTES_OF = np.array([0, 0, 1, 2, 3, 4, 6, 2, 3, 4, 5, 3, 4, 6, 4, 8])
"""Scale, and bytes of the integer, by code."""
_INEXACT = -(1 << 63)
_ROUND = 6755399441055744.0
"""1.5 * 2^52: added and taken away again it rounds what is below 2^51 to an integer."""
_LARGEST = 140737488355328.0
"""2^47: integers below it take six bytes."""

_u8, _i32, _i64, _u64, _f64 = types.uint8, types.int32, types.int64, types.uint64, types.float64


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@helper(_i64(_f64, _f64))
def _scaled(value: float, scale: float) -> Int:
    """Return the integer that divided by `scale` is `value` to the last bit, or `_INEXACT`."""
    # A product that is not finite, or NaN, fails the comparison.
    product = value * scale
    if not -_LARGEST < product < _LARGEST:
        return _INEXACT
    rounded = (product + _ROUND) - _ROUND
    return np.int64(rounded) if rounded / scale == value else _INEXACT


@helper(_i64(_f64))
def _whole(value: float) -> Int:
    """Return the integer that `value` is, or `_INEXACT`: `_scaled` for a scale of one."""
    if not -_LARGEST < value < _LARGEST:
        return _INEXACT
    return np.int64(value) if (value + _ROUND) - _ROUND == value else _INEXACT


@helper(_i64(_i64, _i64))
def _code_of(number: Int, scale: Int) -> Int:
    """Return the code for an integer at a scale, `_RAW` if it is too large for any."""
    # Sums of comparisons: branches would mostly be guessed wrong, at five times the cost.
    away = number ^ (number >> 63)
    more = np.int64(away >= 0x800000) + np.int64(away >= 0x80000000)
    two = np.int64(away >= 0x8000)
    if scale == 0:
        code = 2 + np.int64(away >= 0x80) + two + more
        return code if away < 0x800000000000 else _RAW
    if scale == 1:
        return 7 + two + more if away < 0x8000000000 else _RAW
    if scale == 2:
        return 11 + more if away < 0x800000000000 else _RAW
    return 14 if away < 0x80000000 else _RAW


@helper(_i64(_in(_f64), _in(_u64), _in(_f64), _in(_u64), _u8[::1], _i64))
def _put_values(
    values: Floats, bits: Words, base: Floats, base_bits: Words, out: Bytes, at: Int
) -> Int:
    """Write codes, then numbers. `base` is empty, or as long as `values`."""
    size = values.size
    based = base.size > 0
    codes = at
    at += (size + 1) // 2
    low = np.uint8(0)
    before = np.uint64(0)
    for i in range(size):
        word = bits[i]
        if based:
            before = base_bits[i]
        code: Int = _RAW
        number: Int = np.int64(word)
        if word == before:
            # Without a base, of a run of equal values each but the first is this.
            code = _SAME
        elif word == 0:
            code = _ZERO
        else:
            scale = 0
            scaled = _whole(values[i])
            known = _whole(base[i]) if based else _INEXACT
            while scaled == _INEXACT and scale < 3:
                scale += 1
                scaled = _scaled(values[i], _SCALES[scale])
                known = _scaled(base[i], _SCALES[scale]) if based else _INEXACT
            # -0.0 equals 0.0 and is not it, so an integer 0 never takes this way.
            if scaled != _INEXACT and scaled != 0:
                above = scaled - (known if known != _INEXACT else 0)
                code = _code_of(above, scale)
                number = above if code != _RAW else number
        put_eight(out, np.uint64(at), np.uint64(number))
        at += _BYTES_OF[code]
        before = word
        if i & 1:
            out[codes + i // 2] = low | np.uint8(code << 4)
        else:
            low = np.uint8(code)
            out[codes + i // 2] = low
    return at


@helper(_i64(_in(_u8), _i64, _in(_f64), _in(_u64), _f64[::1], _u64[::1]))
def _get_values(
    data: Bytes, at: Int, base: Floats, base_bits: Words, values: Floats, bits: Words
) -> Int:
    """Read what `_put_values` wrote; return the place behind it, -1 if `data` ends before."""
    size = values.size
    based = base.size > 0
    codes = at
    at += (size + 1) // 2
    if at > data.size:
        return -1
    before = np.uint64(0)
    word: Int = np.uint64(0)
    for i in range(size):
        code = np.int64(data[codes + i // 2] >> np.uint8(4 * (i & 1))) & 15
        width = _BYTES_OF[code]
        if at + width > data.size:
            return -1
        if based:
            before = base_bits[i]
        if code == _SAME:
            bits[i] = before
        elif code == _ZERO:
            bits[i] = np.uint64(0)
        else:
            whole = at + 8 <= data.size
            word = get_eight(data, np.uint64(at)) if whole else get_some(data, at, width)
            if code == _RAW:
                bits[i] = word
            else:
                unused = np.uint64(64 - 8 * width)
                number: Int = np.int64(word << unused) >> np.int64(unused)
                scale = _SCALES[_SCALE_OF[code]]
                if based:
                    known = _scaled(base[i], scale)
                    number += known if known != _INEXACT else 0
                values[i] = np.float64(number) / scale
            at += width
        before = bits[i]
    return at


@helper(_i64(_in(_u8), _i64, _f64[::1], _u64[::1]))
def _get_classes(data: Bytes, at: Int, values: Floats, bits: Words) -> Int:
    """Read values as older logs have them: +0.0, an integer of two or four bytes, the bits."""
    size = values.size
    classes = at
    at += (size + 3) // 4
    if at > data.size:
        return -1
    for i in range(size):
        code = np.int64(data[classes + i // 4] >> np.uint8(2 * (i % 4))) & 3
        if at + (2 * code if code < 3 else 8) > data.size:
            return -1
        if code == 0:
            bits[i] = np.uint64(0)
        elif code == 1:
            values[i] = np.float64(np.int16(get_some(data, at, 2)))
            at += 2
        elif code == 2:
            values[i] = np.float64(np.int32(get_some(data, at, 4)))
            at += 4
        else:
            bits[i] = get_some(data, at, 8)
            at += 8
    return at


@kernel(
    _i64(
        _in(_i64), _in(_i64), _in(_u64), _i64, _i64, _i64, _in(_i64), _in(_u64), _u8[::1],
    )
)  # fmt: skip
def encode_samples(
    refs: Ints,
    times: Ints,
    bits: Words,
    role: Int,
    number: Int,
    place: Int,
    base_refs: Ints,
    base_bits: Words,
    out: Bytes,
) -> Int:
    """Write a batch to `out` (30 bytes a sample and 64 more suffice); return its bytes.

    `BASED` it is written against the batch `base_refs`, `base_bits`, which is the base `number` and
    lies at `place`; -1 if that is of other series. Else these three are empty.
    Shapes: all [N], N > 0.
    """
    size = refs.size
    if role == BASED:
        if base_refs.size != size:
            return -1
        for i in range(size):
            if base_refs[i] != refs[i]:
                return -1
    at: Int = ROLES_AT
    time_mode = mode_of(times, 0)
    ref_mode = mode_of(refs, 1) if role != BASED else RUN
    put_eight(
        out,
        np.uint64(0),
        np.uint64(size)
        | np.uint64(time_mode) << np.uint64(32)
        | np.uint64(ref_mode) << np.uint64(40)
        | np.uint64(CODED) << np.uint64(48)
        | np.uint64(role) << np.uint64(56),
    )
    if role != ALONE:
        put_eight(out, np.uint64(at), np.uint64(number) | np.uint64(place) << np.uint64(32))
        at += 8 if role == BASED else 4
    at = put_numbers(out, at, times, time_mode, 0)
    if role != BASED:
        at = put_numbers(out, at, refs, ref_mode, 1)
    values, base = bits.view(np.float64), base_bits.view(np.float64)
    return _put_values(values, bits, base, base_bits, out, at)


@helper(
    _i64(
        _in(_u8), _in(_i64), _in(_f64), _in(_u64), _i64[::1], _i64[::1], _f64[::1], _u64[::1]
    )
)  # fmt: skip
def _decode_samples(
    data: Bytes,
    base_refs: Ints,
    base: Floats,
    base_bits: Words,
    refs: Ints,
    times: Ints,
    values: Floats,
    bits: Words,
) -> Int:
    """Read back what `encode_samples` wrote; return its bytes, -1 if they cannot be right.

    The columns are as long as the count in `data` says; the base is empty if it has none.
    """
    role = np.int64(data[7]) if data[6] else np.int64(ALONE)
    at: Int = ROLES_AT + (0 if role == ALONE else 4 if role == BASE else 8)
    if role > BASED or (role == BASED) != (base_refs.size > 0):
        return -1
    at = get_numbers(data, at, times, np.int64(data[4]), 0)
    if at < 0:
        return -1
    if role == BASED:
        refs[:] = base_refs
    else:
        at = get_numbers(data, at, refs, np.int64(data[5]), 1)
    if at < 0 or data[6] > CODED:
        return -1
    if data[6] == 0:
        return _get_classes(data, at, values, bits)
    return _get_values(data, at, base, base_bits, values, bits)


@kernel(
    types.void(
        _in(_u8), _in(_i64), _in(_i64), _in(_i64), _in(_i64), _in(_i64),
        _i64[::1], _u64[::1], _i64[::1], _i64[::1], _u64[::1], _u8[::1],
    ),
)  # fmt: skip
def decode_batches(
    data: Bytes,
    starts: Ints,
    stops: Ints,
    first: Ints,
    base_at: Ints,
    keep_at: Ints,
    pool_refs: Ints,
    pool_bits: Words,
    refs: Ints,
    times: Ints,
    bits: Words,
    good: Small,
) -> None:
    """Read back many batches, one after the other; batch k lies at `data[starts[k]:stops[k]]`.

    Its samples, as many as it says itself, go to `first[k]` to `first[k + 1]` of the columns;
    `good[k]` is 1 if they are right. The batch that it builds upon lies in the pool from
    `base_at[k]` on (-1: none); it is put there itself from `keep_at[k]` on (-1: it is not).
    Shapes: `starts`, `stops`, `base_at`, `keep_at`, `good` [K]; `first` [K + 1]; the pool is as
    long as all its batches.
    """
    values, pool = bits.view(np.float64), pool_bits.view(np.float64)
    for k in range(starts.size):
        low, high = first[k], first[k + 1]
        base = slice(base_at[k], base_at[k] + high - low) if base_at[k] >= 0 else slice(0, 0)
        size = _decode_samples(
            data[starts[k] : stops[k]],
            pool_refs[base],
            pool[base],
            pool_bits[base],
            refs[low:high],
            times[low:high],
            values[low:high],
            bits[low:high],
        )
        good[k] = 1 if size == stops[k] - starts[k] else 0
        if base_at[k] >= 0 and pool_refs[base_at[k]] < 0:
            good[k] = 0
        if keep_at[k] >= 0:
            kept = slice(keep_at[k], keep_at[k] + high - low)
            if good[k]:
                pool_refs[kept] = refs[low:high]
                pool_bits[kept] = bits[low:high]
            else:
                # No ref is below 0: what builds upon it is told by that, and left out.
                pool_refs[kept] = -1


@kernel(types.void(_in(_u8), _in(_i32, 2), _u8[::1]))
def copy_spans(data: Bytes, spans: Slots, out: Bytes) -> None:
    """Copy the names and values of all labels one behind the other."""
    at = 0
    for k in range(spans.shape[0]):
        for part in range(2):
            for i in range(spans[k, 2 * part], spans[k, 2 * part + 1]):
                out[at] = data[i]
                at += 1


@kernel(_i64(_in(_u64), _u8[::1]))
def encode_values(words: Words, out: Bytes) -> Int:
    """Write values, each against the one before it, but the first; return the bytes.

    `out` needs nine bytes for each that is written, and eight more.
    """
    floats = words.view(np.float64)
    return _put_values(floats[1:], words[1:], floats[:-1], words[:-1], out, 0)


@kernel(_i64(_in(_u8), _u64[::1]))
def decode_values(data: Bytes, words: Words) -> Int:
    """Read back what `encode_values` wrote, behind the first word; return the bytes, or -1."""
    # Base and values are the same memory: each is there by the time the next one is read.
    floats = words.view(np.float64)
    return _get_values(data, 0, floats[:-1], words[:-1], floats[1:], words[1:])
