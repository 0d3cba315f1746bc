"""Counter resets between native histograms, compiled.

From: `algebra.py`, `windows.py`, `window_kernels.py`.
Source: the specification of native histograms. Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from numba import types

from promql.histograms.addition_kernels import (
    INTS,
    NOT_RESET,
    OUT_CODES,
    OUT_FLOATS,
    READ,
    RESET,
    Read,
)
from promql.histograms.bounds_kernels import exponential_bound
from promql.histograms.side_kernels import CUSTOM, zero_bucket_at
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Codes = npt.NDArray[np.int8]
    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


@helper(types.boolean(READ, types.int64, READ, types.int64))
def _falls_at_common_bounds(current: Read, i: int, previous: Read, j: int) -> bool:
    """Tell whether any count between two bounds that both histograms have became smaller."""
    n, m = current.bounds_count[i], previous.bounds_count[j]
    at, stop = current.positive_start[i], current.positive_start[i + 1]
    before, end = previous.positive_start[j], previous.positive_start[j + 1]
    a = b = 0
    while a <= n and b <= m:
        mine = current.bounds[current.bounds_start[i] + a] if a < n else math.inf
        its = previous.bounds[previous.bounds_start[j] + b] if b < m else math.inf
        if mine == its:
            total = 0.0
            while at < stop and current.positive_index[at] <= a:
                total += current.positive_count[at]
                at += 1
            past = 0.0
            while before < end and previous.positive_index[before] <= b:
                past += previous.positive_count[before]
                before += 1
            if total < past:
                return True
        if mine <= its:
            a += 1
        if its <= mine:
            b += 1
    return False


@helper(types.boolean(READ, types.int64, READ, types.int64, types.boolean))
def _side_falls(current: Read, i: int, previous: Read, j: int, positive: bool) -> bool:
    """Tell whether any bucket outside the zero bucket became smaller, or vanished."""
    if positive:
        index, count = current.positive_index, current.positive_count
        at, stop = current.positive_start[i], current.positive_start[i + 1]
        old_index, old_count = previous.positive_index, previous.positive_count
        before, end = previous.positive_start[j], previous.positive_start[j + 1]
    else:
        index, count = current.negative_index, current.negative_count
        at, stop = current.negative_start[i], current.negative_start[i + 1]
        old_index, old_count = previous.negative_index, previous.negative_count
        before, end = previous.negative_start[j], previous.negative_start[j + 1]
    schema = current.schema[i]
    exponential = schema != CUSTOM
    shift = previous.schema[j] - schema
    if exponential:
        # What lies in the zero bucket is counted there; by the finer bounds, as in additions.
        threshold = current.zero_threshold[i]
        while before < end and exponential_bound(old_index[before], schema + shift) <= threshold:
            before += 1
    while before < end:
        target = ((old_index[before] - 1) >> shift) + 1
        past = old_count[before]
        before += 1
        while before < end and ((old_index[before] - 1) >> shift) + 1 == target:
            past += old_count[before]
            before += 1
        while at < stop and index[at] < target:
            at += 1
        if at < stop and index[at] == target:
            if count[at] < past:
                return True
        elif past != 0:
            return True
    return False


@kernel(types.boolean(READ, types.int64, READ, types.int64))
def falls(current: Read, i: int, previous: Read, j: int) -> bool:
    """Tell whether a counter was reset between two histograms.

    What the writer's hint says counts. Else: any count fell, a populated bucket vanished, the
    resolution rose, the zero bucket became narrower, or wider so that it cuts a populated bucket.
    """
    if current.hint[i] == RESET:
        return True
    if current.hint[i] == NOT_RESET:
        return False
    if current.observations[i] < previous.observations[j]:
        return True
    if current.schema[i] == CUSTOM:
        if previous.schema[j] != CUSTOM:
            return True
        differ = current.bounds_count[i] != previous.bounds_count[j]
        if not differ:
            for k in range(current.bounds_count[i]):
                mine = current.bounds[current.bounds_start[i] + k]
                if mine != previous.bounds[previous.bounds_start[j] + k]:
                    differ = True
                    break
        if differ:
            return _falls_at_common_bounds(current, i, previous, j)
        return _side_falls(current, i, previous, j, True)
    if current.schema[i] > previous.schema[j]:
        return True
    threshold = current.zero_threshold[i]
    if threshold < previous.zero_threshold[j]:
        return True
    zero = previous.zero_count[j]
    if threshold > previous.zero_threshold[j]:
        zero, _, moved = zero_bucket_at(
            threshold,
            zero,
            0.0,
            previous.schema[j],
            previous.positive_index,
            previous.positive_count,
            previous.positive_count,
            previous.positive_start[j],
            previous.positive_start[j + 1],
            previous.negative_index,
            previous.negative_count,
            previous.negative_count,
            previous.negative_start[j],
            previous.negative_start[j + 1],
            False,
        )
        if moved != threshold:
            return True
    if current.zero_count[i] < zero:
        return True
    return _side_falls(current, i, previous, j, True) or _side_falls(current, i, previous, j, False)


@kernel(types.void(READ, READ, types.boolean[::1]))
def falls_by_row(current: Read, previous: Read, out: Mask) -> None:
    """Compare two columns of histograms row by row."""
    for h in range(out.size):
        out[h] = falls(current, h, previous, h)


@kernel(types.void(READ, INTS, INTS, OUT_CODES))
def falls_in_runs(source: Read, start: Ints, stop: Ints, resets: Codes) -> None:
    """Say of each row inside a run, all but its first, whether it fell against the row before.

    `resets` int8[H]: -1 where that is not known yet. Overlapping runs share the answers.
    """
    for r in range(start.size):
        for h in range(start[r] + 1, stop[r]):
            if resets[h] < 0:
                resets[h] = falls(source, h, source, h - 1)


@kernel(types.void(INTS, INTS, OUT_CODES, OUT_FLOATS))
def count_resets(start: Ints, stop: Ints, resets: Codes, out: Floats) -> None:
    """Count the resets inside each run; see `falls_in_runs`."""
    for r in range(out.size):
        total = 0
        for h in range(start[r] + 1, stop[r]):
            total += resets[h]
        out[r] = total
