"""The compiled walk over a protobuf exposition: its samples, and what identifies their series.

From: `protobuf.py`.
A series is known by the 128-bit hash of the hashes of its family's name and of its label bytes,
and of what the format only implies: a suffix, a bucket's bound, a quantile.
Source: `io.prometheus.client`, wire format of protobuf; the order and the choice of samples are
those of Prometheus.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from scraper.cache_kernels import DUPLICATE, EXPLICIT, find_entry
from scraper.text_kernels import BYTES_IN, PADDING, Bytes, Int, hash_wide
from tsdb.kernel_compilation import kernel

Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

NATIVE = 8
"""Flag beside those of `cache_kernels.py`: the sample is a native histogram."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# Which sample of a metric one is; BUCKET and QUANTILE have a number as well.
PLAIN, COUNT, SUM, BUCKET, QUANTILE = range(5)

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)

NO_ROOM = -2
"""What `walk` returns where the results hold less than the body has."""

# Positions in what `walk` counts.
SAMPLES, FAMILIES, NATIVES, EXEMPLARS, HEADER_HASH = range(5)
STATE_SIZE = 5

_int32s_in = types.Array(types.int32, 1, "C", readonly=True)
_words_in = types.Array(types.uint64, 1, "C", readonly=True)
_int64s = types.int64[::1]


@kernel(types.boolean(BYTES_IN, types.int64, types.int64, _int64s))
def read_varint(data: Bytes, at: Int, stop: Int, field: Ints) -> bool:
    """Read a varint into `field[2]`, its end into `field[4]`; False if it is cut or too long."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < stop and shift < np.uint64(70):
        byte = data[at]
        value |= np.uint64(byte & np.uint8(0x7F)) << (shift & np.uint64(63))
        at += 1
        if byte < 0x80:
            if shift == np.uint64(63) and byte > 1:
                return False
            field[2] = np.int64(value)
            field[4] = at
            return True
        shift += np.uint64(7)
    return False


@kernel(types.boolean(BYTES_IN, types.int64, types.int64, _int64s))
def read_field(data: Bytes, at: Int, stop: Int, field: Ints) -> bool:
    """Read one field into `field` int64[5]: number, wire type, value or start, stop, next.

    A varint has its value, the others where their bytes start and stop. False if it is damaged.
    """
    if not read_varint(data, at, stop, field):
        return False
    key = field[2]
    at = field[4]
    field[0], field[1] = key >> 3, key & 7
    if key < 8 or field[0] > 0x1FFFFFFF:
        return False
    if field[1] == VARINT:
        field[3] = 0
        return read_varint(data, at, stop, field)
    size: Int = np.int64(0)
    if field[1] == FIXED64:
        size = 8
    elif field[1] == FIXED32:
        size = 4
    elif field[1] == BYTES:
        if not read_varint(data, at, stop, field):
            return False
        size, at = field[2], field[4]
    else:
        return False
    if size < 0 or size > stop - at:
        return False
    field[2], field[3], field[4] = at, at + size, at + size
    return True


@kernel(types.float64(BYTES_IN, types.int64))
def double_at(data: Bytes, at: Int) -> float:
    """Return the double whose eight bytes are at `at`."""
    return float(data[at : at + 8].view(np.float64)[0])


@kernel(
    types.boolean(
        BYTES_IN, types.int64, types.int64, types.int64, _int64s, _int64s, types.float64[::1]
    ),
)
def _value_message(
    data: Bytes, start: Int, stop: Int, kind: Int, field: Ints, out: Ints, numbers: Floats
) -> bool:
    """Read a COUNTER, a GAUGE (or what is like it), a QUANTILE or a BUCKET; False if damaged.

    `numbers[0]` is the value (of a bucket its count), `numbers[1]` the quantile or bound;
    `out[0:2]` the span of an exemplar, empty if there is none. `field` is room for `read_field`.
    """
    at = start
    numbers[0] = numbers[1] = 0.0
    out[0] = out[1] = 0
    precise = 0.0
    while at < stop:
        if not read_field(data, at, stop, field):
            return False
        number, wire, at = field[0], field[1], field[4]
        if kind == BUCKET:
            if number == 1:
                if wire != VARINT:
                    return False
                numbers[0] = float(np.uint64(field[2]))
            elif number == 2 or number == 4:
                if wire != FIXED64:
                    return False
                if number == 2:
                    numbers[1] = double_at(data, field[2])
                else:
                    precise = double_at(data, field[2])
            elif number == 3:
                if wire != BYTES:
                    return False
                out[0], out[1] = field[2], field[3]
        elif number == 1 or (number == 2 and kind == QUANTILE):
            if wire != FIXED64:
                return False
            value = double_at(data, field[2])
            numbers[1 if kind == QUANTILE and number == 1 else 0] = value
        elif number == 2 and kind == COUNTER:
            if wire != BYTES:
                return False
            out[0], out[1] = field[2], field[3]
    if precise > 0:
        numbers[0] = precise
    return True


@kernel(
    types.int64(
        BYTES_IN,
        types.int64,
        types.boolean,
        types.boolean,
        types.boolean,
        _words_in,
        types.uint64[::1],
        types.uint64[::1],
        types.uint64[::1],
        types.uint8[::1],
        types.float64[::1],
        _int64s,
        types.int32[:, ::1],
        types.float64[::1],
        types.int32[:, ::1],
        types.int32[:, ::1],
        types.int32[:, ::1],
    ),
)
def walk(
    data: Bytes,
    stop: Int,
    native: bool,
    classic: bool,
    emit: bool,
    keys: Words,
    state: Words,
    low: Words,
    high: Words,
    flags: Bytes,
    values: Floats,
    times: Ints,
    where: Int32s,
    bounds: Floats,
    families: Int32s,
    natives: Int32s,
    exemplars: Int32s,
) -> Int:
    """Count what a body holds (`emit` False), or write it; return -1, or where it is damaged.

    `native`: native histograms are wanted; `classic`: and classic ones beside them. Without
    `emit` only `state` is written. With it NO_ROOM is returned, and what was written means
    nothing, if results have no room for all: they have it for what was counted, and a target
    mostly shows what it showed before. `where` int32[4, N] has
    start and stop of the metric, its family and which sample of it; `families` int32[8, F] the
    spans of name, help and unit, the type, and where the family begins; `natives` int32[4, H]
    start and stop of the histogram, sample, whether of gauges; `exemplars` int32[3, E] start, stop
    and sample. `data` has `PADDING` bytes more than `stop`.
    """
    field = np.zeros(5, np.int64)
    part_field = np.zeros(5, np.int64)
    span = np.zeros(2, np.int64)
    numbers = np.zeros(2, np.float64)
    # What a sample is known by: hashes of family and labels, which part of the metric, its bound.
    words = np.zeros(6 + PADDING // 8, np.uint64)
    scratch = words.view(np.uint8)
    fields = np.zeros(8, np.int64)
    n = f = h = e = np.int64(0)
    header = np.uint64(0)
    sample_room = family_room = native_room = exemplar_room = np.int64(0)
    sample_most = exemplar_most = np.int64(0)
    if emit:
        sample_room = np.int64(min(where.shape[1], values.size, bounds.size))
        family_room, native_room = np.int64(families.shape[1]), np.int64(natives.shape[1])
        exemplar_room = np.int64(exemplars.shape[1])
    at: Int = np.int64(0)
    inner: Int = at
    while at < stop:
        if not read_varint(data, at, stop, field):
            return at
        begin: Int = np.int64(field[4])
        size = field[2]
        if size < 0 or size > stop - begin:
            return at
        end = begin + size
        # The family's own fields first: they need not stand before its metrics.
        fields[:] = 0
        inner = begin
        while inner < end:
            if not read_field(data, inner, end, field):
                return inner
            number = field[0]
            if number == 3:
                if field[1] != VARINT:
                    return inner
                fields[6] = field[2]
            elif number == 1 or number == 2 or number == 5 or number == 4:
                if field[1] != BYTES:
                    return inner
                if number != 4:
                    slot = 2 * (number - 1) if number < 3 else 4
                    fields[slot], fields[slot + 1] = field[2], field[3]
            inner = field[4]
        kind = fields[6]
        if kind < 0 or kind > GAUGE_HISTOGRAM:
            return begin
        if emit:
            if f == family_room:
                return NO_ROOM
            for k in range(7):
                families[k, f] = fields[k]
            families[7, f] = begin
            words[0], words[1] = hash_wide(data, fields[0], fields[1], keys)
            for k in range(3):
                a, b = hash_wide(data, fields[2 * k], fields[2 * k + 1], keys)
                header = (header ^ a) * np.uint64(0x9E3779B97F4A7C15) + b
            header = (header ^ np.uint64(kind)) * np.uint64(0x9E3779B97F4A7C15)
        metric_at = begin
        while metric_at < end:
            read_field(data, metric_at, end, field)
            if field[0] != 4:
                metric_at = field[4]
                continue
            start, metric_end = field[2], field[3]
            metric_at = metric_end
            # Which field of a metric holds the value of this type.
            wanted: Int = 7
            if kind == COUNTER:
                wanted = 3
            elif kind == GAUGE:
                wanted = 2
            elif kind == SUMMARY:
                wanted = 4
            elif kind == UNTYPED:
                wanted = 5
            time = np.int64(0)
            body: Int = np.int64(0)
            body_end: Int = np.int64(0)
            run: Int = np.int64(0)
            run_end: Int = np.int64(0)
            words[2] = words[3] = np.uint64(0)
            inner = start
            while inner < metric_end:
                if not read_field(data, inner, metric_end, field):
                    return inner
                number = field[0]
                if number == 6:
                    if field[1] != VARINT:
                        return inner
                    time = field[2]
                elif 1 <= number <= 7 and field[1] != BYTES:
                    return inner
                elif number == wanted:
                    body, body_end = field[2], field[3]
                elif number == 1:
                    if inner != run_end and emit:
                        # Not beside the labels before: hash these, and go on from there.
                        words[4], words[5] = hash_wide(data, run, run_end, keys)
                        words[2] = (words[2] ^ words[4]) * np.uint64(0x9E3779B97F4A7C15)
                        words[3] = (words[3] ^ words[5]) * np.uint64(0xD6E8FEB86659FD93)
                        run = inner
                    run_end = field[4]
                inner = field[4]
            if emit:
                a, b = hash_wide(data, run, run_end, keys)
                words[2] ^= a
                words[3] ^= b
            first = n
            if kind < SUMMARY or kind == UNTYPED:
                form = COUNTER if kind == COUNTER else GAUGE
                if not _value_message(data, body, body_end, form, part_field, span, numbers):
                    return body
                if emit:
                    if n == sample_room or (span[1] > 0 and e == exemplar_room):
                        return NO_ROOM
                    values[n] = numbers[0]
                    bounds[n] = 0.0
                    where[3, n] = PLAIN
                    if span[1] > 0:
                        exemplars[0, e], exemplars[1, e], exemplars[2, e] = span[0], span[1], n
                e += span[1] > 0
                n += 1
            else:
                # Scalars first: count and sum come before buckets, and say what this is.
                count = total = 0.0
                precise = 0.0
                is_native = False
                buckets = own = np.int64(0)
                inner = body
                while inner < body_end:
                    if not read_field(data, inner, body_end, field):
                        return inner
                    number, wire = field[0], field[1]
                    if number == 1:
                        if wire != VARINT:
                            return inner
                        count = float(np.uint64(field[2]))
                    elif number == 2:
                        if wire != FIXED64:
                            return inner
                        total = double_at(data, field[2])
                    elif number == 3:
                        if wire != BYTES:
                            return inner
                        buckets += 1
                    elif kind != SUMMARY:
                        if number == 4 or number == 6 or number == 8:
                            if wire != FIXED64:
                                return inner
                            number_value = double_at(data, field[2])
                            if number == 4:
                                precise = number_value
                            elif number_value > 0:
                                is_native = True
                        elif number == 7:
                            if wire != VARINT:
                                return inner
                            is_native = is_native or field[2] != 0
                        elif number == 9 or number == 12:
                            if wire != BYTES:
                                return inner
                            is_native = True
                        elif number == 16:
                            if wire != BYTES:
                                return inner
                            own += 1
                    inner = field[4]
                if precise > 0:
                    count = precise
                is_native = is_native and native and kind != SUMMARY
                # Both forms at most, and an exemplar for each bucket in both.
                sample_most = max(sample_most, n + buckets + 4)
                exemplar_most = max(exemplar_most, e + own + 2 * buckets)
                short = sample_most > sample_room or exemplar_most > exemplar_room
                if emit and (short or (is_native and h == native_room)):
                    return NO_ROOM
                if is_native:
                    if emit:
                        values[n] = total
                        bounds[n] = 0.0
                        where[3, n] = PLAIN
                        natives[0, h], natives[1, h], natives[2, h] = body, body_end, n
                        natives[3, h] = kind == GAUGE_HISTOGRAM
                    # Its own exemplars, or else those of the buckets.
                    inner = body
                    while inner < body_end and (own > 0 or buckets > 0):
                        read_field(data, inner, body_end, field)
                        inner = field[4]
                        if own > 0 and field[0] == 16:
                            if emit:
                                exemplars[0, e], exemplars[1, e] = field[2], field[3]
                                exemplars[2, e] = n
                            e += 1
                        elif own == 0 and field[0] == 3:
                            stop_at = field[3]
                            if not _value_message(
                                data, field[2], stop_at, BUCKET, part_field, span, numbers
                            ):
                                return np.int64(field[2])
                            if span[1] > 0:
                                if emit:
                                    exemplars[0, e], exemplars[1, e] = span[0], span[1]
                                    exemplars[2, e] = n
                                e += 1
                    h += 1
                    n += 1
                if not is_native or (classic and buckets > 0):
                    if emit:
                        values[n], values[n + 1] = count, total
                        bounds[n] = bounds[n + 1] = 0.0
                        where[3, n], where[3, n + 1] = COUNT, SUM
                    n += 2
                    inner = body
                    ended = False
                    part = BUCKET if kind != SUMMARY else QUANTILE
                    while inner < body_end:
                        read_field(data, inner, body_end, field)
                        inner = field[4]
                        if field[0] != 3:
                            continue
                        stop_at = field[3]
                        if not _value_message(
                            data, field[2], stop_at, part, part_field, span, numbers
                        ):
                            return np.int64(field[2])
                        if ended:
                            continue
                        if emit:
                            values[n], bounds[n] = numbers[0], numbers[1]
                            where[3, n] = part
                            if span[1] > 0:
                                exemplars[0, e], exemplars[1, e] = span[0], span[1]
                                exemplars[2, e] = n
                        e += span[1] > 0
                        n += 1
                        ended = part == BUCKET and numbers[1] == np.inf
                    if part == BUCKET and not ended:
                        if emit:
                            values[n], bounds[n] = count, np.inf
                            where[3, n] = BUCKET
                        n += 1
            if emit:
                for k in range(first, n):
                    where[0, k], where[1, k], where[2, k] = start, metric_end, f
                    flags[k] = EXPLICIT if time != 0 else 0
                    times[k] = time
                    words[4] = np.uint64(where[3, k])
                    words[5] = bounds[k : k + 1].view(np.uint64)[0]
                    low[k], high[k] = hash_wide(scratch, 0, 48, keys)
        f += 1
        at = end
    if emit:
        for k in range(h):
            sample = natives[2, k]
            flags[sample] |= np.uint8(NATIVE)
    else:
        # The room that is asked for on the way, which may be more than is needed in the end.
        n, e = max(n, sample_most), max(e, exemplar_most)
    state[SAMPLES], state[FAMILIES] = np.uint64(n), np.uint64(f)
    state[NATIVES], state[EXEMPLARS] = np.uint64(h), np.uint64(e)
    state[HEADER_HASH] = header
    return -1


@kernel(
    types.int64(
        _words_in,
        _words_in,
        _int32s_in,
        _words_in,
        _words_in,
        types.int32[::1],
        types.int32,
        types.int64,
        types.int32[::1],
        types.int32[::1],
        types.uint8[::1],
    ),
)
def look_up(
    low: Words,
    high: Words,
    table: Int32s,
    entry_low: Words,
    entry_high: Words,
    seen: Int32s,
    generation: np.int32,
    count: Int,
    entries: Int32s,
    seen_before: Int32s,
    flags: Bytes,
) -> Int:
    """Find the cache's entry of each sample, -1 if there is none; return how many have none.

    Marks entries as seen in `generation` and repeated ones as DUPLICATE, as `kernels.scan` does.
    """
    guess: Int = np.int64(0)
    unknown = np.int64(0)
    for n in range(low.size):
        entry = guess
        if not (guess < count and entry_low[guess] == low[n] and entry_high[guess] == high[n]):
            entry = find_entry(low[n], high[n], table, entry_low, entry_high)
        entries[n] = entry
        seen_before[n] = 0
        if entry < 0:
            unknown += 1
            continue
        seen_before[n] = seen[entry]
        if seen[entry] == generation:
            flags[n] |= np.uint8(DUPLICATE)
        seen[entry] = generation
        guess = entry + 1
    return unknown
