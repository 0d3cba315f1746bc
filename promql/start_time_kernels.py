"""Compiled loops over samples with start timestamps: which begin anew, what rate makes of them.

From: `start_times.py`, `rate.py`.   Arguments as in `rate_kernels.py`; the starts of a series lie
beside its samples, in a pool of their own. Only series with start timestamps come here.
Source: Prometheus' behaviour with the feature `use-start-timestamps`. Twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Flags = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

RESET = 1
"""What a sample counts began after the sample before, so its counter was reset between the two."""
OVERLAP = 2
"""What a sample counts began before the sample before, and not when what that counts did."""

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)
_FLAGS = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int32, 2, "C", readonly=True)


@kernel(
    types.void(
        _INTS, _INTS, _INTS, _INTS, _INTS, _INTS, _INTS, _INTS, types.int64[::1], types.uint8[::1]
    )
)
def align_starts(
    times: Ints,
    time_start: Ints,
    count: Ints,
    known_first: Ints,
    known_times: Ints,
    known_starts: Ints,
    rows: Ints,
    at: Ints,
    starts: Ints,
    flags: Flags,
) -> None:
    """Write beside each sample of some series its start (0: none) and how that relates to before.

    Shapes: `times`, `time_start`, `count` as in `Samples`; `known_*` as in `StartTimes`; `rows`
    int64[R] are the series, whose starts and flags go to `at[row]` and on.
    A start at or after its own sample is none of a reset. One at the sample before is (so deltas
    are written), unless what began with that sample is not known: then nothing is known here.
    """
    for r in range(rows.size):
        s = rows[r]
        out, base = at[s], time_start[s]
        k, stop = known_first[s], known_first[s + 1]
        for i in range(count[s]):
            now = times[base + i]
            while k < stop and known_times[k] < now:
                k += 1
            start = known_starts[k] if k < stop and known_times[k] == now else 0
            starts[out + i] = start
            flag = 0
            if i > 0 and start != 0:
                before, before_start = times[base + i - 1], starts[out + i - 1]
                if start < before:
                    if start != before_start:
                        flag = OVERLAP
                elif start < now and (
                    start > before or (before_start != 0 and before_start < before)
                ):
                    flag = RESET
            flags[out + i] = flag


@kernel(types.void(_INTS, _INTS, _INTS, types.int64[:, ::1]))
def look_up_starts(first: Ints, times: Ints, starts: Ints, sample_ms: Ints) -> None:
    """Replace each time of a sample by the start of that sample, 0 where it has none.

    Shapes: `first`, `times`, `starts` as in `StartTimes`; `sample_ms` int64[S, T].
    """
    for s in range(sample_ms.shape[0]):
        for t in range(sample_ms.shape[1]):
            wanted = sample_ms[s, t]
            low, high = first[s], first[s + 1]
            while low < high:
                middle = (low + high) // 2
                if times[middle] < wanted:
                    low = middle + 1
                else:
                    high = middle
            found = low < first[s + 1] and times[low] == wanted
            sample_ms[s, t] = starts[low] if found else 0


@kernel(
    types.void(
        _INTS,
        _INTS,
        _FLOATS,
        _INTS,
        _INTS,
        _OFFSETS,
        _OFFSETS,
        _INTS,
        types.int64,
        types.boolean,
        _INTS,
        _INTS,
        _INTS,
        _FLAGS,
        types.float64[:, ::1],
        types.boolean[:, ::1],
        types.boolean[::1],
    ),
    error_model="numpy",
)
def started_change(
    times: Ints,
    time_start: Ints,
    values: Floats,
    value_start: Ints,
    window_of: Ints,
    first: Offsets,
    stop: Offsets,
    end_ms: Ints,
    range_ms: int,
    per_second: bool,
    rows: Ints,
    at: Ints,
    starts: Ints,
    flags: Flags,
    out: Floats,
    present: Mask,
    overlaps: Mask,
) -> None:
    """Write rate or increase anew for the series `rows`; see `rate_kernels.extrapolated_change`.

    A reset is also what start timestamps say is one. If what the first sample counts began inside
    the window, it began there with zero, and nothing is extrapolated to the left; one sample is
    enough then. `overlaps` bool[S] becomes True where a window holds an overlap.
    """
    range_s = range_ms / 1000.0
    for r in range(rows.size):
        s = rows[r]
        base, time_base, w, beside = value_start[s], time_start[s], window_of[s], at[s]
        for t in range(first.shape[1]):
            low, high = first[w, t], stop[w, t]
            present[s, t] = False
            if high <= low:
                continue
            first_value = values[base + low]
            first_ms, last_ms = times[time_base + low], times[time_base + high - 1]
            begin = end_ms[t] - range_ms
            start = starts[beside + low]
            inside = start != 0 and begin < start < first_ms
            if high - low < 2 and not inside:
                continue
            change = values[base + high - 1] - first_value
            for i in range(low + 1, high):
                flag = flags[beside + i]
                if flag & OVERLAP:
                    overlaps[s] = True
                if flag & RESET or values[base + i] < values[base + i - 1]:
                    change += values[base + i - 1]
            sampled = (last_ms - first_ms) / 1000.0
            spacing = sampled / (high - low - 1) if high - low > 1 else 0.0
            threshold = spacing * 1.1
            if inside:
                to_start = 0.0
                sampled = (last_ms - start) / 1000.0
                change += first_value
            else:
                to_start = (first_ms - begin) / 1000.0
                if to_start >= threshold:
                    to_start = spacing / 2
                if change > 0 and first_value >= 0:
                    to_start = min(to_start, sampled * (first_value / change))
            to_end = (end_ms[t] - last_ms) / 1000.0
            if to_end >= threshold:
                to_end = spacing / 2
            factor = (sampled + to_start + to_end) / sampled
            if per_second:
                factor /= range_s
            out[s, t] = change * factor
            present[s, t] = True
