"""Compiled text of numbers: doubles and times as Prometheus' JSON has them.

To: `json_kernels.py`.

Doubles become their shortest decimal that reads back as the same double, by Giulietti's
Schubfach algorithm (R. Giulietti, "The Schubfach way to render doubles", 2020), laid out as
Prometheus lays them out: Go's 'f' form, or its 'e' form below 1e-6 and from 1e21 on.
Digits are made eight at a time within one 64-bit word and written with one store, so every
function here may write up to SLACK_BYTES past the end that it returns: `out` has that room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # has no types
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tsdb.kernel_compilation import helper

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Words = npt.NDArray[np.uint64]
    Word = np.uint64

SLACK_BYTES = 32
"""Room that must lie behind whatever is written, and behind every source of `put_bytes`."""

VALUE_BYTES_MAX = 25
"""Longest value: sign, `0.00000` and 17 digits."""

STAMP_BYTES_MAX = 25
"""Longest time: sign, 16 digits, point, 3 digits, `[`, `,` and the opening quote fit."""

_K_MIN, _K_MAX = -292, 324
_U = np.uint64


def _power_table() -> Words:
    """Return ceil(10^k / 2^e) as 128-bit words (high, low), e such that the top bit is set."""
    table = np.empty((_K_MAX - _K_MIN + 1, 2), dtype=np.uint64)
    for k in range(_K_MIN, _K_MAX + 1):
        numerator, denominator = (10**k, 1) if k >= 0 else (1, 10**-k)
        shift = ((k * 1741647) >> 19) + 1 - 128
        if shift >= 0:
            denominator <<= shift
        else:
            numerator <<= -shift
        word = -(-numerator // denominator)
        table[k - _K_MIN] = (word >> 64, word & 0xFFFF_FFFF_FFFF_FFFF)
    return table


_POWERS = _power_table()
_TENS = np.array([10**k for k in range(20)], dtype=np.uint64)

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)

# ruff: noqa: ANN401  # Numba hands builders and types of its own to intrinsics


def _multiply_high_typed(_typing: Any, _a: Any, _b: Any) -> Any:
    """Return the high 64 bits of a 64 x 64 bit product; one instruction, where halves take ten."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


def _leading_zeros_typed(_typing: Any, _a: Any) -> Any:
    """Return how many top bits of a word are zero; 64 for 0."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], cgutils.false_bit)

    return types.uint64(types.uint64), codegen


def _trailing_zeros_typed(_typing: Any, _a: Any) -> Any:
    """Return how many low bits of a word are zero; 64 for 0."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], cgutils.false_bit)

    return types.uint64(types.uint64), codegen


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return a pointer to one byte of a uint8 array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _store_word_typed(_typing: Any, out: Any, _at: Any, _word: Any) -> Any:
    """Write the eight bytes of a word at `at`, lowest first, however it is aligned."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _element(context, builder, signature.args[0], args[0], args[1])
        place = builder.bitcast(target, ir.IntType(64).as_pointer())
        builder.store(args[2], place, align=1)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.uint64), codegen


def _copy_sixteen_typed(_typing: Any, out: Any, _at: Any, source: Any, _start: Any) -> Any:
    """Copy 16 bytes, however they are aligned."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128).as_pointer()
        target = _element(context, builder, signature.args[0], args[0], args[1])
        origin = _element(context, builder, signature.args[2], args[2], args[3])
        word = builder.load(builder.bitcast(origin, wide), align=1)
        builder.store(word, builder.bitcast(target, wide), align=1)
        return context.get_dummy_value()

    return types.void(out, types.int64, source, types.int64), codegen


_multiply_high: Any = intrinsic(_multiply_high_typed)
_leading_zeros: Any = intrinsic(_leading_zeros_typed)
_trailing_zeros: Any = intrinsic(_trailing_zeros_typed)
_store_word: Any = intrinsic(_store_word_typed)
_copy_sixteen: Any = intrinsic(_copy_sixteen_typed)


@helper(types.int64(_u8, types.int64, _u8r, types.int64, types.int64))
def put_bytes(out: Bytes, at: Whole, source: Bytes, start: Whole, stop: Whole) -> Whole:
    """Copy source[start:stop] to `at`; return where it ends."""
    end = at + stop - start
    while at < end:
        _copy_sixteen(out, at, source, start)
        at += 16
        start += 16
    return end


@helper(types.uint64(types.uint64, types.uint64, types.uint64))
def _round_to_odd(high: Word, low: Word, factor: Word) -> Word:
    """Return (high, low) * factor >> 128, its last bit set if anything was cut off."""
    carried = _multiply_high(low, factor)
    middle = high * factor + carried
    top: np.uint64 = _multiply_high(high, factor)
    if middle < carried:
        top += _U(1)
    if middle > _U(1):
        top |= _U(1)
    return top


@helper(types.uint64(types.uint64))
def _eight_digits(number: Word) -> Word:
    """Return the digits of a number below 1e8, one a byte, the first one lowest.

    Halves, quarters and digits are split side by side: a division by a constant is a
    multiplication and a shift, and no lane reaches into the next.
    """
    upper = number // _U(10000)
    lanes = upper | ((number - upper * _U(10000)) << _U(32))
    hundreds = ((lanes * _U(10486)) >> _U(20)) & _U(0x7F_0000_007F)
    lanes = hundreds | ((lanes - hundreds * _U(100)) << _U(16))
    tens = ((lanes * _U(103)) >> _U(10)) & _U(0x000F_000F_000F_000F)
    return tens | ((lanes - tens * _U(10)) << _U(8))


_ZEROS = 0x3030_3030_3030_3030
"""Eight times "0"; a constant of the kernels."""


@helper(types.int64(_u8, types.int64, types.uint64))
def _put_short(out: Bytes, at: Whole, number: Word) -> Whole:
    """Write a number below 1e8 without leading zeros; return where it ends."""
    digits = _eight_digits(number)
    skip = min(_trailing_zeros(digits) >> _U(3), _U(7))
    _store_word(out, at, (digits + _U(_ZEROS)) >> (skip << _U(3)))
    return at + 8 - np.int64(skip)


@helper(types.int64(_u8, types.int64, types.uint64))
def _put_whole(out: Bytes, at: Whole, number: Word) -> Whole:
    """Write a whole number without leading zeros; return where it ends."""
    if number < _U(100_000_000):
        return _put_short(out, at, number)
    upper = number // _U(100_000_000)
    lower = number - upper * _U(100_000_000)
    if upper < _U(100_000_000):
        at = _put_short(out, at, upper)
    else:
        top = upper // _U(100_000_000)
        at = _put_short(out, at, top)
        _store_word(out, at, _eight_digits(upper - top * _U(100_000_000)) + _U(_ZEROS))
        at += 8
    _store_word(out, at, _eight_digits(lower) + _U(_ZEROS))
    return at + 8


@helper("UniTuple(uint64, 2)(uint64)")
def _shortest(bits: Word) -> tuple[Word, Word]:
    """Return (digits, exponent + 1000) of the shortest decimal of a finite double that is not 0.

    The sign is ignored. Digits may end in zeros. Source: Schubfach, sections 9 and 10.
    """
    fraction = bits & _U(0xFFFFFFFFFFFFF)
    biased = np.int64((bits >> _U(52)) & _U(0x7FF))
    if biased != 0:
        c = fraction | _U(1 << 52)
        q = biased - 1075
    else:
        c = fraction
        q = np.int64(-1074)
    odd = c & _U(1)
    # Just above a power of two the neighbour below is only half as far away.
    closer_below = fraction == _U(0) and biased > 1
    if closer_below:
        lower_quarter = (c << _U(2)) - _U(1)
        k = (q * 1262611 - 524031) >> 22
    else:
        lower_quarter = (c << _U(2)) - _U(2)
        k = (q * 1262611) >> 22
    shift = _U(q + ((-k * 1741647) >> 19) + 1)
    high = _POWERS[-k - _K_MIN, 0]
    low = _POWERS[-k - _K_MIN, 1]
    value = _round_to_odd(high, low, (c << _U(2)) << shift)
    lower = _round_to_odd(high, low, lower_quarter << shift) + odd
    upper = _round_to_odd(high, low, ((c << _U(2)) + _U(2)) << shift) - odd
    s = value >> _U(2)
    exponent = _U(k + 1000)
    if s >= _U(10):
        tens = s // _U(10)
        below = lower <= _U(40) * tens
        above = _U(40) * tens + _U(40) <= upper
        if below != above:
            return tens + (_U(1) if above else _U(0)), exponent + _U(1)
    below = lower <= _U(4) * s
    above = _U(4) * s + _U(4) <= upper
    if below != above:
        return s + (_U(1) if above else _U(0)), exponent
    middle = _U(4) * s + _U(2)
    if value > middle or (value == middle and (s & _U(1)) != _U(0)):
        s += _U(1)
    return s, exponent


@helper(types.int64(_u8, types.int64, types.uint64))
def _put_fraction(out: Bytes, at: Whole, magnitude: Word) -> Whole:
    """Write a positive double by its shortest decimal; return where it ends."""
    digits, exponent = _shortest(magnitude)
    # Make it 17 digits, the most there are: one, eight and eight, the last ones maybe zero.
    have = np.int64(17)
    if digits < _U(10_000_000_000_000_000):
        have = np.int64(16)
        while digits < _TENS[have - 1]:
            have -= 1
        digits *= _TENS[17 - have]
    point = have + np.int64(exponent) - 1000
    upper = digits // _U(100_000_000)
    tail = _eight_digits(digits - upper * _U(100_000_000))
    lead = upper // _U(100_000_000)
    middle = _eight_digits(upper - lead * _U(100_000_000))
    if tail != _U(0):
        count = 17 - np.int64(_leading_zeros(tail) >> _U(3))
    else:
        count = 9 - np.int64(_leading_zeros(middle) >> _U(3))
    # Leave room for what comes before the digits, then set it there.
    scientific = point < -5 or point > 21
    start = at
    if scientific:
        start = at + 1
    elif point <= 0:
        _store_word(out, at, _U(_ZEROS - 0x0200))  # "0.000000"
        start = at + 2 - point
    elif point < count:
        start = at + 1
    out[start] = np.uint8(48) + np.uint8(lead)
    _store_word(out, start + 1, middle + _U(_ZEROS))
    _store_word(out, start + 9, tail + _U(_ZEROS))
    if scientific:
        out[at] = out[start]
        at += 1
        if count > 1:
            out[at] = 46
            at += count
        power = point - 1
        out[at] = 101
        out[at + 1] = 45 if power < 0 else 43
        power = abs(power)
        if power < 10:
            out[at + 2] = 48
            out[at + 3] = 48 + power
            return at + 4
        return _put_short(out, at + 2, _U(power))
    if point <= 0:
        return start + count
    if point < count:
        for i in range(at, at + point):
            out[i] = out[i + 1]
        out[at + point] = 46
        return at + count + 1
    for i in range(at + 17, at + point):
        out[i] = 48
    return at + point


@helper(types.int64(_u8, types.int64, types.uint64))
def put_float(out: Bytes, at: Whole, bits: Word) -> Whole:
    """Write a double as Prometheus' API does, without quotes; return where it ends."""
    magnitude = bits & _U(0x7FFF_FFFF_FFFF_FFFF)
    if magnitude >= _U(0x7FF0_0000_0000_0000):
        if magnitude > _U(0x7FF0_0000_0000_0000):
            out[at], out[at + 1], out[at + 2] = 78, 97, 78  # NaN has no sign
            return at + 3
        out[at] = 45 if bits != magnitude else 43
        out[at + 1], out[at + 2], out[at + 3] = 73, 110, 102
        return at + 4
    if bits != magnitude:
        out[at] = 45
        at += 1
    if magnitude == _U(0):
        out[at] = 48
        return at + 1
    point = np.int64(magnitude >> _U(52)) - 1023
    if 0 <= point <= 52:
        # A whole number below 2^53, what most counters are: its own digits are the shortest.
        c = (magnitude & _U(0xFFFFFFFFFFFFF)) | _U(1 << 52)
        cut = _U(52 - point)
        whole = c >> cut
        if (whole << cut) == c:
            return _put_whole(out, at, whole)
    return _put_fraction(out, at, magnitude)


@helper(types.int64(_u8, types.int64, types.int64))
def put_stamp(out: Bytes, at: Whole, time_ms: Whole) -> Whole:
    """Write `[t,"` for a time; return where it ends. Whole seconds have no fraction."""
    out[at] = 91
    at += 1
    magnitude = _U(time_ms)
    if time_ms < 0:
        out[at] = 45
        at += 1
        magnitude = _U(0) - magnitude
    seconds = magnitude // _U(1000)
    millis = magnitude - seconds * _U(1000)
    at = _put_whole(out, at, seconds)
    if millis != _U(0):
        _store_word(out, at, (_eight_digits(millis) >> _U(32)) + _U(0x3030_302E))
        at += 4
    out[at], out[at + 1] = 44, 34
    return at + 2
