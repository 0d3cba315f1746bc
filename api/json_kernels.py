"""Compiled loops of the JSON writer: columns of samples to `[t,"v"]` bytes.

From: `json_writer.py`, which makes the columns.   To: `float_kernels.py` for numbers.

The writing kernels are resumable: `state` holds the next series, the next point within it, and the
series to stop before, so an answer of any size passes through one buffer, and series of it may be
written elsewhere at the same time. The caller calls again until state[0] == state[2].
All sources and `out` have SLACK_BYTES behind what is used of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.float_kernels import (
    SLACK_BYTES,
    STAMP_BYTES_MAX,
    STAMP_SPAN_MS,
    VALUE_BYTES_MAX,
    put_bytes,
    put_float,
    put_near_stamp,
    put_stamp,
    put_thirty_two,
)
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Locals = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]

POINT_BYTES_MAX = VALUE_BYTES_MAX + STAMP_BYTES_MAX + SLACK_BYTES + 6
"""One point with its brackets, quotes and comma, and the room behind it."""

FRAME_BYTES_MAX = 64 + SLACK_BYTES
"""What a series costs beside its labels and points: keys, braces, brackets."""

FRAME_STRIDE = 32
"""What lies between the values of a series, for each step so many bytes apart."""

_FRAME_CLOSING = 3
"""How much of it belongs to the value before."""

_U = np.uint64

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_u64r = types.Array(types.uint64, 1, "C", readonly=True)
_u64r2 = types.Array(types.uint64, 2, "C", readonly=True)
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)
_bool_r2 = types.Array(types.boolean, 2, "C", readonly=True)


@helper(types.int64(types.int64, _i32r2, _i64r, _i64r))
def _metric_bytes(series: Whole, texts_of: Locals, name_at: Ints, text_at: Ints) -> Whole:
    """Return the length of one series' label object, or a little more."""
    size = 2
    for label in range(texts_of.shape[0]):
        text = texts_of[label, series]
        if text >= 0:
            size += name_at[label + 1] - name_at[label] + text_at[text + 1] - text_at[text]
    return size


@helper(types.int64(_u8, types.int64, types.int64, _i32r2, _u8r, _i64r, _u8r, _i64r))
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
    start = at
    for label in range(texts_of.shape[0]):
        text = texts_of[label, series]
        if text >= 0:
            at = put_bytes(out, at, names, name_at[label], name_at[label + 1])
            at = put_bytes(out, at, texts, text_at[text], text_at[text + 1])
    if at > start:
        at -= 1  # the last text's comma
    out[at] = 125
    return at + 1


_HEAD = np.frombuffer(b'{"metric":'.ljust(32), dtype=np.uint8)
_VALUES = np.frombuffer(b',"values":['.ljust(32), dtype=np.uint8)
_VALUE = np.frombuffer(b',"value":'.ljust(32), dtype=np.uint8)


@helper(types.int64(_u8, types.int64, types.int64, _i32r2, _u8r, _i64r, _u8r, _i64r))
def _begin_series(
    out: Bytes,
    at: Whole,
    series: Whole,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
) -> Whole:
    """Write a series up to its labels, with the comma before it; return where that ends.

    -1, and nothing is written, where it and one point might not fit into `out`.
    """
    size = _metric_bytes(series, texts_of, name_at, text_at)
    if at + size + FRAME_BYTES_MAX + POINT_BYTES_MAX > out.size:
        return -1
    if series > 0:
        out[at] = 44
        at += 1
    at = put_bytes(out, at, _HEAD, 0, 10)
    return _put_metric(out, at, series, texts_of, names, name_at, texts, text_at)


@kernel(
    types.int64(_i64, _u64r2, _bool_r2, _u8r, _i64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8),
)
def write_matrix(
    state: Ints,
    bits: Words,
    present: npt.NDArray[np.bool_],
    frames: Bytes,
    frame_size: Ints,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    out: Bytes,
) -> int:
    """Write series over shared steps until all are written or `out` is full; return the length.

    Shapes: `state` int64[3], advanced in place; `bits` uint64[S, T], the doubles' bits; `present`
    bool[S, T], at least one True in a row; `frames` with `frame_size` int64[T], what
    `write_frames` made of the steps; `texts_of` int32[L, S], index into `text_at` or -1 for an
    absent label; `names`, `name_at` int64[L + 1] the bytes `"name":`; `texts`, `text_at`
    int64[K + 1] the quoted values, each with a comma behind it.
    Errors: none; `out` must hold at least one series' labels and one point more than the constants
    above say.
    Invariant: state[1] is 0 exactly between series. A point's quote and bracket are closed by the
    frame of the one behind it.
    """
    at = 0
    room = out.size - POINT_BYTES_MAX - 4
    while state[0] < state[2]:
        series = state[0]
        skipped = 0
        if state[1] == 0:
            begun = _begin_series(out, at, series, texts_of, names, name_at, texts, text_at)
            if begun < 0:
                return at
            at = put_bytes(out, begun, _VALUES, 0, 11)
            skipped = _FRAME_CLOSING
        known = False
        last, last_at, last_size = _U(0), 0, 0
        for step in range(state[1], bits.shape[1]):
            if not present[series, step]:
                continue
            if at > room:
                state[1] = step
                return at
            put_thirty_two(out, at, frames, step * FRAME_STRIDE + skipped)
            at += frame_size[step] - skipped
            skipped = 0
            word = bits[series, step]
            if known and word == last:
                put_thirty_two(out, at, out, last_at)
                at += last_size
                continue
            known, last, last_at = True, word, at
            at = put_float(out, at, word)
            last_size = at - last_at
        out[at], out[at + 1], out[at + 2], out[at + 3] = 34, 93, 93, 125
        at += 4
        state[0] += 1
        state[1] = 0
    return at


@kernel(
    types.int64(_i64, _i64r, _i64r, _u64r, _i64r, _i64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8),
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
    room = out.size - POINT_BYTES_MAX - 4
    while state[0] < state[2]:
        series = state[0]
        if state[1] == 0:
            begun = _begin_series(out, at, series, texts_of, names, name_at, texts, text_at)
            if begun < 0:
                return at
            at = put_bytes(out, begun, _VALUES, 0, 11)
        span, stamp_at, head = 0, 0, 0
        known = False
        last, last_at, last_size = _U(0), 0, 0
        for point in range(state[1], count[series]):
            if at > room:
                state[1] = point
                return at
            if point > 0:
                out[at], out[at + 1], out[at + 2] = 34, 93, 44
                at += 3
            time_ms = times[time_start[series] + point]
            if span > 0 and time_ms // STAMP_SPAN_MS == span:
                at = put_near_stamp(out, at, stamp_at, head, time_ms)
            else:
                stamp_at = at
                at = put_stamp(out, at, time_ms)
                span = time_ms // STAMP_SPAN_MS
                head = at - stamp_at - (7 if time_ms % 1000 == 0 else 11)
            word = bits[value_start[series] + point]
            if known and word == last:
                put_thirty_two(out, at, out, last_at)
                at += last_size
                continue
            known, last, last_at = True, word, at
            at = put_float(out, at, word)
            last_size = at - last_at
        if count[series] > 0:
            out[at], out[at + 1] = 34, 93
            at += 2
        out[at], out[at + 1] = 93, 125
        at += 2
        state[0] += 1
        state[1] = 0
    return at


@kernel(
    types.int64(_i64, types.int64, _u64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8),
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
    while state[0] < state[2]:
        series = state[0]
        begun = _begin_series(out, at, series, texts_of, names, name_at, texts, text_at)
        if begun < 0:
            return at
        at = put_bytes(out, begun, _VALUE, 0, 9)
        at = put_stamp(out, at, time_ms)
        at = put_float(out, at, bits[series])
        out[at], out[at + 1], out[at + 2] = 34, 93, 125
        at += 3
        state[0] += 1
    return at


@kernel(types.int64(_i64, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8))
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
    while state[0] < state[2]:
        size = _metric_bytes(state[0], texts_of, name_at, text_at)
        if at + size + FRAME_BYTES_MAX > out.size:
            return at
        if state[0] > 0:
            out[at] = 44
            at += 1
        at = _put_metric(out, at, state[0], texts_of, names, name_at, texts, text_at)
        state[0] += 1
    return at


@kernel(types.void(_i64r, _u8, _i64))
def write_frames(times_ms: Ints, out: Bytes, frame_size: Ints) -> None:
    """Write `"],[t,"` for every time, FRAME_STRIDE bytes apart, and the length of each.

    Shapes: `times_ms` int64[T]; `out` uint8[T * FRAME_STRIDE + SLACK_BYTES]; `frame_size` int64[T].
    """
    for i in range(times_ms.size):
        at = i * FRAME_STRIDE
        out[at], out[at + 1], out[at + 2] = 34, 93, 44
        frame_size[i] = put_stamp(out, at + 3, times_ms[i]) - at


@helper(types.int64(_u64r, _u8, _i64))
def write_floats(bits: Words, out: Bytes, value_at: Ints) -> int:
    """Write bare values one after the other and their offsets; as `write_stamps`.

    `out` needs VALUE_BYTES_MAX bytes a value and SLACK_BYTES.
    """
    at = 0
    for i in range(bits.size):
        value_at[i] = at
        at = put_float(out, at, bits[i])
    value_at[bits.size] = at
    return at


@kernel(
    types.int64(
        types.Array(types.uint32, 2, "C", readonly=True),
        types.Array(types.uint32, 1, "C"),
        types.Array(types.int32, 1, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.uint32, 1, "C"),
    ),
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
