"""Samples meet steps: the newest sample at each step, and the window that ends at each step.

From: `evaluate.py`, with what storage selected or what a subquery yielded.
To:   `Matrix` values for an instant selector, `Windows` for a range selector.

A search over times is done once for each distinct run of times, not once a series. Intervals are
left open: an instant selector sees (t - lookback, t], a range selector (t - range, t].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from promql.errors import ExecutionError
from promql.histograms.runs import (
    histogram_windows,
    newest_histograms,
    runs_of_matrix,
    runs_without_stale,
    window_sizes,
)
from promql.kernels import count_stale, drop_stale, gather_newest, newest_offsets, window_bounds
from promql.labels import METADATA_LABELS
from promql.matrix import Matrix, Windows
from promql.same_labels import SAME_LABELS
from promql.start_times import aligned
from promql.steady_kernels import steady_windows
from tsdb.large_arrays import large_empty
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histograms.matrix import HistogramMatrix
    from promql.labels import SeriesLabels
    from promql.matrix import HistogramWindows
    from tsdb.interface import DeferredValues, HistogramRuns, Ids, SeriesBatch, StartTimes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

    Fill = Callable[[slice, Floats, Mask], object]
    """Gets the series to do as a slice, and their rows of values and presence [rows, T]."""


PART_SAMPLES = 1 << 21
"""Samples, about, that are held at once of a selection whose values are read as they are needed:
16 MB of them, which take some 10 ms to be read."""


@dataclass(frozen=True, slots=True)
class RangeKernel:
    """A function that makes one float of each window, chunk by chunk: what windows become.

    `fill` returns what writes the results of some windows; it may prepare what all series share.
    `cost` is that of all windows, in cells or samples.
    """

    fill: Callable[[Windows, EvalContext], Fill]
    cost: Callable[[Windows], int]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of S series as columns, like `SeriesBatch`, with its distinct runs of times.

    Shapes: as in `SeriesBatch`; `run_of` int64[S] numbers the run of each series, `run_start` and
    `run_count` int64[W] say where it lies in `times`. `histograms` are those of the same series,
    None where there are none; `start_times` what is known of when their samples' counting began.
    Where `deferred` is not None, `values` is empty: look at the samples in `parts`.
    """

    labels: SeriesLabels
    times: Ints
    time_start: Ints
    values: Floats
    value_start: Ints
    count: Ints
    run_of: Ints
    run_start: Ints
    run_count: Ints
    histograms: HistogramRuns | None = None
    start_times: StartTimes | None = None
    deferred: DeferredValues | None = None

    @staticmethod
    def from_batch(batch: SeriesBatch, labels: SeriesLabels) -> Samples:
        """Take over what storage selected, stale markers among it."""
        samples = _with_runs(
            labels,
            batch.times,
            batch.time_start,
            batch.values,
            batch.value_start,
            batch.count,
            batch.histograms,
            batch.start_times,
        )
        return samples if batch.deferred is None else replace(samples, deferred=batch.deferred)

    def whole(self) -> Samples:
        """Return the samples with all their values."""
        if self.deferred is None:
            return self
        return replace(self, values=self.deferred.read(0, self.count.size), deferred=None)

    def bounds(self) -> list[tuple[int, int]]:
        """Return the series of each part, from the first to the one after its last."""
        ends = np.cumsum(self.count)
        bounds, low = [], 0
        while low < ends.size:
            limit = (ends[low - 1] if low else 0) + PART_SAMPLES
            high = max(low + 1, int(np.searchsorted(ends, limit, side="right")))
            bounds.append((low, high))
            low = high
        return bounds

    def value_parts(self) -> Iterator[tuple[slice, Floats, Ints]]:
        """Yield some series after the other: which they are, their values, where each begins."""
        if self.deferred is None:
            yield slice(0, self.count.size), self.values, self.value_start
            return
        for low, high in self.bounds():
            rows = slice(low, high)
            yield (
                rows,
                self.deferred.read(low, high),
                self.value_start[rows] - self.value_start[low],
            )

    def parts(self) -> Iterator[tuple[slice, Samples]]:
        """Yield the samples of some series after the other, and which they are."""
        if self.deferred is None:
            yield slice(0, self.count.size), self
            return
        for rows, values, value_start in self.value_parts():
            yield (
                rows,
                _with_runs(
                    self.labels.between(rows.start, rows.stop),
                    self.times,
                    self.time_start[rows],
                    values,
                    value_start,
                    self.count[rows],
                    None,
                ),
            )

    @staticmethod
    def from_matrix(matrix: Matrix, steps_ms: Ints) -> Samples:
        """Take the points of a matrix for samples at its steps; absent ones read as stale."""
        series, steps = matrix.values.shape
        # The copy turns "absent" into the marker, so that one way takes both out.
        values = np.where(matrix.present, matrix.values, STALE_NAN).reshape(-1)
        zeros = np.zeros(series, dtype=np.int64)
        starts = np.arange(series, dtype=np.int64) * steps
        counts = np.full(series, steps, dtype=np.int64)
        histograms = runs_of_matrix(matrix, steps_ms)
        return _with_runs(matrix.labels, steps_ms, zeros, values, starts, counts, histograms)

    def without_stale(self, ctx: EvalContext) -> Samples:
        """Return the samples without stale markers; itself where there are none."""
        histograms = self.histograms
        if histograms is not None:
            histograms = runs_without_stale(histograms)
            if histograms is not self.histograms:
                return replace(self, histograms=histograms).without_stale(ctx)
        bits = self.values.view(np.uint64)
        stale = np.empty(self.count.size, dtype=np.int64)

        def count(low: int, high: int) -> None:
            count_stale(bits, self.value_start[low:high], self.count[low:high], stale[low:high])

        # Looking at a sample is the least of all work.
        ctx.rows.run(self.count.size, bits.size // 4, count, ctx.budget.check)
        rows = np.flatnonzero(stale)
        if rows.size == 0:
            return self
        # Series of one target follow one run and mostly end together: neighbours in this order
        # then share their new run too.
        rows = rows[np.lexsort((stale[rows], self.run_of[rows]))]
        room = int((self.count[rows] - stale[rows]).sum())
        clean_bits = np.empty(room, dtype=np.uint64)
        clean_times = np.empty(room, dtype=np.int64)
        starts = np.empty((3, rows.size), dtype=np.int64)
        written = drop_stale(
            bits,
            self.value_start,
            self.times,
            self.time_start,
            self.count,
            rows,
            clean_bits,
            clean_times,
            starts[0],
            starts[1],
            starts[2],
        )
        value_start, time_start = self.value_start.copy(), self.time_start.copy()
        counts = self.count.copy()
        value_start[rows] = starts[0] + self.values.size
        time_start[rows] = starts[1] + self.times.size
        counts[rows] = starts[2]
        values = np.concatenate((self.values, clean_bits.view(np.float64)))
        times = np.concatenate((self.times, clean_times[:written]))
        return _with_runs(
            self.labels,
            times,
            time_start,
            values,
            value_start,
            counts,
            histograms,
            self.start_times,
        )


def _with_runs(
    labels: SeriesLabels,
    times: Ints,
    time_start: Ints,
    values: Floats,
    value_start: Ints,
    count: Ints,
    histograms: HistogramRuns | None,
    start_times: StartTimes | None = None,
) -> Samples:
    """Return the columns with a number for each distinct (time_start, count)."""
    same = (time_start == time_start[:1]) & (count == count[:1])
    if same.size and same.all():  # all of one scrape: the usual small query
        at, run_of = np.zeros(1, dtype=np.int64), np.zeros(same.size, dtype=np.int64)
    else:
        key = time_start * (int(count.max(initial=0)) + 1) + count
        _, at, run_of = np.unique(key, return_index=True, return_inverse=True)
    return Samples(
        labels=labels,
        times=times,
        time_start=time_start,
        values=values,
        value_start=value_start,
        count=count,
        run_of=run_of.astype(np.int64, copy=False),
        run_start=time_start[at],
        run_count=count[at],
        histograms=histograms,
        start_times=start_times,
    )


def newest_samples(
    samples: Samples, at_ms: Ints, ctx: EvalContext, *, keep_time: bool = False
) -> Matrix:
    """Return at each step the newest sample of each series not older than the lookback.

    Shapes: `at_ms` int64[T], never falling: where each step looks, offset and @ applied. A series
    whose newest sample is a stale marker is absent.
    """
    series, steps = samples.count.size, at_ms.size
    ctx.budget.reserve(series * steps)
    newest = np.empty((samples.run_start.size, steps), dtype=np.int32)
    newest_offsets(
        samples.times, samples.run_start, samples.run_count, at_ms, ctx.lookback_ms, newest
    )
    out = large_empty((series, steps), np.uint64)
    present = large_empty((series, steps), np.bool_)
    for part, values, value_start in samples.value_parts():
        _gather(samples.run_of[part], values, value_start, newest, out[part], present[part], ctx)
    float_time = None
    if keep_time:
        offsets = np.maximum(newest, 0)[samples.run_of]
        float_time = pool_at(samples.times, samples.time_start, offsets) / 1000.0
    histograms = None
    if samples.histograms is not None:
        rows = np.flatnonzero(samples.histograms.count)
        newest_ms = _newest_ms(samples, newest, rows)
        histograms, wins, times = newest_histograms(samples.histograms, rows, newest_ms, at_ms, ctx)
        present[rows] &= ~wins
        if float_time is not None:
            float_time[rows] = np.where(wins, times / 1000.0, float_time[rows])
    return Matrix(
        labels=samples.labels,
        values=out.view(np.float64),
        present=present,
        drop_name=np.zeros(series, dtype=np.bool_),
        float_time=float_time,
        histograms=histograms,
    )


def _gather(
    run_of: Ints,
    values: Floats,
    value_start: Ints,
    newest: Offsets,
    out: npt.NDArray[np.uint64],
    present: Mask,
    ctx: EvalContext,
) -> None:
    """Write the newest value of some series at each step, as bits, and whether there is one."""
    bits = values.view(np.uint64)

    def gather(low: int, high: int) -> None:
        some = slice(low, high)
        gather_newest(bits, value_start[some], run_of[some], newest, out[some], present[some])

    ctx.rows.run(run_of.size, out.size, gather, ctx.budget.check)


def _newest_ms(samples: Samples, newest: Offsets, rows: Ints) -> Ints:
    """Return the time of the newest float of some series at each step, int64[rows, T]."""
    nothing = np.iinfo(np.int64).min
    offsets = newest[samples.run_of[rows]].astype(np.int64)
    if samples.times.size == 0:
        return np.full(offsets.shape, nothing)
    start = samples.time_start[rows][:, np.newaxis]
    at = np.minimum(start + np.maximum(offsets, 0), samples.times.size - 1)
    times: Ints = np.where(offsets >= 0, samples.times[at], nothing)
    return times


def windows(
    samples: Samples, end_ms: Ints, range_ms: int, drop_name: Mask, ctx: EvalContext
) -> Windows:
    """Return the window of `range_ms` that ends at each of `end_ms`, int64[T], never falling.

    `samples` must hold no stale markers.
    """
    runs, steps = samples.run_start.size, end_ms.size
    ctx.budget.reserve(runs * steps)
    first = np.empty((runs, steps), dtype=np.int32)
    stop = np.empty((runs, steps), dtype=np.int32)
    window_bounds(
        samples.times, samples.run_start, samples.run_count, end_ms, range_ms, first, stop
    )
    return Windows(
        labels=samples.labels,
        times=samples.times,
        time_start=samples.time_start,
        values=samples.values,
        value_start=samples.value_start,
        count=samples.count,
        window_of=samples.run_of,
        first=first,
        stop=stop,
        end_ms=end_ms,
        range_ms=range_ms,
        drop_name=drop_name,
        histograms=_histogram_windows(samples, end_ms, range_ms, ctx),
        starts=aligned(samples.start_times, samples.times, samples.time_start, samples.count),
    )


def _histogram_windows(
    samples: Samples, end_ms: Ints, range_ms: int, ctx: EvalContext
) -> HistogramWindows | None:
    if samples.histograms is None:
        return None
    ctx.budget.reserve(samples.count.size * end_ms.size)
    runs = samples.histograms
    starts = aligned(samples.start_times, runs.times, runs.start, runs.count)
    return histogram_windows(runs, end_ms, range_ms, starts)


def samples_per_step(view: Windows) -> Ints:
    """Return for how many samples the windows of each step count, of all series, int64[T].

    A histogram counts for as many as its size says.
    """
    users = np.bincount(view.window_of, minlength=view.first.shape[0])
    sizes = (view.stop - view.first).astype(np.int64)
    counts: Ints = users @ sizes
    if view.histograms is not None:
        counts = counts + window_sizes(view.histograms).sum(axis=0)
    return counts


def cells(view: Windows) -> int:
    """Return how many windows there are: what a function costs that looks at each only once."""
    return view.series_count * view.end_ms.size


def steady_steps(view: Windows) -> Offsets:
    """Return for how many steps each window goes on moving by as many samples, int32[W, T]."""
    steady = np.empty(view.first.shape, dtype=np.int32)
    steady_windows(view.first, view.stop, steady)
    return steady


def run_kernel(kernel: RangeKernel, view: Windows, ctx: EvalContext) -> tuple[Floats, Mask]:
    """Return what a kernel makes of all windows: values, present [S, T]."""
    return run_windows(view, ctx, kernel.cost(view), kernel.fill(view, ctx))


def run_windows(view: Windows, ctx: EvalContext, cost: int, kernel: Fill) -> tuple[Floats, Mask]:
    """Run a kernel over all series, in chunks; return what it wrote: values, present [S, T]."""
    series, steps = view.series_count, view.end_ms.size
    ctx.budget.reserve(series * steps)
    values = large_empty((series, steps), np.float64)
    present = large_empty((series, steps), np.bool_)

    def work(low: int, high: int) -> None:
        kernel(slice(low, high), values[low:high], present[low:high])

    ctx.rows.run(series, cost, work, ctx.budget.check)
    return values, present


def window_result(
    view: Windows,
    values: Floats,
    present: Mask,
    ctx: EvalContext,
    *,
    keep_name: bool = False,
    histograms: HistogramMatrix | None = None,
) -> Matrix:
    """Make what a function of a range vector yields, its metric names dropped (or to be).

    Raises ExecutionError if two series that have any result would become the same: for functions
    of a range, Prometheus refuses that even where the two are never present at one step.
    """
    result = Matrix(view.labels, values, present, view.drop_name, histograms=histograms)
    if keep_name:
        return result
    if ctx.delayed_name_removal:
        return replace(result, drop_name=np.ones(view.series_count, dtype=np.bool_))
    result = replace(result, labels=view.labels.drop_name())
    # Series differ in more than what is dropped if what is dropped does not differ.
    if any(_differs(view.labels.column(name)) for name in METADATA_LABELS):
        rows = np.flatnonzero(result.occupied.any(axis=1))
        result = result.take(rows)
        if result.labels.group()[1].size != rows.size:
            raise ExecutionError(SAME_LABELS)
    return result


def _differs(ids: Ids) -> bool:
    return ids.size > 1 and bool((ids != ids[0]).any())


def pool_at(pool: Ints | Floats, start: Ints, offsets: Ints | Offsets) -> Floats:
    """Return what a pool holds `offsets` [S, T] after each series' `start` [S], as float64[S, T].

    Where a series has no samples, offset 0 gives any number.
    """
    if pool.size == 0:
        return np.zeros(offsets.shape)
    at = np.minimum(start[:, np.newaxis] + offsets, pool.size - 1)
    found: Floats = pool[at].astype(np.float64, copy=False)
    return found
