"""Compiled loops over bytes: hashing, comparing, UTF-8, numbers.

From: `kernels.py`, which scans expositions with them, and `exposition.py`.
Numba's cache of a kernel looks at the file of that kernel only: after a change here, change or
touch `kernels.py` as well, or it goes on with what it once inlined.

All text that is read lies in buffers with at least `PADDING` zero bytes behind their last byte:
words of eight bytes may be read from any position, and the zero ends every scan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]  # ships no types
from numba import types
from numba.extending import intrinsic

from tsdb.kernel_compilation import helper, kernel

Bytes = npt.NDArray[np.uint8]
Int = int | np.int64
"""Inside a kernel both are the machine's 64 bits."""

PADDING = 16

EXACT, ROUGH, NO_NUMBER = 0, 1, 2

BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)
# Numba leaves this call untyped.
_number_type = types.Tuple((types.int64, types.float64, types.int64))  # type: ignore[no-untyped-call]

_POWERS = np.array([10.0**k for k in range(23)])
MIX = np.uint64(0x9E3779B97F4A7C15)
"""An odd number without pattern: multiplying by it spreads bits upwards."""
_MIX2 = np.uint64(0xD6E8FEB86659FD93)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# Positions in hot loops are unsigned: for signed ones each access tests whether they count from
# the end, which made `scan` four times slower.
_ONE, _TWO = np.uint64(1), np.uint64(2)


@helper(types.uint64(BYTES_IN, types.int64))
def word_at(data: Bytes, at: Int) -> np.uint64:
    """Return eight bytes as a little-endian word; the compiler makes one load of this.

    It does so only for unsigned positions: signed ones may be negative, and mean the end then.
    """
    p = np.uint64(at)
    return (
        np.uint64(data[p])
        | np.uint64(data[p + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[p + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[p + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[p + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[p + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[p + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[p + np.uint64(7)]) << np.uint64(56)
    )


@kernel(types.uint64(BYTES_IN, types.int64, types.int64, types.uint64))
def hash_bytes(data: Bytes, start: Int, stop: Int, key: np.uint64) -> np.uint64:
    """Return a keyed hash of `data[start:stop]`; too short to tell texts apart for good."""
    h = key ^ (np.uint64(stop - start) * _MIX2)
    at = start
    while at + 8 <= stop:
        h = (h ^ word_at(data, at)) * MIX
        h ^= h >> np.uint64(29)
        at += 8
    if at < stop:
        h = (h ^ (word_at(data, at) & (_ALL >> np.uint64(8 * (8 - (stop - at)))))) * MIX
        h ^= h >> np.uint64(29)
    h *= _MIX2
    return h ^ (h >> np.uint64(32))


@intrinsic
def _mul_high(_typing_context: object, _left: object, _right: object) -> object:
    """High 64 bits of the product of two uint64; LLVM makes one multiplication of it."""

    def code(
        _context: object, builder: ir.IRBuilder, _signature: object, args: list[ir.Value]
    ) -> ir.Value:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), code


@kernel(types.uint64(types.uint64, types.uint64))
def _fold(left: np.uint64, right: np.uint64) -> np.uint64:
    """Multiply to 128 bits and fold the halves."""
    mul_high: Any = _mul_high  # its Python signature is the compiler's, not the caller's
    mixed: np.uint64 = mul_high(left, right) ^ (left * right)
    return mixed


@kernel(
    # Numba leaves this call untyped.
    types.UniTuple(types.uint64, 2)(  # type: ignore[no-untyped-call]
        BYTES_IN, types.int64, types.int64, types.Array(types.uint64, 1, "C", readonly=True)
    ),
)
def hash_wide(
    data: Bytes, start: Int, stop: Int, keys: npt.NDArray[np.uint64]
) -> tuple[np.uint64, np.uint64]:
    """Return the keyed 128-bit hash of `data[start:stop]`, by which a text is known.

    `keys` uint64[4] are random and secret: nobody can prepare two texts that collide, and by
    chance two of a billion do with probability 1e-21. Two lanes with keys of their own take the
    text in pairs of words; its length goes first, so that what is hashed is injective.
    """
    size = np.uint64(stop - start)
    a, b = keys[2] ^ size, keys[3] ^ size
    at = start
    while at + 16 <= stop:
        first, second = word_at(data, at), word_at(data, at + 8)
        a = _fold(first ^ keys[0], second ^ a)
        b = _fold(first ^ keys[1], second ^ b)
        at += 16
    rest = stop - at
    if rest > 0:
        first, second = word_at(data, at), np.uint64(0)
        if rest > 8:
            second = word_at(data, at + 8) & (_ALL >> np.uint64(8 * (16 - rest)))
        else:
            first &= _ALL >> np.uint64(8 * (8 - rest))
        a = _fold(first ^ keys[0], second ^ a)
        b = _fold(first ^ keys[1], second ^ b)
    return _fold(a ^ keys[1], keys[3]), _fold(b ^ keys[0], keys[2])


@kernel(types.boolean(BYTES_IN, types.int64, types.int64))
def is_utf8(data: Bytes, start: Int, stop: Int) -> bool:
    """Say whether bytes are UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF."""
    i = start
    while i < stop:
        c = data[i]
        if c < 0x80:
            i += 1
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        if i + more >= stop:
            return False
        if not low <= data[i + 1] <= high:
            return False
        for k in range(2, more + 1):
            if not 0x80 <= data[i + k] <= 0xBF:
                return False
        i += more + 1
    return True


@kernel(_number_type(BYTES_IN, types.int64))
def parse_number(data: Bytes, start: Int) -> tuple[Int, float, Int]:
    """Read a number; return (where it ends, value, EXACT, ROUGH or NO_NUMBER).

    EXACT: the mantissa is below 2**53 and the power of ten at most 22, so that one multiplication
    or division rounds correctly (Clinger). ROUGH: a valid decimal that is not so; the value is
    NaN. NO_NUMBER: anything else, spellings such as `inf` and `1e999` included.
    """
    i = np.uint64(start)
    negative = False
    c = data[i]
    signed = c == 43 or c == 45
    if signed:
        negative = c == 45
        i += _ONE
        c = data[i]
    if c == 78:  # NaN
        if not signed and data[i + _ONE] == 97 and data[i + _TWO] == 78:
            return np.int64(i) + 3, np.nan, EXACT
        return np.int64(i), 0.0, NO_NUMBER
    if c == 73:  # Inf
        if data[i + _ONE] == 110 and data[i + _TWO] == 102:
            return np.int64(i) + 3, -np.inf if negative else np.inf, EXACT
        return np.int64(i), 0.0, NO_NUMBER
    mantissa = np.uint64(0)
    digits = 0  # significant ones
    any_digit = False
    scale = np.int64(0)
    while 48 <= data[i] <= 57:
        any_digit = True
        if digits < 19:
            mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - 48)
        else:
            scale += 1
        if mantissa != np.uint64(0):
            digits += 1
        i += _ONE
    if data[i] == 46:
        i += _ONE
        while 48 <= data[i] <= 57:
            any_digit = True
            if digits < 19:
                mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - 48)
                scale -= 1
            if mantissa != np.uint64(0):
                digits += 1
            i += _ONE
    if not any_digit:
        return np.int64(i), 0.0, NO_NUMBER
    if data[i] == 101 or data[i] == 69:
        i += _ONE
        down = False
        if data[i] == 43 or data[i] == 45:
            down = data[i] == 45
            i += _ONE
        exponent = np.int64(0)
        first = i
        while 48 <= data[i] <= 57:
            if exponent < 10000:
                exponent = exponent * 10 + np.int64(data[i] - 48)
            i += _ONE
        if i == first:
            return np.int64(i), 0.0, NO_NUMBER
        scale += -exponent if down else exponent
    if mantissa == np.uint64(0):
        return np.int64(i), -0.0 if negative else 0.0, EXACT
    if digits <= 19 and mantissa < np.uint64(1 << 53) and -22 <= scale <= 22:
        value = np.float64(mantissa)
        if scale < 0:
            value /= _POWERS[-scale]
        else:
            value *= _POWERS[scale]
        return np.int64(i), -value if negative else value, EXACT
    if digits + scale > 300:  # near or past the largest float: `tokens.py` knows which
        return np.int64(i), 0.0, NO_NUMBER
    return np.int64(i), np.nan, ROUGH
