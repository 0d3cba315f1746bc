"""Bodies of remote write 2.0: symbols first, then series that refer to them.

From: `queue.py`, through `messages.MessageWriter`.   Source: remote write specification 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gnomon.forwarding.messages import starts_or_zeros
from gnomon.forwarding.v2_kernels import (
    encode_exemplars,
    encode_floats,
    encode_histograms,
    encode_symbols,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gnomon.forwarding.messages import Exemplars, Floats, Histograms
    from gnomon.forwarding.series_table import SeriesTable
    from tsdb.interface import Bytes, MetricMetadata

    Entries = npt.NDArray[np.int32]


class WriterV2:
    """Implements `MessageWriter`: `io.prometheus.write.v2.Request`."""

    headers: dict[str, str] = {  # noqa: RUF012  # nobody changes it
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    }
    sends_metadata = False
    confirms = True
    takes_listed_bounds = True

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._local = np.zeros(0, np.int32)
        self._used = np.zeros(0, np.int64)
        self._counts = np.zeros(1, np.int64)

    def floats(self, floats: Floats) -> Bytes:
        """Return a message of floats."""
        refs, first = self._table.ids
        self._begin()
        out = np.empty(self._room(floats.entries) + 33 * floats.entries.size, np.uint8)
        size = encode_floats(
            floats.entries, floats.times, floats.bits,
            starts_or_zeros(floats.starts, floats.times.size),
            refs, first, self._table.metrics, self._table.traits,
            self._local, self._used, self._counts, out,
        )  # fmt: skip
        return self._with_symbols(out[:size])

    def histograms(self, histograms: Histograms) -> Bytes:
        """Return a message of histograms."""
        messages, message_first = histograms.messages()
        refs, first = self._table.ids
        self._begin()
        room = self._room(histograms.entries) + int(message_first[-1])
        out = np.empty(room + 6 * histograms.entries.size, np.uint8)
        size = encode_histograms(
            histograms.entries, messages, message_first,
            refs, first, self._table.metrics, self._table.traits,
            self._local, self._used, self._counts, out,
        )  # fmt: skip
        return self._with_symbols(out[:size])

    def exemplars(self, exemplars: Exemplars) -> Bytes:
        """Return a message of exemplars."""
        names, values = self._table.symbols.intern_spans(exemplars.labels)
        own = np.empty(2 * names.size, np.uint32)
        own[::2], own[1::2] = names, values
        refs, first = self._table.ids
        self._begin()
        sizes = first[exemplars.entries + 1] - first[exemplars.entries]
        room = 5 * (int(sizes.sum()) + own.size) + 60 * exemplars.entries.size
        out = np.empty(room, np.uint8)
        size = encode_exemplars(
            exemplars.entries, exemplars.times, exemplars.bits, own, 2 * exemplars.labels.first,
            refs, first, self._local, self._used, self._counts, out,
        )  # fmt: skip
        return self._with_symbols(out[:size])

    def metadata(self, entries: Sequence[MetricMetadata]) -> bytes:
        """There is none: metadata comes with its series."""
        raise AssertionError("2.0 has no messages of metadata")

    def _begin(self) -> None:
        """Have room for a number of every text, and none numbered but the empty one."""
        symbols = len(self._table.symbols)
        if self._local.size < symbols:
            self._local = np.zeros(2 * symbols, np.int32)
            self._used = np.zeros(2 * symbols, np.int64)
        self._counts[0] = 1

    def _with_symbols(self, series: Bytes) -> Bytes:
        used = self._used[: self._counts[0]]
        self._local[used] = 0
        symbols = self._table.symbols
        text, first = symbols.buffers()
        lengths = symbols.lengths(used.astype(np.uint32))
        out = np.empty(int(lengths.sum()) + 6 * used.size + series.size, np.uint8)
        size = encode_symbols(used, text, first, out)
        out[size : size + series.size] = series
        return out[: size + series.size]

    def _room(self, entries: Entries) -> int:
        """Return the room that references and metadata may take."""
        _, first = self._table.ids
        distinct = entries[np.flatnonzero(np.diff(entries, prepend=-1))]
        return 5 * int((first[distinct + 1] - first[distinct]).sum()) + 40 * distinct.size
