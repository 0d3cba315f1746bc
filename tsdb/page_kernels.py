"""Compiled loops of the page codec: runs of 64-bit words to bytes and back.

From: `pages.py`, which describes the format (so does `FORMAT.md`) and owns every array here.
To:   the same.

All arithmetic is on uint64 and wraps, so that no times and no bit patterns, however hostile,
can lose a bit. Bounds of what is read from disk are checked once a page, before its loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no stubs
from numba import njit, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Words = npt.NDArray[np.uint64]
    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)
INTS_IN = types.Array(types.int64, 1, "C", readonly=True)
FLOATS_IN = types.Array(types.float64, 1, "C", readonly=True)
WORDS_IN = types.Array(types.uint64, 1, "C", readonly=True)
BYTES = types.Array(types.uint8, 1, "C")
INTS = types.Array(types.int64, 1, "C")
FLOATS = types.Array(types.float64, 1, "C")
WORDS = types.Array(types.uint64, 1, "C")

# The first byte of a page. See FORMAT.md, "A page".
TRANSFORM = 0x03
PLAIN, DELTA, DELTA2 = 0, 1, 2
ZIGZAG = 0x04
EXCEPTIONS = 0x08
STEP = 0x10
BITS = 0x20
PACKED = 0x40
BIAS = 0x80

# How the words of a page are laid out; arguments of `encode_pages`.
LAYOUT_PLANES, LAYOUT_PACKED, LAYOUT_SPLIT = 0, 1, 2

EXPONENT_MAX = 15
PACKED_BITS_MAX = 56
"""So many bits can be taken out of eight bytes that start at any bit of the first."""
HEADER_BYTES_MAX = 64

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_POW10 = np.array([10.0**e for e in range(EXPONENT_MAX + 1)])
_INTEGER_LIMIT = 9.2e18  # below 2**63: a float under it converts to int64 without overflow
_MANTISSA_LIMIT = 9007199254740992.0  # 2**53: integers under it are exact, so division rounds once


if TYPE_CHECKING:

    def _bit_length(value: np.uint64) -> int:
        """Return the position of the highest bit, counted from 1; 0 for 0."""

    def _load_word(array: Bytes, index: int) -> np.uint64:
        """Return the eight bytes at `array[index:]` as a little-endian word, aligned or not."""

else:

    @intrinsic
    def _bit_length(typing_context, value):  # noqa: ANN001, ANN202  Numba's own objects
        del typing_context, value

        def emit(context, builder, signature, args):  # noqa: ANN001, ANN202  as above
            del context, signature
            zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
            return builder.sub(ir.Constant(args[0].type, 64), zeros)

        return types.int64(types.uint64), emit

    @intrinsic
    def _load_word(typing_context, array, index):  # noqa: ANN001, ANN202  Numba's own objects
        del typing_context

        def emit(context, builder, signature, args):  # noqa: ANN001, ANN202  as above
            array_struct = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(array_struct.data, [args[1]])
            wide = builder.bitcast(pointer, ir.IntType(64).as_pointer())
            return builder.load(wide, align=1)

        return types.uint64(array, index), emit


@njit(types.int64(BYTES, types.int64, types.uint64), cache=True, nogil=True)
def _put_varint(out: Bytes, at: int, value: np.uint64) -> int:
    """Write one LEB128 number at `out[at]` and return the index after it."""
    while value >= np.uint64(128):
        out[at] = np.uint8((value & np.uint64(127)) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@njit(types.uint64(types.uint64), cache=True, nogil=True)
def _zigzag(word: np.uint64) -> np.uint64:
    """Fold a signed word so that small magnitudes become small numbers."""
    return (word << _ONE) ^ (_ZERO - (word >> np.uint64(63)))


@njit(
    types.int64(FLOATS_IN, WORDS_IN, types.int64, types.int64, WORDS, INTS), cache=True, nogil=True
)
def _to_integers(
    values: Floats, bits: Words, start: int, count: int, words: Words, exceptions: Ints
) -> int:
    """Write the values times a power of ten into `words`; return exponent + 16 * exceptions.

    A value that no integer gives back bit for bit becomes an exception: its index goes to
    `exceptions`, its word repeats its neighbour's. -1: too many exceptions, keep the bits.
    """
    exponent = 0
    bad = 0
    bad_max = count // 8 + 1
    # Invariant: an integer exact at one exponent is exact at every greater one that keeps it under
    # 2**53, since both are the one correctly rounded quotient of the same rational number.
    for i in range(count):
        value = values[start + i]
        if not abs(value) < _INTEGER_LIMIT:
            bad += 1
        elif np.float64(np.int64(value)) != value:
            e = max(exponent, 1)
            while e <= EXPONENT_MAX:
                scaled = value * _POW10[e]
                if not abs(scaled) < _MANTISSA_LIMIT:
                    e = EXPONENT_MAX + 1
                    break
                if np.rint(scaled) / _POW10[e] == value:
                    break
                e += 1
            if e > EXPONENT_MAX:
                bad += 1
            else:
                exponent = e
        if bad > bad_max:
            return -1
    bad = 0
    last = _ZERO
    first_good = -1
    power = _POW10[exponent]
    for i in range(count):
        value = values[start + i]
        good = False
        if abs(value) < _INTEGER_LIMIT:
            scaled = np.rint(value * power)
            if exponent == 0 or abs(scaled) < _MANTISSA_LIMIT:
                # The bits decide, not ==, for the sake of -0.0.
                number = np.int64(scaled)
                if exponent == 0:
                    good = np.float64(number) == value
                else:
                    good = np.float64(number) / power == value
                if number == 0 and bits[start + i] != _ZERO:
                    good = False
                if good:
                    last = np.uint64(number)
                    if first_good < 0:
                        first_good = i
        if not good:
            if bad >= bad_max:
                return -1
            exceptions[bad] = i
            bad += 1
        words[i] = last
    if first_good < 0:
        return -1
    for i in range(first_good):
        words[i] = words[first_good]
    # A series that ends does so with a stale marker: its word goes on as the two before it went.
    end = count
    while bad and end > 2 and exceptions[bad - (count - end) - 1] == end - 1:
        end -= 1
        if count - end == bad:
            break
    for i in range(max(end, 2), count):
        words[i] = words[i - 1] + (words[i - 1] - words[i - 2])
    return exponent + 16 * bad


@njit(types.uint64(WORDS, types.int64), cache=True, nogil=True)
def _common_step(words: Words, count: int) -> np.uint64:
    """Return the greatest common divisor of all differences, at least 1."""
    step = _ZERO
    for i in range(1, count):
        difference = words[i] - words[i - 1]
        if difference >> np.uint64(63):
            difference = _ZERO - difference
        if difference == _ZERO or (step != _ZERO and difference % step == _ZERO):
            continue
        while difference != _ZERO:
            step, difference = difference, step % difference
        if step == _ONE:
            return step
    return max(step, _ONE)


@njit(types.int64(WORDS, types.int64, WORDS), cache=True, nogil=True)
def _transform(words: Words, count: int, head: Words) -> int:
    """Replace `words` by the cheapest differences; return the flags, or'ed with 256 * bits.

    `head` receives first word, bias (or first difference), step. Cost is the sum of the bit
    lengths: it prefers what has many zeros, which is what zstd likes as well.
    `bits` is the bit length of the largest word left. Words left: count, less one a difference.
    """
    low = np.int64(words[0])
    high = low
    for i in range(count):
        word = np.int64(words[i])
        low = min(low, word)
        high = max(high, word)
    base = np.uint64(low)
    span = np.uint64(high) - base
    head[0] = base
    head[1] = _ZERO
    head[2] = _ONE
    if span == _ZERO:
        return PLAIN
    step = _ONE
    # A wider span may have differences that wrap, which a common divisor does not survive.
    if span < np.uint64(1 << 62):
        step = _common_step(words, count)
        if step != _ONE:
            for i in range(count):
                words[i] = np.uint64(np.int64(words[i] - base)) // step
            span //= step
            base = _ZERO
    plain_cost = 0
    delta_cost = 0
    bias_cost = 0
    second_cost = 0
    delta_low = np.int64(words[1] - words[0])
    for i in range(1, count):
        delta_low = min(delta_low, np.int64(words[i] - words[i - 1]))
    negative = delta_low < 0
    delta_base = np.uint64(delta_low)
    before = words[1] - words[0]
    for i in range(1, count):
        plain_cost += _bit_length(words[i] - base)
        delta = words[i] - words[i - 1]
        delta_cost += _bit_length(_zigzag(delta) if negative else delta)
        bias_cost += _bit_length(delta - delta_base)
        second_cost += _bit_length(_zigzag(delta - before))
        before = delta
    flags = PLAIN
    best = plain_cost
    if delta_cost < best:
        flags = DELTA | (ZIGZAG if negative else 0)
        best = delta_cost
    if bias_cost < best:
        flags = DELTA | BIAS
        best = bias_cost
    if count > 2 and second_cost < best:
        flags = DELTA2 | ZIGZAG | BIAS
    if step != _ONE:
        flags |= STEP
        head[2] = step
    largest = _ZERO
    transform = flags & TRANSFORM
    if transform == PLAIN:
        for i in range(count):
            words[i] -= base
            largest |= words[i]
        return flags | (_bit_length(largest) << 8)
    first = words[0]
    # With a step, words count steps above the lowest value: the first one is scaled back.
    head[0] = first if step == _ONE else head[0] + first * step
    if transform == DELTA:
        if flags & BIAS:
            head[1] = delta_base
        before = words[0]
        for i in range(1, count):
            word = words[i]
            delta = word - before
            before = word
            if flags & ZIGZAG:
                delta = _zigzag(delta)
            elif flags & BIAS:
                delta -= delta_base
            words[i - 1] = delta
            largest |= delta
        return flags | (_bit_length(largest) << 8)
    before = words[1]
    difference = words[1] - words[0]
    head[1] = difference
    for i in range(2, count):
        word = words[i]
        delta = word - before
        before = word
        folded = _zigzag(delta - difference)
        difference = delta
        words[i - 2] = folded
        largest |= folded
    return flags | (_bit_length(largest) << 8)


@njit(types.int64(WORDS, types.int64, types.int64), cache=True, nogil=True)
def _noise_bits(words: Words, count: int, bits: int) -> int:
    """Return how many low bits of the words to store as they are: those that look like noise."""
    if bits <= 6:
        return 0
    lengths = np.zeros(65, np.int64)
    for i in range(count):
        lengths[_bit_length(words[i])] += 1
    # The length that one word in ten exceeds. Above it lie the outliers, which need few bits.
    left = count // 10
    at = 64
    while at > 0 and left - lengths[at] >= 0:
        left -= lengths[at]
        at -= 1
    return min(max(at - 5, bits - 8 * ((bits - 1) // 8), 0) if at > 6 else 0, PACKED_BITS_MAX)


@njit(
    types.int64(
        FLOATS_IN, WORDS_IN, INTS_IN, INTS_IN, types.int64, types.boolean, BYTES, INTS, BYTES, INTS
    ),
    cache=True,
    nogil=True,
)
def encode_pages(
    values: Floats,
    bits: Words,
    start: Ints,
    count: Ints,
    layout: int,
    keep_bits: bool,
    out: Bytes,
    offset: Ints,
    noise: Bytes,
    noise_offset: Ints,
) -> int:
    """Encode many runs, each into one page; return the bytes written to `out`.

    Shapes: `values` float64[any] and `bits`, the same memory as uint64; `start`, `count` int64[P],
    count >= 1; `offset`, `noise_offset` int64[P + 1]: where each page begins in `out` and `noise`.
    `keep_bits`: treat the words as integers, do not look for decimals (times).
    `layout` other than LAYOUT_SPLIT puts packed bits behind their page in `out`; `noise` is unused.
    Errors: none. `out` and `noise` must hold what `pages.bytes_max` says.
    """
    longest = 0
    for p in range(count.size):
        longest = max(longest, count[p])
    words = np.empty(longest, np.uint64)
    exceptions = np.empty(longest // 8 + 2, np.int64)
    head = np.empty(3, np.uint64)
    at = 0
    noise_at = 0
    offset[0] = 0
    noise_offset[0] = 0
    for p in range(count.size):
        n = count[p]
        first = start[p]
        found = -1 if keep_bits else _to_integers(values, bits, first, n, words, exceptions)
        flags = 0
        exponent = 0
        bad = 0
        if found < 0:
            flags = BITS
            for i in range(n):
                words[i] = bits[first + i]
        else:
            exponent = found & 15
            bad = found >> 4
            if bad:
                flags = EXCEPTIONS
        chosen = _transform(words, n, head)
        flags |= chosen & 255
        width_bits = chosen >> 8
        left = n - (flags & TRANSFORM) if width_bits else 0
        packed = 0
        if layout == LAYOUT_PACKED:
            packed = min(width_bits, PACKED_BITS_MAX)
        elif layout == LAYOUT_SPLIT:
            packed = _noise_bits(words, left, width_bits)
        if packed:
            flags |= PACKED
        planes = (width_bits - packed + 7) // 8
        out[at] = np.uint8(flags)
        out[at + 1] = np.uint8(exponent | (planes << 4))
        at += 2
        if packed:
            out[at] = np.uint8(packed)
            at += 1
        at = _put_varint(out, at, _zigzag(head[0]))
        if flags & BIAS:
            at = _put_varint(out, at, _zigzag(head[1]))
        if flags & STEP:
            at = _put_varint(out, at, head[2])
        if bad:
            at = _put_varint(out, at, np.uint64(bad))
            before = 0
            for j in range(bad):
                at = _put_varint(out, at, np.uint64(exceptions[j] - before))
                before = exceptions[j]
            for j in range(bad):
                word = bits[first + exceptions[j]]
                for _ in range(8):
                    out[at] = np.uint8(word & np.uint64(255))
                    word >>= np.uint64(8)
                    at += 1
        for plane in range(planes):
            shift = np.uint64(packed + 8 * plane)
            for i in range(left):
                out[at + i] = np.uint8((words[i] >> shift) & np.uint64(255))
            at += left
        if packed:
            mask = (_ONE << np.uint64(packed)) - _ONE
            pending = _ZERO
            pending_bits = 0
            target = noise if layout == LAYOUT_SPLIT else out
            to = noise_at if layout == LAYOUT_SPLIT else at
            for i in range(left):
                pending |= (words[i] & mask) << np.uint64(pending_bits)
                pending_bits += packed
                while pending_bits >= 8:
                    target[to] = np.uint8(pending & np.uint64(255))
                    to += 1
                    pending >>= np.uint64(8)
                    pending_bits -= 8
            if pending_bits:
                target[to] = np.uint8(pending & np.uint64(255))
                to += 1
            if layout == LAYOUT_SPLIT:
                noise_at = to
            else:
                at = to
        offset[p + 1] = at
        noise_offset[p + 1] = noise_at
    return at


@njit(types.uint64(BYTES_IN, INTS, types.int64), cache=True, nogil=True)
def _take_varint(data: Bytes, cursor: Ints, stop: int) -> np.uint64:
    """Read one LEB128 number at `cursor[0]` and move it; past `stop` it is set beyond `stop`."""
    value = _ZERO
    shift = 0
    at = cursor[0]
    while at < stop and shift < 70:
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(127)) << np.uint64(min(shift, 63))
        shift += 7
        if byte < np.uint64(128):
            cursor[0] = at
            return value
    cursor[0] = stop + 1
    return value


@njit(types.int64(BYTES_IN, INTS, types.int64), cache=True, nogil=True)
def _take_length(data: Bytes, cursor: Ints, stop: int) -> int:
    """Read a LEB128 number as an index or a length; negative if no such can be meant."""
    value = _take_varint(data, cursor, stop)
    if value >> np.uint64(31):
        return -1
    return np.int64(value)  # type: ignore[return-value]  # Numba's int is this one


@njit(types.void(BYTES_IN, types.int64, types.int64, types.int64, WORDS), cache=True, nogil=True)
def _unpack_low_bits(data: Bytes, at: int, bits: int, count: int, words: Words) -> None:
    """Shift `count` words left by `bits` and fill in the bits packed at `data[at:]`."""
    shift = np.uint64(bits)
    mask = (_ONE << shift) - _ONE
    # Words whose eight bytes end inside the data are loaded whole, the last few byte by byte.
    quick = min(count, max(0, ((data.size - 8 - at) * 8) // bits))
    position = 0
    for i in range(quick):
        word = _load_word(data, at + (position >> 3)) >> np.uint64(position & 7)
        words[i] = (words[i] << shift) | (word & mask)
        position += bits
    for i in range(quick, count):
        word = _ZERO
        byte_at = at + (position >> 3)
        for b in range(min(8, data.size - byte_at)):
            word |= np.uint64(data[byte_at + b]) << np.uint64(8 * b)
        words[i] = (words[i] << shift) | ((word >> np.uint64(position & 7)) & mask)
        position += bits


@njit(
    types.int64(
        BYTES_IN,
        INTS_IN,
        INTS_IN,
        BYTES_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        FLOATS,
        INTS,
    ),
    cache=True,
    nogil=True,
)
def decode_pages(
    data: Bytes,
    at: Ints,
    stop: Ints,
    noise: Bytes,
    noise_at: Ints,
    count: Ints,
    skip: Ints,
    take: Ints,
    out_at: Ints,
    out: Floats,
    out_bits: Ints,
) -> int:
    """Decode `take` samples of each page from sample `skip` on, to `out[out_at:]`.

    Shapes: `data`, `noise` uint8[any]; the rest int64[P]; `out` float64[any] and `out_bits`, the
    same memory as int64. Page p is `data[at[p] : stop[p]]` and holds `count[p]` samples; its packed
    bits are at `noise[noise_at[p]:]`, or behind it in `data` if `noise_at[p]` is negative.
    Returns -1, or the number of the first page whose bytes cannot be a page.
    Bounds trusted: 0 <= skip, take >= 1, skip + take <= count, and room in `out`.
    """
    longest = 0
    for p in range(count.size):
        longest = max(longest, count[p])
    words = np.empty(longest, np.uint64)
    cursor = np.empty(1, np.int64)
    for p in range(count.size):
        if at[p] < 0 or stop[p] > data.size or stop[p] - at[p] < 3:
            return p
        flags = data[at[p]] & 255
        exponent = data[at[p] + 1] & 15
        planes = data[at[p] + 1] >> 4
        cursor[0] = at[p] + 2
        packed = 0
        if flags & PACKED:
            packed = data[cursor[0]] & 255
            cursor[0] += 1
        folded = _take_varint(data, cursor, stop[p])
        value = (folded >> _ONE) ^ (_ZERO - (folded & _ONE))
        bias = _ZERO
        step = _ONE
        if flags & BIAS:
            folded = _take_varint(data, cursor, stop[p])
            bias = (folded >> _ONE) ^ (_ZERO - (folded & _ONE))
        if flags & STEP:
            step = _take_varint(data, cursor, stop[p])
        bad = 0
        bad_at = 0
        bad_words = 0
        if flags & EXCEPTIONS:
            bad = _take_length(data, cursor, stop[p])
            if not 0 <= bad <= count[p]:
                return p
            bad_at = cursor[0]
            for _ in range(bad):
                _take_varint(data, cursor, stop[p])
            bad_words = cursor[0]
            cursor[0] += 8 * bad
        transform = flags & TRANSFORM
        left = count[p] - transform
        body = cursor[0]
        if planes > 8 or packed > PACKED_BITS_MAX or transform > DELTA2 or left < 0:
            return p
        noise_bytes = (left * packed + 7) // 8
        body_stop = body + planes * left
        if noise_at[p] < 0:
            if body_stop + noise_bytes > stop[p]:
                return p
        elif body_stop > stop[p] or noise_at[p] + noise_bytes > noise.size:
            return p
        # Only the words up to the last sample wanted.
        end = skip[p] + take[p]
        needed = max(0, min(left, end - transform))
        if planes == 0:
            for i in range(needed):
                words[i] = _ZERO
        elif planes == 1:
            for i in range(needed):
                words[i] = np.uint64(data[body + i])
        elif planes == 2:
            for i in range(needed):
                words[i] = np.uint64(data[body + i]) | (
                    np.uint64(data[body + left + i]) << np.uint64(8)
                )
        else:
            for i in range(needed):
                words[i] = np.uint64(data[body + i])
            for plane in range(1, planes):
                shift = np.uint64(8 * plane)
                plane_at = body + plane * left
                for i in range(needed):
                    words[i] |= np.uint64(data[plane_at + i]) << shift
        if packed:
            if noise_at[p] < 0:
                _unpack_low_bits(data, body_stop, packed, needed, words)
            else:
                _unpack_low_bits(noise, noise_at[p], packed, needed, words)
        if flags & ZIGZAG:
            for i in range(needed):
                words[i] = (words[i] >> _ONE) ^ (_ZERO - (words[i] & _ONE))
        if transform == PLAIN:
            for i in range(needed):
                words[i] = words[i] * step + value
        elif transform == DELTA:
            bias *= step
            # Words move up by one place: word i becomes sample i + 1.
            carried = value
            for i in range(needed):
                delta = words[i]
                words[i] = carried
                carried += delta * step + bias
            words[needed] = carried
        else:
            difference = bias * step
            carried = value
            # Sample i + 2 has the second difference i; two places are kept in registers.
            following = value + difference
            for i in range(needed):
                difference += words[i] * step
                words[i] = carried
                carried = following
                following += difference
            words[needed] = carried
            if needed + 1 < count[p]:
                words[needed + 1] = following
        to = out_at[p] - skip[p]
        if flags & BITS:
            for i in range(skip[p], end):
                out_bits[to + i] = np.int64(words[i])
        elif exponent == 0:
            for i in range(skip[p], end):
                out[to + i] = np.float64(np.int64(words[i]))
        else:
            power = _POW10[exponent]
            for i in range(skip[p], end):
                out[to + i] = np.float64(np.int64(words[i])) / power
        if bad:
            cursor[0] = bad_at
            index = 0
            for j in range(bad):
                gap = _take_length(data, cursor, stop[p])
                index += gap
                if gap < 0 or index >= count[p]:
                    return p
                if skip[p] <= index < end:
                    word = _ZERO
                    for b in range(8):
                        word |= np.uint64(data[bad_words + 8 * j + b]) << np.uint64(8 * b)
                    out_bits[to + index] = np.int64(word)
    return -1
