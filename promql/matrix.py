"""The values that evaluation passes from node to node: all steps of a query at once.

An instant vector is a `Matrix`: series x steps with a presence mask. Absent is not NaN: NaN is a
legal value. A scalar is one float per step, a string is itself, a range vector is `Windows`.
An instant query has one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from promql.labels import SeriesLabels

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Matrix:
    """An instant vector at every step.

    Shapes: `values` float64[S, T], `present` bool[S, T], both C-contiguous. Where `present` is
    False the value is undefined and must not be looked at. `drop_name` bool[S]: `__name__` is
    still a label of the series but must be dropped before output (delayed name removal);
    with that feature off it is all False and names are dropped at once.
    Row order has no meaning, except for the functions that sort (instant queries).
    Rows may be present nowhere; the engine leaves them out of results. `float_time` is None, or
    float64[S, T]: the time in seconds of the sample behind each value, kept only where
    `timestamp()` is the direct consumer of a selector.
    """

    labels: SeriesLabels
    values: Floats
    present: Mask
    drop_name: Mask
    float_time: Floats | None = None

    @property
    def series_count(self) -> int:
        """S."""
        return int(self.values.shape[0])


@dataclass(frozen=True, slots=True)
class ScalarSteps:
    """A scalar at every step: float64[T]."""

    values: Floats


@dataclass(frozen=True, slots=True)
class StringValue:
    """A string; the same at every step."""

    text: str


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

    @property
    def series_count(self) -> int:
        """S."""
        return int(self.count.size)


Operand = Matrix | ScalarSteps | StringValue | Windows
"""What a function may receive and what a node may yield."""
