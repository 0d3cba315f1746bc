"""The arithmetic of native histograms, compiled: bounds, zero buckets, resolutions, addition.

From: `native_fold_kernels.py`, `native_value_kernels.py`.   `Read` is a `HistogramColumns` as
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

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit, types

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Indexes = npt.NDArray[np.int32]
    Codes = npt.NDArray[np.int8]

CUSTOM = -53
"""Schema of custom buckets; see `tsdb.interface.CUSTOM_BUCKETS_SCHEMA`."""

RESET, NOT_RESET, GAUGE = 1, 2, 3
"""Numbers of `tsdb.interface.ResetHint`."""

INCOMPATIBLE, RECONCILED, COLLISION = 1, 2, 4
NOT_COUNTER, NOT_GAUGE, RECONCILED_ADDING = 8, 16, 32
"""Bits of `histogram_algebra.Flag`."""

COUNT, SUM, THRESHOLD, ZERO, LOST_COUNT, LOST_SUM, LOST_ZERO = range(7)
"""Places in `Work.scalars`; LOST is the compensation of a sum."""

SCHEMA, HINT, POSITIVE, NEGATIVE, BOUNDS_START, BOUNDS_COUNT, BOUNDS_OWN = range(7)
"""Places in `Work.state`; POSITIVE and NEGATIVE are how many buckets there are."""


class Read(NamedTuple):
    """The arrays of `HistogramColumns` that kernels read; all read-only."""

    schema: Codes
    hint: Codes
    count: Floats
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
READ = types.NamedTuple(
    (CODES, CODES, FLOATS, FLOATS, FLOATS, FLOATS)
    + (INTS, INDEXES, FLOATS, INTS, INDEXES, FLOATS)
    + (INTS, INTS, FLOATS),
    Read,
)
WORK = types.NamedTuple(
    (OUT_FLOATS, OUT_INTS) + (OUT_INDEXES, OUT_FLOATS, OUT_FLOATS) * 3 + (OUT_FLOATS, OUT_FLOATS),
    Work,
)


@njit(types.float64(types.float64), cache=True, nogil=True, error_model="numpy")
def power_of_two(exponent: float) -> float:
    """Return 2 to the power of a number, to the last digit as Go's math.Exp2 has it.

    The bounds of buckets are made with it, and those show in answers, digit for digit: its
    square root of two is one unit of the last place below the one nearest to the truth.
    Method: 2^k times e^r, with the rational approximation of e^r that is W. J. Cody's and W.
    Waite's, as in the FreeBSD mathematical library.
    """
    if math.isnan(exponent) or math.isinf(exponent):
        return 2.0**exponent
    if exponent >= 1024.0:
        return math.inf
    if exponent < -1075.0:
        return 0.0
    whole = int(exponent + 0.5) if exponent > 0 else int(exponent - 0.5)
    rest = exponent - whole
    high = rest * 6.93147180369123816490e-01
    low = -rest * 1.90821492927058770002e-10
    r = high - low
    t = r * r
    series = 6.61375632143793436117e-05 + t * (
        -1.65339022054652515390e-06 + t * 4.13813679705723846039e-08
    )
    c = r - t * (1.66666666666666657415e-01 + t * (-2.77777777770155933842e-03 + t * series))
    return math.ldexp(1.0 - ((low - (r * c) / (2.0 - c)) - high), whole)


@njit(types.float64(types.float64), cache=True, nogil=True, error_model="numpy")
def binary_logarithm(value: float) -> float:
    """Return the logarithm to base two, exact for powers of two, as Go's math.Log2 has it."""
    fraction, exponent = math.frexp(value)
    if fraction == 0.5:
        return float(exponent - 1)
    return math.log(fraction) * (1.0 / 0.693147180559945309417232121458176568) + exponent


def _bounds_of_one_octave() -> Floats:
    """Return the 256 bounds of schema 8 in [0.5, 1).

    Coarser schemas use every second, fourth, ... of them: each schema takes its even ones from
    the schema before and multiplies for the odd ones.
    """
    bounds = [0.5]
    for schema in range(1, 9):
        factor = power_of_two(power_of_two(float(-schema)))
        finer: list[float] = []
        for bound in bounds:
            finer += (bound, bound * factor)
        bounds = finer
    return np.array(bounds)


_OCTAVE = _bounds_of_one_octave()
_LARGEST = 1.7976931348623157e308


@njit(types.float64(types.int64, types.int64), cache=True, nogil=True, error_model="numpy")
def exponential_bound(index: int, schema: int) -> float:
    """Return the upper bound of the bucket `index`, which is the lower one of the next."""
    if schema <= 0:
        exponent = min(max(index << -schema, -2000), 2000)
        return _LARGEST if exponent == 1024 else math.ldexp(1.0, exponent)
    fraction = _OCTAVE[(index & ((1 << schema) - 1)) << (8 - schema)]
    exponent = min(max((index >> schema) + 1, -2000), 2000)
    return _LARGEST if exponent == 1025 and fraction == 0.5 else math.ldexp(fraction, exponent)


@njit(
    types.UniTuple(types.float64, 2)(types.float64, types.float64, types.float64),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def compensated(value: float, total: float, lost: float) -> tuple[float, float]:
    """Add `value` to `total`, what rounding takes to `lost` (Neumaier); return both."""
    new = total + value
    if math.isinf(new):
        return new, 0.0
    if abs(total) >= abs(value):
        return new, lost + ((total - new) + value)
    return new, lost + ((value - new) + total)


_LIST = (INDEXES, FLOATS, FLOATS, types.int64, types.int64)


@njit(
    types.UniTuple(types.float64, 3)(
        types.float64, types.float64, types.float64, types.int64, *_LIST, *_LIST, types.boolean
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def zero_bucket_at(
    threshold: float,
    zero: float,
    lost: float,
    schema: int,
    positive_index: Indexes,
    positive_count: Floats,
    positive_lost: Floats,
    positive_low: int,
    positive_high: int,
    negative_index: Indexes,
    negative_count: Floats,
    negative_lost: Floats,
    negative_low: int,
    negative_high: int,
    has_lost: bool,
) -> tuple[float, float, float]:
    """Return zero count, its compensation and threshold of a zero bucket widened to `threshold`.

    A populated bucket that the threshold would cut moves it outwards to that bucket's end.
    """
    while True:
        total, rest = zero, lost
        for k in range(positive_low, positive_high):
            if exponential_bound(positive_index[k] - 1, schema) >= threshold:
                break
            total, rest = compensated(positive_count[k], total, rest)
            if has_lost:
                total, rest = compensated(positive_lost[k], total, rest)
            upper = exponential_bound(positive_index[k], schema)
            if upper > threshold:
                if positive_count[k] != 0:
                    threshold = upper
                break
        again = False
        for k in range(negative_low, negative_high):
            if exponential_bound(negative_index[k] - 1, schema) >= threshold:
                break
            total, rest = compensated(negative_count[k], total, rest)
            if has_lost:
                total, rest = compensated(negative_lost[k], total, rest)
            upper = exponential_bound(negative_index[k], schema)
            if upper > threshold:
                if negative_count[k] != 0:
                    # What was done on the positive side holds no more.
                    threshold = upper
                    again = True
                break
        if not again:
            return total, rest, threshold


@njit(
    types.int64(OUT_INDEXES, OUT_FLOATS, OUT_FLOATS, types.int64, types.int64, types.float64),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _drop_inner(
    index: Indexes, count: Floats, lost: Floats, n: int, schema: int, threshold: float
) -> int:
    """Take out the buckets inside the zero bucket, and the empty ones; return how many stay."""
    kept = 0
    for k in range(n):
        if count[k] != 0 and exponential_bound(index[k] - 1, schema) >= threshold:
            index[kept], count[kept], lost[kept] = index[k], count[k], lost[k]
            kept += 1
    return kept


@njit(
    types.int64(OUT_INDEXES, OUT_FLOATS, OUT_FLOATS, types.int64, types.int64, types.boolean),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _coarsen(
    index: Indexes, count: Floats, lost: Floats, n: int, shift: int, compensate: bool
) -> int:
    """Merge buckets to the resolution `shift` schemas lower, in place; return how many there are."""
    kept = 0
    for k in range(n):
        target = ((index[k] - 1) >> shift) + 1
        if kept > 0 and index[kept - 1] == target:
            if compensate:
                total, rest = compensated(count[k], count[kept - 1], lost[kept - 1])
                total, rest = compensated(lost[k], total, rest)
                count[kept - 1], lost[kept - 1] = total, rest
            else:
                count[kept - 1] += count[k]
        else:
            index[kept], count[kept], lost[kept] = target, count[k], lost[k]
            kept += 1
    return kept


@njit(
    types.Tuple((types.int64, types.int64, types.float64, types.float64))(
        INDEXES, FLOATS, types.int64, types.int64, types.int64, types.float64, types.boolean
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _next_bucket(
    index: Indexes, count: Floats, at: int, stop: int, shift: int, factor: float, compensate: bool
) -> tuple[int, int, float, float]:
    """Return the place after the bucket at `at`, its coarser index, its count, what was lost."""
    target = ((index[at] - 1) >> shift) + 1
    total, lost = count[at], 0.0
    at += 1
    while shift > 0 and at < stop and ((index[at] - 1) >> shift) + 1 == target:
        total, lost = compensated(count[at], total, lost)
        at += 1
    if not compensate:
        lost = 0.0
    if factor != 1.0:
        if abs(factor) == 1.0:
            return at, target, -total, -lost
        return at, target, total / factor, lost / factor
    return at, target, total, lost


@njit(
    types.int64(
        *(OUT_INDEXES, OUT_FLOATS, OUT_FLOATS, types.int64),
        *(OUT_INDEXES, OUT_FLOATS, OUT_FLOATS),
        *(INDEXES, FLOATS, types.int64, types.int64),
        *(types.int64, types.int64, types.float64, types.float64, types.boolean),
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _merge(
    index: Indexes,
    count: Floats,
    lost: Floats,
    n: int,
    spare_index: Indexes,
    spare_count: Floats,
    spare_lost: Floats,
    other_index: Indexes,
    other_count: Floats,
    low: int,
    high: int,
    shift: int,
    schema: int,
    threshold: float,
    factor: float,
    compensate: bool,
) -> int:
    """Add the other's buckets [low, high), made coarser by `shift`, to a side; return its size.

    Its buckets within the threshold are left out (custom ones have none). What they count is
    divided by `factor` on the way.
    """
    if schema != CUSTOM:
        while low < high and (
            exponential_bound(((other_index[low] - 1) >> shift) + 1, schema) <= threshold
        ):
            low += 1
    # Invariant: spare[:made] holds what is merged of side[:k] and other[:at]; most layouts are
    # equal, and then nothing is moved.
    k = 0
    at = low
    while at < high:
        after, target, value, rest = _next_bucket(
            other_index, other_count, at, high, shift, factor, compensate
        )
        while k < n and index[k] < target:
            k += 1
        if k == n or index[k] != target:
            break
        if compensate:
            count[k], lost[k] = compensated(value, count[k], lost[k])
            if rest != 0:
                count[k], lost[k] = compensated(rest, count[k], lost[k])
        else:
            count[k] += value
        at = after
        k += 1
    if at == high:
        return n
    made = k
    spare_index[:k] = index[:k]
    spare_count[:k] = count[:k]
    spare_lost[:k] = lost[:k]
    while at < high:
        at, target, value, rest = _next_bucket(
            other_index, other_count, at, high, shift, factor, compensate
        )
        while k < n and index[k] < target:
            spare_index[made], spare_count[made], spare_lost[made] = index[k], count[k], lost[k]
            made += 1
            k += 1
        if k < n and index[k] == target:
            total, less = count[k], lost[k]
            if compensate:
                total, less = compensated(value, total, less)
                if rest != 0:
                    total, less = compensated(rest, total, less)
            else:
                total += value
            spare_index[made], spare_count[made], spare_lost[made] = target, total, less
            k += 1
        else:
            spare_index[made], spare_count[made], spare_lost[made] = target, value, rest
        made += 1
    while k < n:
        spare_index[made], spare_count[made], spare_lost[made] = index[k], count[k], lost[k]
        made += 1
        k += 1
    index[:made] = spare_index[:made]
    count[:made] = spare_count[:made]
    lost[:made] = spare_lost[:made]
    return made


@njit(types.boolean(WORK, READ, types.int64), cache=True, nogil=True)
def _same_bounds(work: Work, other: Read, row: int) -> bool:
    n = work.state[BOUNDS_COUNT]
    if other.bounds_count[row] != n:
        return False
    mine, others = work.state[BOUNDS_START], other.bounds_start[row]
    for i in range(n):
        if work.bounds[mine + i] != other.bounds[others + i]:
            return False
    return True


@njit(
    types.void(WORK, READ, types.int64, types.float64, types.boolean, types.boolean),
    cache=True,
    nogil=True,
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


@njit(
    types.float64(WORK, READ, types.int64, types.boolean),
    cache=True,
    nogil=True,
    error_model="numpy",
)
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
            return zero
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
        work.state[POSITIVE] = _drop_inner(
            work.positive_index,
            work.positive_count,
            work.positive_lost,
            work.state[POSITIVE],
            schema,
            scalars[THRESHOLD],
        )
        work.state[NEGATIVE] = _drop_inner(
            work.negative_index,
            work.negative_count,
            work.negative_lost,
            work.state[NEGATIVE],
            schema,
            scalars[THRESHOLD],
        )


@njit(types.void(WORK, types.int64, types.boolean), cache=True, nogil=True, error_model="numpy")
def lower_schema(work: Work, schema: int, compensate: bool) -> None:
    """Bring the work to a lower resolution; nothing happens if it has that already."""
    shift = work.state[SCHEMA] - schema
    if shift <= 0:
        return
    work.state[POSITIVE] = _coarsen(
        work.positive_index,
        work.positive_count,
        work.positive_lost,
        work.state[POSITIVE],
        shift,
        compensate,
    )
    work.state[NEGATIVE] = _coarsen(
        work.negative_index,
        work.negative_count,
        work.negative_lost,
        work.state[NEGATIVE],
        shift,
        compensate,
    )
    work.state[SCHEMA] = schema


@njit(types.void(WORK, READ, types.int64), cache=True, nogil=True)
def load(work: Work, source: Read, row: int) -> None:
    """Begin the work with a copy of one histogram; nothing is lost yet."""
    scalars, state = work.scalars, work.state
    scalars[:] = 0.0
    scalars[COUNT], scalars[SUM] = source.count[row], source.sum[row]
    scalars[THRESHOLD], scalars[ZERO] = source.zero_threshold[row], source.zero_count[row]
    state[SCHEMA], state[HINT] = source.schema[row], source.hint[row]
    low, high = source.positive_start[row], source.positive_start[row + 1]
    state[POSITIVE] = high - low
    work.positive_index[: high - low] = source.positive_index[low:high]
    work.positive_count[: high - low] = source.positive_count[low:high]
    work.positive_lost[: high - low] = 0.0
    low, high = source.negative_start[row], source.negative_start[row + 1]
    state[NEGATIVE] = high - low
    work.negative_index[: high - low] = source.negative_index[low:high]
    work.negative_count[: high - low] = source.negative_count[low:high]
    work.negative_lost[: high - low] = 0.0
    state[BOUNDS_START], state[BOUNDS_COUNT] = source.bounds_start[row], source.bounds_count[row]


@njit(
    types.int64(WORK, READ, types.int64, types.float64, types.boolean, types.boolean),
    cache=True,
    nogil=True,
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
            zero = _widen_zero_buckets(work, other, row, compensate) / factor
            if compensate:
                scalars[ZERO], scalars[LOST_ZERO] = compensated(
                    zero, scalars[ZERO], scalars[LOST_ZERO]
                )
            else:
                scalars[ZERO] += zero
        if compensate:
            scalars[COUNT], scalars[LOST_COUNT] = compensated(
                other.count[row] / factor, scalars[COUNT], scalars[LOST_COUNT]
            )
            scalars[SUM], scalars[LOST_SUM] = compensated(
                other.sum[row] / factor, scalars[SUM], scalars[LOST_SUM]
            )
        else:
            scalars[COUNT] += other.count[row] / factor
            scalars[SUM] += other.sum[row] / factor
    if custom and not _same_bounds(work, other, row):
        _meet_at_common_bounds(work, other, row, factor, compensate, absent)
        return flags | RECONCILED
    shift = 0
    if not custom:
        lower_schema(work, min(state[SCHEMA], other.schema[row]), compensate)
        shift = other.schema[row] - state[SCHEMA]
    if absent:
        return flags
    state[POSITIVE] = _merge(
        work.positive_index,
        work.positive_count,
        work.positive_lost,
        state[POSITIVE],
        work.spare_index,
        work.spare_count,
        work.spare_lost,
        other.positive_index,
        other.positive_count,
        other.positive_start[row],
        other.positive_start[row + 1],
        shift,
        state[SCHEMA],
        scalars[THRESHOLD],
        factor,
        compensate,
    )
    state[NEGATIVE] = _merge(
        work.negative_index,
        work.negative_count,
        work.negative_lost,
        state[NEGATIVE],
        work.spare_index,
        work.spare_count,
        work.spare_lost,
        other.negative_index,
        other.negative_count,
        other.negative_start[row],
        other.negative_start[row + 1],
        shift,
        state[SCHEMA],
        scalars[THRESHOLD],
        factor,
        compensate,
    )
    return flags
