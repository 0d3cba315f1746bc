"""Compiled loops of sending by remote write 2.0: every text once a request, series by numbers.

From: `messages_v2.py`.   Source: remote write specification 2.0, message `Request`.

Texts have ids for as long as a queue lives (`series_table.py`). Within a request they are numbered
in the order in which they are first used: `local[id]` is that number, 0 is none yet (and the empty
text), `used` holds the ids in that order and `counts[0]` how many there are. Who calls resets
`local` afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from api.wire_writing_kernels import (
    i32,
    i32r,
    i64,
    i64r,
    put_span,
    put_varint,
    put_word,
    u8,
    u8r,
    u32r,
    u64r,
    varint_size,
)
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from api.wire_writing_kernels import Bytes, Whole

    Entries = npt.NDArray[np.int32]
    Ids = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]

_U = np.uint64
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)


@helper(types.int64(types.int64, i32, i64, i64))
def _number(symbol: Whole, local: Entries, used: Ints, counts: Ints) -> Whole:
    """Return the number of a text within the request, giving it one if it has none."""
    if symbol == 0:
        return 0
    if local[symbol] == 0:
        local[symbol] = counts[0]
        used[counts[0]] = symbol
        counts[0] += 1
    return np.int64(local[symbol])


@helper(types.int64(u32r, types.int64, types.int64, i32, i64, i64))
def _refs_size(
    refs: Ids, start: Whole, stop: Whole, local: Entries, used: Ints, counts: Ints
) -> Whole:
    """Return the bytes of references as packed varints, numbering their texts."""
    size: Whole = 0
    for k in range(start, stop):
        size += varint_size(_U(_number(np.int64(refs[k]), local, used, counts)))
    return size


@helper(types.int64(types.int64))
def _field_size(length: Whole) -> Whole:
    """Return the bytes of a field that holds so many, its tag and length included."""
    return 1 + varint_size(_U(length)) + length


@helper(types.int64(u8, types.int64, u32r, types.int64, types.int64, types.int64, i32))
def _put_refs(
    out: Bytes, at: Whole, refs: Ids, start: Whole, stop: Whole, size: Whole, local: Entries
) -> Whole:
    """Write references, numbered before, as field 1; return where they end."""
    out[at] = 10
    at = put_varint(out, at + 1, _U(size))
    for k in range(start, stop):
        symbol = refs[k]
        at = put_varint(out, at, _U(0) if symbol == 0 else _U(local[symbol]))
    return at


@helper(types.int64(u8, types.int64, types.int64, u32r, types.int64, types.int64, i32, i64, i64))
def _begin_series(
    out: Bytes,
    at: Whole,
    rest: Whole,
    refs: Ids,
    start: Whole,
    stop: Whole,
    local: Entries,
    used: Ints,
    counts: Ints,
) -> Whole:
    """Begin a TimeSeries with its labels, `rest` bytes of it to come; return where they begin."""
    refs_size = _refs_size(refs, start, stop, local, used, counts)
    out[at] = 42
    at = put_varint(out, at + 1, _U(_field_size(refs_size) + rest))
    return _put_refs(out, at, refs, start, stop, refs_size, local)


@helper(types.int64(_i32r2, types.int64, i32, i64, i64))
def _metadata_size(
    traits: Entries, metric: Whole, local: Entries, used: Ints, counts: Ints
) -> Whole:
    """Return the bytes of field 5, 0 where nothing is known of the metric."""
    size: Whole = 0
    if traits[metric, 0]:
        size += 2
    for column in range(1, 3):
        number = _number(np.int64(traits[metric, column]), local, used, counts)
        if number:
            size += 1 + varint_size(_U(number))
    return _field_size(size) if size else 0


@helper(types.int64(u8, types.int64, _i32r2, types.int64, types.int64, i32))
def _put_metadata(
    out: Bytes, at: Whole, traits: Entries, metric: Whole, size: Whole, local: Entries
) -> Whole:
    """Write field 5, of less than 128 bytes, as its size says; return where it ends."""
    if size == 0:
        return at
    out[at] = 42
    at = put_varint(out, at + 1, _U(size - 2))
    if traits[metric, 0]:
        out[at] = 8
        out[at + 1] = np.uint8(traits[metric, 0])
        at += 2
    for column in range(1, 3):
        symbol = traits[metric, column]
        if symbol:
            out[at] = 24 if column == 1 else 32
            at = put_varint(out, at + 1, _U(local[symbol]))
    return at


@kernel(types.int64(i32r, i64r, u64r, i64r, u32r, i64r, i32r, _i32r2, i32, i64, i64, u8))
def encode_floats(
    entries: Entries,
    times: Ints,
    bits: Words,
    starts: Ints,
    refs: Ids,
    ref_first: Ints,
    metrics: Entries,
    traits: Entries,
    local: Entries,
    used: Ints,
    counts: Ints,
    out: Bytes,
) -> Whole:
    """Write samples as fields 5 of a Request; return the bytes.

    Neighbours of one entry share a TimeSeries. Shapes: `entries`, `times`, `bits`, `starts` (0:
    no start timestamp) [N]; the labels of entry e are `refs[ref_first[e] : ref_first[e + 1]]`, ids
    of names and values by turns; `metrics[e]` is the id of its name, of which `traits[id]` int32
    says type, help and unit. `out` has room for 5 bytes a reference and 40 more of each
    TimeSeries, and for 33 bytes a sample.
    """
    at: Whole = 0
    begin = 0
    while begin < entries.size:
        entry = entries[begin]
        low, high, metric = ref_first[entry], ref_first[entry + 1], np.int64(metrics[entry])
        metadata_size = _metadata_size(traits, metric, local, used, counts)
        size = metadata_size
        stop = begin
        while stop < entries.size and entries[stop] == entry:
            size += 12 + varint_size(_U(times[stop]))
            if starts[stop]:
                size += 1 + varint_size(_U(starts[stop]))
            stop += 1
        at = _begin_series(out, at, size, refs, low, high, local, used, counts)
        for i in range(begin, stop):
            time = _U(times[i])
            inner = 10 + varint_size(time)
            if starts[i]:
                inner += 1 + varint_size(_U(starts[i]))
            out[at] = 18
            out[at + 1] = np.uint8(inner)
            out[at + 2] = 9
            at = put_word(out, at + 3, bits[i])
            out[at] = 16
            at = put_varint(out, at + 1, time)
            if starts[i]:
                out[at] = 24
                at = put_varint(out, at + 1, _U(starts[i]))
        at = _put_metadata(out, at, traits, metric, metadata_size, local)
        begin = stop
    return at


@kernel(types.int64(i32r, u8r, i64r, u32r, i64r, i32r, _i32r2, i32, i64, i64, u8))
def encode_histograms(
    entries: Entries,
    messages: Bytes,
    message_first: Ints,
    refs: Ids,
    ref_first: Ints,
    metrics: Entries,
    traits: Entries,
    local: Entries,
    used: Ints,
    counts: Ints,
    out: Bytes,
) -> Whole:
    """Write histograms, encoded before, as fields 5 of a Request; return the bytes.

    Message i is `messages[message_first[i] : message_first[i + 1]]`; else as in `encode_floats`.
    `out` has room for all messages and 6 bytes more for each.
    """
    at: Whole = 0
    begin = 0
    while begin < entries.size:
        entry = entries[begin]
        low, high, metric = ref_first[entry], ref_first[entry + 1], np.int64(metrics[entry])
        metadata_size = _metadata_size(traits, metric, local, used, counts)
        size = metadata_size
        stop = begin
        while stop < entries.size and entries[stop] == entry:
            size += _field_size(message_first[stop + 1] - message_first[stop])
            stop += 1
        at = _begin_series(out, at, size, refs, low, high, local, used, counts)
        for i in range(begin, stop):
            out[at] = 26
            at = put_varint(out, at + 1, _U(message_first[i + 1] - message_first[i]))
            at = put_span(out, at, messages, message_first[i], message_first[i + 1])
        at = _put_metadata(out, at, traits, metric, metadata_size, local)
        begin = stop
    return at


@kernel(types.int64(i32r, i64r, u64r, u32r, i64r, u32r, i64r, i32, i64, i64, u8))
def encode_exemplars(
    entries: Entries,
    times: Ints,
    bits: Words,
    own_refs: Ids,
    own_first: Ints,
    refs: Ids,
    ref_first: Ints,
    local: Entries,
    used: Ints,
    counts: Ints,
    out: Bytes,
) -> Whole:
    """Write exemplars as fields 5 of a Request, a TimeSeries each; return the bytes.

    The labels of exemplar i are `own_refs[own_first[i] : own_first[i + 1]]`; else as in
    `encode_floats`. `out` has room for 5 bytes a reference and 60 more of each.
    """
    at: Whole = 0
    for i in range(entries.size):
        entry = entries[i]
        low, high = ref_first[entry], ref_first[entry + 1]
        own_size = _refs_size(own_refs, own_first[i], own_first[i + 1], local, used, counts)
        inner = _field_size(own_size) + 10 + varint_size(_U(times[i]))
        at = _begin_series(out, at, _field_size(inner), refs, low, high, local, used, counts)
        out[at] = 34
        at = put_varint(out, at + 1, _U(inner))
        at = _put_refs(out, at, own_refs, own_first[i], own_first[i + 1], own_size, local)
        out[at] = 17
        at = put_word(out, at + 1, bits[i])
        out[at] = 24
        at = put_varint(out, at + 1, _U(times[i]))
    return at


@kernel(types.int64(i64r, u8r, i64r, u8))
def encode_symbols(used: Ints, text: Bytes, text_first: Ints, out: Bytes) -> Whole:
    """Write the texts of a request as its fields 4, the empty one first; return the bytes.

    Shapes: `used` int64[texts], the first one 0; the text of id s is `text[text_first[s] :
    text_first[s + 1]]`. `out` has room for them and 6 bytes more for each.
    """
    at: Whole = 0
    for k in range(used.size):
        symbol = used[k]
        out[at] = 34
        at = put_varint(out, at + 1, _U(text_first[symbol + 1] - text_first[symbol]))
        at = put_span(out, at, text, text_first[symbol], text_first[symbol + 1])
    return at
