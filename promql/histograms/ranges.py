"""What a range of samples holds where some of them are native histograms.

From: `rate.py`, `over_time.py`, with the windows of a range vector.   To: `rate.py`,
`over_time.py`: which windows hold only histograms, which both kinds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import Flag
from promql.histograms.matrix import NONE, HistogramMatrix
from promql.histograms.notes import names_of, note_ignored_in_range, note_mixed_samples
from promql.places import argument_place
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
    """The windows of those series of a range vector that have histograms.

    Shapes: `rows` int64[R], which of the S series these are; `view` and `own` hold only them;
    `float_count`, `histogram_count` int32[R, T], how many of each kind a window holds.
    """

    def __init__(self, view: Windows) -> None:
        own = view.histograms
        assert own is not None
        self._series_count = view.series_count
        self.rows: Ints = np.flatnonzero(own.count)
        if self.rows.size < view.series_count:
            own = _some_histograms(own, self.rows)
            view = _some_windows(view, self.rows, own)
        self.view, self.own = view, own
        self.float_count: Offsets = (view.stop - view.first)[view.window_of]
        self.histogram_count: Offsets = own.sizes

    def spread(self, histograms: HistogramMatrix | None) -> HistogramMatrix | None:
        """Return a result of these series as one of all series, [S, T]."""
        if histograms is None or self.rows.size == self._series_count:
            return histograms
        row = np.full((self._series_count, histograms.row.shape[1]), NONE, dtype=np.int32)
        row[self.rows] = histograms.row
        return HistogramMatrix(histograms.columns, row)

    def withdraw(self, present: Mask, where: Mask) -> None:
        """Take floats back from `present` [S, T] where `where` [R, T] is True."""
        present[self.rows] &= ~where

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


def _some_histograms(own: HistogramWindows, rows: Ints) -> HistogramWindows:
    return replace(
        own,
        start=own.start[rows],
        count=own.count[rows],
        first=own.first[rows],
        stop=own.stop[rows],
        starts=None if own.starts is None else own.starts.take(rows),
    )


def _some_windows(view: Windows, rows: Ints, own: HistogramWindows) -> Windows:
    return replace(
        view,
        labels=view.labels.take(rows),
        time_start=view.time_start[rows],
        value_start=view.value_start[rows],
        count=view.count[rows],
        window_of=view.window_of[rows],
        drop_name=view.drop_name[rows],
        histograms=own,
        starts=None if view.starts is None else view.starts.take(rows),
    )


def refuse_mixed(ranges: Ranges, node: Call, ctx: EvalContext) -> Mask:
    """Warn of windows that hold both kinds; return which do."""
    mixed = ranges.mixed
    for name in ranges.names(mixed):
        note_mixed_samples(name, argument_place(node, 0), ctx)
    return mixed


def note_ignored(view: Windows, node: Call, ctx: EvalContext) -> None:
    """Say that a function of floats passes over histograms, where a window has both."""
    if view.histograms is None:
        return
    ranges = Ranges(view)
    for name in ranges.names(ranges.mixed):
        note_ignored_in_range(name, argument_place(node, 0), ctx)


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
