"""Samples into storage: series to refs, batches to statuses.

From: scrapers, receivers, rules.   To: `tsdb/append.py`, which implements both protocols.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tsdb.interface.arrays import Floats, Ints
    from tsdb.interface.histograms import HistogramColumns
    from tsdb.interface.labels import LabelSpans


class AppendStatus(enum.IntEnum):
    """What became of one sample. The first two are success."""

    STORED = 0
    """Late samples of a time that only a block has are among these: no block is read to append.
    When they are read, the first value of a time counts, as if this one had been refused."""
    DUPLICATE = 1
    """Same time, same value as one stored already: nothing to do."""
    CONFLICT = 2
    """Same time, another value: refused, the first stays."""
    OUT_OF_ORDER = 3
    """Older than the newest of its series, and late samples are not taken at all."""
    TOO_OLD = 4
    """Older than the out-of-order window (where one is set) allows."""
    OUT_OF_BOUNDS = 5
    """Older than retention keeps."""
    TOO_FAR_AHEAD = 6
    """Later than `time_max_ms` of the call."""
    UNKNOWN_SERIES = 7
    """The ref is of a series that is gone; resolve again and append again."""


class Appender(Protocol):
    """What a writer sees of storage. Thread-safe."""

    def resolve(self, labels: LabelSpans) -> Ints:
        """Return a ref for each series, creating (and logging) those that are new.

        Refs are opaque int64, valid until the series is collected; `UNKNOWN_SERIES` says so.
        """
        ...

    def append(
        self,
        refs: Ints,
        times_ms: Ints,
        values: Floats,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch; return the `AppendStatus` of each sample.

        `start_times_ms` are the start timestamps of the samples, 0 for none; what is beyond 2^53
        is taken for none. They are stored with the samples that are; the first one stays.
        Shapes: all [N]. A ref may come several times; samples are taken in the given order. When
        this returns, what is STORED has been written to the operating system and is visible to
        the next `select`, all of it or none.
        """
        ...


class HistogramAppender(Protocol):
    """The writer's side for native histograms. Thread-safe."""

    def append_histograms(
        self,
        refs: Ints,
        times_ms: Ints,
        histograms: HistogramColumns,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch of histograms; as `append`, one `AppendStatus` each."""
        ...
