"""Compiled loops of remote write 2.0: protobuf bytes to the same columns as of 1.0.

From: a decompressed `io.prometheus.write.v2.Request`.   To: `remote_write_v2.py`.

Labels are numbers of symbols, so a span points to where the symbol stands in the body; each
symbol's text is judged once. Two passes as in `remote_write_kernels.py`.
Source: protobuf wire format; remote write 2.0 specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.receivers.pushed_label_kernels import (
    SERIES_BAD_REFS,
    SERIES_EMPTY,
    SERIES_OK,
    compare_names,
    is_name,
    settle_labels,
    valid_utf8,
)
from api.receivers.remote_write_kernels import is_plain
from api.wire_reading_kernels import (
    FAULT_END_GROUP,
    FAULT_EOF,
    FAULT_TAG,
    FAULT_WIRE_TYPE,
    METADATA,
    REQUEST,
    SAMPLE,
    SERIES,
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
    Locals = npt.NDArray[np.int32]

BROKEN, IS_NAME, EMPTY = 1, 2, 4
"""Flags of a symbol: no UTF-8; `__name__`; no text."""

_U = np.uint64

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_u8 = types.Array(types.uint8, 1, "C")
_i64 = types.Array(types.int64, 1, "C")
_i64_2 = types.Array(types.int64, 2, "C")
_i32_2 = types.Array(types.int32, 2, "C")
_u64 = types.Array(types.uint64, 1, "C")


@helper()
def _next_field(
    data: Bytes, at: Whole, stop: Whole, message: Whole, fault: Ints
) -> tuple[Whole, Whole, Whole, Whole]:
    """Return a field's value's start, number, wire type, and end; the start -1 for a fault."""
    at, tag = varint(data, at, stop)
    if at < 0:
        return note_fault(fault, at, message, 0, 0), 0, 0, 0
    field, wire = np.int64(tag >> _U(3)), np.int64(tag & _U(7))
    if wire == 4:
        return note_fault(fault, FAULT_END_GROUP, message, field, wire), 0, 0, 0
    if field <= 0 or field > 0x1FFFFFFF:
        return note_fault(fault, FAULT_TAG, message, field, wire), 0, 0, 0
    if wire == 2:
        at, size = varint(data, at, stop)
        if at < 0:
            return note_fault(fault, at, message, field, wire), 0, 0, 0
        if size > _U(stop - at):
            return note_fault(fault, FAULT_EOF, message, field, wire), 0, 0, 0
        return at, field, wire, at + np.int64(size)
    end = skip_field(data, at, stop, wire)
    if end < 0:
        return note_fault(fault, end, message, field, wire), 0, 0, 0
    return at, field, wire, end


@kernel(types.int64(_u8r, _i64, _i64))
def count_request(data: Bytes, counts: Ints, fault: Ints) -> Whole:
    """Check the outer messages and count what is in them; return 0, or -1 for a fault.

    Shapes: `counts` int64[7], zeroed: series, bytes of label references, samples, histograms,
    exemplars, metadata, symbols; `fault` as in `count_write_request`.
    """
    at = np.int64(0)
    while at < data.size:
        at, field, wire, stop = _next_field(data, at, data.size, REQUEST, fault)
        if at < 0:
            return -1
        if (field == 4 or field == 5) and wire != 2:
            return note_fault(fault, FAULT_WIRE_TYPE, REQUEST, field, wire)
        if field == 4:
            counts[6] += 1
        elif field == 5:
            counts[0] += 1
            while at < stop:
                tag = data[at]
                if at + 1 < stop and data[at + 1] < 128 and (tag == 10 or tag == 18 or tag == 42):
                    # References, a sample or metadata of less than 128 bytes, as nearly all are.
                    end = at + 2 + np.int64(data[at + 1])
                    if end > stop:
                        return note_fault(fault, FAULT_EOF, SERIES, 0, 0)
                    counts[tag >> 3] += end - at - 2 if tag == 10 else 1
                    at = end
                    continue
                at, field, wire, end = _next_field(data, at, stop, SERIES, fault)
                if at < 0:
                    return -1
                if field == 1:
                    if wire != 2 and wire != 0:
                        return note_fault(fault, FAULT_WIRE_TYPE, SERIES, field, wire)
                    counts[1] += end - at
                elif field <= 5:
                    if wire != 2:
                        return note_fault(fault, FAULT_WIRE_TYPE, SERIES, field, wire)
                    counts[field] += 1
                at = end
        at = stop
    return 0


@helper()
def _read_symbols(data: Bytes, symbols: Spans, traits: Bytes, fault: Ints) -> None:
    """Note where each symbol stands, and what labels ask about its text."""
    at = np.int64(0)
    number = 0
    while at < data.size:
        at, field, _, stop = _next_field(data, at, data.size, REQUEST, fault)
        if field == 4:
            symbols[number, 0], symbols[number, 1] = at, stop
            traits[number] = 0 if valid_utf8(data, at, stop) else BROKEN
            if is_name(data, at, stop):
                traits[number] |= IS_NAME
            if at == stop:
                traits[number] |= EMPTY
            number += 1
        at = stop


@helper()
def _read_sample(
    data: Bytes, at: Whole, stop: Whole, fault: Ints
) -> tuple[Whole, Whole, Whole, Whole]:
    """Return 0 or -1 for a fault, the time, the value's bits, and the start time, 0 for none."""
    time, bits, begin = np.int64(0), _U(0), np.int64(0)
    while at < stop:
        at, field, wire, end = _next_field(data, at, stop, SAMPLE, fault)
        if at < 0:
            return -1, time, bits, begin
        if (field == 1 and wire != 1) or ((field == 2 or field == 3) and wire != 0):
            return note_fault(fault, FAULT_WIRE_TYPE, SAMPLE, field, wire), time, bits, begin
        if field == 1:
            bits = _U(0)
            for i in range(8):
                bits |= _U(data[at + i]) << _U(8 * i)
        elif field == 2:
            _, number = varint(data, at, end)
            time = np.int64(number)
        elif field == 3:
            _, number = varint(data, at, end)
            begin = np.int64(number)
        at = end
    return 0, time, bits, begin


@helper()
def _read_metadata(
    data: Bytes, at: Whole, stop: Whole, rows: Ints, number: Whole, fault: Ints
) -> Whole:
    """Fill type, help and unit of one row; return 0, or -1 for a fault."""
    for column in range(1, 4):
        rows[number, column] = 0
    while at < stop:
        tag = data[at]
        if at + 1 < stop and data[at + 1] < 128 and (tag == 8 or tag == 24 or tag == 32):
            # A number of one byte, as types and most references are.
            rows[number, 1 if tag == 8 else np.int64(tag >> 3) - 1] = data[at + 1]
            at += 2
            continue
        at, field, wire, end = _next_field(data, at, stop, METADATA, fault)
        if at < 0:
            return -1
        if field == 1 or field == 3 or field == 4:
            if wire != 0:
                return note_fault(fault, FAULT_WIRE_TYPE, METADATA, field, wire)
            _, value = varint(data, at, end)
            rows[number, 1 if field == 1 else field - 1] = np.int64(value)
        at = end
    return 0


@helper()
def _settle_metadata(rows: Ints, first: Whole, stop: Whole, metric: Whole) -> Whole:
    """Name the metric of a series' rows; leave out what says nothing or what the last one said."""
    kept = first
    for i in range(first, stop):
        if rows[i, 1] == 0 and rows[i, 2] == 0 and rows[i, 3] == 0:
            continue
        if (
            kept > 0
            and rows[kept - 1, 0] == metric
            and rows[kept - 1, 1] == rows[i, 1]
            and rows[kept - 1, 2] == rows[i, 2]
            and rows[kept - 1, 3] == rows[i, 3]
        ):
            continue
        rows[kept, 0] = metric
        for column in range(1, 4):
            rows[kept, column] = rows[i, column]
        kept += 1
    return kept


@helper()
def _settle_refs(
    data: Bytes,
    symbols: Spans,
    traits: Bytes,
    following: Locals,
    refs: Ints,
    count: Whole,
    spans: Spans,
    first: Whole,
) -> tuple[Whole, Whole, Whole]:
    """Turn references into spans; return the verdict, where the spans end, the name's symbol.

    `following` int32[symbols] remembers a name that is known to sort behind another.
    """
    if count % 2:
        return SERIES_BAD_REFS, first, -1
    label = first
    rising, named, bad = True, False, False
    empty = False
    metric = np.int64(-1)
    for i in range(0, count, 2):
        name, value = refs[i], refs[i + 1]
        if not (0 <= name < traits.size and 0 <= value < traits.size):
            return SERIES_BAD_REFS, first, -1
        spans[label, 0], spans[label, 1] = symbols[name, 0], symbols[name, 1]
        spans[label, 2], spans[label, 3] = symbols[value, 0], symbols[value, 1]
        bad |= traits[name] & (BROKEN | EMPTY) != 0 or traits[value] & BROKEN != 0
        empty |= traits[value] & EMPTY != 0
        if traits[name] & IS_NAME:
            named = traits[value] & EMPTY == 0
            metric = value
        if label > first and rising and following[refs[i - 2]] != name:
            rising = compare_names(data, spans, label - 1, label) < 0
            if rising:
                following[refs[i - 2]] = name
        label += 1
    verdict = np.int64(SERIES_OK)
    if bad or not rising or not named:
        verdict = settle_labels(data, spans, first, label, not bad)
    if empty and verdict == SERIES_OK:
        keep = first
        for i in range(first, label):
            if spans[i, 2] < spans[i, 3]:
                for column in range(4):
                    spans[keep, column] = spans[i, column]
                keep += 1
        label = keep
    return verdict, label, metric


@kernel(
    types.int64(
        _u8r,
        _i32_2,
        _u8,
        _i64,
        _i32_2,
        _i64,
        _i64,
        _i64,
        _u64,
        _i64,
        _i32_2,
        _i32_2,
        _i64_2,
        _i64,
        _i64,
    )
)
def read_request(
    data: Bytes,
    symbols: Spans,
    traits: Bytes,
    refs: Ints,
    spans: Spans,
    first: Ints,
    times: Ints,
    starts: Ints,
    value_bits: npt.NDArray[np.uint64],
    series_of: Ints,
    refused: Spans,
    extras: Spans,
    metadata: npt.NDArray[np.int64],
    totals: Ints,
    fault: Ints,
) -> Whole:
    """Read a Request that `count_request` has passed; return 0, or -1 for a fault.

    Shapes, from its counts: `symbols` int32[symbols, 2], start and stop; `traits` uint8[symbols],
    its flags; `refs` int64[reference bytes] is scratch; `spans` int32[refs / 2 + 1, 4]
    to `series_of` as in `read_write_request`, with `starts` int64[samples], when what a sample
    counts began, 0 if it does not say; `refused` int32[series, 3], start and stop of the
    messages that are not sound, and the SERIES_ number; `extras` int32[series, 2], start and stop
    of sound messages with histograms or exemplars; `metadata` int64[metadata, 4] of sound series:
    symbols of metric and type, help, unit, without repetitions one after the other; `totals`
    int64[7] is set to kept series, their labels, their samples, refused series, refused samples,
    extras, metadata.
    """
    _read_symbols(data, symbols, traits, fault)
    following = np.full(traits.size, -1, dtype=np.int32)
    at = np.int64(0)
    label, sample, kept = np.int64(0), np.int64(0), np.int64(0)
    refused_count, refused_samples = np.int64(0), np.int64(0)
    extra_count, metadata_count = np.int64(0), np.int64(0)
    first[0] = 0
    while at < data.size:
        at, field, _, stop = _next_field(data, at, data.size, REQUEST, fault)
        if field != 5:
            at = stop
            continue
        start = at
        ref_count, sample_from, metadata_from = np.int64(0), sample, metadata_count
        extra, created = False, np.int64(0)
        while at < stop:
            if data[at] == 18 and is_plain(data, at, stop):
                # A sample just as 1.0 has it: value, time, nothing else.
                end = at + 2 + np.int64(data[at + 1])
                bits = _U(0)
                for i in range(8):
                    bits |= _U(data[at + 3 + i]) << _U(8 * i)
                value_bits[sample] = bits
                bits = _U(0)
                shift = _U(0)
                for i in range(at + 12, end):
                    bits |= _U(data[i] & np.uint8(0x7F)) << shift
                    shift += _U(7)
                times[sample], starts[sample] = np.int64(bits), 0
                series_of[sample] = kept
                sample += 1
                at = end
                continue
            at, field, wire, end = _next_field(data, at, stop, SERIES, fault)
            if field == 1:
                while at < end:
                    if data[at] < 128:
                        refs[ref_count] = data[at]
                        at += 1
                    elif at + 1 < end and data[at + 1] < 128:
                        refs[ref_count] = (data[at] & 127) | np.int64(data[at + 1]) << 7
                        at += 2
                    else:
                        at, number = varint(data, at, end)
                        if at < 0:
                            return note_fault(fault, at, SERIES, field, wire)
                        refs[ref_count] = np.int64(number)
                    ref_count += 1
            elif field == 2:
                sound, times[sample], value_bits[sample], starts[sample] = _read_sample(
                    data, at, end, fault
                )
                if sound < 0:
                    return -1
                series_of[sample] = kept
                sample += 1
            elif field == 3 or field == 4:
                extra = True
            elif field == 5:
                if _read_metadata(data, at, end, metadata, metadata_count, fault) < 0:
                    return -1
                metadata_count += 1
            elif field == 6 and wire == 0:
                _, number = varint(data, at, end)
                created = np.int64(number)
            at = end
        if created != 0:
            # Senders before 3.10 say it once for a series.
            for i in range(sample_from, sample):
                if starts[i] == 0:
                    starts[i] = created
        verdict, label_stop, metric = _settle_refs(
            data, symbols, traits, following, refs, ref_count, spans, label
        )
        if verdict == SERIES_OK and sample == sample_from and not extra:
            verdict = SERIES_EMPTY
        if verdict != SERIES_OK:
            refused[refused_count, 0], refused[refused_count, 1] = start, stop
            refused[refused_count, 2] = verdict
            refused_count += 1
            refused_samples += sample - sample_from
            sample, metadata_count = sample_from, metadata_from
            continue
        metadata_count = _settle_metadata(metadata, metadata_from, metadata_count, metric)
        if extra:
            extras[extra_count, 0], extras[extra_count, 1] = start, stop
            extra_count += 1
        if sample > sample_from:
            label = label_stop
            kept += 1
            first[kept] = label
    totals[0], totals[1], totals[2] = kept, label, sample
    totals[3], totals[4] = refused_count, refused_samples
    totals[5], totals[6] = extra_count, metadata_count
    return 0
