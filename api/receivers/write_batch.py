"""A remote-write body as columns, and how its series and its faults are told in text.

From: `remote_write.py`, which stores what comes of it.   To: the kernels that decode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.receivers.remote_write_kernels import count_write_request, read_write_request
from api.wire import WireError, fields, message_of
from api.wire_reading_kernels import (
    FAULT_END_GROUP,
    FAULT_EOF,
    FAULT_OVERFLOW,
    FAULT_TAG,
    FAULT_WIRE_TYPE,
)
from promql.quoting import quote
from tsdb.interface import LabelSpans

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

_MESSAGES = ("WriteRequest", "TimeSeries", "Label", "Sample", "Request", "TimeSeries", "Metadata")
_FIELDS = {
    (0, 1): "Timeseries", (0, 3): "Metadata",
    (1, 1): "Labels", (1, 2): "Samples", (1, 3): "Exemplars", (1, 4): "Histograms",
    (2, 1): "Name", (2, 2): "Value",
    (3, 1): "Value", (3, 2): "Timestamp", (3, 3): "StartTimestamp",
    (4, 4): "Symbols", (4, 5): "Timeseries",
    (5, 1): "LabelsRefs", (5, 2): "Samples", (5, 3): "Histograms", (5, 4): "Exemplars",
    (5, 5): "Metadata",
    (6, 1): "Type", (6, 3): "HelpRef", (6, 4): "UnitRef",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """A decoded body. `series_of` int64[N] numbers the series of `labels` for each sample.

    `refused` int32[R, 2] tells where in the body the messages of refused series stand.
    `start_times_ms` int64[N] are the start timestamps, 0 for none; None if no sample has one.
    """

    labels: LabelSpans
    times_ms: Ints
    values: Floats
    series_of: Ints
    refused: npt.NDArray[np.int32]
    refused_samples: int
    exemplars: int
    histograms: int
    metadata: int
    start_times_ms: Ints | None = None


def decode_write_request(body: bytes) -> WriteBatch:
    """Return the columns of a WriteRequest. Raises WireError."""
    data = np.frombuffer(body, dtype=np.uint8)
    counts, fault = np.zeros(6, dtype=np.int64), np.zeros(4, dtype=np.int64)
    if count_write_request(data, counts, fault) < 0:
        raise WireError(fault_text(*fault.tolist()))
    series, labels, samples, exemplars, histograms, metadata = counts.tolist()
    spans = np.empty((labels + 1, 4), dtype=np.int32)
    first = np.empty(series + 1, dtype=np.int64)
    times, values = np.empty(samples, dtype=np.int64), np.empty(samples, dtype=np.float64)
    series_of = np.empty(samples, dtype=np.int64)
    refused = np.empty((series, 2), dtype=np.int32)
    totals = np.zeros(5, dtype=np.int64)
    bits = values.view(np.uint64)
    if read_write_request(data, spans, first, times, bits, series_of, refused, totals, fault) < 0:
        raise WireError(fault_text(*fault.tolist()))
    kept, kept_labels, kept_samples, refused_series, refused_samples = totals.tolist()
    return WriteBatch(
        labels=LabelSpans(data=data, spans=spans[:kept_labels], first=first[: kept + 1]),
        times_ms=times[:kept_samples],
        values=values[:kept_samples],
        series_of=series_of[:kept_samples],
        refused=refused[:refused_series],
        refused_samples=refused_samples,
        exemplars=exemplars,
        histograms=histograms,
        metadata=metadata,
    )


def fault_text(kind: int, message: int, field: int, wire: int) -> str:
    """Return the text of a fault that a kernel noted."""
    match kind:
        case _ if kind == FAULT_EOF:
            return "unexpected EOF"
        case _ if kind == FAULT_OVERFLOW:
            return "proto: integer overflow"
        case _ if kind == FAULT_WIRE_TYPE:
            name = _FIELDS[message, field]
            return f"proto: wrong wireType = {wire} for field {name}"
        case _ if kind == FAULT_TAG:
            return f"proto: {_MESSAGES[message]}: illegal tag {field} (wire type {wire})"
    assert kind == FAULT_END_GROUP
    return f"proto: {_MESSAGES[message]}: wiretype end group for non-group"


def series_text(labels: LabelSpans, series: int) -> str:
    """Return one series' labels as Prometheus prints them: `{__name__="up", job="a"}`."""
    rows = labels.spans[labels.first[series] : labels.first[series + 1]].tolist()
    data = labels.data
    return labels_text([(data[a:b].tobytes(), data[c:d].tobytes()) for a, b, c, d in rows])


def refused_series_text(batch: WriteBatch, number: int) -> str:
    """Return the labels of a refused series as they came."""
    start, stop = batch.refused[number].tolist()
    message = batch.labels.data[start:stop].tobytes()
    pairs = []
    for field, label in fields(message):
        if field == 1:
            parts = dict(fields(message_of(label)))
            pairs.append((message_of(parts.get(1, b"")), message_of(parts.get(2, b""))))
    return labels_text(pairs)


def labels_text(pairs: list[tuple[bytes, bytes]]) -> str:
    """Return a label set as Prometheus prints it."""
    texts = []
    for name_bytes, value_bytes in pairs:
        name = name_bytes.decode("utf-8", "surrogateescape")
        value = value_bytes.decode("utf-8", "surrogateescape")
        shown = name if _LEGACY_NAME.fullmatch(name) else quote(name)
        texts.append(f"{shown}={quote(value)}")
    return "{" + ", ".join(texts) + "}"
