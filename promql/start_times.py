"""Start timestamps meet windows: resets that no value shows, and counters that began in range.

From: `windows.py`, with what storage knows of the samples of a selection.   To: `rate.py`,
`histograms/rate.py`, `conversions.py`. Only with the feature `use-start-timestamps`; series without
start timestamps cost nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.notes import names_of
from promql.quoting import quote
from promql.start_time_kernels import OVERLAP, RESET, align_starts, look_up_starts

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.labels import SeriesLabels
    from promql.syntax import Span
    from tsdb.interface import StartTimes

    Flags = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

USE_START_TIMESTAMPS = "use-start-timestamps"
"""The feature without which they are not read."""

READERS = frozenset({"rate", "increase", "irate", "resets", "start_timestamp"})
"""The functions that look at start timestamps."""


@dataclass(frozen=True, slots=True)
class AlignedStarts:
    """The starts of the samples of some of S series, one beside each sample.

    Sample i of series s has `starts[at[s] + i]` (0: none) and `flags[at[s] + i]`, which says what
    that start means after sample i - 1; `at[s]` is -1 for a series without start timestamps.
    Shapes: `at` int64[S]; `starts` int64, `flags` uint8 of one length.
    """

    at: Ints
    starts: Ints
    flags: Flags

    @property
    def rows(self) -> Ints:
        """The series that have start timestamps."""
        return np.flatnonzero(self.at >= 0)

    @property
    def resets(self) -> Mask:
        """Which samples a reset comes before, for what their start says."""
        resets: Mask = (self.flags & RESET) != 0
        return resets

    @property
    def overlaps(self) -> Mask:
        """Which samples began before the sample before them did its counting."""
        overlaps: Mask = (self.flags & OVERLAP) != 0
        return overlaps

    def take(self, rows: Ints) -> AlignedStarts:
        """Return those of some series."""
        return replace(self, at=self.at[rows])

    def spread(self, column: npt.NDArray[np.generic], start: Ints, count: Ints, size: int) -> Mask:
        """Return what a column of marks says of samples in a pool of another order: bool[size].

        Series s has the samples `start[s]` to `start[s] + count[s]` of that pool.
        """
        marks = np.zeros(size, dtype=np.bool_)
        rows = self.rows
        mine, there = (np.repeat(each[rows], count[rows]) for each in (self.at, start))
        inside = np.arange(mine.size) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
        marks[there + inside] = column[mine + inside]
        return marks


def aligned(
    known: StartTimes | None, times: Ints, time_start: Ints, count: Ints
) -> AlignedStarts | None:
    """Return the starts beside the samples of series; None where no series has any.

    Shapes: series s has the samples at `times[time_start[s] : time_start[s] + count[s]]`.
    """
    if known is None:
        return None
    rows = np.flatnonzero((np.diff(known.first) > 0) & (count > 0))
    if not rows.size:
        return None
    sizes = count[rows]
    at = np.full(count.size, -1, dtype=np.int64)
    at[rows] = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    starts, flags = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.uint8)
    align_starts(
        times, time_start, count, known.first, known.times, known.starts, rows, at, starts, flags
    )
    return AlignedStarts(at, starts, flags)


def start_seconds(known: StartTimes | None, sample_s: Floats) -> Floats:
    """Return the starts, in seconds, of the samples at some times, in seconds: float64[S, T]."""
    if known is None:
        return np.zeros(sample_s.shape)
    found = np.rint(sample_s * 1000.0).astype(np.int64)
    look_up_starts(known.first, known.times, known.starts, found)
    seconds: Floats = found / 1000.0
    return seconds


def note_overlaps(labels: SeriesLabels, rows: Mask | Ints, span: Span, ctx: EvalContext) -> None:
    """Warn once for each metric that a sample counts again what one before it has counted."""
    for name in names_of(labels, rows):
        ctx.annotations.warn(
            "sample has start time that overlaps with previous sample timestamp"
            f" for metric {quote(name)}",
            span,
        )
