"""The arithmetic of native histograms, compiled: bounds, zero buckets, resolutions, addition.

From: `fold_kernels.py`, `value_kernels.py`.   `Read` is a `HistogramColumns` as
kernels take it, every array read-only; `Work` is one histogram under construction: two sides of
buckets with the compensation of each beside its count, and room to merge in.

Addition is that of Prometheus 3.14: the zero buckets are made equally wide first, at the
resolution each side came with; then both sides are brought to the lower resolution; then buckets
are merged, without those of the other side that lie in the zero bucket. Histograms with custom
buckets of different bounds meet at the bounds that both have.
Sources: the specification of native histograms; observations of Prometheus.
Plain Python twins are in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from numba import types

from promql.histograms.bounds_kernels import compensated
from promql.histograms.side_kernels import (
    CUSTOM,
    coarsen,
    drop_inner,
    merge,
    start_side,
    zero_bucket_at,
)
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Indexes = npt.NDArray[np.int32]
    Codes = npt.NDArray[np.int8]

RESET, NOT_RESET, GAUGE = 1, 2, 3
"""Numbers of `tsdb.interface.ResetHint`."""

INCOMPATIBLE, RECONCILED, COLLISION = 1, 2, 4
NOT_COUNTER, NOT_GAUGE, RECONCILED_ADDING = 8, 16, 32
"""Bits of `algebra.Flag`."""

COUNT, SUM, THRESHOLD, ZERO, LOST_COUNT, LOST_SUM, LOST_ZERO = range(7)
"""Places in `Work.scalars`; LOST is the compensation of a sum."""

SCHEMA, HINT, POSITIVE, NEGATIVE, BOUNDS_START, BOUNDS_COUNT, BOUNDS_OWN = range(7)
"""Places in `Work.state`; POSITIVE and NEGATIVE are how many buckets there are."""


class Read(NamedTuple):
    """The arrays of `HistogramColumns` that kernels read; all read-only."""

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
    bounds: Floats


class Work(NamedTuple):
    """One histogram under construction.

    Shapes: `scalars` float64[7], `state` int64[7]; each side's `index`, `count`, `lost` as long
    as its buckets can ever be many; `spare_*` as the longer side, and at least one longer than
    the longest list of bounds; `bounds` holds the bounds of the input, then those made
    here; `old_bounds` is as long as the longest list of bounds.
    """

    scalars: Floats
    state: Ints
    positive_index: Indexes
    positive_count: Floats
    positive_lost: Floats
    negative_index: Indexes
    negative_count: Floats
    negative_lost: Floats
    spare_index: Indexes
    spare_count: Floats
    spare_lost: Floats
    bounds: Floats
    old_bounds: Floats


CODES = types.Array(types.int8, 1, "C", readonly=True)
FLOATS = types.Array(types.float64, 1, "C", readonly=True)
INTS = types.Array(types.int64, 1, "C", readonly=True)
INDEXES = types.Array(types.int32, 1, "C", readonly=True)
OUT_FLOATS = types.float64[::1]
OUT_INTS = types.int64[::1]
OUT_INDEXES = types.int32[::1]
OUT_CODES = types.int8[::1]
_SCALARS = (CODES, CODES, FLOATS, FLOATS, FLOATS, FLOATS)
_SIDE = (INTS, INDEXES, FLOATS)
_BOUNDS = (INTS, INTS, FLOATS)
READ = types.NamedTuple((*_SCALARS, *_SIDE, *_SIDE, *_BOUNDS), Read)  # type: ignore[no-untyped-call]
_LISTS = (OUT_INDEXES, OUT_FLOATS, OUT_FLOATS)
WORK = types.NamedTuple(  # type: ignore[no-untyped-call]
    (OUT_FLOATS, OUT_INTS, *_LISTS, *_LISTS, *_LISTS, OUT_FLOATS, OUT_FLOATS), Work
)


@helper(types.boolean(WORK, READ, types.int64))
def _same_bounds(work: Work, other: Read, row: int) -> bool:
    n = work.state[BOUNDS_COUNT]
    if other.bounds_count[row] != n:
        return False
    mine, others = work.state[BOUNDS_START], other.bounds_start[row]
    for i in range(n):  # noqa: SIM110  # generators are not for kernels
        if work.bounds[mine + i] != other.bounds[others + i]:
            return False
    return True


@helper(
    types.void(WORK, READ, types.int64, types.float64, types.boolean, types.boolean),
    error_model="numpy",
)
def _meet_at_common_bounds(
    work: Work, other: Read, row: int, factor: float, compensate: bool, absent: bool
) -> None:
    """Add a histogram of other custom bounds: both are mapped to the bounds that both have."""
    n = work.state[BOUNDS_COUNT]
    start = work.state[BOUNDS_START]
    own = work.state[BOUNDS_OWN]
    work.old_bounds[:n] = work.bounds[start : start + n]
    others, other_n = other.bounds_start[row], other.bounds_count[row]
    common = 0
    i = j = 0
    while i < n and j < other_n:
        mine, its = work.old_bounds[i], other.bounds[others + j]
        if mine == its:
            work.bounds[own + common] = mine
            common += 1
        if mine <= its:
            i += 1
        if its <= mine:
            j += 1
    total, lost = work.spare_count, work.spare_lost
    total[: common + 1] = 0.0
    lost[: common + 1] = 0.0
    target = 0
    for k in range(work.state[POSITIVE]):
        at = work.positive_index[k]
        place = common
        if 0 <= at < n:
            while target < common and work.bounds[own + target] < work.old_bounds[at]:
                target += 1
            place = target
        total[place], lost[place] = compensated(work.positive_count[k], total[place], lost[place])
        if compensate:
            total[place], lost[place] = compensated(
                work.positive_lost[k], total[place], lost[place]
            )
    if not absent:
        target = 0
        for k in range(other.positive_start[row], other.positive_start[row + 1]):
            at = other.positive_index[k]
            place = common
            if 0 <= at < other_n:
                while target < common and work.bounds[own + target] < other.bounds[others + at]:
                    target += 1
                place = target
            value = other.positive_count[k] / factor
            total[place], lost[place] = compensated(value, total[place], lost[place])
    kept = 0
    for place in range(common + 1):
        if total[place] != 0 or lost[place] != 0:
            work.positive_index[kept] = place
            work.positive_count[kept] = total[place]
            work.positive_lost[kept] = lost[place] if compensate else 0.0
            kept += 1
    work.state[POSITIVE] = kept
    work.state[BOUNDS_START], work.state[BOUNDS_COUNT] = own, common


@helper(types.float64(WORK, READ, types.int64, types.boolean), error_model="numpy")
def _widen_zero_buckets(work: Work, other: Read, row: int, compensate: bool) -> float:
    """Give the work a zero bucket that suits both; return the other's count in such a one."""
    scalars = work.scalars
    threshold, zero = other.zero_threshold[row], other.zero_count[row]
    while True:
        if scalars[THRESHOLD] > threshold:
            zero, _, threshold = zero_bucket_at(
                scalars[THRESHOLD],
                other.zero_count[row],
                0.0,
                other.schema[row],
                other.positive_index,
                other.positive_count,
                other.positive_count,
                other.positive_start[row],
                other.positive_start[row + 1],
                other.negative_index,
                other.negative_count,
                other.negative_count,
                other.negative_start[row],
                other.negative_start[row + 1],
                False,
            )
        if not threshold > scalars[THRESHOLD]:
            return float(zero)
        schema = work.state[SCHEMA]
        scalars[ZERO], scalars[LOST_ZERO], scalars[THRESHOLD] = zero_bucket_at(
            threshold,
            scalars[ZERO],
            scalars[LOST_ZERO],
            schema,
            work.positive_index,
            work.positive_count,
            work.positive_lost,
            0,
            work.state[POSITIVE],
            work.negative_index,
            work.negative_count,
            work.negative_lost,
            0,
            work.state[NEGATIVE],
            compensate,
        )
        if not compensate:
            scalars[LOST_ZERO] = 0.0
        work.state[POSITIVE] = drop_inner(
            work.positive_index,
            work.positive_count,
            work.positive_lost,
            work.state[POSITIVE],
            schema,
            scalars[THRESHOLD],
        )
        work.state[NEGATIVE] = drop_inner(
            work.negative_index,
            work.negative_count,
            work.negative_lost,
            work.state[NEGATIVE],
            schema,
            scalars[THRESHOLD],
        )


@helper(types.void(WORK, types.int64, types.boolean), error_model="numpy")
def lower_schema(work: Work, schema: int, compensate: bool) -> None:
    """Bring the work to a lower resolution; nothing happens if it has that already."""
    shift = work.state[SCHEMA] - schema
    if shift <= 0:
        return
    work.state[POSITIVE] = coarsen(
        work.positive_index,
        work.positive_count,
        work.positive_lost,
        work.state[POSITIVE],
        shift,
        compensate,
    )
    work.state[NEGATIVE] = coarsen(
        work.negative_index,
        work.negative_count,
        work.negative_lost,
        work.state[NEGATIVE],
        shift,
        compensate,
    )
    work.state[SCHEMA] = schema


@kernel(types.void(WORK, READ, types.int64))
def load(work: Work, source: Read, row: int) -> None:
    """Begin the work with a copy of one histogram; nothing is lost yet."""
    scalars, state = work.scalars, work.state
    scalars[COUNT], scalars[SUM] = source.observations[row], source.sum[row]
    scalars[THRESHOLD], scalars[ZERO] = source.zero_threshold[row], source.zero_count[row]
    scalars[LOST_COUNT] = scalars[LOST_SUM] = scalars[LOST_ZERO] = 0.0
    state[SCHEMA], state[HINT] = source.schema[row], source.hint[row]
    state[BOUNDS_START], state[BOUNDS_COUNT] = source.bounds_start[row], source.bounds_count[row]
    state[POSITIVE] = start_side(
        work.positive_index,
        work.positive_count,
        work.positive_lost,
        source.positive_index,
        source.positive_count,
        source.positive_start[row],
        source.positive_start[row + 1],
    )
    state[NEGATIVE] = start_side(
        work.negative_index,
        work.negative_count,
        work.negative_lost,
        source.negative_index,
        source.negative_count,
        source.negative_start[row],
        source.negative_start[row + 1],
    )


@kernel(
    types.int64(WORK, READ, types.int64, types.float64, types.boolean, types.boolean),
    error_model="numpy",
)
def add(work: Work, other: Read, row: int, factor: float, compensate: bool, absent: bool) -> int:
    """Add one histogram, divided by `factor`, to the work; return flags. -1 subtracts.

    `compensate` keeps what rounding loses. `absent` takes only the layout of the other: its
    counts are nothing and its zero bucket has no width.
    Where the flags say INCOMPATIBLE the work is as it was.
    """
    scalars, state = work.scalars, work.state
    custom = other.schema[row] == CUSTOM
    if custom != (state[SCHEMA] == CUSTOM):
        return INCOMPATIBLE
    flags = 0
    mine, its = state[HINT], other.hint[row]
    if mine != its and mine != GAUGE:
        if its == GAUGE:
            state[HINT] = GAUGE
        else:
            state[HINT] = 0
            if mine != 0 and its != 0:
                flags = COLLISION
    if not absent:
        if not custom:
            zero = other.zero_count[row]
            if scalars[THRESHOLD] != other.zero_threshold[row]:
                zero = _widen_zero_buckets(work, other, row, compensate)
            zero /= factor
            if compensate:
                scalars[ZERO], scalars[LOST_ZERO] = compensated(
                    zero, scalars[ZERO], scalars[LOST_ZERO]
                )
            else:
                scalars[ZERO] += zero
        if compensate:
            scalars[COUNT], scalars[LOST_COUNT] = compensated(
                other.observations[row] / factor, scalars[COUNT], scalars[LOST_COUNT]
            )
            scalars[SUM], scalars[LOST_SUM] = compensated(
                other.sum[row] / factor, scalars[SUM], scalars[LOST_SUM]
            )
        else:
            scalars[COUNT] += other.observations[row] / factor
            scalars[SUM] += other.sum[row] / factor
    if custom and not _same_bounds(work, other, row):
        _meet_at_common_bounds(work, other, row, factor, compensate, absent)
        return flags | RECONCILED
    shift = 0
    if not custom:
        shift = other.schema[row] - state[SCHEMA]
        if shift < 0:
            lower_schema(work, other.schema[row], compensate)
            shift = 0
    if absent:
        return flags
    low, high = other.positive_start[row], other.positive_start[row + 1]
    if low < high:
        state[POSITIVE] = merge(
            work.positive_index,
            work.positive_count,
            work.positive_lost,
            state[POSITIVE],
            work.spare_index,
            work.spare_count,
            work.spare_lost,
            other.positive_index,
            other.positive_count,
            low,
            high,
            shift,
            state[SCHEMA],
            scalars[THRESHOLD],
            factor,
            compensate,
        )
    low, high = other.negative_start[row], other.negative_start[row + 1]
    if low < high:
        state[NEGATIVE] = merge(
            work.negative_index,
            work.negative_count,
            work.negative_lost,
            state[NEGATIVE],
            work.spare_index,
            work.spare_count,
            work.spare_lost,
            other.negative_index,
            other.negative_count,
            low,
            high,
            shift,
            state[SCHEMA],
            scalars[THRESHOLD],
            factor,
            compensate,
        )
    return flags
