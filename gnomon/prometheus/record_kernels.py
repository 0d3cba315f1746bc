"""Compiled decoding of the records of Prometheus' log.

From: `wal.py`, payloads, decompressed, with `SLACK_BYTES` of zeros behind them. To: `head.py`.
Every function returns how much it found, -1 where the record does not add up.
Source: Prometheus documentation, WAL disk format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from gnomon.prometheus.bit_kernels import (
    BYTES_IN,
    FLOATS,
    INTS,
    PAIR,
    WORDS,
    be64_at,
    uvarint_at,
    varint_at,
)
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

_STALE = np.uint64(0x7FF0000000000002)
_CUSTOM = -53
_INT32S = types.Array(types.int32, 1, "C")
_SPANS = types.Array(types.int32, 2, "C")


@helper(types.int64(BYTES_IN, types.int64, types.int64))
def _text_stop(data: Bytes, at: Whole, size: Whole) -> Whole:
    """Return where the text of a length-prefixed string stops, -1 if that is beyond the record."""
    length, at = uvarint_at(data, at)
    if at < 0 or length > np.uint64(size) or at + np.int64(length) > size:
        return np.int64(-1)
    return at + np.int64(length)


@helper(types.int64(BYTES_IN, types.int64, types.int64, _SPANS, types.int64))
def _read_label(data: Bytes, at: Whole, size: Whole, spans: Int32s, label: Whole) -> Whole:
    """Read a name and a value to spans[label]; return where the value stops, -1 if beyond."""
    for part in range(2):
        if at >= size:
            return np.int64(-1)
        stop = _text_stop(data, at, size)
        if stop < 0:
            return np.int64(-1)
        _, start = uvarint_at(data, at)
        spans[label, 2 * part], spans[label, 2 * part + 1] = start, stop
        at = stop
    return at


@kernel(PAIR(BYTES_IN, types.int64, INTS, INTS, _SPANS))
def read_series(
    data: Bytes, size: int, refs: Ints, first: Ints, spans: Int32s
) -> tuple[Whole, Whole]:
    """Read a series record; return how many series and labels it has.

    Shapes: `refs` int64, `first` int64, `spans` int32[any, 4] as in `interface.LabelSpans`, with
    room for size / 9 series and size / 2 labels.
    """
    at = np.int64(1)
    series, labels = np.int64(0), np.int64(0)
    first[0] = 0
    while at < size:
        if at + 9 > size:
            return np.int64(-1), labels
        refs[series] = np.int64(be64_at(data, at))
        count, at = uvarint_at(data, at + 8)
        if at < 0:
            return np.int64(-1), labels
        for _ in range(np.int64(count)):
            at = _read_label(data, at, size, spans, labels)
            if at < 0:
                return np.int64(-1), labels
            # A label without a value is none.
            labels += spans[labels, 3] > spans[labels, 2]
        series += 1
        first[series] = labels
    return series, labels


@kernel(types.int64(BYTES_IN, types.int64, INTS, INTS, WORDS))
def read_samples(data: Bytes, size: int, refs: Ints, times: Ints, bits: Words) -> Whole:
    """Read a samples record; the columns have room for size / 10 samples."""
    if size == 1:
        return np.int64(0)
    if size < 17:
        return np.int64(-1)
    base_ref, base_time = np.int64(be64_at(data, 1)), np.int64(be64_at(data, 9))
    at = np.int64(17)
    found = np.int64(0)
    while at < size:
        ref, at = varint_at(data, at)
        if at < 0 or at > size:
            return np.int64(-1)
        time, at = varint_at(data, at)
        if at < 0 or at + 8 > size:
            return np.int64(-1)
        refs[found], times[found] = base_ref + ref, base_time + time
        bits[found] = be64_at(data, at)
        at += 8
        found += 1
    return found


@kernel(types.int64(BYTES_IN, types.int64, INTS, INTS, WORDS, INTS, _SPANS))
def read_exemplars(
    data: Bytes, size: int, refs: Ints, times: Ints, bits: Words, first: Ints, spans: Int32s
) -> Whole:
    """Read an exemplars record; return how many it has.

    Columns have room for size / 11 exemplars; `first` and `spans` say their labels, as in
    `read_series`.
    """
    if size < 17:
        return np.int64(0 if size == 1 else -1)
    base_ref, base_time = np.int64(be64_at(data, 1)), np.int64(be64_at(data, 9))
    at = np.int64(17)
    found, labels = np.int64(0), np.int64(0)
    first[0] = 0
    while at < size:
        ref, at = varint_at(data, at)
        if at < 0 or at > size:
            return np.int64(-1)
        time, at = varint_at(data, at)
        if at < 0 or at + 8 >= size:
            return np.int64(-1)
        refs[found], times[found] = base_ref + ref, base_time + time
        bits[found] = be64_at(data, at)
        count, at = uvarint_at(data, at + 8)
        if at < 0:
            return np.int64(-1)
        for _ in range(np.int64(count)):
            at = _read_label(data, at, size, spans, labels)
            if at < 0:
                return np.int64(-1)
            labels += spans[labels, 3] > spans[labels, 2]
        found += 1
        first[found] = labels
    return found


@helper(PAIR(BYTES_IN, types.int64, types.int64, INTS, INTS))
def _read_spans(
    data: Bytes, at: Whole, size: Whole, offset: Ints, length: Ints
) -> tuple[Whole, Whole]:
    """Read spans; return their number and end, -1 for either where they do not fit."""
    count, at = uvarint_at(data, at)
    if at < 0 or count > np.uint64(size):
        return np.int64(-1), np.int64(-1)
    for k in range(np.int64(count)):
        if at >= size:
            return np.int64(-1), np.int64(-1)
        offset[k], at = varint_at(data, at)
        if at < 0 or at >= size:
            return np.int64(-1), np.int64(-1)
        word, at = uvarint_at(data, at)
        if at < 0 or word > np.uint64(size):
            return np.int64(-1), np.int64(-1)
        length[k] = np.int64(word)
    return np.int64(count), at


@helper(
    PAIR(
        BYTES_IN,
        types.int64,
        types.int64,
        types.boolean,
        types.int64,
        INTS,
        INTS,
        types.int64,
        _INT32S,
        FLOATS,
    )
)
def _read_buckets(
    data: Bytes,
    at: Whole,
    size: Whole,
    floats: bool,
    spans: Whole,
    offset: Ints,
    length: Ints,
    base: Whole,
    index: Int32s,
    counts: Floats,
) -> tuple[Whole, Whole]:
    """Read one side's buckets to `base` on in the pools; return their number and end."""
    word, at = uvarint_at(data, at)
    if at < 0 or word > np.uint64(size):
        return np.int64(-1), np.int64(-1)
    buckets = np.int64(word)
    total: Whole = np.int64(0)
    one = np.empty(1, np.uint64)
    for b in range(buckets):
        if at >= size or (floats and at + 8 > size):
            return np.int64(-1), np.int64(-1)
        if floats:
            one[0] = be64_at(data, at)
            counts[base + b] = one.view(np.float64)[0]
            at += 8
        else:
            change, at = varint_at(data, at)
            if at < 0:
                return np.int64(-1), np.int64(-1)
            total += change
            counts[base + b] = np.float64(total)
    place: Whole = np.int64(0)
    k: Whole = np.int64(0)
    for s in range(spans):
        place += offset[s]
        for _ in range(length[s]):
            if k == buckets:
                return np.int64(-1), np.int64(-1)
            index[base + k] = place
            place += 1
            k += 1
    if k != buckets:
        return np.int64(-1), np.int64(-1)
    return buckets, at


@kernel(types.int64(BYTES_IN, types.int64, types.boolean, INTS, INTS, ROOM))
def read_histograms(
    data: Bytes, size: int, floats: bool, refs: Ints, times: Ints, into: HistogramRoom
) -> Whole:
    """Read a histogram record; return how many histograms it has.

    Rows have room for size / 20 histograms, pools for `size` buckets. A stale marker keeps nothing
    but its sum.
    """
    if size == 1:
        return np.int64(0)
    if size < 17:
        return np.int64(-1)
    base_ref, base_time = np.int64(be64_at(data, 1)), np.int64(be64_at(data, 9))
    offset, length = np.empty((2, size), np.int64), np.empty((2, size), np.int64)
    raw_threshold, raw_total = into.zero_threshold.view(np.uint64), into.sum.view(np.uint64)
    raw_count, raw_zero = into.observations.view(np.uint64), into.zero_count.view(np.uint64)
    at = np.int64(17)
    rows, positives, negatives, all_bounds = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    one = np.empty(1, np.uint64)
    into.positive_start[0] = into.negative_start[0] = 0
    while at < size:
        ref, at = varint_at(data, at)
        if at < 0 or at > size:
            return np.int64(-1)
        time, at = varint_at(data, at)
        if at < 0 or at + 10 > size:
            return np.int64(-1)
        refs[rows], times[rows] = base_ref + ref, base_time + time
        into.hint[rows] = data[at]
        own_schema, at = varint_at(data, at + 1)
        if at < 0 or at + 8 > size:
            return np.int64(-1)
        into.schema[rows] = own_schema
        raw_threshold[rows] = be64_at(data, at)
        at += 8
        if floats:
            if at + 24 > size:
                return np.int64(-1)
            raw_zero[rows], raw_count[rows] = be64_at(data, at), be64_at(data, at + 8)
            at += 16
        else:
            word, at = uvarint_at(data, at)
            if at < 0 or at > size:
                return np.int64(-1)
            into.zero_count[rows] = np.float64(word)
            word, at = uvarint_at(data, at)
            if at < 0 or at + 8 > size:
                return np.int64(-1)
            into.observations[rows] = np.float64(word)
        raw_total[rows] = be64_at(data, at)
        at += 8
        spans, at = _read_spans(data, at, size, offset[0], length[0])
        if spans < 0:
            return np.int64(-1)
        other_spans, at = _read_spans(data, at, size, offset[1], length[1])
        if other_spans < 0:
            return np.int64(-1)
        buckets, at = _read_buckets(
            data, at, size, floats, spans, offset[0], length[0], positives,
            into.positive_index, into.positive_count,
        )  # fmt: skip
        if buckets < 0:
            return np.int64(-1)
        other_buckets, at = _read_buckets(
            data, at, size, floats, other_spans, offset[1], length[1], negatives,
            into.negative_index, into.negative_count,
        )  # fmt: skip
        if other_buckets < 0:
            return np.int64(-1)
        into.bounds_start[rows], into.bounds_count[rows] = all_bounds, 0
        if own_schema == _CUSTOM:
            word, at = uvarint_at(data, at)
            if at < 0 or word > np.uint64(size) or at + 8 * np.int64(word) > size:
                return np.int64(-1)
            for k in range(np.int64(word)):
                one[0] = be64_at(data, at)
                into.bounds[all_bounds + k] = one.view(np.float64)[0]
                at += 8
            into.bounds_count[rows] = np.int64(word)
            all_bounds += np.int64(word)
        if raw_total[rows] == _STALE:
            all_bounds = into.bounds_start[rows]
            into.bounds_count[rows] = 0
            into.schema[rows] = 0
            into.observations[rows] = into.zero_count[rows] = into.zero_threshold[rows] = 0.0
        else:
            positives += buckets
            negatives += other_buckets
        rows += 1
        into.positive_start[rows], into.negative_start[rows] = positives, negatives
    return rows
