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
from promql.kernels import newest_offsets, window_bounds
from promql.matrix import Matrix, Windows
from promql.windows import Samples, pool_at, windows

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext

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
    first = np.maximum(core.first - 1, wide_first)
    inside = core.stop > core.first
    if extension == "anchored":
        stop = np.where(inside, core.stop, first)
    else:
        last = pool_at(samples.times, samples.run_start, np.maximum(core.stop - 1, 0))
        reached = inside & (last == end_ms)
        stop = np.where(reached, core.stop, np.minimum(core.stop + 1, wide_stop))
        # Between two samples a line can be drawn; from one on either side it cannot.
        between = (first < core.first) & (stop > core.stop)
        stop = np.where(inside | between, stop, first)
    return replace(
        core,
        first=np.ascontiguousarray(first, dtype=np.int32),
        stop=np.ascontiguousarray(stop, dtype=np.int32),
        extension=extension,
    )


def smoothed_samples(samples: Samples, at_ms: Ints, ctx: EvalContext) -> Matrix:
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
    return Matrix(
        labels=samples.labels,
        values=np.where(on_sample, low, line),
        present=np.ascontiguousarray((before >= 0)[samples.run_of]),
        drop_name=np.zeros(samples.count.size, dtype=np.bool_),
    )


def with_edges(view: Windows) -> Windows:
    """Return the only step's windows with a sample on each edge, as a range query shows them.

    For answers only: series after series, in Python.
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
    return replace(
        view,
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
