"""Compiled loops of the JSON writer: columns of samples to `[t,"v"]` bytes.

Doubles become their shortest decimal that reads back as the same double, by Giulietti's
Schubfach algorithm (R. Giulietti, "The Schubfach way to render doubles", 2020), and are laid out
as Prometheus lays them out: Go's 'f' form, or its 'e' form below 1e-6 and from 1e21 on.

The writing kernels are resumable: `state` holds the next series and the next point within it, so
an answer of any size passes through one buffer. The caller calls again until state[0] == S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # has no types
from numba import njit, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Locals = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]
    Word = np.uint64

VALUE_BYTES_MAX = 25
"""Longest value: sign, `0.000001` and 17 digits, the first of them on the last zero's place."""

STAMP_BYTES_MAX = 25
"""Longest time: sign, 16 digits, point, 3 digits, `[`, `,` and the opening quote fit."""

POINT_BYTES_MAX = VALUE_BYTES_MAX + STAMP_BYTES_MAX + 6
"""One point with its brackets, quotes and comma."""

FRAME_BYTES_MAX = 64
"""What a series costs beside its labels and points: keys, braces, brackets."""

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
_PAIRS = np.frombuffer("".join(f"{i:02d}" for i in range(100)).encode(), dtype=np.uint8).copy()

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_u64r = types.Array(types.uint64, 1, "C", readonly=True)
_u64r2 = types.Array(types.uint64, 2, "C", readonly=True)
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)
_bool_r2 = types.Array(types.boolean, 2, "C", readonly=True)


def _multiply_high_typed(_typing: Any, _a: Any, _b: Any) -> Any:  # noqa: ANN401  # Numba's own
    """Return the high 64 bits of a 64 x 64 bit product; one instruction, where halves take ten."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


_multiply_high: Any = intrinsic(_multiply_high_typed)


@njit(types.uint64(types.uint64, types.uint64, types.uint64), cache=True, nogil=True)
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


@njit(types.int64(types.uint64), cache=True, nogil=True)
def _digit_count(number: Word) -> Whole:
    """Return how many decimal digits a number has, at most 20."""
    count = 1
    while number >= _U(10000):
        number //= _U(10000)
        count += 4
    if number >= _U(1000):
        return count + 3
    if number >= _U(100):
        return count + 2
    if number >= _U(10):
        return count + 1
    return count


@njit(types.void(_u8, types.int64, types.uint64, types.int64), cache=True, nogil=True)
def _put_digits(out: Bytes, at: Whole, number: Word, count: Whole) -> None:
    """Write `count` digits of a number at `at`, with leading zeros if it has fewer."""
    stop = at + count
    while stop - at >= 2:
        rest = number // _U(100)
        pair = np.int64(number - rest * _U(100)) * 2
        out[stop - 1] = _PAIRS[pair + 1]
        out[stop - 2] = _PAIRS[pair]
        number = rest
        stop -= 2
    if stop > at:
        out[at] = np.uint8(48) + np.uint8(number % _U(10))


@njit("UniTuple(int64, 2)(uint64)", cache=True, nogil=True)
def _shortest(bits: Word) -> tuple[Whole, Whole]:
    """Return (digits, exponent) of the shortest decimal of a finite double that is not zero.

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
    if s >= _U(10):
        tens = s // _U(10)
        below = lower <= _U(40) * tens
        above = _U(40) * tens + _U(40) <= upper
        if below != above:
            return np.int64(tens + (_U(1) if above else _U(0))), k + 1
    below = lower <= _U(4) * s
    above = _U(4) * s + _U(4) <= upper
    if below != above:
        return np.int64(s + (_U(1) if above else _U(0))), k
    middle = _U(4) * s + _U(2)
    if value > middle or (value == middle and (s & _U(1)) != _U(0)):
        s += _U(1)
    return np.int64(s), k


@njit(types.int64(_u8, types.int64, types.uint64), cache=True, nogil=True)
def _put_float(out: Bytes, at: Whole, bits: Word) -> Whole:
    """Write a double as Prometheus' API does, without quotes; return where it ends."""
    magnitude = bits & _U(0x7FFF_FFFF_FFFF_FFFF)
    if magnitude > _U(0x7FF0_0000_0000_0000):
        out[at], out[at + 1], out[at + 2] = 78, 97, 78  # NaN has no sign
        return at + 3
    negative = bits != magnitude
    if magnitude == _U(0x7FF0_0000_0000_0000):
        out[at] = 45 if negative else 43
        out[at + 1], out[at + 2], out[at + 3] = 73, 110, 102
        return at + 4
    if negative:
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
            count = _digit_count(whole)
            _put_digits(out, at, whole, count)
            return at + count
    decimal, exponent = _shortest(magnitude)
    digits = _U(decimal)
    while digits >= _U(10):
        rest = digits // _U(10)
        if rest * _U(10) != digits:
            break
        digits = rest
        exponent += 1
    count = _digit_count(digits)
    point = count + exponent
    if point < -5 or point > 21:
        _put_digits(out, at + 1, digits, count)
        out[at] = out[at + 1]
        at += 1
        if count > 1:
            out[at] = 46
            at += count
        power = point - 1
        out[at] = 101
        out[at + 1] = 45 if power < 0 else 43
        power = abs(power)
        width = 3 if power >= 100 else 2
        _put_digits(out, at + 2, _U(power), width)
        return at + 2 + width
    if point <= 0:
        out[at], out[at + 1] = 48, 46
        at += 2
        for _ in range(-point):
            out[at] = 48
            at += 1
        _put_digits(out, at, digits, count)
        return at + count
    if point < count:
        _put_digits(out, at + 1, digits, count)
        for i in range(at, at + point):
            out[i] = out[i + 1]
        out[at + point] = 46
        return at + count + 1
    _put_digits(out, at, digits, count)
    for i in range(at + count, at + point):
        out[i] = 48
    return at + point


@njit(types.int64(_u8, types.int64, types.int64), cache=True, nogil=True)
def _put_stamp(out: Bytes, at: Whole, time_ms: Whole) -> Whole:
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
    count = _digit_count(seconds)
    _put_digits(out, at, seconds, count)
    at += count
    if millis != _U(0):
        out[at] = 46
        _put_digits(out, at + 1, millis, np.int64(3))
        at += 4
    out[at], out[at + 1] = 44, 34
    return at + 2


@njit(types.int64(_u8, types.int64, _u8r, types.int64, types.int64), cache=True, nogil=True)
def _put_bytes(out: Bytes, at: Whole, source: Bytes, start: Whole, stop: Whole) -> Whole:
    """Copy source[start:stop]; return where it ends."""
    for i in range(start, stop):
        out[at] = source[i]
        at += 1
    return at


@njit(types.int64(types.int64, _i32r2, _i64r, _i64r), cache=True, nogil=True)
def _metric_bytes(series: Whole, texts_of: Locals, name_at: Ints, text_at: Ints) -> Whole:
    """Return the length of one series' label object, or a little more."""
    size = 2
    for label in range(texts_of.shape[0]):
        text = texts_of[label, series]
        if text >= 0:
            size += name_at[label + 1] - name_at[label] + text_at[text + 1] - text_at[text] + 1
    return size


@njit(
    types.int64(_u8, types.int64, types.int64, _i32r2, _u8r, _i64r, _u8r, _i64r),
    cache=True,
    nogil=True,
)
def _put_metric(
    out: Bytes,
    at: Whole,
    series: Whole,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
) -> Whole:
    """Write one series' labels as a JSON object; return where it ends."""
    out[at] = 123
    at += 1
    first = True
    for label in range(texts_of.shape[0]):
        text = texts_of[label, series]
        if text < 0:
            continue
        if not first:
            out[at] = 44
            at += 1
        first = False
        at = _put_bytes(out, at, names, name_at[label], name_at[label + 1])
        at = _put_bytes(out, at, texts, text_at[text], text_at[text + 1])
    out[at] = 125
    return at + 1


_HEAD = np.frombuffer(b'{"metric":', dtype=np.uint8)
_VALUES = np.frombuffer(b',"values":[', dtype=np.uint8)
_VALUE = np.frombuffer(b',"value":', dtype=np.uint8)


@njit(
    types.int64(_i64, _u64r2, _bool_r2, _u8r, _i64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8),
    cache=True,
    nogil=True,
)
def write_matrix(
    state: Ints,
    bits: Words,
    present: npt.NDArray[np.bool_],
    stamps: Bytes,
    stamp_at: Ints,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    out: Bytes,
) -> int:
    """Write series over shared steps until all are written or `out` is full; return the length.

    Shapes: `state` int64[2], advanced in place; `bits` uint64[S, T], the doubles' bits; `present`
    bool[S, T], at least one True in a row; `stamps` with `stamp_at` int64[T + 1], what
    `write_stamps` made of the steps; `texts_of` int32[L, S], index into `text_at` or -1 for an
    absent label; `names`, `name_at` int64[L + 1] the bytes `"name":`; `texts`, `text_at`
    int64[K + 1] the quoted values. Errors: none; `out` must hold at least one series' labels
    and one point more than the constants above say.
    Invariant: state[1] is 0 exactly between series.
    """
    at = 0
    first_of_series = False
    while state[0] < bits.shape[0]:
        series = state[0]
        if state[1] == 0:
            size = _metric_bytes(series, texts_of, name_at, text_at)
            if at + size + FRAME_BYTES_MAX + POINT_BYTES_MAX > out.size:
                return at
            if series > 0:
                out[at] = 44
                at += 1
            at = _put_bytes(out, at, _HEAD, 0, _HEAD.size)
            at = _put_metric(out, at, series, texts_of, names, name_at, texts, text_at)
            at = _put_bytes(out, at, _VALUES, 0, _VALUES.size)
            first_of_series = True
        for step in range(state[1], bits.shape[1]):
            if not present[series, step]:
                continue
            if at + POINT_BYTES_MAX + 4 > out.size:
                state[1] = step
                return at
            if not first_of_series:
                out[at] = 44
                at += 1
            first_of_series = False
            at = _put_bytes(out, at, stamps, stamp_at[step], stamp_at[step + 1])
            at = _put_float(out, at, bits[series, step])
            out[at], out[at + 1] = 34, 93
            at += 2
        out[at], out[at + 1] = 93, 125
        at += 2
        state[0] += 1
        state[1] = 0
    return at


@njit(
    types.int64(_i64, _i64r, _i64r, _u64r, _i64r, _i64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8),
    cache=True,
    nogil=True,
)
def write_raw(
    state: Ints,
    times: Ints,
    time_start: Ints,
    bits: Words,
    value_start: Ints,
    count: Ints,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    out: Bytes,
) -> int:
    """Write series with times of their own, otherwise as `write_matrix`.

    Shapes: as in `RawResult`, `bits` being the values' bits; the rest as in `write_matrix`.
    """
    at = 0
    while state[0] < count.size:
        series = state[0]
        if state[1] == 0:
            size = _metric_bytes(series, texts_of, name_at, text_at)
            if at + size + FRAME_BYTES_MAX + POINT_BYTES_MAX > out.size:
                return at
            if series > 0:
                out[at] = 44
                at += 1
            at = _put_bytes(out, at, _HEAD, 0, _HEAD.size)
            at = _put_metric(out, at, series, texts_of, names, name_at, texts, text_at)
            at = _put_bytes(out, at, _VALUES, 0, _VALUES.size)
        for point in range(state[1], count[series]):
            if at + POINT_BYTES_MAX + 4 > out.size:
                state[1] = point
                return at
            if point > 0:
                out[at] = 44
                at += 1
            at = _put_stamp(out, at, times[time_start[series] + point])
            at = _put_float(out, at, bits[value_start[series] + point])
            out[at], out[at + 1] = 34, 93
            at += 2
        out[at], out[at + 1] = 93, 125
        at += 2
        state[0] += 1
        state[1] = 0
    return at


@njit(
    types.int64(_i64, types.int64, _u64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8),
    cache=True,
    nogil=True,
)
def write_vector(
    state: Ints,
    time_ms: Whole,
    bits: Words,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    out: Bytes,
) -> int:
    """Write series of one sample each, all at one time, otherwise as `write_matrix`."""
    at = 0
    while state[0] < bits.size:
        series = state[0]
        size = _metric_bytes(series, texts_of, name_at, text_at)
        if at + size + FRAME_BYTES_MAX + POINT_BYTES_MAX > out.size:
            return at
        if series > 0:
            out[at] = 44
            at += 1
        at = _put_bytes(out, at, _HEAD, 0, _HEAD.size)
        at = _put_metric(out, at, series, texts_of, names, name_at, texts, text_at)
        at = _put_bytes(out, at, _VALUE, 0, _VALUE.size)
        at = _put_stamp(out, at, time_ms)
        at = _put_float(out, at, bits[series])
        out[at], out[at + 1], out[at + 2] = 34, 93, 125
        at += 3
        state[0] += 1
    return at


@njit(types.int64(_i64, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8), cache=True, nogil=True)
def write_label_sets(
    state: Ints,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    out: Bytes,
) -> int:
    """Write label objects with commas between them, otherwise as `write_matrix`."""
    at = 0
    while state[0] < texts_of.shape[1]:
        size = _metric_bytes(state[0], texts_of, name_at, text_at)
        if at + size + 2 > out.size:
            return at
        if state[0] > 0:
            out[at] = 44
            at += 1
        at = _put_metric(out, at, state[0], texts_of, names, name_at, texts, text_at)
        state[0] += 1
    return at


@njit(types.int64(_i64r, _u8, _i64), cache=True, nogil=True)
def write_stamps(times_ms: Ints, out: Bytes, stamp_at: Ints) -> int:
    """Write `[t,"` for every time and its offsets into `stamp_at` int64[T + 1]; return the length.

    `out` needs STAMP_BYTES_MAX bytes a time.
    """
    at = 0
    for i in range(times_ms.size):
        stamp_at[i] = at
        at = _put_stamp(out, at, times_ms[i])
    stamp_at[times_ms.size] = at
    return at


@njit(types.int64(_u64r, _u8, _i64), cache=True, nogil=True)
def write_floats(bits: Words, out: Bytes, value_at: Ints) -> int:
    """Write bare values one after the other and their offsets; as `write_stamps`.

    `out` needs VALUE_BYTES_MAX bytes a value.
    """
    at = 0
    for i in range(bits.size):
        value_at[i] = at
        at = _put_float(out, at, bits[i])
    value_at[bits.size] = at
    return at


@njit(
    types.int64(
        types.Array(types.uint32, 2, "C", readonly=True),
        types.Array(types.uint32, 1, "C"),
        types.Array(types.int32, 1, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.uint32, 1, "C"),
    ),
    cache=True,
    nogil=True,
)
def number_symbols(
    ids: npt.NDArray[np.uint32],
    keys: npt.NDArray[np.uint32],
    numbers: npt.NDArray[np.int32],
    texts_of: Locals,
    distinct: npt.NDArray[np.uint32],
) -> int:
    """Give the distinct symbols of label columns numbers; return how many there are, or -1.

    Shapes: `ids` uint32[L, S], 0 absent; `keys`, `numbers` are the zeroed hash table, of one size
    that is a power of two; `texts_of` int32[L, S] and `distinct` uint32[any] are written.
    Errors: -1 if `distinct` or half of the table is full: call again with larger ones.
    """
    mask = keys.size - 1
    count = 0
    room = min(distinct.size, keys.size // 2)
    for label in range(ids.shape[0]):
        for series in range(ids.shape[1]):
            symbol = ids[label, series]
            if symbol == 0:
                texts_of[label, series] = -1
                continue
            slot = np.int64((_U(symbol) * _U(0x9E3779B97F4A7C15)) >> _U(32)) & mask
            while keys[slot] != symbol and keys[slot] != 0:
                slot = (slot + 1) & mask
            if keys[slot] == 0:
                if count == room:
                    return -1
                keys[slot] = symbol
                numbers[slot] = count
                distinct[count] = symbol
                count += 1
            texts_of[label, series] = numbers[slot]
    return count
