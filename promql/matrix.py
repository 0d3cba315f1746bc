"""The values that evaluation passes from node to node: all steps of a query at once.

An instant vector is a `Matrix`: series x steps with a presence mask. Absent is not NaN: NaN is a
legal value. A scalar is one float per step, a string is itself, a range vector is `Windows`.
An instant query has one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.matrix import HistogramMatrix, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from promql.labels import SeriesLabels
    from promql.start_times import AlignedStarts
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Matrix:
    """An instant vector at every step: a point is a float, a histogram, or absent.

    Shapes: `values` float64[S, T], `present` bool[S, T], both C-contiguous. `present` says where
    there is a *float*: elsewhere the value is undefined and must not be looked at. `histograms`
    says where there is a histogram, never where there is a float; it is None where no point is
    one. So whoever looks at `present` alone passes over histograms, which is what most functions
    do, and whoever asks whether there is anything at all looks at `occupied`.
    `drop_name` bool[S]: `__name__` is still a label of the series but must be dropped before
    output (delayed name removal); with that feature off it is all False and names are dropped at
    once. Row order has no meaning, except for the functions that sort (instant queries).
    Rows may be present nowhere; the engine leaves them out of results. `float_time` is None, or
    float64[S, T]: the time in seconds of the sample behind each point, kept only where
    `timestamp()` is the direct consumer of a selector; of `start_timestamp()` it is their start.
    """

    labels: SeriesLabels
    values: Floats
    present: Mask
    drop_name: Mask
    float_time: Floats | None = None
    histograms: HistogramMatrix | None = None

    @property
    def series_count(self) -> int:
        """S."""
        return int(self.values.shape[0])

    @property
    def occupied(self) -> Mask:
        """Where there is a point of either kind, bool[S, T]."""
        if self.histograms is None:
            return self.present
        return self.present | self.histograms.present

    def take(self, rows: Ints | Mask) -> Matrix:
        """Return some of the series, in the given order; `float_time` is left behind."""
        return Matrix(
            self.labels.take(rows),
            self.values[rows],
            self.present[rows],
            self.drop_name[rows],
            histograms=None if self.histograms is None else self.histograms.take(rows),
        )

    def narrowed(self, keep: Mask) -> Matrix:
        """Return the matrix with only the points where `keep` (broadcast to [S, T]) is True."""
        histograms = self.histograms
        return replace(
            self,
            present=self.present & keep,
            histograms=None if histograms is None else histograms.narrowed(keep),
        )

    def only_floats(self) -> Matrix:
        """Return the series with their floats as their only points."""
        return self if self.histograms is None else replace(self, histograms=None)

    def only_histograms(self, histograms: HistogramMatrix | None) -> Matrix:
        """Return the series with these histograms as their only points."""
        return replace(self, present=np.zeros_like(self.present), histograms=histograms)


def stack(parts: Sequence[Matrix]) -> Matrix:
    """Return the rows of all matrices, one below the other. `parts` is not empty."""
    if len(parts) == 1:
        return parts[0]
    labels = parts[0].labels
    for part in parts[1:]:
        labels = labels.concat(part.labels)
    return Matrix(
        labels,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.drop_name for part in parts]),
        histograms=stacked(
            [part.histograms for part in parts],
            [part.series_count for part in parts],
            parts[0].values.shape[1],
        ),
    )


@dataclass(frozen=True, slots=True)
class ScalarSteps:
    """A scalar at every step: float64[T]."""

    values: Floats


@dataclass(frozen=True, slots=True)
class StringValue:
    """A string; the same at every step."""

    text: str


@dataclass(frozen=True, slots=True)
class HistogramWindows:
    """The native histograms of a range vector at every step, beside its floats.

    Shapes: series s has the histograms `start[s]` to `start[s] + count[s]` of `columns`, at the
    times int64[H] of the same positions, stale markers already taken out. `first` and `stop`
    int32[S, T] are offsets within a series' run, rising along T. `starts` are the start timestamps
    of these histograms, None where there are none or nobody asks.
    """

    times: Ints
    start: Ints
    count: Ints
    columns: HistogramColumns
    first: Offsets
    stop: Offsets
    starts: AlignedStarts | None = None

    @property
    def sizes(self) -> Offsets:
        """How many histograms each window holds, int32[S, T]."""
        return self.stop - self.first


@dataclass(frozen=True, slots=True)
class Windows:
    """A range vector at every step: for each series and step the samples in (end - range, end].

    Series s has times `times[time_start[s] : time_start[s] + count[s]]` and values at
    `value_start[s]` likewise, stale markers already taken out. `first` and `stop` int32[W, T] are
    offsets within a series' run, rising along T; `window_of[s]` names the row of `first` and
    `stop` that serves series s (series with equal times share one). `end_ms` int64[T] is the
    right edge of each window (offset and @ applied), so its left edge is `end_ms - range_ms`, left
    open. Units: milliseconds. `extension` is that of the selector: "anchored" and "smoothed"
    windows hold samples beyond their edges, and only functions that know it may read them.
    All these speak of floats; `histograms` holds the histograms of the same series and steps, None
    where there are none. A time holds a float or a histogram of a series, never both.
    `starts` are the start timestamps of the floats, None where there are none or nobody asks.
    """

    labels: SeriesLabels
    times: Ints
    time_start: Ints
    values: Floats
    value_start: Ints
    count: Ints
    window_of: Ints
    first: Offsets
    stop: Offsets
    end_ms: Ints
    range_ms: int
    drop_name: Mask
    extension: str = ""
    histograms: HistogramWindows | None = None
    starts: AlignedStarts | None = None

    @property
    def series_count(self) -> int:
        """S."""
        return int(self.count.size)

    def at_steps(self, low: int, high: int) -> Windows:
        """Return the windows of the steps [low, high) as far as they hold floats."""
        return replace(
            self,
            first=np.ascontiguousarray(self.first[:, low:high]),
            stop=np.ascontiguousarray(self.stop[:, low:high]),
            end_ms=self.end_ms[low:high],
            histograms=None,
            starts=None,
        )


Operand = Matrix | ScalarSteps | StringValue | Windows
"""What a function may receive and what a node may yield."""
