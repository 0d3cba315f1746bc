"""Compiled loops of /federate: one sample a series, as exposition text or as protobuf.

From: `federation_writer.py`, which encodes every text once.   To: `float_kernels.py` for numbers.
All sources and `out` have SLACK_BYTES behind what is used of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.float_kernels import SLACK_BYTES, put_bytes, put_float
from api.label_pair_kernels import labels_size, put_labels
from api.wire_writing_kernels import put_varint, varint_size
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Locals = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]

_SCRATCH = 32
"""How far off a value is written first; more than it may become long."""

LINE_BYTES_MAX = 3 * 32 + SLACK_BYTES
"""What a line may use beside its texts: value, time, blanks, and the scratch behind them."""

_U = np.uint64

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_u64r = types.Array(types.uint64, 1, "C", readonly=True)
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)


@helper(types.int64(_u8, types.int64, types.uint64))
def _put_general(out: Bytes, at: Whole, bits: np.uint64) -> Whole:
    """Write a double in Go's 'g' form, with an exponent from 1e6 on and below 1e-4."""
    # First as the API writes it, some way off: the digits are the same, only the layout differs.
    source = at + _SCRATCH
    end = put_float(out, source, bits)
    point: Whole = end
    first: Whole = -1
    last: Whole = -1
    as_is = False
    for i in range(source, end):
        char = out[i]
        if char == 46:
            point = i
        elif 49 <= char <= 57:
            first = i if first < 0 else first
            last = i
        elif char > 57:
            as_is = True  # a letter: NaN, Inf, or an exponent that is there already
    power = point - first - 1 if first < point else point - first
    if as_is or first < 0 or -4 <= power < 6:
        for i in range(source, end):
            out[at + i - source] = out[i]
        return at + end - source
    if out[source] == 45:
        out[at] = 45
        at += 1
    out[at] = out[first]
    at += 1
    if last > first:
        out[at] = 46
        at += 1
        for i in range(first + 1, last + 1):
            if i != point:
                out[at] = out[i]
                at += 1
    out[at] = 101
    out[at + 1] = 45 if power < 0 else 43
    power = abs(power)
    out[at + 2] = 48 + power // 10
    out[at + 3] = 48 + power % 10
    return at + 4


@kernel(
    types.int64(
        _i64r, _u8r, _i64r, _u8r, _i64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u64r, _u64r, _u8
    )
)
def write_lines(
    family_of: Ints,
    heads: Bytes,
    head_at: Ints,
    starts: Bytes,
    start_at: Ints,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    values: Words,
    stamps: Words,
    out: Bytes,
) -> Whole:
    """Write a line for each series, and a head before the first one of a family; return the end.

    Shapes: `family_of` int64[S], families together; `heads`, `starts` the encoded texts of the
    families, `head_at`, `start_at` int64[F + 1]; `texts_of` int32[L, S], index into `text_at` or
    -1, at least one label a series; `values`, `stamps` uint64[S], bits of doubles. A start ends
    before the first label, a text with the comma behind it.
    """
    at: Whole = 0
    for series in range(family_of.size):
        family = family_of[series]
        if series == 0 or family_of[series - 1] != family:
            at = put_bytes(out, at, heads, head_at[family], head_at[family + 1])
        at = put_bytes(out, at, starts, start_at[family], start_at[family + 1])
        for label in range(texts_of.shape[0]):
            text = texts_of[label, series]
            if text >= 0:
                at = put_bytes(out, at, names, name_at[label], name_at[label + 1])
                at = put_bytes(out, at, texts, text_at[text], text_at[text + 1])
        out[at - 1] = 125  # in place of the last comma
        out[at] = 32
        at = _put_general(out, at + 1, values[series])
        out[at] = 32
        at = put_float(out, at + 1, stamps[series])
        out[at] = 10
        at += 1
    return at


@kernel(types.void(_i64r, _i64r, _i32r2, _i64r, _i64r, _i64r, _i64r, _i64, _i64))
def message_sizes(
    family_first: Ints,
    head_at: Ints,
    texts_of: Locals,
    name_at: Ints,
    text_at: Ints,
    body_at: Ints,
    times: Ints,
    metric_sizes: Ints,
    family_sizes: Ints,
) -> None:
    """Write the lengths of the messages Metric, int64[S], and MetricFamily, int64[F].

    Shapes: as in `write_messages`.
    """
    for family in range(family_sizes.size):
        total = head_at[family + 1] - head_at[family]
        for series in range(family_first[family], family_first[family + 1]):
            size = body_at[series + 1] - body_at[series] + 1 + varint_size(_U(times[series]))
            size += labels_size(texts_of, series, name_at, text_at)
            metric_sizes[series] = size
            total += 1 + varint_size(_U(size)) + size
        family_sizes[family] = total


@kernel(
    types.int64(
        _i64r, _u8r, _i64r, _i32r2, _u8r, _i64r, _u8r, _i64r, _u8r, _i64r, _i64r, _i64r, _i64r, _u8
    )
)
def write_messages(
    family_first: Ints,
    heads: Bytes,
    head_at: Ints,
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    bodies: Bytes,
    body_at: Ints,
    times: Ints,
    metric_sizes: Ints,
    family_sizes: Ints,
    out: Bytes,
) -> Whole:
    """Write each family as a MetricFamily message with its length before it; return the end.

    Shapes: family f has the series `family_first[f]` to `family_first[f + 1]`; `heads` are the
    fields of a family beside its metrics, `bodies` those of a metric between labels and time;
    `names` and `texts` the encoded fields of a LabelPair; `times` int64[S] milliseconds.
    """
    at: Whole = 0
    for family in range(family_sizes.size):
        at = put_varint(out, at, _U(family_sizes[family]))
        at = put_bytes(out, at, heads, head_at[family], head_at[family + 1])
        for series in range(family_first[family], family_first[family + 1]):
            out[at] = 34
            at = put_varint(out, at + 1, _U(metric_sizes[series]))
            at = put_labels(out, at, texts_of, series, names, name_at, texts, text_at)
            at = put_bytes(out, at, bodies, body_at[series], body_at[series + 1])
            out[at] = 48
            at = put_varint(out, at + 1, _U(times[series]))
    return at
