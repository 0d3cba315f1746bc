"""Bodies of remote write 1.0.

From: `queue.py`, through `messages.MessageWriter`.   Source: remote write specification 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from api.wire import varint_bytes
from gnomon.forwarding.v1_kernels import (
    encode_exemplars,
    encode_floats,
    encode_labels,
    encode_messages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gnomon.forwarding.messages import Exemplars, Floats, Histograms
    from gnomon.forwarding.series_table import SeriesTable
    from tsdb.interface import Bytes, Ints, MetricMetadata

    Entries = npt.NDArray[np.int32]

_EXEMPLAR_TAG, _HISTOGRAM_TAG = np.uint8(3 << 3 | 2), np.uint8(4 << 3 | 2)
_TYPES = (
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
)  # fmt: skip


class WriterV1:
    """Implements `MessageWriter`: `prometheus.WriteRequest`."""

    headers: dict[str, str] = {  # noqa: RUF012  # nobody changes it
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    sends_metadata = True
    confirms = False
    takes_listed_bounds = False

    def __init__(self, table: SeriesTable) -> None:
        self._table = table

    def floats(self, floats: Floats) -> Bytes:
        """Return a message of floats."""
        text, first = self._table.text
        room = self._room(floats.entries) + 22 * floats.entries.size
        out = np.empty(room, np.uint8)
        size = encode_floats(floats.entries, floats.times, floats.bits, text, first, out)
        return out[:size]

    def histograms(self, histograms: Histograms) -> Bytes:
        """Return a message of histograms."""
        messages, first = histograms.messages()
        return self._series(histograms.entries, messages, first, _HISTOGRAM_TAG)

    def exemplars(self, exemplars: Exemplars) -> Bytes:
        """Return a message of exemplars."""
        labels = exemplars.labels
        text = np.empty(labels.data.size + 18 * len(labels.spans), np.uint8)
        label_first = np.empty(labels.first.size, np.int64)
        size = encode_labels(labels.data, labels.spans, labels.first, text, label_first)
        messages = np.empty(size + 20 * exemplars.entries.size, np.uint8)
        first = np.empty(labels.first.size, np.int64)
        encode_exemplars(text, label_first, exemplars.times, exemplars.bits, messages, first)
        return self._series(exemplars.entries, messages, first, _EXEMPLAR_TAG)

    def metadata(self, entries: Sequence[MetricMetadata]) -> bytes:
        """Return a message of metadata alone."""
        return b"".join(_field(3, _metadata(entry)) for entry in entries)

    def _series(
        self, entries: Entries, messages: Bytes, message_first: Ints, tag: np.uint8
    ) -> Bytes:
        text, first = self._table.text
        room = self._room(entries) + int(message_first[-1]) + 6 * entries.size
        out = np.empty(room, np.uint8)
        size = encode_messages(entries, messages, message_first, tag, text, first, out)
        return out[:size]

    def _room(self, entries: Entries) -> int:
        """Return the room that the labels of a message may take, and 6 bytes a series."""
        _, first = self._table.text
        # Entries are sorted but for a few exemplars, which count more than once.
        distinct = entries[np.flatnonzero(np.diff(entries, prepend=-1))]
        return int((first[distinct + 1] - first[distinct]).sum()) + 6 * distinct.size


def _field(number: int, payload: bytes) -> bytes:
    return varint_bytes(number << 3 | 2) + varint_bytes(len(payload)) + payload


def _metadata(entry: MetricMetadata) -> bytes:
    kind = _TYPES.index(entry.type) if entry.type in _TYPES else 0
    out = varint_bytes(1 << 3) + varint_bytes(kind) if kind else b""
    out += _field(2, entry.metric.encode())
    for number, text in ((4, entry.help), (5, entry.unit)):
        if text:
            out += _field(number, text.encode())
    return out
