"""Compiled loops of streamed remote read: columns of samples to Prometheus' chunks, and to frames.

From: `sample_chunks.py`, `remote_read_chunks.py`.
Source: Prometheus documentation of its chunk formats and of streamed remote read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.label_pair_kernels import labels_size, put_labels
from api.wire_writing_kernels import put_varint, varint_size
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Words = npt.NDArray[np.uint64]
    Locals = npt.NDArray[np.int32]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Word = Any

XOR, HISTOGRAM, FLOAT_HISTOGRAM = 1, 2, 3
"""Encodings, as messages number them."""

CUSTOM_SCHEMA = -53

SAMPLE_BYTES_MAX = 19
"""68 bits of time and 77 of value."""

CHUNK_BYTES_MAX = 64
"""A chunk's message without its samples."""

_U = np.uint64

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i8r = types.Array(types.int8, 1, "C", readonly=True)
_boolr = types.Array(types.boolean, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_u64r = types.Array(types.uint64, 1, "C", readonly=True)
_f64r = types.Array(types.float64, 1, "C", readonly=True)
_i32r = types.Array(types.int32, 1, "C", readonly=True)
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)


def _crc_table() -> npt.NDArray[np.uint32]:
    """Return CRC-32C of each byte (Castagnoli, reflected)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


_CRC = _crc_table()


@helper()
def _put_bits(out: Bytes, at: Whole, word: Word, count: Whole) -> Whole:
    """Write the low `count` bits of a word from bit `at` on, where zeros are; return the end."""
    left = count
    while left > 0:
        free = 8 - (at & 7)
        take = min(free, left)
        part = (word >> _U(left - take)) & ((_U(1) << _U(take)) - _U(1))
        out[at >> 3] |= np.uint8(part << _U(free - take))
        at += take
        left -= take
    return at


@helper()
def _bits_of(word: Word) -> Whole:
    """Return how many bits a word needs."""
    size = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if word >> _U(step) != _U(0):
            word >>= _U(step)
            size += step
    return size + np.int64(word != _U(0))


@helper()
def _put_xor(
    out: Bytes, at: Whole, word: Word, before: Word, windows: npt.NDArray[np.int64], column: Whole
) -> Whole:
    """Write a value by its difference; `windows[column]` are its leading and trailing zeros."""
    differs = word ^ before
    if differs == _U(0):
        return at + 1
    leading = min(31, 64 - _bits_of(differs))
    trailing = _bits_of(differs & (~differs + _U(1))) - 1
    if windows[column, 0] <= leading and windows[column, 1] <= trailing:
        leading, trailing = windows[column, 0], windows[column, 1]
        at = _put_bits(out, at, _U(0b10), 2)
    else:
        windows[column, 0], windows[column, 1] = leading, trailing
        at = _put_bits(out, at, _U(0b11), 2)
        at = _put_bits(out, at, _U(leading), 5)
        at = _put_bits(out, at, _U((64 - leading - trailing) & 63), 6)
    return _put_bits(out, at, differs >> _U(trailing), 64 - leading - trailing)


@helper()
def _put_signed(out: Bytes, at: Whole, number: Whole) -> Whole:
    """Write a whole number of any sign in as few bits as the format has for it."""
    if number == 0:
        return at + 1
    ones = 1
    for size in (3, 6, 9, 12, 18, 25, 56):
        half = np.int64(1) << np.int64(size - 1)
        if -half < number <= half:
            at = _put_bits(out, at, (_U(1) << _U(ones + 1)) - _U(2), ones + 1)
            return _put_bits(out, at, _U(number), size)
        ones += 1
    return _put_bits(out, _put_bits(out, at, _U(255), 8), _U(number), 64)


@helper()
def _put_unsigned(out: Bytes, at: Whole, number: Whole) -> Whole:
    """Write a whole number that is not negative in as few bits as the format has for it."""
    if number == 0:
        return at + 1
    ones = 1
    for size in (3, 6, 9, 12, 18, 25, 56):
        if number < np.int64(1) << np.int64(size):
            at = _put_bits(out, at, (_U(1) << _U(ones + 1)) - _U(2), ones + 1)
            return _put_bits(out, at, _U(number), size)
        ones += 1
    return _put_bits(out, _put_bits(out, at, _U(255), 8), _U(number), 64)


@helper()
def _encode_floats(
    out: Bytes, times: Ints, time_at: Whole, words: Words, at_value: Whole, count: Whole
) -> Whole:
    """Write one chunk's data at the beginning of `out`, which is zero; return its bytes."""
    out[0], out[1] = count >> 8, count & 255
    time = times[time_at]
    end = put_varint(out, 2, (_U(time) << _U(1)) ^ _U(time >> 63))
    at = _put_bits(out, 8 * end, words[at_value], 64)
    delta = np.int64(0)
    # No window yet: it would have to be wider than a word.
    windows = np.full((1, 2), 65, dtype=np.int64)
    for n in range(1, count):
        step = times[time_at + n] - time
        change = step - delta
        time, delta = times[time_at + n], step
        if n == 1:
            at = 8 * put_varint(out, at >> 3, _U(step))
        elif change == 0:
            at += 1
        elif -8191 <= change <= 8192:
            at = _put_bits(out, _put_bits(out, at, _U(0b10), 2), _U(change), 14)
        elif -65535 <= change <= 65536:
            at = _put_bits(out, _put_bits(out, at, _U(0b110), 3), _U(change), 17)
        elif -524287 <= change <= 524288:
            at = _put_bits(out, _put_bits(out, at, _U(0b1110), 4), _U(change), 20)
        else:
            at = _put_bits(out, _put_bits(out, at, _U(0b1111), 4), _U(change), 64)
        at = _put_xor(out, at, words[at_value + n], words[at_value + n - 1], windows, 0)
    return (at + 7) >> 3


@helper()
def _put_chunk(
    out: Bytes, at: Whole, room: Bytes, size: Whole, time_min: Whole, time_max: Whole, kind: Whole
) -> Whole:
    """Write a chunk as field 2 of a ChunkedSeries; clear the room; return where it ends."""
    inner = 6 + size + varint_size(_U(time_min)) + varint_size(_U(time_max))
    inner += varint_size(_U(size)) - 1
    out[at] = 18
    at = put_varint(out, at + 1, _U(inner))
    out[at] = 8
    at = put_varint(out, at + 1, _U(time_min))
    out[at] = 16
    at = put_varint(out, at + 1, _U(time_max))
    out[at], out[at + 1], out[at + 2] = 24, kind, 34
    at = put_varint(out, at + 3, _U(size))
    for i in range(size):
        out[at + i] = room[i]
        room[i] = 0
    return at + size


@kernel(types.int64(_i64r, _u64r, _i64r, _i64r, _i64r, _u8, _i64, _i64))
def encode_floats(
    times: Ints,
    words: Words,
    time_at: Ints,
    value_at: Ints,
    count: Ints,
    out: Bytes,
    start: Ints,
    stop: Ints,
) -> Whole:
    """Write chunks as fields 2 of a ChunkedSeries; return how many bytes.

    Chunk c has count[c] (1 to 65535) samples from time_at[c] and value_at[c] on; `words` are the
    values' bits. Shapes: int64[C]; `start`, `stop` get where each is in `out`, which has room for
    `CHUNK_BYTES_MAX` a chunk and `SAMPLE_BYTES_MAX` a sample.
    """
    longest = 0
    for c in range(count.size):
        longest = max(longest, count[c])
    room = np.zeros(longest * SAMPLE_BYTES_MAX + CHUNK_BYTES_MAX, np.uint8)
    at = np.int64(0)
    for c in range(count.size):
        size = _encode_floats(room, times, time_at[c], words, value_at[c], count[c])
        start[c] = at
        last = times[time_at[c] + count[c] - 1]
        at = _put_chunk(out, at, room, size, times[time_at[c]], last, XOR)
        stop[c] = at
    return at


@helper()
def _put_spans(out: Bytes, at: Whole, index: Locals, low: Whole, high: Whole) -> Whole:
    spans = 0
    for i in range(low, high):
        spans += i == low or index[i] != index[i - 1] + 1
    at = _put_unsigned(out, at, spans)
    behind = np.int64(0)
    i = low
    while i < high:
        j = i + 1
        while j < high and index[j] == index[j - 1] + 1:
            j += 1
        at = _put_unsigned(out, at, j - i)
        at = _put_signed(out, at, np.int64(index[i]) - behind)
        behind = np.int64(index[j - 1]) + 1
        i = j
    return at


@helper()
def _put_threshold(out: Bytes, at: Whole, threshold: Whole, word: Word) -> Whole:
    """Write a zero threshold: a power of two in one byte, anything else in nine."""
    if threshold == 0.0:
        return at + 8
    part, exponent = math.frexp(threshold)
    if part == 0.5 and 1 <= exponent + 243 <= 254:
        return _put_bits(out, at, _U(exponent + 243), 8)
    return _put_bits(out, _put_bits(out, at, _U(255), 8), word, 64)


@helper()
def _put_bound(out: Bytes, at: Whole, bound: Whole, word: Word) -> Whole:
    """Write a custom bound: thousandths where that is exact."""
    whole = bound * 1000.0
    if 0.0 <= whole <= 33554430.0 and math.floor(whole) == whole and whole / 1000.0 == bound:
        return _put_unsigned(out, at, np.int64(whole) + 1)
    return _put_bits(out, at + 1, word, 64)


@kernel(
    types.int64(
        _i64r, _i8r, _i8r, _boolr, _f64r, _i64r, _i32r, _i64r, _i32r, _i64r, _i64r, _f64r,
        _f64r, _i64r, _i64r, _i64r, _u8, types.int64, _i64, _i64,
    ),
)  # fmt: skip
def encode_histograms(
    times: Ints,
    schema: npt.NDArray[np.int8],
    hint: npt.NDArray[np.int8],
    is_float: npt.NDArray[np.bool_],
    threshold: Floats,
    positive_start: Ints,
    positive_index: Locals,
    negative_start: Ints,
    negative_index: Locals,
    bounds_start: Ints,
    bounds_count: Ints,
    bounds: Floats,
    fields: Floats,
    field_start: Ints,
    first: Ints,
    count: Ints,
    out: Bytes,
    at: Whole,
    start: Ints,
    stop: Ints,
) -> Whole:
    """Write chunks as `encode_floats` does, from byte `at` on; return where they end.

    Chunk c has the count[c] histograms from first[c] on, alike in all but their numbers; those of
    h are fields[field_start[h] : field_start[h + 1]]: count, zero count, sum, positive and negative
    buckets. The rest is as in `HistogramColumns`. `out` has room for `CHUNK_BYTES_MAX` a chunk, 10
    bytes for each bucket and 9 for each bound of a chunk, 9 a time and 10 a field.
    """
    words = fields.view(np.uint64)
    threshold_words, bound_words = threshold.view(np.uint64), bounds.view(np.uint64)
    for c in range(count.size):
        h = first[c]
        width = field_start[h + 1] - field_start[h]
        positives = positive_start[h + 1] - positive_start[h]
        needed = CHUNK_BYTES_MAX + 20 * width + 9 * bounds_count[h] + count[c] * (9 + 10 * width)
        room = np.zeros(needed, np.uint8)
        room[0], room[1] = count[c] >> 8, count[c] & 255
        # What a reader takes the first for: a gauge, the first after a reset, or not known.
        room[2] = 0xC0 if hint[h] == 3 else 0x80 if hint[h] == 1 else 0
        bit = _put_threshold(room, np.int64(24), threshold[h], threshold_words[h])
        bit = _put_signed(room, bit, np.int64(schema[h]))
        bit = _put_spans(room, bit, positive_index, positive_start[h], positive_start[h + 1])
        bit = _put_spans(room, bit, negative_index, negative_start[h], negative_start[h + 1])
        if schema[h] == CUSTOM_SCHEMA:
            bit = _put_unsigned(room, bit, bounds_count[h])
            for i in range(bounds_start[h], bounds_start[h] + bounds_count[h]):
                bit = _put_bound(room, bit, bounds[i], bound_words[i])
        windows = np.full((width, 2), 65, dtype=np.int64)
        before = np.zeros(width, dtype=np.int64)
        deltas = np.zeros(width, dtype=np.int64)
        delta = np.int64(0)
        for n in range(count[c]):
            at_field = field_start[h + n]
            time = times[h + n]
            if n == 0:
                bit = _put_signed(room, bit, time)
            else:
                step = time - times[h + n - 1]
                bit = _put_signed(room, bit, step - delta)
                delta = step
            for k in range(width):
                word = words[at_field + k]
                if is_float[h] or k == 2:
                    if n == 0:
                        bit = _put_bits(room, bit, word, 64)
                    else:
                        previous = words[field_start[h + n - 1] + k]
                        bit = _put_xor(room, bit, word, previous, windows, k)
                    continue
                number = np.int64(fields[at_field + k])
                if k > 3 and k != 3 + positives:
                    # A bucket is told by what it has more than the one before it.
                    number -= np.int64(fields[at_field + k - 1])
                if n == 0:
                    if k < 2:
                        bit = _put_unsigned(room, bit, number)
                    else:
                        bit = _put_signed(room, bit, number)
                else:
                    change = number - before[k]
                    bit = _put_signed(room, bit, change - deltas[k])
                    deltas[k] = change
                before[k] = number
        start[c] = at
        kind = FLOAT_HISTOGRAM if is_float[h] else HISTOGRAM
        size = (bit + 7) >> 3
        at = _put_chunk(out, at, room, size, times[h], times[h + count[c] - 1], kind)
        stop[c] = at
    return at


@kernel(
    types.int64(
        _i32r2, _u8r, _i64r, _u8r, _i64r, _i64r, _u8r, _i64r, _i64r, types.int64, types.int64, _u8
    ),
)
def write_frames(
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    series_first: Ints,
    chunks: Bytes,
    start: Ints,
    stop: Ints,
    query: Whole,
    bytes_max: Whole,
    out: Bytes,
) -> Whole:
    """Write frames of a ChunkedReadResponse, one series in each; return the length.

    Series s has the chunks series_first[s] to series_first[s + 1], which are in
    chunks[start : stop]; after `bytes_max` bytes of them a series goes on in a further frame, with
    its labels again. The first five as in `series_sizes`. An empty `out` only measures;
    else it has SLACK_BYTES behind.
    """
    at = np.int64(0)
    tail = 1 + varint_size(_U(query)) if query else 0
    for series in range(series_first.size - 1):
        label_bytes = labels_size(texts_of, series, name_at, text_at)
        chunk = series_first[series]
        while chunk < series_first[series + 1]:
            chunk_stop = chunk
            size = label_bytes
            while chunk_stop < series_first[series + 1] and (
                chunk_stop == chunk or size + stop[chunk_stop] - start[chunk_stop] <= bytes_max
            ):
                size += stop[chunk_stop] - start[chunk_stop]
                chunk_stop += 1
            message = 1 + varint_size(_U(size)) + size + tail
            if out.size == 0:
                at += varint_size(_U(message)) + 4 + message
                chunk = chunk_stop
                continue
            crc_at = put_varint(out, at, _U(message))
            at = crc_at + 4
            out[at] = 10
            at = put_varint(out, at + 1, _U(size))
            at = put_labels(out, at, texts_of, series, names, name_at, texts, text_at)
            for c in range(chunk, chunk_stop):
                for i in range(start[c], stop[c]):
                    out[at] = chunks[i]
                    at += 1
            if query:
                out[at] = 16
                at = put_varint(out, at + 1, _U(query))
            crc = np.uint32(0xFFFFFFFF)
            for i in range(crc_at + 4, at):
                crc = _CRC[(crc ^ out[i]) & np.uint32(255)] ^ (crc >> np.uint32(8))
            crc = ~crc
            for k in range(4):
                out[crc_at + k] = np.uint8((crc >> np.uint32(24 - 8 * k)) & np.uint32(255))
            chunk = chunk_stop
    return at
