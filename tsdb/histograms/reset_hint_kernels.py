"""Compiled loops over neighbouring histograms: which one goes on counting where the last left off.

From: `reset_hints.py`, which owns every array here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tsdb.interface import Floats, Ints
    from tsdb.label_kernels import Slots, Words

    Int = int | np.integer[Any]
    Small = npt.NDArray[np.int8]

UNKNOWN, RESET, NOT_RESET, GAUGE = 0, 1, 2, 3
"""As in `interface.ResetHint`."""
_STALE = 0x7FF0000000000002

_i8, _i32, _i64, _u64, _f64, _bool = (
    types.int8,
    types.int32,
    types.int64,
    types.uint64,
    types.float64,
    types.boolean,
)


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@helper(_bool(_in(_i64), _in(_i32), _in(_f64), _i64, _i64))
def _side_goes_on(start: Ints, index: Slots, count: Floats, before: Int, now: Int) -> bool:
    """Return whether each bucket of `before` that has a count is there, and has not fallen."""
    at, stop = start[now], start[now + 1]
    first, size = start[before], start[before + 1] - start[before]
    if stop - at == size:
        # Mostly the buckets are the same; a loop without branches compares several at once.
        index_before, index_now = index[first : first + size], index[at:stop]
        old, new = count[first : first + size], count[at:stop]
        other = False
        for k in range(size):
            other |= (index_now[k] != index_before[k]) | (new[k] < old[k])
        if not other:
            return True
    for j in range(start[before], start[before + 1]):
        while at < stop and index[at] < index[j]:
            at += 1
        if at < stop and index[at] == index[j]:
            if count[at] < count[j]:
                return False
        elif count[j] != 0.0:
            return False
    return True


@kernel(
    types.void(
        _in(_i64), _in(_i64), _in(_i64), _in(_i64), _in(_i64), _in(_i64),
        _in(_i8), _in(_bool), _in(_f64), _in(_u64), _in(_f64), _in(_f64),
        _in(_i64), _in(_i32), _in(_f64), _in(_i64), _in(_i32), _in(_f64),
        _in(_i64), _in(_i64), _in(_f64), _i8[::1],
    ),
)  # fmt: skip
def mark_counting_on(
    float_times: Ints,
    float_start: Ints,
    float_count: Ints,
    run_times: Ints,
    run_start: Ints,
    run_count: Ints,
    schema: Small,
    is_float: npt.NDArray[np.bool_],
    count: Floats,
    total: Words,
    zero_threshold: Floats,
    zero_count: Floats,
    positive_start: Ints,
    positive_index: Slots,
    positive_count: Floats,
    negative_start: Ints,
    negative_index: Slots,
    negative_count: Floats,
    bounds_start: Ints,
    bounds_count: Ints,
    bounds: Floats,
    hint: Small,
) -> None:
    """Replace each hint that is not a writer's RESET or GAUGE by what the sample before tells.

    Shapes: `float_start`, `float_count`, `run_start`, `run_count` int64[series], as in
    `SeriesBatch` and `HistogramRuns`; columns as in `HistogramColumns`, sums as their bits; `hint`
    int8[H] comes as written. Only histograms that are in a run are looked at.
    NOT_RESET is said of a histogram right after another of the same kind, resolution, zero bucket
    and bounds of which no count is greater: everything else is UNKNOWN, and so is a stale marker.
    Comparisons are such that NaN never falls, as in Prometheus.
    """
    for s in range(run_start.size):
        f, f_stop = float_start[s], float_start[s] + float_count[s]
        for k in range(run_start[s], run_start[s] + run_count[s]):
            if total[k] == _STALE:
                hint[k] = UNKNOWN
                continue
            if hint[k] == GAUGE or hint[k] == RESET:
                continue
            hint[k] = UNKNOWN
            p = k - 1
            if k == run_start[s] or hint[p] == GAUGE or total[p] == _STALE:
                continue
            while f < f_stop and float_times[f] < run_times[p]:
                f += 1
            if f < f_stop and float_times[f] < run_times[k]:
                continue
            if (
                schema[k] != schema[p]
                or is_float[k] != is_float[p]
                or zero_threshold[k] != zero_threshold[p]
                or bounds_count[k] != bounds_count[p]
                or count[k] < count[p]
                or zero_count[k] < zero_count[p]
            ):
                continue
            same = True
            if bounds_start[k] != bounds_start[p]:
                for j in range(bounds_count[k]):
                    if bounds[bounds_start[k] + j] != bounds[bounds_start[p] + j]:
                        same = False
                        break
            if (
                same
                and _side_goes_on(positive_start, positive_index, positive_count, p, k)
                and _side_goes_on(negative_start, negative_index, negative_count, p, k)
            ):
                hint[k] = NOT_RESET


@kernel(types.void(_in(_i64), _in(_i64), _in(_i64), _in(_i64), _i64[::1]))
def count_earlier(times: Ints, start: Ints, count: Ints, limit_ms: Ints, out: Ints) -> None:
    """Write how many times of each run `times[start[r] : start[r] + count[r]]` are before a limit.

    Shapes: `start`, `count`, `limit_ms`, `out` int64[R]; times rise within a run.
    """
    for r in range(start.size):
        low, high = start[r], start[r] + count[r]
        while low < high:
            middle = (low + high) // 2
            if times[middle] < limit_ms[r]:
                low = middle + 1
            else:
                high = middle
        out[r] = low - start[r]
