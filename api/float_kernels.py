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
from numba import types

from api.word_intrinsics import (
    copy_sixteen,
    leading_zeros,
    multiply_high,
    sixteen_digits,
    store_byte,
    store_word,
    trailing_zeros,
)
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


def _exponent_table() -> Words:
    """Return, for each biased exponent of a double, the words of its power, a shift, k + 1000.

    k is the decimal exponent of the last digit that may matter: 10^k <= 2^q < 10^(k + 1).
    """
    table = np.zeros((2047, 4), dtype=np.uint64)
    for biased in range(1, 2047):
        q = biased - 1075
        k = (q * 1262611) >> 22
        table[biased, :2] = _POWERS[-k - _K_MIN]
        table[biased, 2:] = (q + ((-k * 1741647) >> 19) + 1, k + 1000)
    return table


_BY_EXPONENT = _exponent_table()
_TENS = np.array([10**k for k in range(20)], dtype=np.uint64)

_LEAN: dict[str, Any] = {"_nrt": False}
"""Nothing here makes arrays, so that none is counted: four atomic additions a value otherwise."""

_INLINE = _LEAN | {"forceinline": True}

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)


@helper(types.int64(_u8, types.int64, _u8r, types.int64, types.int64), **_INLINE)
def put_bytes(out: Bytes, at: Whole, source: Bytes, start: Whole, stop: Whole) -> Whole:
    """Copy source[start:stop] to `at`; return where it ends."""
    end = at + stop - start
    while at < end:
        copy_sixteen(out, at, source, start)
        at += 16
        start += 16
    return end


@helper(types.uint64(types.uint64, types.uint64, types.uint64), **_INLINE)
def _round_to_odd(high: Word, low: Word, factor: Word) -> Word:
    """Return (high, low) * factor >> 128, its last bit set if anything was cut off."""
    carried = multiply_high(low, factor)
    middle = high * factor + carried
    top: np.uint64 = multiply_high(high, factor)
    if middle < carried:
        top += _U(1)
    if middle > _U(1):
        top |= _U(1)
    return top


@helper(types.uint64(types.uint64), **_INLINE)
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


@helper(types.int64(_u8, types.int64, types.uint64), **_INLINE)
def _put_short(out: Bytes, at: Whole, number: Word) -> Whole:
    """Write a number below 1e8 without leading zeros; return where it ends."""
    digits = _eight_digits(number)
    skip = min(trailing_zeros(digits) >> _U(3), _U(7))
    store_word(out, at, (digits + _U(_ZEROS)) >> (skip << _U(3)))
    return at + 8 - np.int64(skip)


@helper(types.int64(_u8, types.int64, types.uint64), **_INLINE)
def _put_whole(out: Bytes, at: Whole, number: Word) -> Whole:
    """Write a whole number without leading zeros; return where it ends."""
    if number < _U(100_000_000):
        return _put_short(out, at, number)
    upper = number // _U(100_000_000)
    lower = number - upper * _U(100_000_000)
    if upper < _U(100_000_000):
        digits, tail = sixteen_digits(upper, lower)
        skip = trailing_zeros(digits) >> _U(3)
        store_word(out, at, (digits + _U(_ZEROS)) >> (skip << _U(3)))
        store_word(out, at + 8 - np.int64(skip), tail + _U(_ZEROS))
        return at + 16 - np.int64(skip)
    top = upper // _U(100_000_000)
    at = _put_short(out, at, top)
    store_word(out, at, _eight_digits(upper - top * _U(100_000_000)) + _U(_ZEROS))
    at += 8
    store_word(out, at, _eight_digits(lower) + _U(_ZEROS))
    return at + 8


@helper("UniTuple(uint64, 2)(uint64)", **_LEAN)
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


_NEAR = 8
"""More than the product and half of the distance are wrong by, in 2^-59."""


@helper("UniTuple(uint64, 2)(uint64)", **_INLINE)
def _seventeen_digits(magnitude: Word) -> tuple[Word, Word]:
    """Return the shortest decimal of a finite double that is not 0 as (17 digits, point + 1000).

    The value is 0.digits * 10^point; digits end in zeros where fewer are enough.
    Invariant: one product with 64 bits behind the point tells which decimals are within half of
    what separates the double from its neighbours, but for a few in 2^59, which `_shortest` decides,
    as it does where the neighbours are not equally far.
    """
    fraction = magnitude & _U(0xFFFFFFFFFFFFF)
    biased = magnitude >> _U(52)
    if fraction != _U(0) and biased != _U(0):
        high = _BY_EXPONENT[biased, _U(0)]
        shift = _BY_EXPONENT[biased, _U(2)]
        exponent = _BY_EXPONENT[biased, _U(3)]
        scaled = (fraction | _U(1 << 52)) << shift
        carried = multiply_high(_BY_EXPONENT[biased, _U(1)], scaled)
        middle = high * scaled + carried
        top = multiply_high(high, scaled)
        if middle < carried:
            top += _U(1)
        # Everything in 2^-59 of the last digit from here on. What chooses is a bit each, not a
        # branch: which way it goes is as good as random.
        ones = top % _U(10)
        behind = middle >> _U(5)
        down = (ones << _U(59)) | behind
        up = _U(10 << 59) - down
        half = high >> (_U(6) - shift)
        near = _U(_NEAR)
        close = down - half + near <= near + near
        close |= up - half + near <= near + near
        close |= behind - _U(1 << 58) + near <= near + near
        if not close:
            take_down = (down - half) >> _U(63)
            take_up = (up - half) >> _U(63)
            ten = take_down | take_up
            digits = top + ((behind >> _U(58)) & ~ten) - ones * ten + _U(10) * take_up
            sixteen = (digits - _U(10_000_000_000_000_000)) >> _U(63)
            return digits + digits * (_U(9) * sixteen), exponent + _U(17) - sixteen
    digits, exponent = _shortest(magnitude)
    have = 17
    if digits < _U(10_000_000_000_000_000):
        have = 16
        while digits < _TENS[have - 1]:
            have -= 1
        digits *= _TENS[17 - have]
    return digits, exponent + _U(have)


@helper(types.uint64(types.uint64, types.uint64), **_INLINE)
def _with_point(digits: Word, point: Word) -> Word:
    """Put a "." behind so many of eight digits, at most 7; the last one falls out."""
    shift = point << _U(3)
    kept = (_U(1) << shift) - _U(1)
    return (digits & kept) | (_U(46) << shift) | ((digits & ~kept) << _U(8))


@helper(
    types.int64(
        _u8, types.int64, types.uint64, types.uint64, types.uint64, types.int64, types.int64
    ),
    **_LEAN,
)
def _put_rare(
    out: Bytes, at: Whole, first: Word, middle: Word, tail: Word, count: Whole, point: Whole
) -> Whole:
    """Write what is very small or very large, or has its point before the last of 17 digits."""
    scientific = point < -5 or point > 21
    start = at + 1 if scientific else at
    store_byte(out, start, first)
    store_word(out, start + 1, middle)
    store_word(out, start + 9, tail)
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
    if point < count:
        out[at + count] = out[at + count - 1]
        out[at + point] = 46
        return at + count + 1
    for i in range(at + 17, at + point):
        out[i] = 48
    return at + point


@helper(types.int64(_u8, types.int64, types.uint64), **_INLINE)
def _put_fraction(out: Bytes, at: Whole, magnitude: Word) -> Whole:
    """Write a positive double by its shortest decimal; return where it ends."""
    digits, exponent = _seventeen_digits(magnitude)
    point: Whole = np.int64(exponent) - 1000
    upper = digits // _U(100_000_000)
    lead = upper // _U(100_000_000)
    middle, tail = sixteen_digits(upper - lead * _U(100_000_000), digits - upper * _U(100_000_000))
    behind = leading_zeros(tail) >> _U(3)
    before = leading_zeros(middle) >> _U(3)
    count: Whole = np.int64(_U(17) - behind - before * (behind >> _U(3)))
    first = (lead | (middle << _U(8))) + _U(_ZEROS)
    middle += _U(_ZEROS)
    tail += _U(_ZEROS)
    if 0 < point < min(count, 8):
        # All digits one place to the right, then those before the point again, with it.
        store_word(out, at + 2, middle)
        store_word(out, at + 10, tail)
        store_word(out, at, _with_point(first, _U(point)))
        return at + count + 1
    if -6 < point <= 0:
        store_word(out, at, _U(_ZEROS - 0x0200))  # "0.000000"
        at += 2 - point
        store_byte(out, at, first)
        store_word(out, at + 1, middle)
        store_word(out, at + 9, tail)
        return at + count
    if 8 <= point < min(count, 16):
        second = (middle >> _U(56)) | (tail << _U(8))
        store_word(out, at, first)
        store_word(out, at + 10, tail)
        store_word(out, at + 8, _with_point(second, _U(point - 8)))
        return at + count + 1
    return _put_rare(out, at, first, middle, tail, count, point)


@helper(types.void(_u8, types.int64, _u8r, types.int64), **_INLINE)
def put_thirty_two(out: Bytes, at: Whole, source: Bytes, start: Whole) -> None:
    """Copy 32 bytes, of which the second half may not depend on what the first one writes."""
    copy_sixteen(out, at, source, start)
    copy_sixteen(out, at + 16, source, start + 16)


@helper(types.int64(_u8, types.int64, types.uint64), **_LEAN)
def put_float(out: Bytes, at: Whole, bits: Word) -> Whole:
    """Write a double as Prometheus' API does, without quotes; return where it ends."""
    magnitude = bits & _U(0x7FFF_FFFF_FFFF_FFFF)
    start = at
    store_byte(out, at, _U(45))
    at += np.int64(bits >> _U(63))
    point = (magnitude >> _U(52)) - _U(1023)
    # A whole number below 2^52, what most counters are: its own digits are the shortest.
    if point < _U(52) and magnitude << (point + _U(12)) == _U(0):
        whole = ((magnitude & _U(0xFFFFFFFFFFFFF)) | _U(1 << 52)) >> (_U(52) - point)
        return _put_whole(out, at, whole)
    if magnitude - _U(1) < _U(0x7FEF_FFFF_FFFF_FFFF):
        return _put_fraction(out, at, magnitude)
    if magnitude == _U(0):
        store_byte(out, at, _U(48))
        return at + 1
    if magnitude > _U(0x7FF0_0000_0000_0000):
        store_word(out, start, _U(0x4E614E))  # NaN has no sign
        return start + 3
    store_word(out, start, _U(0x666E492B) + ((bits >> _U(63)) << _U(1)))  # "+Inf", "-Inf"
    return start + 4


@helper(types.int64(_u8, types.int64, types.int64), **_INLINE)
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
        store_word(out, at, (_eight_digits(millis) >> _U(32)) + _U(0x3030_302E))
        at += 4
    out[at], out[at + 1] = 44, 34
    return at + 2


STAMP_SPAN_MS = 100_000_000
"""Times in one such span, from 1973 on, differ in their last eight digits alone."""


@helper(types.int64(_u8, types.int64, types.int64, types.int64, types.int64), **_LEAN)
def put_near_stamp(out: Bytes, at: Whole, other_at: Whole, head: Whole, time_ms: Whole) -> Whole:
    """Write what `put_stamp` does, from a stamp in `out` of a time in the same span.

    `head` is the length of what the two have in common, at most 16.
    """
    copy_sixteen(out, at, out, other_at)
    at += head
    digits = _eight_digits(_U(time_ms % STAMP_SPAN_MS)) + _U(_ZEROS)
    store_word(out, at, digits)
    at += 5
    millis = digits >> _U(40)
    if millis == _U(0x303030):
        store_word(out, at, _U(0x222C))
        return at + 2
    store_word(out, at, (millis << _U(8)) | _U(0x222C_0000_002E))
    return at + 6
