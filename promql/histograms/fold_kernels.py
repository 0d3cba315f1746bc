"""Folds of native histograms, compiled: pairs, groups and windows into one histogram each.

From: `algebra.py`, `windows.py`.   A run is a slice of `members`, which are
rows of the source in the order in which they are taken. Each kernel writes one histogram a run
into `Write`; where a run has no answer (its flags say INCOMPATIBLE, or it is too short) an empty
one, so that rows stay aligned. Sizes are trusted: the callers make all lists large enough.
Sources: Prometheus' documentation and behaviour; see `addition_kernels.py`.
Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from numba import types

from promql.histograms.addition_kernels import (
    BOUNDS_COUNT,
    BOUNDS_OWN,
    BOUNDS_START,
    COLLISION,
    COUNT,
    HINT,
    INCOMPATIBLE,
    INTS,
    LOST_COUNT,
    LOST_SUM,
    LOST_ZERO,
    NEGATIVE,
    NOT_RESET,
    OUT_CODES,
    OUT_FLOATS,
    OUT_INDEXES,
    OUT_INTS,
    POSITIVE,
    READ,
    RECONCILED,
    RESET,
    SCHEMA,
    SUM,
    THRESHOLD,
    WORK,
    ZERO,
    Read,
    Work,
    add,
    load,
)
from promql.histograms.bounds_kernels import compensated
from promql.histograms.side_kernels import CUSTOM, merge
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Indexes = npt.NDArray[np.int32]
    Codes = npt.NDArray[np.int8]
    Flags = npt.NDArray[np.uint8]


class Write(NamedTuple):
    """The arrays of `HistogramColumns` that kernels write; bounds go to `Work.bounds`."""

    schema: Codes
    hint: Codes
    observations: Floats
    sum: Floats
    zero_threshold: Floats
    zero_count: Floats
    positive_start: Ints
    positive_index: Indexes
    positive_count: Floats
    negative_start: Ints
    negative_index: Indexes
    negative_count: Floats
    bounds_start: Ints
    bounds_count: Ints


_SCALARS = (OUT_CODES, OUT_CODES, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS)
_SIDE = (OUT_INTS, OUT_INDEXES, OUT_FLOATS)
WRITE = types.NamedTuple((*_SCALARS, *_SIDE, *_SIDE, OUT_INTS, OUT_INTS), Write)  # type: ignore[no-untyped-call]
FLAGS = types.uint8[::1]


@helper(types.void(WRITE, types.int64))
def store_nothing(out: Write, row: int) -> None:
    """Write an empty histogram where there is no answer."""
    out.schema[row] = 0
    out.hint[row] = 0
    out.observations[row] = 0.0
    out.sum[row] = 0.0
    out.zero_threshold[row] = 0.0
    out.zero_count[row] = 0.0
    out.positive_start[row + 1] = out.positive_start[row]
    out.negative_start[row + 1] = out.negative_start[row]
    out.bounds_start[row] = 0
    out.bounds_count[row] = 0


@kernel(types.void(WORK, WRITE, types.int64, types.float64))
def store(work: Work, out: Write, row: int, divisor: float) -> None:
    """Write the work, divided, with what rounding had taken, without empty buckets."""
    scalars, state = work.scalars, work.state
    out.schema[row] = state[SCHEMA]
    out.hint[row] = state[HINT]
    out.observations[row] = scalars[COUNT] / divisor + scalars[LOST_COUNT] / divisor
    out.sum[row] = scalars[SUM] / divisor + scalars[LOST_SUM] / divisor
    out.zero_threshold[row] = scalars[THRESHOLD]
    out.zero_count[row] = scalars[ZERO] / divisor + scalars[LOST_ZERO] / divisor
    whole = divisor == 1.0
    at = out.positive_start[row]
    for k in range(state[POSITIVE]):
        value = work.positive_count[k] + work.positive_lost[k]
        if not whole:
            value = work.positive_count[k] / divisor + work.positive_lost[k] / divisor
        if value != 0:
            out.positive_index[at] = work.positive_index[k]
            out.positive_count[at] = value
            at += 1
    out.positive_start[row + 1] = at
    at = out.negative_start[row]
    for k in range(state[NEGATIVE]):
        value = work.negative_count[k] + work.negative_lost[k]
        if not whole:
            value = work.negative_count[k] / divisor + work.negative_lost[k] / divisor
        if value != 0:
            out.negative_index[at] = work.negative_index[k]
            out.negative_count[at] = value
            at += 1
    out.negative_start[row + 1] = at
    out.bounds_start[row] = state[BOUNDS_START]
    out.bounds_count[row] = state[BOUNDS_COUNT]
    if state[BOUNDS_COUNT] > 0 and state[BOUNDS_START] == state[BOUNDS_OWN]:
        state[BOUNDS_OWN] += state[BOUNDS_COUNT]


@kernel(
    types.void(READ, READ, types.float64, WORK, WRITE, FLAGS),
    error_model="numpy",
)
def add_rows(a: Read, b: Read, factor: float, work: Work, out: Write, flags: Flags) -> None:
    """Write a + b / factor, row by row; -1 subtracts. Not compensated, as Prometheus' is not."""
    for h in range(flags.size):
        load(work, a, h)
        flags[h] = add(work, b, h, factor, False, False)
        if flags[h] & INCOMPATIBLE:
            store_nothing(out, h)
        else:
            store(work, out, h, 1.0)


@helper(types.boolean(WORK))
def _overflows(work: Work) -> bool:
    """Tell whether any count or the sum is infinite, or was and has become NaN."""
    scalars = work.scalars
    finite = math.isfinite(scalars[COUNT]) and math.isfinite(scalars[SUM])
    finite = finite and math.isfinite(scalars[ZERO])
    counts = work.positive_count
    for k in range(work.state[POSITIVE]):
        finite = finite and math.isfinite(counts[k])
    counts = work.negative_count
    for k in range(work.state[NEGATIVE]):
        finite = finite and math.isfinite(counts[k])
    return not finite


@helper(types.void(WORK, WORK))
def _copy_work(source: Work, target: Work) -> None:
    """Copy one work into another of at least its size; their bounds are one array."""
    target.scalars[:] = source.scalars
    target.state[:] = source.state
    n = source.state[POSITIVE]
    target.positive_index[:n] = source.positive_index[:n]
    target.positive_count[:n] = source.positive_count[:n]
    target.positive_lost[:n] = source.positive_lost[:n]
    n = source.state[NEGATIVE]
    target.negative_index[:n] = source.negative_index[:n]
    target.negative_count[:n] = source.negative_count[:n]
    target.negative_lost[:n] = source.negative_lost[:n]


@kernel(types.void(WORK, types.float64), error_model="numpy")
def _divide(work: Work, divisor: float) -> None:
    """Divide all counts, the sum, and what rounding had taken from them."""
    threshold = work.scalars[THRESHOLD]
    work.scalars[:] /= divisor
    work.scalars[THRESHOLD] = threshold
    for k in range(work.state[POSITIVE]):
        work.positive_count[k] /= divisor
        work.positive_lost[k] /= divisor
    for k in range(work.state[NEGATIVE]):
        work.negative_count[k] /= divisor
        work.negative_lost[k] /= divisor


@helper(types.void(WORK, types.float64))
def _multiply(work: Work, factor: float) -> None:
    """Multiply all counts, the sum, and what rounding had taken from them."""
    threshold = work.scalars[THRESHOLD]
    work.scalars[:] *= factor
    work.scalars[THRESHOLD] = threshold
    for k in range(work.state[POSITIVE]):
        work.positive_count[k] *= factor
        work.positive_lost[k] *= factor
    for k in range(work.state[NEGATIVE]):
        work.negative_count[k] *= factor
        work.negative_lost[k] *= factor


@helper(types.int64(READ, INTS, types.int64, types.int64, WORK), error_model="numpy")
def _sum_run(source: Read, members: Ints, low: int, high: int, work: Work) -> int:
    """Sum members [low, high), compensated; return flags: INCOMPATIBLE, RECONCILED, COLLISION."""
    # Taken out of the tuples once: that costs as much as adding up a dozen buckets.
    scalars, state = work.scalars, work.state
    index, count, lost = work.positive_index, work.positive_count, work.positive_lost
    other_index, other_count = source.positive_index, source.positive_count
    start, negative_start = source.positive_start, source.negative_start
    schemas, hints, thresholds = source.schema, source.hint, source.zero_threshold
    bounds_start, bounds_count = source.bounds_start, source.bounds_count
    totals, sums, zeros = source.observations, source.sum, source.zero_count
    spare_index, spare_count, spare_lost = work.spare_index, work.spare_count, work.spare_lost
    load(work, source, members[low])
    seen = 0
    reset = not_reset = False
    for k in range(low, high):
        reset |= hints[members[k]] == RESET
        not_reset |= hints[members[k]] == NOT_RESET
    for k in range(low + 1, high):
        row = members[k]
        if (
            schemas[row] != state[SCHEMA]
            or hints[row] != state[HINT]
            or thresholds[row] != scalars[THRESHOLD]
            or bounds_start[row] != state[BOUNDS_START]
            or bounds_count[row] != state[BOUNDS_COUNT]
            or negative_start[row] != negative_start[row + 1]
        ):
            seen |= add(work, source, row, 1.0, True, False)
            if seen & INCOMPATIBLE:
                return seen & (INCOMPATIBLE | RECONCILED)
            continue
        # The same layout but for buckets, and nothing below zero: no more to do than this.
        scalars[COUNT], scalars[LOST_COUNT] = compensated(
            totals[row], scalars[COUNT], scalars[LOST_COUNT]
        )
        scalars[SUM], scalars[LOST_SUM] = compensated(sums[row], scalars[SUM], scalars[LOST_SUM])
        scalars[ZERO], scalars[LOST_ZERO] = compensated(
            zeros[row], scalars[ZERO], scalars[LOST_ZERO]
        )
        state[POSITIVE] = merge(
            index,
            count,
            lost,
            state[POSITIVE],
            spare_index,
            spare_count,
            spare_lost,
            other_index,
            other_count,
            start[row],
            start[row + 1],
            0,
            state[SCHEMA],
            scalars[THRESHOLD],
            1.0,
            True,
        )
    if reset and not_reset:
        return (seen & RECONCILED) | COLLISION
    return seen & RECONCILED


@helper(types.float64(READ, INTS, types.int64, types.int64, WORK, WORK), error_model="numpy")
def _average_run(
    source: Read, members: Ints, low: int, high: int, work: Work, backup: Work
) -> float:
    """Average members [low, high) whose sum overflows; return what is still to divide by.

    From the sum before the overflow, which `backup` keeps, it goes on as a running mean.
    """
    load(work, source, members[low])
    running = False
    divisor = 1.0
    for k in range(low + 1, high):
        row = members[k]
        number = float(k - low + 1)
        if not running:
            _copy_work(work, backup)
            add(work, source, row, 1.0, True, False)
            divisor = number
            if not _overflows(work):
                continue
            running = True
            divisor = 1.0
            _copy_work(backup, work)
            _divide(work, number - 1.0)
        _multiply(work, (number - 1.0) / number)
        add(work, source, row, number, True, False)
    return divisor


@kernel(
    types.void(READ, INTS, INTS, INTS, types.boolean, WORK, WORK, WRITE, FLAGS),
    error_model="numpy",
)
def fold_runs(
    source: Read,
    members: Ints,
    start: Ints,
    stop: Ints,
    average: bool,
    work: Work,
    backup: Work,
    out: Write,
    flags: Flags,
) -> None:
    """Sum or average each run, compensated throughout."""
    for r in range(flags.size):
        low, high = start[r], stop[r]
        flags[r] = 0
        if low == high:
            store_nothing(out, r)
            continue
        own = work.state[BOUNDS_OWN]
        flags[r] = _sum_run(source, members, low, high, work)
        if flags[r] & INCOMPATIBLE:
            store_nothing(out, r)
            continue
        divisor = 1.0
        if average:
            divisor = float(high - low)
            if _overflows(work):
                work.state[BOUNDS_OWN] = own
                divisor = _average_run(source, members, low, high, work, backup)
        store(work, out, r, divisor)


@kernel(types.void(READ, INTS, INTS, INTS, OUT_INTS, OUT_INTS))
def buckets_at_most(
    source: Read, members: Ints, start: Ints, stop: Ints, positive: Ints, negative: Ints
) -> None:
    """Write how many buckets the fold of each run can have at most, on either side.

    No more than there are in all; where all have one schema, no more than there are places from
    the lowest to the highest; with custom bounds no more than there are between bounds.
    """
    for r in range(positive.size):
        total = other_total = 0
        low = other_low = 1 << 40
        high = other_high = -(1 << 40)
        one_schema = True
        for k in range(start[r], stop[r]):
            h = members[k]
            one_schema &= source.schema[h] == source.schema[members[start[r]]]
            first, end = source.positive_start[h], source.positive_start[h + 1]
            if end > first:
                total += end - first
                if source.schema[h] == CUSTOM:
                    low, high = 0, max(high, source.bounds_count[h])
                else:
                    low = min(low, source.positive_index[first])
                    high = max(high, source.positive_index[end - 1])
            first, end = source.negative_start[h], source.negative_start[h + 1]
            if end > first:
                other_total += end - first
                other_low = min(other_low, source.negative_index[first])
                other_high = max(other_high, source.negative_index[end - 1])
        positive[r], negative[r] = total, other_total
        if one_schema and total > 0:
            positive[r] = min(total, high - low + 1)
        if one_schema and other_total > 0:
            negative[r] = min(other_total, other_high - other_low + 1)
