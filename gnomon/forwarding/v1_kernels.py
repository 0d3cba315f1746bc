"""Compiled loops of sending by remote write 1.0: labels once a series, then samples behind them.

From: `series_table.py` (labels), `messages_v1.py` (samples).
Source: remote write specification 1.0, message `WriteRequest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from api.wire_writing_kernels import (
    i32r,
    i64,
    i64r,
    put_span,
    put_varint,
    put_word,
    u8,
    u8r,
    u64r,
    varint_size,
)
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from api.wire_writing_kernels import Bytes, Whole

    Entries = npt.NDArray[np.int32]
    Ints = npt.NDArray[np.int64]
    Spans = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]

_U = np.uint64
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)
_i32w2 = types.Array(types.int32, 2, "C")


@kernel(types.int64(u8r, _i32r2, i64r, _i32r2, _i32w2, i64))
def add_labels(
    data: Bytes, spans: Spans, first: Ints, extra: Spans, out: Spans, out_first: Ints
) -> Whole:
    """Add labels to each series where it has none of their names; return the labels written.

    Shapes: `spans`, `first` as in `LabelSpans`; `extra` int32[E, 4] spans into the same `data`,
    sorted by name; `out` int32[labels + N E, 4] and `out_first` int64[N + 1], the same sorted.
    """
    at = 0
    out_first[0] = 0
    for n in range(first.size - 1):
        k, e = first[n], 0
        while k < first[n + 1] or e < extra.shape[0]:
            order = 0  # below 0: the series' own label comes first; above: the extra one
            if k >= first[n + 1]:
                order = 1
            elif e >= extra.shape[0]:
                order = -1
            else:
                mine, mine_stop = spans[k, 0], spans[k, 1]
                its, its_stop = extra[e, 0], extra[e, 1]
                while order == 0 and (mine < mine_stop or its < its_stop):
                    if mine >= mine_stop:
                        order = -1
                    elif its >= its_stop:
                        order = 1
                    elif data[mine] != data[its]:
                        order = -1 if data[mine] < data[its] else 1
                    mine += 1
                    its += 1
            if order > 0:
                for column in range(4):
                    out[at, column] = extra[e, column]
                e += 1
            else:
                for column in range(4):
                    out[at, column] = spans[k, column]
                k += 1
                if order == 0:
                    e += 1
            at += 1
        out_first[n + 1] = at
    return at


@kernel(types.int64(u8r, _i32r2, i64r, u8, i64))
def encode_labels(data: Bytes, spans: Spans, first: Ints, out: Bytes, out_first: Ints) -> Whole:
    """Write the labels of each series as fields 1 of a message; return the bytes.

    Shapes: as in `LabelSpans`; `out` has room for all text and 18 bytes a label; those of series n
    go to `out[out_first[n] : out_first[n + 1]]`.
    """
    at: Whole = 0
    out_first[0] = 0
    for n in range(first.size - 1):
        for k in range(first[n], first[n + 1]):
            name, value = spans[k, 1] - spans[k, 0], spans[k, 3] - spans[k, 2]
            inner = 2 + varint_size(_U(name)) + name + varint_size(_U(value)) + value
            out[at] = 10
            at = put_varint(out, at + 1, _U(inner))
            out[at] = 10
            at = put_varint(out, at + 1, _U(name))
            at = put_span(out, at, data, spans[k, 0], spans[k, 1])
            out[at] = 18
            at = put_varint(out, at + 1, _U(value))
            at = put_span(out, at, data, spans[k, 2], spans[k, 3])
        out_first[n + 1] = at
    return at


@kernel(types.int64(i32r, i64r, u64r, u8r, i64r, u8))
def encode_floats(
    entries: Entries, times: Ints, bits: Words, text: Bytes, text_first: Ints, out: Bytes
) -> Whole:
    """Write samples as a WriteRequest; return its bytes.

    Neighbours of one entry share a TimeSeries. Shapes: `entries`, `times`, `bits` [N]; the labels
    of entry e, encoded, are `text[text_first[e] : text_first[e + 1]]`. `out` has room for the
    labels and 6 bytes of each TimeSeries, and for 22 bytes a sample.
    """
    at: Whole = 0
    begin = 0
    while begin < entries.size:
        entry = entries[begin]
        size = text_first[entry + 1] - text_first[entry]
        stop = begin
        while stop < entries.size and entries[stop] == entry:
            size += 12 + varint_size(_U(times[stop]))
            stop += 1
        out[at] = 10
        at = put_varint(out, at + 1, _U(size))
        at = put_span(out, at, text, text_first[entry], text_first[entry + 1])
        for i in range(begin, stop):
            time = _U(times[i])
            out[at] = 18
            out[at + 1] = np.uint8(10 + varint_size(time))
            out[at + 2] = 9
            at = put_word(out, at + 3, bits[i])
            out[at] = 16
            at = put_varint(out, at + 1, time)
        begin = stop
    return at


@kernel(types.int64(i32r, u8r, i64r, types.uint8, u8r, i64r, u8))
def encode_messages(
    entries: Entries,
    messages: Bytes,
    message_first: Ints,
    tag: np.uint8,
    text: Bytes,
    text_first: Ints,
    out: Bytes,
) -> Whole:
    """Write messages (histograms, exemplars) as fields of TimeSeries; return the bytes.

    Message i is `messages[message_first[i] : message_first[i + 1]]`, the field's tag is `tag`, else
    as in `encode_floats`. `out` has room for all messages and 6 bytes more for each.
    """
    at: Whole = 0
    begin = 0
    while begin < entries.size:
        entry = entries[begin]
        size = text_first[entry + 1] - text_first[entry]
        stop = begin
        while stop < entries.size and entries[stop] == entry:
            length = message_first[stop + 1] - message_first[stop]
            size += 1 + varint_size(_U(length)) + length
            stop += 1
        out[at] = 10
        at = put_varint(out, at + 1, _U(size))
        at = put_span(out, at, text, text_first[entry], text_first[entry + 1])
        for i in range(begin, stop):
            out[at] = tag
            at = put_varint(out, at + 1, _U(message_first[i + 1] - message_first[i]))
            at = put_span(out, at, messages, message_first[i], message_first[i + 1])
        begin = stop
    return at


@kernel(types.int64(u8r, i64r, i64r, u64r, u8, i64))
def encode_exemplars(
    labels: Bytes, label_first: Ints, times: Ints, bits: Words, out: Bytes, out_first: Ints
) -> Whole:
    """Write each exemplar as a message of 1.0; return the bytes.

    Shapes: encoded `labels` by `label_first` [N + 1]; `out` has room for them and 20 bytes each.
    """
    at: Whole = 0
    out_first[0] = 0
    for i in range(times.size):
        at = put_span(out, at, labels, label_first[i], label_first[i + 1])
        out[at] = 17
        at = put_word(out, at + 1, bits[i])
        out[at] = 24
        at = put_varint(out, at + 1, _U(times[i]))
        out_first[i + 1] = at
    return at
