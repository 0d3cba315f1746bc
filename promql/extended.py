"""Selectors that look beyond their edges: `anchored` to a sample, `smoothed` along a line.

From: `evaluate.py`.   To: `Windows` with an extension, which `rate.py` and result building read.
Needs the feature `promql-extended-range-selectors`. Samples beyond an edge count only within the
lookback. Source: Prometheus' documentation of extended range selectors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.errors import ExecutionError
from promql.histograms.extended import smoothed_histograms
from promql.histograms.runs import histogram_windows
from promql.kernels import newest_offsets, window_bounds
from promql.matrix import Matrix, Windows
from promql.windows import Samples, pool_at, windows
from tsdb.interface import HistogramRuns

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.syntax import Span

    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

_ALLOWED = {
    "anchored": ("changes", "delta", "increase", "rate", "resets"),
    "smoothed": ("delta", "increase", "rate"),
}


def refuse_extension(extension: str, func: str) -> None:
    """Raise ExecutionError if a function does not know what to do with an extended range."""
    allowed = _ALLOWED[extension]
    if func not in allowed:
        raise ExecutionError(
            f"{extension} modifier can only be used with: {', '.join(allowed)} - not with {func}"
        )


def extended_windows(
    samples: Samples,
    end_ms: Ints,
    range_ms: int,
    extension: str,
    drop_name: Mask,
    ctx: EvalContext,
) -> Windows:
    """Return windows that hold what their edges need, and are empty where that says nothing.

    A window begins with the newest sample at or before its left edge if there is one. Where it is
    smoothed it ends with the first sample at or after its right edge if there is one.
    """
    core = windows(samples, end_ms, range_ms, drop_name, ctx)
    ahead_ms = ctx.lookback_ms if extension == "smoothed" else 0
    wide_first, wide_stop = np.empty_like(core.first), np.empty_like(core.stop)
    window_bounds(
        samples.times,
        samples.run_start,
        samples.run_count,
        end_ms + ahead_ms,
        range_ms + ctx.lookback_ms + ahead_ms,
        wide_first,
        wide_stop,
    )
    last = pool_at(samples.times, samples.run_start, np.maximum(core.stop - 1, 0))
    first, stop = _extended(core.first, core.stop, wide_first, wide_stop, last == end_ms, extension)
    histograms = core.histograms
    if histograms is not None:
        assert samples.histograms is not None
        wide = histogram_windows(
            samples.histograms, end_ms + ahead_ms, range_ms + ctx.lookback_ms + ahead_ms
        )
        last = pool_at(histograms.times, histograms.start, np.maximum(histograms.stop - 1, 0))
        own_first, own_stop = _extended(
            histograms.first, histograms.stop, wide.first, wide.stop, last == end_ms, extension
        )
        histograms = replace(histograms, first=own_first, stop=own_stop)
    return replace(core, first=first, stop=stop, extension=extension, histograms=histograms)


def _extended(
    first: Offsets,
    stop: Offsets,
    wide_first: Offsets,
    wide_stop: Offsets,
    ends_on_edge: Mask,
    extension: str,
) -> tuple[Offsets, Offsets]:
    """Return first and stop of windows with what their edges need; the `wide` ones bound these."""
    new_first = np.maximum(first - 1, wide_first)
    inside = stop > first
    if extension == "anchored":
        new_stop = np.where(inside, stop, new_first)
    else:
        reached = inside & ends_on_edge
        new_stop = np.where(reached, stop, np.minimum(stop + 1, wide_stop))
        # Between two samples a line can be drawn; from one on either side it cannot.
        between = (new_first < first) & (new_stop > stop)
        new_stop = np.where(inside | between, new_stop, new_first)
    return (
        np.ascontiguousarray(new_first, dtype=np.int32),
        np.ascontiguousarray(new_stop, dtype=np.int32),
    )


def smoothed_samples(samples: Samples, at_ms: Ints, span: Span, ctx: EvalContext) -> Matrix:
    """Return each series' value on the line between the samples around each of `at_ms`.

    After the last sample its value holds on; before the first there is none. `samples` must hold
    no stale markers.
    """
    shape = (samples.run_start.size, at_ms.size)
    ctx.budget.reserve(samples.count.size * at_ms.size)
    before = np.empty(shape, dtype=np.int32)
    newest_offsets(
        samples.times, samples.run_start, samples.run_count, at_ms, ctx.lookback_ms, before
    )
    after, after_stop = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.int32)
    window_bounds(
        samples.times,
        samples.run_start,
        samples.run_count,
        at_ms + ctx.lookback_ms,
        ctx.lookback_ms,
        after,
        after_stop,
    )
    after = np.where(after_stop > after, after, before)
    left, right = np.maximum(before, 0)[samples.run_of], np.maximum(after, 0)[samples.run_of]
    left_ms = pool_at(samples.times, samples.time_start, left)
    span_ms = pool_at(samples.times, samples.time_start, right) - left_ms
    low = pool_at(samples.values, samples.value_start, left)
    high = pool_at(samples.values, samples.value_start, right)
    with np.errstate(all="ignore"):
        line = low + (high - low) * ((at_ms - left_ms) / np.where(span_ms > 0, span_ms, 1.0))
    on_sample = (span_ms <= 0) | (left_ms == at_ms)
    present = np.ascontiguousarray((before >= 0)[samples.run_of])
    histograms = None
    if samples.histograms is not None:
        histograms, mixed = smoothed_histograms(samples, samples.histograms, at_ms, span, ctx)
        present &= ~mixed
    return Matrix(
        labels=samples.labels,
        values=np.where(on_sample, low, line),
        present=present,
        drop_name=np.zeros(samples.count.size, dtype=np.bool_),
        histograms=histograms,
    )


def with_edges(view: Windows) -> Windows:
    """Return the only step's windows with a sample on each edge, as a range query shows them.

    For answers only: series after series, in Python. Of histograms those inside are shown.
    """
    end = int(view.end_ms[0])
    begin = end - view.range_ms
    times: list[int] = []
    values: list[float] = []
    starts, counts = [], []
    for series in range(view.series_count):
        window = view.window_of[series]
        low, high = int(view.first[window, 0]), int(view.stop[window, 0])
        at = int(view.time_start[series])
        own_times = view.times[at + low : at + high].tolist()
        at = int(view.value_start[series])
        own_values = view.values[at + low : at + high].tolist()
        starts.append(len(times))
        if own_times:
            left, right = own_values[0], own_values[-1]
            if view.extension == "smoothed" and own_times[0] < begin:
                left = _on_line(own_times[:2], own_values[:2], begin)
            if view.extension == "smoothed" and own_times[-1] > end:
                right = _on_line(own_times[-2:], own_values[-2:], end)
            inner = [
                (time, value)
                for time, value in zip(own_times, own_values, strict=True)
                if begin < time < end
            ]
            times += [begin, *(time for time, _ in inner), end]
            values += [left, *(value for _, value in inner), right]
        counts.append(len(times) - starts[-1])
    count = np.array(counts, dtype=np.int64)
    start = np.array(starts, dtype=np.int64)
    own = view.histograms
    if own is not None:
        runs = HistogramRuns(own.times, own.start, own.count, own.columns)
        own = histogram_windows(runs, view.end_ms, view.range_ms)
    return replace(
        view,
        histograms=own,
        times=np.array(times, dtype=np.int64),
        values=np.array(values, dtype=np.float64),
        time_start=start,
        value_start=start,
        count=count,
        window_of=np.arange(count.size, dtype=np.int64),
        first=np.zeros((count.size, 1), dtype=np.int32),
        stop=count[:, np.newaxis].astype(np.int32),
        extension="",
    )


def _on_line(times: list[int], values: list[float], at: int) -> float:
    share = (at - times[0]) / (times[1] - times[0])
    return values[0] + (values[1] - values[0]) * share
