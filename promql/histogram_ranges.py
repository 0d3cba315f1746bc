"""What a range of samples holds where some of them are native histograms.

From: `rate.py`, `over_time.py`, with the windows of a range vector.   To: `histogram_rate.py`,
`histogram_over_time.py`: which windows hold only histograms, which both kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histogram_algebra import Flag
from promql.histogram_matrix import HistogramMatrix
from promql.histogram_notes import names_of, note_ignored_in_range, note_mixed_samples
from promql.windows import pool_at

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import HistogramWindows, Windows
    from promql.syntax import Call
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]


class Ranges:
    """The windows of a range vector that has histograms.

    Shapes: `float_count`, `histogram_count` int32[S, T], how many of each a window holds.
    """

    def __init__(self, view: Windows, own: HistogramWindows) -> None:
        self.view, self.own = view, own
        self.float_count: Offsets = (view.stop - view.first)[view.window_of]
        self.histogram_count: Offsets = own.sizes

    @property
    def mixed(self) -> Mask:
        """Which windows hold both kinds, bool[S, T]."""
        mixed: Mask = (self.float_count > 0) & (self.histogram_count > 0)
        return mixed

    def pure(self, at_least: int) -> Mask:
        """Which windows hold only histograms, and enough of them, bool[S, T]."""
        pure: Mask = (self.float_count == 0) & (self.histogram_count >= at_least)
        return pure

    def bounds(self, where: Mask) -> tuple[Ints, Ints]:
        """Return first and stop of the histograms of some windows, as rows of the columns."""
        start = self.own.start[:, np.newaxis]
        return (start + self.own.first)[where], (start + self.own.stop)[where]

    def float_ms(self, back: int) -> Floats:
        """Return the time of the last float but `back`, [S, T]; -inf where there is none."""
        view = self.view
        offsets = (view.stop - 1 - back)[view.window_of]
        times = pool_at(view.times, view.time_start, np.maximum(offsets, 0))
        found: Floats = np.where(self.float_count > back, times, -np.inf)
        return found

    def histogram_ms(self, back: int) -> Floats:
        """Return the time of the last histogram but `back`, [S, T]; -inf where there is none."""
        own = self.own
        times = pool_at(own.times, own.start, np.maximum(own.stop - 1 - back, 0))
        found: Floats = np.where(self.histogram_count > back, times, -np.inf)
        return found

    def first_float_ms(self) -> Floats:
        """Return the time of the first float, [S, T]; inf where there is none."""
        view = self.view
        times = pool_at(view.times, view.time_start, view.first[view.window_of])
        found: Floats = np.where(self.float_count > 0, times, np.inf)
        return found

    def first_histogram_ms(self) -> Floats:
        """Return the time of the first histogram, [S, T]; inf where there is none."""
        times = pool_at(self.own.times, self.own.start, self.own.first)
        found: Floats = np.where(self.histogram_count > 0, times, np.inf)
        return found

    def names(self, where: Mask) -> list[str]:
        """Return the metric names of the series that have such a window."""
        return names_of(self.view.labels, np.asarray(where.any(axis=1)))

    def names_at(self, where: Mask, rows: Mask) -> list[str]:
        """Return the metric names of some of the windows `where`, `rows` [windows] of them."""
        series = np.nonzero(where)[0]
        return names_of(self.view.labels, series[rows])


def refuse_mixed(ranges: Ranges, node: Call, ctx: EvalContext) -> Mask:
    """Warn of windows that hold both kinds; return which do."""
    mixed = ranges.mixed
    for name in ranges.names(mixed):
        note_mixed_samples(name, node.args[0].span, ctx)
    return mixed


def note_ignored(view: Windows, node: Call, ctx: EvalContext) -> None:
    """Say that a function of floats passes over histograms, where a window has both."""
    if view.histograms is None:
        return
    ranges = Ranges(view, view.histograms)
    for name in ranges.names(ranges.mixed):
        note_ignored_in_range(name, node.args[0].span, ctx)


def placed_results(
    columns: HistogramColumns, flags: Flags, where: Mask
) -> tuple[HistogramMatrix | None, Mask]:
    """Put one result for each True of `where` there; return also which had none, [results]."""
    bad: Mask = (flags & Flag.INCOMPATIBLE) != 0
    result = HistogramMatrix.placed(columns, where)
    if not bad.any():
        return result, bad
    good = where.copy()
    good[where] = ~bad
    return result.narrowed(good), bad
