"""Compiled decoding of native histogram chunks, Prometheus' encodings 2 (integers) and 3 (floats).

From: `chunks.py`. To: the columns of `interface.HistogramColumns`.
Invariant: within a chunk all histograms have the layout (schema, spans, bounds) of its header; only
the last ones may be stale markers, which have no buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from gnomon.prometheus.bit_kernels import (
    BYTES_IN,
    FLOATS,
    INTS,
    INTS_IN,
    NUMBER_END,
    PAIR,
    SLACK_BYTES,
    WORD_END,
    WORDS,
    bits_at,
    signed,
)
from gnomon.prometheus.chunk_kernels import xor_at
from gnomon.prometheus.histogram_room import ROOM
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from gnomon.prometheus.histogram_room import HistogramRoom

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    Floats = npt.NDArray[np.float64]
    Int32s = npt.NDArray[np.int32]
    Whole = Any
    Word = Any

FLOAT_ENCODING = 3
_STALE = np.uint64(0x7FF0000000000002)
_CUSTOM = -53
_HINT_GAUGE = 3
_BOOLS = types.Array(types.bool_, 1, "C")
_INT8S = types.Array(types.int8, 1, "C")
_INT32S = types.Array(types.int32, 1, "C")


@helper(WORD_END(BYTES_IN, types.int64))
def varbit_uint_at(data: Bytes, at: Whole) -> tuple[Word, Whole]:
    """Return the number at bit `at` in one of nine widths, named by leading ones; and its end."""
    ones = 0
    while ones < 8 and bits_at(data, at + ones, 1) == np.uint64(1):
        ones += 1
    if ones == 0:
        return np.uint64(0), at + 1
    width = 64
    prefix = ones + 1
    if ones == 1:
        width = 3
    elif ones == 2:
        width = 6
    elif ones == 3:
        width = 9
    elif ones == 4:
        width = 12
    elif ones == 5:
        width = 18
    elif ones == 6:
        width = 25
    elif ones == 7:
        width = 56
    else:
        prefix = 8
    return bits_at(data, at + prefix, width), at + prefix + width


@helper(NUMBER_END(BYTES_IN, types.int64))
def varbit_int_at(data: Bytes, at: Whole) -> tuple[Whole, Whole]:
    """Return the signed number at bit `at`, coded as `varbit_uint_at` reads it, and its end."""
    word, end = varbit_uint_at(data, at)
    ones = 0
    while ones < 8 and bits_at(data, at + ones, 1) == np.uint64(1):
        ones += 1
    if ones == 0 or ones == 8:
        return np.int64(word), end
    return signed(word, end - at - ones - 1)[0], end


@helper(PAIR(BYTES_IN, types.int64, types.int64, types.boolean, _INT32S))
def _spans_at(
    data: Bytes, at: Whole, limit: Whole, fill: bool, index: Int32s
) -> tuple[Whole, Whole]:
    """Read the spans at bit `at`: how many buckets they have (-1: nonsense), and their end."""
    spans, at = varbit_uint_at(data, at)
    buckets = np.int64(0)
    place = np.int64(0)
    for _ in range(np.int64(spans)):
        if at > limit:
            return np.int64(-1), at
        length, at = varbit_uint_at(data, at)
        if length > np.uint64(1 << 24):
            return np.int64(-1), at
        offset, at = varbit_int_at(data, at)
        place += offset
        if fill:
            for k in range(np.int64(length)):
                index[buckets + k] = place + k
        buckets += np.int64(length)
        place += np.int64(length)
    if at > limit or buckets > (1 << 24):
        return np.int64(-1), at
    return buckets, at


@helper(PAIR(BYTES_IN, types.int64, types.int64, types.boolean, FLOATS))
def _bounds_at(
    data: Bytes, at: Whole, limit: Whole, fill: bool, bounds: Floats
) -> tuple[Whole, Whole]:
    """Read custom bounds: their number (-1: nonsense), and their end."""
    count, at = varbit_uint_at(data, at)
    one = np.empty(1, np.uint64)
    for k in range(np.int64(count)):
        if at > limit:
            return np.int64(-1), at
        thousandths, at = varbit_uint_at(data, at)
        if thousandths == np.uint64(0):
            one[0] = bits_at(data, at, 64)
            at += 64
            value = one.view(np.float64)[0]
        else:
            value = np.float64(thousandths - np.uint64(1)) / 1000.0
        if fill:
            bounds[k] = value
    if at > limit:
        return np.int64(-1), at
    return np.int64(count), at


@kernel(
    types.void(BYTES_IN, INTS_IN, INTS_IN, INTS, INTS, INTS, _BOOLS),
)
def measure_histograms(
    data: Bytes,
    start: Ints,
    stop: Ints,
    positive: Ints,
    negative: Ints,
    bounds: Ints,
    good: npt.NDArray[np.bool_],
) -> None:
    """Say of each chunk how many buckets of either sign and how many bounds its layout has.

    Shapes: int64[C]; `good` bool[C]: its header makes sense.
    """
    longest = 0
    for c in range(start.size):
        longest = max(longest, stop[c] - start[c])
    room = np.zeros(longest + 4 * SLACK_BYTES, np.uint8)
    no_index, no_bounds = np.empty(0, np.int32), np.empty(0, np.float64)
    for c in range(start.size):
        size = stop[c] - start[c]
        room[:size] = data[start[c] : stop[c]]
        room[size:] = 0
        positive[c] = negative[c] = bounds[c] = 0
        limit = 8 * size
        at = np.int64(24)
        at += 72 if room[3] == 255 else 8
        schema, at = varbit_int_at(room, at)
        good[c] = size > 4 and at <= limit
        if not good[c]:
            continue
        count, at = _spans_at(room, at, limit, False, no_index)
        positive[c] = max(count, 0)
        good[c] = count >= 0
        if good[c]:
            count, at = _spans_at(room, at, limit, False, no_index)
            negative[c] = max(count, 0)
            good[c] = count >= 0
        if good[c] and schema == _CUSTOM:
            count, at = _bounds_at(room, at, limit, False, no_bounds)
            bounds[c] = max(count, 0)
            good[c] = count >= 0


@helper(
    types.int64(
        BYTES_IN, types.int64, types.int64, types.boolean, types.int64, WORDS, INTS, INTS, INTS
    )
)
def _buckets_at(
    data: Bytes,
    at: Whole,
    limit: Whole,
    floats: bool,
    nth: Whole,
    words: Words,
    delta: Ints,
    leading: Ints,
    trailing: Ints,
) -> Whole:
    """Read the next value of each bucket; return the end, which is beyond `limit` if cut off."""
    for k in range(words.size):
        if at > limit:
            return at
        if floats:
            if nth == 0:
                words[k] = bits_at(data, at, 64)
                at += 64
            else:
                at, words[k], leading[k], trailing[k] = xor_at(
                    data, at, words[k], leading[k], trailing[k]
                )
            continue
        change, at = varbit_int_at(data, at)
        if nth == 0:
            words[k] = np.uint64(change)
        else:
            delta[k] = change if nth == 1 else delta[k] + change
            words[k] += np.uint64(delta[k])
    return at


@helper(types.void(WORDS, types.boolean, FLOATS))
def _write_counts(words: Words, floats: bool, out: Floats) -> None:
    """Write buckets as absolute counts: integers come as differences from the one before."""
    if floats:
        out[:] = words.view(np.float64)
        return
    total = np.int64(0)
    for k in range(words.size):
        total += np.int64(words[k])
        out[k] = np.float64(total)


@kernel(
    types.void(
        BYTES_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS, ROOM, _BOOLS
    ),
)
def decode_histograms(
    data: Bytes,
    start: Ints,
    stop: Ints,
    encoding: Ints,
    samples: Ints,
    positive_buckets: Ints,
    negative_buckets: Ints,
    out: Ints,
    times: Ints,
    into: HistogramRoom,
    good: npt.NDArray[np.bool_],
) -> None:
    """Decode histogram chunks: chunk c to rows out[c] to out[c] + samples[c] of all columns.

    Shapes: `start` to `out` int64[C], sizes from `measure_histograms`; `into` has H rows, and room
    for all buckets of all of them, one behind the other; its `bounds_start` is filled in already.
    A stale marker has no buckets.
    """
    longest = 0
    buckets_max = 0
    for c in range(start.size):
        longest = max(longest, stop[c] - start[c])
        buckets_max = max(buckets_max, positive_buckets[c], negative_buckets[c])
    room = np.zeros(longest + 8 * SLACK_BYTES, np.uint8)
    all_words = np.empty((2, buckets_max), np.uint64)
    all_states = np.empty((2, 3, buckets_max), np.int64)
    index = np.empty((2, buckets_max), np.int32)
    raw_total, raw_count, raw_zero = (
        into.sum.view(np.uint64),
        into.observations.view(np.uint64),
        into.zero_count.view(np.uint64),
    )
    one = np.empty(1, np.uint64)
    # Where the next row's buckets go.
    positives, negatives = np.int64(0), np.int64(0)
    for c in range(start.size):
        size = stop[c] - start[c]
        room[:size] = data[start[c] : stop[c]]
        room[size:] = 0
        limit = 8 * size
        floats = encoding[c] == FLOAT_ENCODING
        header = room[2] >> 6
        threshold = 0.0
        at = np.int64(32)
        if room[3] == 255:
            one[0] = bits_at(room, at, 64)
            threshold = one.view(np.float64)[0]
            at += 64
        elif room[3] > 0:
            threshold = np.ldexp(0.5, np.int64(room[3]) - 243)
        own_schema, at = varbit_int_at(room, at)
        positive, at = _spans_at(room, at, limit, True, index[0])
        negative, at = _spans_at(room, at, limit, True, index[1])
        if own_schema == _CUSTOM and samples[c] > 0:
            bounds = into.bounds[into.bounds_start[out[c]] :]
            _, at = _bounds_at(room, at, limit, True, bounds)
        words = all_words[0, :positive]
        other_words = all_words[1, :negative]
        words[:] = 0
        other_words[:] = 0
        all_states[:] = 0
        time, time_delta = np.int64(0), np.int64(0)
        # Integers: value and difference. Floats: bits, and the window of the bits that changed.
        counts = np.zeros(2, np.uint64)
        count_delta = np.zeros(2, np.int64)
        count_leading = np.zeros(2, np.int64)
        count_trailing = np.zeros(2, np.int64)
        sum_word, sum_leading, sum_trailing = np.uint64(0), np.int64(0), np.int64(0)
        good[c] = True
        for n in range(samples[c]):
            row = out[c] + n
            into.positive_start[row], into.negative_start[row] = positives, negatives
            if at > limit:
                good[c] = False
                continue
            if n == 1:
                step, at = varbit_uint_at(room, at)
                time_delta = np.int64(step)
                time += time_delta
            else:
                change, at = varbit_int_at(room, at)
                if n == 0:
                    time = change
                else:
                    time_delta += change
                    time += time_delta
            for k in range(2):
                if floats:
                    if n == 0:
                        counts[k] = bits_at(room, at, 64)
                        at += 64
                    elif at <= limit:
                        at, counts[k], count_leading[k], count_trailing[k] = xor_at(
                            room, at, counts[k], count_leading[k], count_trailing[k]
                        )
                elif n == 0:
                    counts[k], at = varbit_uint_at(room, at)
                elif at <= limit:
                    change, at = varbit_int_at(room, at)
                    count_delta[k] = change if n == 1 else count_delta[k] + change
                    counts[k] += np.uint64(count_delta[k])
            if at > limit:
                good[c] = False
                continue
            if n == 0:
                sum_word = bits_at(room, at, 64)
                at += 64
            else:
                at, sum_word, sum_leading, sum_trailing = xor_at(
                    room, at, sum_word, sum_leading, sum_trailing
                )
            times[row], into.schema[row] = time, own_schema
            # Of counters a header says nothing for sure, as Prometheus reads it.
            into.hint[row] = _HINT_GAUGE if header == 3 else 0
            raw_total[row] = sum_word
            into.zero_threshold[row] = threshold
            if sum_word == _STALE:
                into.observations[row] = into.zero_count[row] = 0.0
                into.zero_threshold[row] = 0.0
                into.schema[row] = 0
                continue
            if floats:
                raw_count[row], raw_zero[row] = counts[0], counts[1]
            else:
                into.observations[row], into.zero_count[row] = (
                    np.float64(counts[0]),
                    np.float64(counts[1]),
                )
            states = all_states[0]
            at = _buckets_at(
                room,
                at,
                limit,
                floats,
                n,
                words,
                states[0, :positive],
                states[1, :positive],
                states[2, :positive],
            )
            states = all_states[1]
            at = _buckets_at(
                room,
                at,
                limit,
                floats,
                n,
                other_words,
                states[0, :negative],
                states[1, :negative],
                states[2, :negative],
            )
            if at > limit:
                good[c] = False
                continue
            end = positives + positive
            _write_counts(words, floats, into.positive_count[positives:end])
            into.positive_index[positives:end] = index[0, :positive]
            positives = end
            _write_counts(
                other_words, floats, into.negative_count[negatives : negatives + negative]
            )
            into.negative_index[negatives : negatives + negative] = index[1, :negative]
            negatives += negative
    if start.size:
        last = out[start.size - 1] + samples[start.size - 1]
        into.positive_start[last], into.negative_start[last] = positives, negatives
