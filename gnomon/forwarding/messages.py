"""Samples as they wait to be sent, and what turns them into bodies of requests.

From: `queue.py`.   To: `messages_v1.py` and `messages_v2.py`, which implement `MessageWriter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gnomon.forwarding.histogram_kernels import encode_histograms
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import Bytes, HistogramColumns, Ints, LabelSpans, MetricMetadata
    from tsdb.label_kernels import Words

    Entries = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Floats:
    """Floats of entries, sorted by entry, in the order of the log within one. Shapes: [N].

    `starts`: when what they count began, 0 where nobody says; None for nobody at all.
    """

    entries: Entries
    times: Ints
    bits: Words
    starts: Ints | None = None

    def part(self, which: slice | Ints) -> Floats:
        """Return some of them."""
        starts = None if self.starts is None else self.starts[which]
        return Floats(self.entries[which], self.times[which], self.bits[which], starts)

    def encoded(self, writer: MessageWriter) -> Bytes:
        """Return them as a message."""
        return writer.floats(self)


@dataclass(frozen=True, slots=True)
class Histograms:
    """Native histograms `rows` of columns, sorted as `Floats` are. Shapes: [N]."""

    entries: Entries
    times: Ints
    rows: Ints
    columns: HistogramColumns
    starts: Ints | None = None

    def part(self, which: slice | Ints) -> Histograms:
        """Return some of them."""
        starts = None if self.starts is None else self.starts[which]
        return Histograms(
            self.entries[which], self.times[which], self.rows[which], self.columns, starts
        )

    def encoded(self, writer: MessageWriter) -> Bytes:
        """Return them as a message."""
        return writer.histograms(self)

    def listed_bounds(self) -> Mask:
        """Say of each whether its bounds are listed, which 1.0 has no place for."""
        listed: Mask = self.columns.schema[self.rows] == CUSTOM_BUCKETS_SCHEMA
        return listed

    def messages(self) -> tuple[Bytes, Ints]:
        """Return each as a protobuf Histogram, one behind the other, and where they begin."""
        columns, rows = self.columns, self.rows
        buckets = (
            np.diff(columns.positive_start)[rows].sum()
            + np.diff(columns.negative_start)[rows].sum()
        )
        bounds = columns.bounds_count[rows].sum()
        out = np.empty(int(110 * rows.size + 26 * buckets + 8 * bounds), np.uint8)
        first = np.empty(rows.size + 1, np.int64)
        encode_histograms(
            np.ascontiguousarray(rows),
            np.ascontiguousarray(self.times),
            starts_or_zeros(self.starts, rows.size),
            columns.schema,
            columns.hint,
            columns.is_float,
            columns.count,
            columns.count.view(np.uint64),
            columns.sum.view(np.uint64),
            columns.zero_threshold.view(np.uint64),
            columns.zero_count,
            columns.zero_count.view(np.uint64),
            columns.positive_start,
            columns.positive_index,
            columns.positive_count,
            columns.positive_count.view(np.uint64),
            columns.negative_start,
            columns.negative_index,
            columns.negative_count,
            columns.negative_count.view(np.uint64),
            columns.bounds_start,
            columns.bounds_count,
            columns.bounds.view(np.uint64),
            out,
            first,
        )
        return out, first


@dataclass(frozen=True, slots=True)
class Exemplars:
    """Exemplars of entries with their own labels. Shapes: [N]."""

    entries: Entries
    times: Ints
    bits: Words
    labels: LabelSpans

    def part(self, which: slice | Ints) -> Exemplars:
        """Return some of them; a slice of step 1."""
        assert isinstance(which, slice)
        begin, stop, _ = which.indices(self.entries.size)
        first = self.labels.first[begin : stop + 1]
        labels = type(self.labels)(
            self.labels.data,
            np.ascontiguousarray(self.labels.spans[first[0] : first[-1]]),
            first - first[0],
        )
        return Exemplars(self.entries[which], self.times[which], self.bits[which], labels)

    def encoded(self, writer: MessageWriter) -> Bytes:
        """Return them as a message."""
        return writer.exemplars(self)


Waiting = Floats | Histograms | Exemplars


def starts_or_zeros(starts: Ints | None, size: int) -> Ints:
    """Return start timestamps as kernels take them."""
    return np.zeros(size, np.int64) if starts is None else np.ascontiguousarray(starts)


class MessageWriter(Protocol):
    """Writes the bodies of one version of the protocol, before they are compressed."""

    headers: dict[str, str]
    """What tells the version to who receives it."""
    sends_metadata: bool
    """Whether there are messages of metadata alone."""
    confirms: bool
    """Whether an answer says how much was written."""
    takes_listed_bounds: bool
    """Whether histograms whose bounds are listed can be sent."""

    def floats(self, floats: Floats) -> Bytes:
        """Return a message of floats."""
        ...

    def histograms(self, histograms: Histograms) -> Bytes:
        """Return a message of histograms."""
        ...

    def exemplars(self, exemplars: Exemplars) -> Bytes:
        """Return a message of exemplars."""
        ...

    def metadata(self, entries: Sequence[MetricMetadata]) -> bytes:
        """Return a message of metadata alone."""
        ...
