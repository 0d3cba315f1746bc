"""Compiled loops that meet samples with steps: windows, the newest sample, markers taken out.

From: `windows.py`.   To: columns that every kernel of a function reads.
Bounds are trusted: `windows.py` makes them from a `SeriesBatch`. Times strictly increase within a
run; steps rise or stand still. Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bits = npt.NDArray[np.uint64]
    Ints = npt.NDArray[np.int64]
    Offsets = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_BITS = types.Array(types.uint64, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int32, 2, "C", readonly=True)
_OFFSETS_OUT = types.int32[:, ::1]

_STALE = np.uint64(0x7FF0_0000_0000_0002)

_COPIED_MIN = 8
"""Fewer samples in a row gain nothing by being copied together."""


@kernel(
    types.void(_INTS, _INTS, _INTS, _INTS, types.int64, _OFFSETS_OUT, _OFFSETS_OUT),
)
def window_bounds(
    times: Ints,
    run_start: Ints,
    run_count: Ints,
    end_ms: Ints,
    range_ms: int,
    first: Offsets,
    stop: Offsets,
) -> None:
    """Write for each run and step which samples lie in (end - range, end].

    Shapes: `run_start`, `run_count` int64[W]; `end_ms` int64[T], never falling; `first`, `stop`
    int32[W, T], offsets within the run.
    """
    for w in range(run_start.size):
        base, count = run_start[w], run_count[w]
        low = np.int64(0)
        high = np.int64(0)
        for t in range(end_ms.size):
            end = end_ms[t]
            begin = end - range_ms
            # A run may begin long before the first window: the first step leaps, later ones walk.
            if t == 0:
                low = np.searchsorted(times[base : base + count], begin, side="right")
                high = np.searchsorted(times[base : base + count], end, side="right")
            else:
                while low < count and times[base + low] <= begin:
                    low += 1
                while high < count and times[base + high] <= end:
                    high += 1
            first[w, t] = low
            stop[w, t] = high


@kernel(
    types.void(_INTS, _INTS, _INTS, _INTS, types.int64, _OFFSETS_OUT),
)
def newest_offsets(
    times: Ints,
    run_start: Ints,
    run_count: Ints,
    at_ms: Ints,
    lookback_ms: int,
    newest: Offsets,
) -> None:
    """Write for each run and step the newest sample in (at - lookback, at], or -1.

    Shapes: `at_ms` int64[T], never falling; `newest` int32[W, T], an offset within the run.
    """
    for w in range(run_start.size):
        base, count = run_start[w], run_count[w]
        high = np.int64(0)
        for t in range(at_ms.size):
            at = at_ms[t]
            if t == 0:
                high = np.searchsorted(times[base : base + count], at, side="right")
            else:
                while high < count and times[base + high] <= at:
                    high += 1
            found = high > 0 and times[base + high - 1] > at - lookback_ms
            newest[w, t] = high - 1 if found else -1


@kernel(
    types.void(_BITS, _INTS, _INTS, _OFFSETS, types.uint64[:, ::1], types.boolean[:, ::1]),
)
def gather_newest(
    bits: Bits,
    value_start: Ints,
    run_of: Ints,
    newest: Offsets,
    out: Bits,
    present: Mask,
) -> None:
    """Write the sample that `newest` names, absent where there is none or it is a stale marker.

    Shapes: `bits` uint64[samples] (floats by their bits: a NaN's payload must survive);
    `value_start`, `run_of` int64[S]; `newest` int32[W, T]; `out`, `present` [S, T].
    """
    steps = newest.shape[1]
    # For how many steps from here on each names the sample after the one before: these are copied.
    ahead = np.empty(steps, dtype=np.int32)
    known = -1
    for s in range(value_start.size):
        base, w = value_start[s], run_of[s]
        if w != known:
            known = w
            for t in range(steps - 1, -1, -1):
                ahead[t] = 1
                if t + 1 < steps and newest[w, t] >= 0 and newest[w, t + 1] == newest[w, t] + 1:
                    ahead[t] = ahead[t + 1] + 1
        t = 0
        while t < steps:
            together = ahead[t]
            if together < _COPIED_MIN:
                at = newest[w, t]
                value = bits[base + at] if at >= 0 else _STALE
                out[s, t] = value
                present[s, t] = value != _STALE
                t += 1
                continue
            source = bits[base + newest[w, t] : base + newest[w, t] + together]
            to, there = out[s, t : t + together], present[s, t : t + together]
            for i in range(together):
                to[i] = source[i]
                there[i] = source[i] != _STALE
            t += together


@kernel(types.void(_BITS, _INTS, _INTS, types.int64[::1]))
def count_stale(bits: Bits, value_start: Ints, count: Ints, out: Ints) -> None:
    """Write how many stale markers each series holds. Shapes: all but `bits` int64[S]."""
    for s in range(value_start.size):
        base = value_start[s]
        found = 0
        for i in range(base, base + count[s]):
            found += bits[i] == _STALE
        out[s] = found


@kernel(
    types.int64(
        _BITS,
        _INTS,
        _INTS,
        _INTS,
        _INTS,
        _INTS,
        types.uint64[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
        types.int64[::1],
    ),
)
def drop_stale(
    bits: Bits,
    value_start: Ints,
    times: Ints,
    time_start: Ints,
    count: Ints,
    rows: Ints,
    out_bits: Bits,
    out_times: Ints,
    out_value_start: Ints,
    out_time_start: Ints,
    out_count: Ints,
) -> int:
    """Copy the series of `rows` without their stale markers; return how many times were written.

    A series whose times came out as those of the one before it shares them. Shapes: `rows`
    int64[R]; `out_bits`, `out_times` hold all their samples; `out_value_start`, `out_time_start`,
    `out_count` int64[R], offsets into the `out_` pools.
    """
    to = np.int64(0)
    time_to = np.int64(0)
    for r in range(rows.size):
        s = rows[r]
        base, time_base = value_start[s], time_start[s]
        begin, time_begin = to, time_to
        for i in range(count[s]):
            value = bits[base + i]
            if value != _STALE:
                out_bits[to] = value
                out_times[time_to] = times[time_base + i]
                to += 1
                time_to += 1
        out_value_start[r] = begin
        out_time_start[r] = time_begin
        out_count[r] = to - begin
        if r > 0 and out_count[r] == out_count[r - 1]:
            before = out_time_start[r - 1]
            same = True
            for i in range(out_count[r]):
                if out_times[before + i] != out_times[time_begin + i]:
                    same = False
                    break
            if same:
                out_time_start[r] = before
                time_to = time_begin
    return int(time_to)
