"""Compiled loops of the remote-write receiver: protobuf bytes to columns.

From: a decompressed `prometheus.WriteRequest`.   To: `remote_write.py`, as spans and samples.

Two passes: `count_write_request` walks the outer messages and finds sizes, `read_write_request`
walks the labels and samples and fills arrays of those sizes. Either may find a fault; nothing of
such a body is used. Unknown fields are skipped.
Source: protobuf wire format; remote write 1.0 specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.receivers.pushed_label_kernels import (
    SERIES_OK,
    compare_names,
    is_ascii,
    is_name,
    settle_labels,
)
from api.wire_reading_kernels import (
    FAULT_END_GROUP,
    FAULT_EOF,
    FAULT_TAG,
    FAULT_WIRE_TYPE,
    LABEL,
    SAMPLE,
    TIME_SERIES,
    WRITE_REQUEST,
    note_fault,
    skip_field,
    varint,
)
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Spans = npt.NDArray[np.int32]

_U = np.uint64

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i32_2 = types.Array(types.int32, 2, "C")
_u64 = types.Array(types.uint64, 1, "C")


@helper(types.int64(_u8r, types.int64, types.int64, types.int64, _i64))
def _check_leaf(data: Bytes, at: Whole, stop: Whole, message: Whole, fault: Ints) -> Whole:
    """Check a Label or Sample message; return 0, or -1 with the fault noted."""
    first_wire = 2 if message == LABEL else 1
    second_wire = 2 if message == LABEL else 0
    while at < stop:
        at, tag = varint(data, at, stop)
        if at < 0:
            return note_fault(fault, at, message, 0, 0)
        field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
        if wire == 4:
            return note_fault(fault, FAULT_END_GROUP, message, field, wire)
        if field <= 0 or field > 0x1FFFFFFF:
            return note_fault(fault, FAULT_TAG, message, field, wire)
        if (field == 1 and wire != first_wire) or (field == 2 and wire != second_wire):
            return note_fault(fault, FAULT_WIRE_TYPE, message, field, wire)
        at = skip_field(data, at, stop, wire)
        if at < 0:
            return note_fault(fault, at, message, field, wire)
    return 0


@helper(inline="always")
def is_plain(data: Bytes, at: Whole, stop: Whole) -> Whole:
    """Say whether a label or sample stands at `at` just as every sender writes it.

    That is: lengths of one byte, name before value (or value before time), nothing else. What is
    plain is sound, and needs no varints to read; all else takes the general way.
    """
    if at + 6 > stop:
        return False
    size = np.int64(data[at + 1])
    leaf_stop = at + 2 + size
    if size > 127 or leaf_stop > stop:
        return False
    if data[at] == 10:
        if size < 4 or data[at + 2] != 10:
            return False
        value = at + 4 + np.int64(data[at + 3])
        if value + 2 > leaf_stop or data[at + 3] > 127 or data[value] != 18:
            return False
        return value + 2 + np.int64(data[value + 1]) == leaf_stop
    if data[at] != 18 or size < 11 or size > 20 or data[at + 2] != 9 or data[at + 11] != 16:
        return False
    for i in range(at + 12, leaf_stop - 1):
        if data[i] < 128:
            return False
    return data[leaf_stop - 1] < 128


@kernel(types.int64(_u8r, _i64, _i64))
def count_write_request(data: Bytes, counts: Ints, fault: Ints) -> Whole:
    """Check the outer messages and count what is in them; return 0, or -1 for a fault.

    Shapes: `counts` int64[6], zeroed: series, labels, samples, exemplars, histograms, metadata;
    `fault` int64[4]: kind, message, field number, wire type.
    """
    at = np.int64(0)
    end = data.size
    while at < end:
        at, tag = varint(data, at, end)
        if at < 0:
            return note_fault(fault, at, WRITE_REQUEST, 0, 0)
        field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
        if wire == 4:
            return note_fault(fault, FAULT_END_GROUP, WRITE_REQUEST, field, wire)
        if field <= 0 or field > 0x1FFFFFFF:
            return note_fault(fault, FAULT_TAG, WRITE_REQUEST, field, wire)
        if (field == 1 or field == 3) and wire != 2:
            return note_fault(fault, FAULT_WIRE_TYPE, WRITE_REQUEST, field, wire)
        if field != 1:
            counts[5] += field == 3
            at = skip_field(data, at, end, wire)
            if at < 0:
                return note_fault(fault, at, WRITE_REQUEST, field, wire)
            continue
        at, size = varint(data, at, end)
        if at < 0:
            return note_fault(fault, at, WRITE_REQUEST, field, wire)
        if size > _U(end - at):
            return note_fault(fault, FAULT_EOF, WRITE_REQUEST, field, wire)
        stop = at + np.int64(size)
        counts[0] += 1
        while at < stop:
            if at + 1 < stop and data[at + 1] < 128 and (data[at] == 10 or data[at] == 18):
                # A label or sample of less than 128 bytes, as nearly all are.
                counts[data[at] >> 3] += 1
                at += 2 + np.int64(data[at + 1])
                if at > stop:
                    return note_fault(fault, FAULT_EOF, TIME_SERIES, 0, 0)
                continue
            at, tag = varint(data, at, stop)
            if at < 0:
                return note_fault(fault, at, TIME_SERIES, 0, 0)
            field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
            if wire == 4:
                return note_fault(fault, FAULT_END_GROUP, TIME_SERIES, field, wire)
            if field <= 0 or field > 0x1FFFFFFF:
                return note_fault(fault, FAULT_TAG, TIME_SERIES, field, wire)
            if field > 4:
                at = skip_field(data, at, stop, wire)
                if at < 0:
                    return note_fault(fault, at, TIME_SERIES, field, wire)
                continue
            if wire != 2:
                return note_fault(fault, FAULT_WIRE_TYPE, TIME_SERIES, field, wire)
            at, size = varint(data, at, stop)
            if at < 0:
                return note_fault(fault, at, TIME_SERIES, field, wire)
            if size > _U(stop - at):
                return note_fault(fault, FAULT_EOF, TIME_SERIES, field, wire)
            counts[field] += 1
            at += np.int64(size)
    return 0


@kernel(types.int64(_u8r, _i32_2, _i64, _i64, _u64, _i64, _i32_2, _i64, _i64))
def read_write_request(
    data: Bytes,
    spans: npt.NDArray[np.int32],
    first: Ints,
    times: Ints,
    value_bits: npt.NDArray[np.uint64],
    series_of: Ints,
    refused: npt.NDArray[np.int32],
    totals: Ints,
    fault: Ints,
) -> int:
    """Read a WriteRequest that `count_write_request` has passed; return 0, or -1 for a fault.

    Shapes, from its counts: `spans` int32[labels + 1, 4] and `first` int64[series + 1] as in
    `LabelSpans`, for the series that are sound and have samples; `times`, `value_bits`, `series_of`
    [samples], the last numbering those series; `refused` int32[series, 2], start and stop of the
    messages that have samples and are not sound; `totals` int64[5] is set to kept series, their
    labels, their samples, refused series, refused samples.
    Invariant: spans[: first[kept]] belong to kept series; a refused series' are overwritten.
    """
    at = np.int64(0)
    end = data.size
    label = np.int64(0)
    sample = np.int64(0)
    kept = np.int64(0)
    refused_count = np.int64(0)
    refused_samples = np.int64(0)
    first[0] = 0
    while at < end:
        at, tag = varint(data, at, end)
        if tag != _U(10):
            at = skip_field(data, at, end, np.int64(tag & _U(7)))
            continue
        at, size = varint(data, at, end)
        start = at
        stop = at + np.int64(size)
        label_from, sample_from = label, sample
        text_start, text_stop = stop, at
        empty_values = False
        # Holds while names rise strictly and none is empty; most senders sort.
        rising: Whole = True
        named = False
        name_byte = np.uint8(0)
        while at < stop:
            if is_plain(data, at, stop):
                leaf_stop = at + 2 + np.int64(data[at + 1])
                if data[at] == 10:
                    value = at + 4 + np.int64(data[at + 3])
                    spans[label, 0] = at + 4
                    spans[label, 1] = value
                    spans[label, 2] = value + 2
                    spans[label, 3] = leaf_stop
                    empty_values |= value + 2 == leaf_stop
                    text_start = min(text_start, at + 4)
                    text_stop = leaf_stop
                    before, name_byte = name_byte, data[at + 4]
                    if value == at + 4:
                        rising = False
                    elif name_byte <= before:
                        rising &= name_byte == before and label > label_from
                        if rising:
                            rising = compare_names(data, spans, label - 1, label) < 0
                    if is_name(data, at + 4, value):
                        named = value + 2 < leaf_stop
                    label += 1
                else:
                    bits = _U(0)
                    for i in range(8):
                        bits |= _U(data[at + 3 + i]) << _U(8 * i)
                    value_bits[sample] = bits
                    time = _U(0)
                    shift = _U(0)
                    for i in range(at + 12, leaf_stop):
                        time |= _U(data[i] & np.uint8(0x7F)) << shift
                        shift += _U(7)
                    times[sample] = np.int64(time)
                    series_of[sample] = kept
                    sample += 1
                at = leaf_stop
                continue
            rising = False
            at, tag = varint(data, at, stop)
            if tag == _U(10):
                at, size = varint(data, at, stop)
                leaf_stop = at + np.int64(size)
                if _check_leaf(data, at, leaf_stop, LABEL, fault) < 0:
                    return -1
                text_start = min(text_start, at)
                for column in range(4):
                    spans[label, column] = at
                while at < leaf_stop:
                    at, tag = varint(data, at, leaf_stop)
                    if tag == _U(10) or tag == _U(18):
                        at, size = varint(data, at, leaf_stop)
                        column = 0 if tag == _U(10) else 2
                        spans[label, column] = at
                        at += np.int64(size)
                        spans[label, column + 1] = at
                    else:
                        at = skip_field(data, at, leaf_stop, np.int64(tag & _U(7)))
                empty_values |= spans[label, 2] == spans[label, 3]
                text_stop = leaf_stop
                label += 1
            elif tag == _U(18):
                at, size = varint(data, at, stop)
                leaf_stop = at + np.int64(size)
                if _check_leaf(data, at, leaf_stop, SAMPLE, fault) < 0:
                    return -1
                times[sample] = 0
                value_bits[sample] = 0
                while at < leaf_stop:
                    at, tag = varint(data, at, leaf_stop)
                    if tag == _U(9):
                        bits = _U(0)
                        for i in range(8):
                            bits |= _U(data[at + i]) << _U(8 * i)
                        value_bits[sample] = bits
                        at += 8
                    elif tag == _U(16):
                        at, size = varint(data, at, leaf_stop)
                        times[sample] = np.int64(size)
                    else:
                        at = skip_field(data, at, leaf_stop, np.int64(tag & _U(7)))
                series_of[sample] = kept
                sample += 1
            else:
                at = skip_field(data, at, stop, np.int64(tag & _U(7)))
        verdict = SERIES_OK
        if sample > sample_from:
            ascii_only = is_ascii(data, text_start, max(text_start, text_stop))
            if not (rising and named and ascii_only):
                verdict = settle_labels(data, spans, label_from, label, ascii_only)
        if verdict != SERIES_OK:
            refused[refused_count, 0] = start
            refused[refused_count, 1] = stop
            refused_count += 1
            refused_samples += sample - sample_from
        if verdict != SERIES_OK or sample == sample_from:
            label, sample = label_from, sample_from
            continue
        # Labels without a value are no labels; they counted for the verdict all the same.
        if empty_values:
            keep = label_from
            for i in range(label_from, label):
                if spans[i, 2] < spans[i, 3]:
                    for column in range(4):
                        spans[keep, column] = spans[i, column]
                    keep += 1
            label = keep
        kept += 1
        first[kept] = label
    totals[0], totals[1], totals[2] = kept, label, sample
    totals[3], totals[4] = refused_count, refused_samples
    return 0
