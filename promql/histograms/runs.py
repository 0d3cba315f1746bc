"""Native histograms of a selection, before they meet steps: markers out, newest, windows.

From: `windows.py`, beside the floats of the same series.   To: `HistogramMatrix` points of an
instant selector, `HistogramWindows` of a range selector.
Only series that have histograms cost anything here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import was_reset
from promql.histograms.columns import take
from promql.histograms.matrix import NONE, HistogramMatrix
from promql.histograms.size_kernels import add_buckets_and_spans
from promql.kernels import newest_offsets, window_bounds
from promql.matrix import HistogramWindows
from tsdb.interface import HistogramRuns, ResetHint
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Matrix
    from promql.start_times import AlignedStarts
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

_STALE = STALE_NAN.view(np.uint64)


def ragged(start: Ints, count: Ints) -> Ints:
    """Return the positions of runs one after the other: start[0], start[0] + 1, ...

    >>> ragged(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = np.cumsum(count)
    total = int(ends[-1]) if ends.size else 0
    at: Ints = np.arange(total, dtype=np.int64) + np.repeat(start - (ends - count), count)
    return at


def stale_rows(columns: HistogramColumns) -> Mask:
    """Return which histograms are stale markers, bool[H]."""
    stale: Mask = np.ascontiguousarray(columns.sum).view(np.uint64) == _STALE
    return stale


def runs_without_stale(runs: HistogramRuns) -> HistogramRuns | None:
    """Return the runs without stale markers; itself where there are none, None if all are."""
    stale = stale_rows(runs.columns)
    if not stale.any():
        return runs
    at = ragged(runs.start, runs.count)
    kept = at[~stale[at]]
    if kept.size == 0:
        return None
    owner = np.repeat(np.arange(runs.count.size), runs.count)[~stale[at]]
    count = np.bincount(owner, minlength=runs.count.size).astype(np.int64)
    return HistogramRuns(
        runs.times[kept], np.cumsum(count) - count, count, take(runs.columns, kept)
    )


def runs_with_resets(runs: HistogramRuns) -> HistogramRuns:
    """Return the runs with each unknown hint replaced by what a look at the one before tells."""
    columns = runs.columns
    rows = ragged(runs.start, runs.count)
    owner = np.repeat(np.arange(runs.count.size), runs.count)
    stale = stale_rows(columns)
    unknown = (columns.hint == ResetHint.UNKNOWN) & ~stale
    asked = np.flatnonzero(unknown[rows[1:]] & (owner[1:] == owner[:-1]) & ~stale[rows[:-1]])
    if asked.size == 0:
        return runs
    current = rows[asked + 1]
    fell = was_reset(take(columns, rows[asked]), take(columns, current))
    hint = columns.hint.copy()
    hint[current] = np.where(fell, ResetHint.RESET, ResetHint.NOT_RESET)
    return replace(runs, columns=replace(columns, hint=hint))


def runs_of_matrix(matrix: Matrix, steps_ms: Ints) -> HistogramRuns | None:
    """Take the histograms of a matrix for samples at its steps.

    Steps skip samples and show some of them again, so what is known of resets between neighbours
    holds no longer and is forgotten; that a histogram is a gauge stays true.
    """
    if matrix.histograms is None:
        return None
    columns, where = matrix.histograms.shown()
    count = np.count_nonzero(where, axis=1).astype(np.int64)
    _, steps = np.nonzero(where)
    gauge, unknown = np.int8(ResetHint.GAUGE), np.int8(ResetHint.UNKNOWN)
    hint = np.where(columns.hint == gauge, gauge, unknown)
    return HistogramRuns(
        steps_ms[steps], np.cumsum(count) - count, count, replace(columns, hint=hint)
    )


def newest_histograms(
    runs: HistogramRuns, series: Ints, newest_float_ms: Ints, at_ms: Ints, ctx: EvalContext
) -> tuple[HistogramMatrix | None, Mask, Ints]:
    """Return at each step the newest histogram of each series where no float is newer.

    Shapes: `series` int64[R], those that have histograms; `newest_float_ms` int64[R, T], the time
    of their newest float, or the smallest int64; `at_ms` int64[T]. Returned are the histograms
    [S, T], where the newest sample is one (bool[R, T]; a stale marker among them is nowhere in the
    matrix), and the time of it, int64[R, T].
    """
    offsets = np.empty((series.size, at_ms.size), dtype=np.int32)
    start = runs.start[series]
    newest_offsets(runs.times, start, runs.count[series], at_ms, ctx.lookback_ms, offsets)
    found = offsets >= 0
    at = np.where(found, start[:, np.newaxis] + offsets, 0)
    times = runs.times[at]
    wins = found & (times > newest_float_ms)
    shown = wins & ~stale_rows(runs.columns)[at]
    if not shown.any():
        return None, wins, times
    row = np.full((runs.count.size, at_ms.size), NONE, dtype=np.int32)
    row[series] = np.where(shown, at, NONE)
    return HistogramMatrix(runs.columns, row), wins, times


def histogram_windows(
    runs: HistogramRuns, end_ms: Ints, range_ms: int, starts: AlignedStarts | None = None
) -> HistogramWindows:
    """Return the histograms in the window that ends at each of `end_ms`, int64[T]."""
    shape = (runs.count.size, end_ms.size)
    first, stop = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.int32)
    window_bounds(runs.times, runs.start, runs.count, end_ms, range_ms, first, stop)
    return HistogramWindows(runs.times, runs.start, runs.count, runs.columns, first, stop, starts)


def sample_sizes(columns: HistogramColumns) -> Ints:
    """Return for how many samples each histogram counts towards limits, int64[H].

    Prometheus' measure: the bytes of its representation and 8 for the time, in units of a
    float sample of 16 bytes. Buckets that follow each other share a span.
    """
    # In units of 8 bytes: the struct of 168 bytes and the time, then what differs.
    words = 22 + columns.bounds_count
    for start, index in (
        (columns.positive_start, columns.positive_index),
        (columns.negative_start, columns.negative_index),
    ):
        add_buckets_and_spans(start, index, words)
    sizes: Ints = words // 2
    return sizes


def shown_per_step(histograms: HistogramMatrix) -> Ints:
    """Return for how many samples the points of each step count, int64[T]."""
    where = histograms.present
    _, step = np.nonzero(where)
    counts = np.zeros(where.shape[1], dtype=np.int64)
    np.add.at(counts, step, sample_sizes(histograms.columns)[histograms.row[where]])
    return counts


def window_sizes(view: HistogramWindows) -> Ints:
    """Return for how many samples each window counts, int64[S, T]."""
    before = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sample_sizes(view.columns))))
    start = view.start[:, np.newaxis]
    sizes: Ints = before[start + view.stop] - before[start + view.first]
    return sizes
