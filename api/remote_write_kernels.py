"""Compiled loops of the remote-write receiver: protobuf bytes to columns.

From: a decompressed `prometheus.WriteRequest`.   To: `remote_write.py`, as spans and samples.

Two passes: `count_write_request` finds sizes and every fault of structure, `read_write_request`
then trusts the structure and fills arrays of exactly those sizes. Unknown fields are skipped.
Source: protobuf wire format; remote write 1.0 specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Spans = npt.NDArray[np.int32]

_U = np.uint64

FAULT_NONE, FAULT_EOF, FAULT_OVERFLOW, FAULT_WIRE_TYPE, FAULT_TAG, FAULT_END_GROUP = range(6)
"""What is wrong with a body; `FaultDetail` columns say where."""

SERIES_OK, SERIES_NO_NAME, SERIES_DUPLICATE, SERIES_BAD_TEXT = range(4)
"""What is wrong with a series' labels."""

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i32_2 = types.Array(types.int32, 2, "C")
_f64 = types.Array(types.float64, 1, "C")


@njit(
    "Tuple((int64, uint64))(Array(uint8, 1, 'C', readonly=True), int64, int64)",
    cache=True,
    nogil=True,
)
def _varint(data: Bytes, at: Whole, stop: Whole) -> tuple[Whole, np.uint64]:
    """Return where a varint ends and its value; -1 for a cut one, -2 for one over 64 bits."""
    value = _U(0)
    shift = _U(0)
    for _ in range(10):
        if at >= stop:
            return -1, value
        byte = data[at]
        at += 1
        value |= _U(byte & np.uint8(0x7F)) << shift
        if byte < 128:
            return at, value
        shift += _U(7)
    return -2, value


@njit(types.int64(_u8r, types.int64, types.int64, types.int64), cache=True, nogil=True)
def _skip(data: Bytes, at: Whole, stop: Whole, wire: Whole) -> Whole:
    """Return where a field's value of one wire type ends; -1 cut, -2 overflow, -3 bad type."""
    depth = 0
    while True:
        if wire == 0:
            at, _ = _varint(data, at, stop)
        elif wire == 1:
            at = at + 8
        elif wire == 2:
            at, size = _varint(data, at, stop)
            if at >= 0:
                if size > _U(stop - at):
                    return -1
                at += np.int64(size)
        elif wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
            if depth < 0:
                return -4
        elif wire == 5:
            at = at + 4
        else:
            return -3
        if at < 0:
            return at
        if at > stop:
            return -1
        if depth == 0:
            return at
        at, tag = _varint(data, at, stop)
        if at < 0:
            return at
        wire = np.int64(tag & _U(7))


@njit(types.int64(_i64, types.int64, types.int64, types.int64, types.int64), cache=True, nogil=True)
def _fault(fault: Ints, kind: Whole, message: Whole, field: Whole, wire: Whole) -> Whole:
    """Note a fault; return -1 for the caller to return."""
    if kind == -1:
        kind = FAULT_EOF
    elif kind == -2:
        kind = FAULT_OVERFLOW
    elif kind == -3:
        kind = FAULT_TAG
    elif kind == -4:
        kind = FAULT_END_GROUP
    fault[0], fault[1], fault[2], fault[3] = kind, message, field, wire
    return -1


WRITE_REQUEST, TIME_SERIES, LABEL, SAMPLE = range(4)
"""Messages, as `fault[1]` names them."""


@njit(types.int64(_u8r, types.int64, types.int64, types.int64, _i64), cache=True, nogil=True)
def _check_leaf(data: Bytes, at: Whole, stop: Whole, message: Whole, fault: Ints) -> Whole:
    """Check a Label or Sample message; return 0, or -1 with the fault noted."""
    first_wire = 2 if message == LABEL else 1
    second_wire = 2 if message == LABEL else 0
    while at < stop:
        at, tag = _varint(data, at, stop)
        if at < 0:
            return _fault(fault, at, message, 0, 0)
        field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
        if wire == 4:
            return _fault(fault, FAULT_END_GROUP, message, field, wire)
        if field <= 0 or field > 0x1FFFFFFF:
            return _fault(fault, FAULT_TAG, message, field, wire)
        if (field == 1 and wire != first_wire) or (field == 2 and wire != second_wire):
            return _fault(fault, FAULT_WIRE_TYPE, message, field, wire)
        at = _skip(data, at, stop, wire)
        if at < 0:
            return _fault(fault, at, message, field, wire)
    return 0


@njit(types.int64(_u8r, _i64, _i64), cache=True, nogil=True)
def count_write_request(data: Bytes, counts: Ints, fault: Ints) -> Whole:
    """Check a WriteRequest's structure and count what is in it; return 0, or -1 for a fault.

    Shapes: `counts` int64[6], zeroed: series, labels, samples, exemplars, histograms, metadata;
    `fault` int64[4]: kind, message, field number, wire type.
    """
    at = np.int64(0)
    end = data.size
    while at < end:
        at, tag = _varint(data, at, end)
        if at < 0:
            return _fault(fault, at, WRITE_REQUEST, 0, 0)
        field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
        if wire == 4:
            return _fault(fault, FAULT_END_GROUP, WRITE_REQUEST, field, wire)
        if field <= 0 or field > 0x1FFFFFFF:
            return _fault(fault, FAULT_TAG, WRITE_REQUEST, field, wire)
        if (field == 1 or field == 3) and wire != 2:
            return _fault(fault, FAULT_WIRE_TYPE, WRITE_REQUEST, field, wire)
        if field != 1:
            counts[5] += field == 3
            at = _skip(data, at, end, wire)
            if at < 0:
                return _fault(fault, at, WRITE_REQUEST, field, wire)
            continue
        at, size = _varint(data, at, end)
        if at < 0:
            return _fault(fault, at, WRITE_REQUEST, field, wire)
        if size > _U(end - at):
            return _fault(fault, FAULT_EOF, WRITE_REQUEST, field, wire)
        stop = at + np.int64(size)
        counts[0] += 1
        while at < stop:
            at, tag = _varint(data, at, stop)
            if at < 0:
                return _fault(fault, at, TIME_SERIES, 0, 0)
            field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
            if wire == 4:
                return _fault(fault, FAULT_END_GROUP, TIME_SERIES, field, wire)
            if field <= 0 or field > 0x1FFFFFFF:
                return _fault(fault, FAULT_TAG, TIME_SERIES, field, wire)
            if field > 4:
                at = _skip(data, at, stop, wire)
                if at < 0:
                    return _fault(fault, at, TIME_SERIES, field, wire)
                continue
            if wire != 2:
                return _fault(fault, FAULT_WIRE_TYPE, TIME_SERIES, field, wire)
            at, size = _varint(data, at, stop)
            if at < 0:
                return _fault(fault, at, TIME_SERIES, field, wire)
            if size > _U(stop - at):
                return _fault(fault, FAULT_EOF, TIME_SERIES, field, wire)
            counts[field] += 1
            leaf_stop = at + np.int64(size)
            if field == 1 or field == 2:
                message = LABEL if field == 1 else SAMPLE
                if _check_leaf(data, at, leaf_stop, message, fault) < 0:
                    return -1
            at = leaf_stop
    return 0


@njit(types.boolean(_u8r, types.int64, types.int64), cache=True, nogil=True)
def _valid_utf8(data: Bytes, start: Whole, stop: Whole) -> bool:
    """Say whether bytes are UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF."""
    any_bit = np.uint8(0)
    for i in range(start, stop):
        any_bit |= data[i]
    if any_bit < 128:
        return True
    at = start
    while at < stop:
        lead = data[at]
        at += 1
        if lead < 0x80:
            continue
        low, high = np.uint8(0x80), np.uint8(0xBF)
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = np.uint8(0xA0)
            elif lead == 0xED:
                high = np.uint8(0x9F)
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = np.uint8(0x90)
            elif lead == 0xF4:
                high = np.uint8(0x8F)
        else:
            return False
        if at + more > stop or data[at] < low or data[at] > high:
            return False
        for i in range(at + 1, at + more):
            if data[i] < 0x80 or data[i] > 0xBF:
                return False
        at += more
    return True


@njit(types.int64(_u8r, _i32_2, types.int64, types.int64), cache=True, nogil=True)
def _compare_names(data: Bytes, spans: Spans, left: Whole, right: Whole) -> Whole:
    """Compare two labels' names by their bytes: negative, 0 or positive."""
    a, b = np.int64(spans[left, 0]), np.int64(spans[right, 0])
    a_size, b_size = np.int64(spans[left, 1]) - a, np.int64(spans[right, 1]) - b
    for i in range(min(a_size, b_size)):
        if data[a + i] != data[b + i]:
            return np.int64(data[a + i]) - np.int64(data[b + i])
    return a_size - b_size


@njit(types.boolean(_u8r, types.int64, types.int64), cache=True, nogil=True)
def _is_name(data: Bytes, start: Whole, stop: Whole) -> Whole:
    """Say whether bytes spell `__name__`."""
    return (
        stop - start == 8
        and data[start] == 95
        and data[start + 1] == 95
        and data[start + 2] == 110
        and data[start + 3] == 97
        and data[start + 4] == 109
        and data[start + 5] == 101
        and data[start + 6] == 95
        and data[start + 7] == 95
    )


@njit(types.int64(_u8r, _i32_2, types.int64, types.int64), cache=True, nogil=True)
def _settle_labels(data: Bytes, spans: Spans, first: Whole, stop: Whole) -> Whole:
    """Sort a series' labels by name and judge them; return a SERIES_ number."""
    named = False
    bad_text = False
    for i in range(first, stop):
        if i > first and _compare_names(data, spans, i - 1, i) > 0:
            j = i
            while j > first and _compare_names(data, spans, j - 1, j) > 0:
                for column in range(4):
                    held = spans[j, column]
                    spans[j, column] = spans[j - 1, column]
                    spans[j - 1, column] = held
                j -= 1
    for i in range(first, stop):
        name, name_stop = np.int64(spans[i, 0]), np.int64(spans[i, 1])
        value, value_stop = np.int64(spans[i, 2]), np.int64(spans[i, 3])
        if _is_name(data, name, name_stop):
            named = True
            bad_text |= value == value_stop
        bad_text |= name == name_stop
        if not bad_text:
            # Name and value mostly lie a few bytes apart: one scan serves both.
            bad_text = not (
                _valid_utf8(data, name, name_stop) and _valid_utf8(data, value, value_stop)
            )
    if not named:
        return SERIES_NO_NAME
    if bad_text:
        return SERIES_BAD_TEXT
    for i in range(first + 1, stop):
        if _compare_names(data, spans, i - 1, i) == 0:
            return SERIES_DUPLICATE
    return SERIES_OK


@njit(
    types.void(_u8r, _i32_2, _i64, _i64, _f64, _i64, _i32_2, _i64),
    cache=True,
    nogil=True,
)
def read_write_request(
    data: Bytes,
    spans: npt.NDArray[np.int32],
    first: Ints,
    times: Ints,
    values: npt.NDArray[np.float64],
    series_of: Ints,
    refused: npt.NDArray[np.int32],
    totals: Ints,
) -> None:
    """Read a WriteRequest that `count_write_request` found sound.

    Shapes, from its counts: `spans` int32[labels + 1, 4] and `first` int64[series + 1] as in
    `LabelSpans`, for the series that are sound and have samples; `times`, `values`, `series_of`
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
        at, tag = _varint(data, at, end)
        if tag != _U(10):
            at = _skip(data, at, end, np.int64(tag & _U(7)))
            continue
        at, size = _varint(data, at, end)
        start = at
        stop = at + np.int64(size)
        label_from, sample_from = label, sample
        while at < stop:
            at, tag = _varint(data, at, stop)
            if tag == _U(10):
                at, size = _varint(data, at, stop)
                leaf_stop = at + np.int64(size)
                for column in range(4):
                    spans[label, column] = at
                while at < leaf_stop:
                    at, tag = _varint(data, at, leaf_stop)
                    if tag == _U(10) or tag == _U(18):
                        at, size = _varint(data, at, leaf_stop)
                        column = 0 if tag == _U(10) else 2
                        spans[label, column] = at
                        at += np.int64(size)
                        spans[label, column + 1] = at
                    else:
                        at = _skip(data, at, leaf_stop, np.int64(tag & _U(7)))
                label += 1
            elif tag == _U(18):
                at, size = _varint(data, at, stop)
                leaf_stop = at + np.int64(size)
                times[sample] = 0
                values[sample] = 0.0
                while at < leaf_stop:
                    at, tag = _varint(data, at, leaf_stop)
                    if tag == _U(9):
                        bits = _U(0)
                        for i in range(8):
                            bits |= _U(data[at + i]) << _U(8 * i)
                        values.view(np.uint64)[sample] = bits
                        at += 8
                    elif tag == _U(16):
                        at, size = _varint(data, at, leaf_stop)
                        times[sample] = np.int64(size)
                    else:
                        at = _skip(data, at, leaf_stop, np.int64(tag & _U(7)))
                series_of[sample] = kept
                sample += 1
            else:
                at = _skip(data, at, stop, np.int64(tag & _U(7)))
        verdict = SERIES_OK
        if sample > sample_from:
            verdict = _settle_labels(data, spans, label_from, label)
        if verdict != SERIES_OK:
            refused[refused_count, 0] = start
            refused[refused_count, 1] = stop
            refused_count += 1
            refused_samples += sample - sample_from
        if verdict != SERIES_OK or sample == sample_from:
            label, sample = label_from, sample_from
            continue
        # Labels without a value are no labels; they counted for the verdict all the same.
        keep = label_from
        for i in range(label_from, label):
            if spans[i, 2] == spans[i, 3]:
                continue
            if keep != i:
                for column in range(4):
                    spans[keep, column] = spans[i, column]
            keep += 1
        label = keep
        kept += 1
        first[kept] = label
    totals[0], totals[1], totals[2] = kept, label, sample
    totals[3], totals[4] = refused_count, refused_samples
