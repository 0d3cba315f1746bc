"""Compiled loop of sending native histograms: columns to protobuf `Histogram`, of 1.0 and 2.0.

From: `messages.py`.   Source: remote write specifications; Prometheus' native histograms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from api.wire_writing_kernels import (
    i64,
    i64r,
    put_varint,
    put_word,
    u8,
    u64r,
    varint_size,
    zigzag,
)
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from api.wire_writing_kernels import Bytes, Whole

    Entries = npt.NDArray[np.int32]
    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]

_U = np.uint64
_i8r = types.Array(types.int8, 1, "C", readonly=True)
_b1r = types.Array(types.boolean, 1, "C", readonly=True)
_f64r = types.Array(types.float64, 1, "C", readonly=True)
_i32r = types.Array(types.int32, 1, "C", readonly=True)


@helper(
    types.int64(
        u8, types.int64, types.uint8, types.boolean, _i32r, _f64r, u64r, types.int64, types.int64
    )
)
def _put_side(
    out: Bytes,
    at: Whole,
    field: np.uint8,
    is_float: np.bool_,
    index: Entries,
    counts: Floats,
    words: Words,
    low: Whole,
    high: Whole,
) -> Whole:
    """Write the spans of one side as `field`, its deltas (or counts) as the one or two after it."""
    behind = np.int64(0)
    begin = low
    while begin < high:
        stop = begin + 1
        while stop < high and index[stop] == index[stop - 1] + 1:
            stop += 1
        offset = zigzag(np.int64(index[begin]) - behind)
        out[at] = field << 3 | 2
        out[at + 1] = np.uint8(2 + varint_size(offset) + varint_size(_U(stop - begin)))
        out[at + 2] = 8
        at = put_varint(out, at + 3, offset)
        out[at] = 16
        at = put_varint(out, at + 1, _U(stop - begin))
        behind = np.int64(index[stop - 1]) + 1
        begin = stop
    if is_float:
        out[at] = (field + 2) << 3 | 2
        at = put_varint(out, at + 1, _U(8 * (high - low)))
        for k in range(low, high):
            at = put_word(out, at, words[k])
        return at
    size, before = 0, np.int64(0)
    for k in range(low, high):
        count = np.int64(counts[k])
        size += varint_size(zigzag(count - before))
        before = count
    out[at] = (field + 1) << 3 | 2
    at = put_varint(out, at + 1, _U(size))
    before = np.int64(0)
    for k in range(low, high):
        count = np.int64(counts[k])
        at = put_varint(out, at, zigzag(count - before))
        before = count
    return at


@kernel(
    types.int64(
        i64r, i64r, i64r, _i8r, _i8r, _b1r,
        _f64r, u64r, u64r, u64r, _f64r, u64r,
        i64r, _i32r, _f64r, u64r,
        i64r, _i32r, _f64r, u64r,
        i64r, i64r, u64r,
        u8, i64,
    )
)  # fmt: skip
def encode_histograms(
    rows: Ints,
    times: Ints,
    starts: Ints,
    schema: npt.NDArray[np.int8],
    hint: npt.NDArray[np.int8],
    is_float: npt.NDArray[np.bool_],
    count: Floats,
    count_word: Words,
    sum_word: Words,
    threshold_word: Words,
    zero_count: Floats,
    zero_word: Words,
    positive_start: Ints,
    positive_index: Entries,
    positive_count: Floats,
    positive_word: Words,
    negative_start: Ints,
    negative_index: Entries,
    negative_count: Floats,
    negative_word: Words,
    bounds_start: Ints,
    bounds_count: Ints,
    bounds_word: Words,
    out: Bytes,
    out_first: Ints,
) -> Whole:
    """Write the histograms `rows` of the columns as messages; return the bytes.

    Shapes: `rows`, `times`, `starts` (start timestamps, 0: none) [N], the rest as in
    `HistogramColumns`; a `..._word` is the same memory as uint64. Message i goes to
    `out[out_first[i] : out_first[i + 1]]`. `out` has room for 110 bytes each, for 26 a bucket and
    for 8 a bound.
    """
    at: Whole = 0
    out_first[0] = 0
    for i in range(rows.size):
        row = rows[i]
        if is_float[row]:
            out[at] = 17
            at = put_word(out, at + 1, count_word[row])
        else:
            out[at] = 8
            at = put_varint(out, at + 1, _U(np.int64(count[row])))
        out[at] = 25
        at = put_word(out, at + 1, sum_word[row])
        if schema[row]:
            out[at] = 32
            at = put_varint(out, at + 1, zigzag(np.int64(schema[row])))
        if threshold_word[row] << _U(1):
            out[at] = 41
            at = put_word(out, at + 1, threshold_word[row])
        if is_float[row]:
            out[at] = 57
            at = put_word(out, at + 1, zero_word[row])
        else:
            out[at] = 48
            at = put_varint(out, at + 1, _U(np.int64(zero_count[row])))
        low, high = negative_start[row], negative_start[row + 1]
        if low < high:
            at = _put_side(
                out, at, np.uint8(8), is_float[row], negative_index, negative_count,
                negative_word, low, high,
            )  # fmt: skip
        low, high = positive_start[row], positive_start[row + 1]
        if low < high:
            at = _put_side(
                out, at, np.uint8(11), is_float[row], positive_index, positive_count,
                positive_word, low, high,
            )  # fmt: skip
        if hint[row]:
            out[at] = 112
            out[at + 1] = np.uint8(hint[row])
            at += 2
        out[at] = 120
        at = put_varint(out, at + 1, _U(times[i]))
        if bounds_count[row]:
            out[at] = 130
            out[at + 1] = 1
            at = put_varint(out, at + 2, _U(8 * bounds_count[row]))
            for k in range(bounds_start[row], bounds_start[row] + bounds_count[row]):
                at = put_word(out, at, bounds_word[k])
        if starts[i]:
            out[at] = 136
            out[at + 1] = 1
            at = put_varint(out, at + 2, _U(starts[i]))
        out_first[i + 1] = at
    return at
