"""Compiled loops that write pages: runs of values or times to bytes.

From: `pages.py`, which owns every array here.
To:   the same. `FORMAT.md` has the byte table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel
from tsdb.page_word_kernels import (
    BIAS,
    BITS,
    BYTES,
    DELTA,
    DELTA2,
    EXCEPTIONS,
    EXPONENT_MAX,
    FLOATS_IN,
    INTS,
    INTS_IN,
    LAYOUT_SPLIT,
    ONE,
    PACKED,
    PACKED_BITS_MAX,
    PLAIN,
    POW10,
    STEP,
    TABLE,
    TRANSFORM,
    WORDS,
    WORDS_IN,
    ZERO,
    ZIGZAG,
    bit_length,
    put_varint,
    zigzag,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ints

    Words = npt.NDArray[np.uint64]
    Table = npt.NDArray[np.int64]

_BIAS_DRAWBACK = 1.03
"""Differences from the least one hide zeros, and that a neighbour moved likewise: measured."""
_PAGE_SAMPLES_MAX = 4096
_N_LOG_N = np.array([n * np.log2(max(n, 1)) for n in range(_PAGE_SAMPLES_MAX + 1)])
_INTEGER_LIMIT = 9.2e18  # below 2**63: a float under it converts to int64 without overflow
_MANTISSA_LIMIT = 9007199254740992.0  # 2**53: integers under it are exact, so division rounds once


@helper(types.int64(FLOATS_IN, WORDS_IN, types.int64, types.int64, WORDS, INTS))
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
                scaled = value * POW10[e]
                if not abs(scaled) < _MANTISSA_LIMIT:
                    e = EXPONENT_MAX + 1
                    break
                if np.rint(scaled) / POW10[e] == value:
                    break
                e += 1
            if e > EXPONENT_MAX:
                bad += 1
            else:
                exponent = e
        if bad > bad_max:
            return -1
    bad = 0
    last = ZERO
    first_good = -1
    power = POW10[exponent]
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
                if number == 0 and bits[start + i] != ZERO:
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


@helper(types.uint64(WORDS, types.int64))
def _common_step(words: Words, count: int) -> np.uint64:
    """Return the greatest common divisor of all differences, at least 1."""
    step = ZERO
    for i in range(1, count):
        difference = words[i] - words[i - 1]
        if difference >> np.uint64(63):
            difference = ZERO - difference
        if difference == ZERO or (step != ZERO and difference % step == ZERO):
            continue
        while difference != ZERO:
            step, difference = difference, step % difference
        if step == ONE:
            return step
    return max(step, ONE)


@helper(types.float64(INTS))
def _cost(lengths: Ints) -> float:
    """Estimate the bits that words take whose bit lengths are counted in `lengths`.

    The entropy of the lengths, and one bit less than its length for each word: what an entropy
    coder would take if all words of one length were equally likely.
    """
    words = 0
    bits = 0.0
    for length in range(65):
        words += lengths[length]
        bits += lengths[length] * max(length - 1, 0) - _N_LOG_N[lengths[length]]
    total: float = bits + _N_LOG_N[words]
    return total


@helper(types.int64(WORDS, types.int64, WORDS, TABLE))
def _transform(words: Words, count: int, head: Words, lengths: Table) -> int:
    """Replace `words` by the cheapest differences; return the flags, or'ed with 256 * bits.

    `head` receives first word, bias (or first difference), step; `lengths` int64[4, 65] is scratch.
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
    head[1] = ZERO
    head[2] = ONE
    if span == ZERO:
        return PLAIN
    step = ONE
    # A wider span may have differences that wrap, which a common divisor does not survive.
    if span < np.uint64(1 << 62):
        step = _common_step(words, count)
        if step != ONE:
            for i in range(count):
                words[i] = np.uint64(np.int64(words[i] - base)) // step
            span //= step
            base = ZERO
    negative = False
    total = 0.0
    for i in range(1, count):
        if np.int64(words[i] - words[i - 1]) < 0:
            negative = True
        total += np.float64(words[i] - base)
    # Plain words and steady differences are measured around their middle: noise of one width costs
    # the same wherever it lies.
    middle = base + np.uint64(total / count)
    delta_middle = np.uint64(np.int64(words[count - 1] - words[0]) // (count - 1))
    lengths[:] = 0
    before = words[1] - words[0]
    delta_base = before
    for i in range(1, count):
        delta = words[i] - words[i - 1]
        if np.int64(delta) < np.int64(delta_base):
            delta_base = delta
        lengths[0, bit_length(zigzag(words[i] - middle))] += 1
        lengths[1, bit_length(zigzag(delta) if negative else delta)] += 1
        lengths[2, bit_length(zigzag(delta - delta_middle))] += 1
        lengths[3, bit_length(zigzag(delta - before))] += 1
        before = delta
    flags = PLAIN
    best = _cost(lengths[0])
    cost = _cost(lengths[1])
    if cost < best:
        flags = DELTA | (ZIGZAG if negative else 0)
        best = cost
    cost = _cost(lengths[2]) * _BIAS_DRAWBACK
    if cost < best or lengths[2, 0] == count - 1:
        flags = DELTA | BIAS
        best = cost
    if count > 2 and _cost(lengths[3]) < best:
        flags = DELTA2 | ZIGZAG | BIAS
    if step != ONE:
        flags |= STEP
        head[2] = step
    largest = ZERO
    transform = flags & TRANSFORM
    if transform == PLAIN:
        for i in range(count):
            words[i] -= base
            largest |= words[i]
        return flags | (bit_length(largest) << 8)
    first = words[0]
    # With a step, words count steps above the lowest value: the first one is scaled back.
    head[0] = first if step == ONE else head[0] + first * step
    if transform == DELTA:
        if flags & BIAS:
            head[1] = delta_base
        before = words[0]
        for i in range(1, count):
            word = words[i]
            delta = word - before
            before = word
            if flags & ZIGZAG:
                delta = zigzag(delta)
            elif flags & BIAS:
                delta -= delta_base
            words[i - 1] = delta
            largest |= delta
        return flags | (bit_length(largest) << 8)
    before = words[1]
    difference = words[1] - words[0]
    head[1] = difference
    for i in range(2, count):
        word = words[i]
        delta = word - before
        before = word
        folded = zigzag(delta - difference)
        difference = delta
        words[i - 2] = folded
        largest |= folded
    return flags | (bit_length(largest) << 8)


@helper(types.int64(WORDS, types.int64, types.int64))
def _noise_bits(words: Words, count: int, bits: int) -> int:
    """Return how many low bits of the words to store as they are: those that look like noise."""
    if bits <= 8:
        return 0
    lengths = np.zeros(65, np.int64)
    for i in range(count):
        lengths[bit_length(words[i])] += 1
    # The length that one word in ten exceeds. Above it lie the outliers, which need few bits.
    left = count // 10
    at = 64
    while at > 0 and left - lengths[at] >= 0:
        left -= lengths[at]
        at -= 1
    return min(at - 5, PACKED_BITS_MAX) if at > 8 else 0


@kernel(
    types.int64(
        FLOATS_IN, WORDS_IN, INTS_IN, INTS_IN, types.int64, types.boolean, BYTES, INTS, BYTES, INTS
    ),
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
    With LAYOUT_SPLIT bits that look like noise are packed into `noise`, else that is unused.
    Errors: none. `out` and `noise` must hold what `pages.bytes_max` says.
    """
    longest = 0
    for p in range(count.size):
        longest = max(longest, count[p])
    words = np.empty(longest, np.uint64)
    exceptions = np.empty(longest // 8 + 2, np.int64)
    head = np.empty(3, np.uint64)
    lengths = np.empty((4, 65), np.int64)
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
        chosen = _transform(words, n, head, lengths)
        flags |= chosen & 255
        width_bits = chosen >> 8
        left = n - (flags & TRANSFORM) if width_bits else 0
        packed = _noise_bits(words, left, width_bits) if layout == LAYOUT_SPLIT else 0
        if packed:
            flags |= PACKED
        planes = (width_bits - packed + 7) // 8
        out[at] = np.uint8(flags)
        out[at + 1] = np.uint8(exponent | (planes << 4))
        at += 2
        if packed:
            out[at] = np.uint8(packed)
            at += 1
        at = put_varint(out, at, zigzag(head[0]))
        if flags & BIAS:
            at = put_varint(out, at, zigzag(head[1]))
        if flags & STEP:
            at = put_varint(out, at, head[2])
        if bad:
            at = put_varint(out, at, np.uint64(bad))
            before = 0
            for j in range(bad):
                at = put_varint(out, at, np.uint64(exceptions[j] - before))
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
            mask = (ONE << np.uint64(packed)) - ONE
            pending = ZERO
            pending_bits = 0
            for i in range(left):
                pending |= (words[i] & mask) << np.uint64(pending_bits)
                pending_bits += packed
                while pending_bits >= 8:
                    noise[noise_at] = np.uint8(pending & np.uint64(255))
                    noise_at += 1
                    pending >>= np.uint64(8)
                    pending_bits -= 8
            if pending_bits:
                noise[noise_at] = np.uint8(pending & np.uint64(255))
                noise_at += 1
        offset[p + 1] = at
        noise_offset[p + 1] = noise_at
    return at
