"""Folds of native histograms, compiled: pairs, groups and windows into one histogram each.

From: `histogram_algebra.py`, `histogram_windows.py`.   A run is a slice of `members`, which are
rows of the source in the order in which they are taken. Each kernel writes one histogram a run
into `Write`; where a run has no answer (its flags say INCOMPATIBLE, or it is too short) an empty
one, so that rows stay aligned. Sizes are trusted: the callers make all lists large enough.
Sources: Prometheus' documentation and behaviour; see `native_kernels.py`.
Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from numba import njit, types

from promql.native_kernels import (
    BOUNDS_COUNT,
    BOUNDS_OWN,
    BOUNDS_START,
    COLLISION,
    COUNT,
    CUSTOM,
    GAUGE,
    HINT,
    INCOMPATIBLE,
    INTS,
    LOST_COUNT,
    LOST_SUM,
    LOST_ZERO,
    NEGATIVE,
    NOT_COUNTER,
    NOT_GAUGE,
    NOT_RESET,
    OUT_CODES,
    OUT_FLOATS,
    OUT_INDEXES,
    OUT_INTS,
    POSITIVE,
    READ,
    RECONCILED,
    RECONCILED_ADDING,
    RESET,
    SCHEMA,
    SUM,
    THRESHOLD,
    WORK,
    ZERO,
    Read,
    Work,
    add,
    compensated,
    exponential_bound,
    load,
    lower_schema,
    zero_bucket_at,
)

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


WRITE = types.NamedTuple(
    (OUT_CODES, OUT_CODES, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS, OUT_FLOATS)
    + (OUT_INTS, OUT_INDEXES, OUT_FLOATS, OUT_INTS, OUT_INDEXES, OUT_FLOATS)
    + (OUT_INTS, OUT_INTS),
    Write,
)
FLAGS = types.uint8[::1]


@njit(types.void(WRITE, types.int64), cache=True, nogil=True)
def _store_nothing(out: Write, row: int) -> None:
    out.schema[row] = 0
    out.hint[row] = 0
    out.count[row] = 0.0
    out.sum[row] = 0.0
    out.zero_threshold[row] = 0.0
    out.zero_count[row] = 0.0
    out.positive_start[row + 1] = out.positive_start[row]
    out.negative_start[row + 1] = out.negative_start[row]
    out.bounds_start[row] = 0
    out.bounds_count[row] = 0


@njit(types.void(WORK, WRITE, types.int64, types.float64), cache=True, nogil=True)
def _store(work: Work, out: Write, row: int, divisor: float) -> None:
    """Write the work, divided, with what rounding had taken, without empty buckets."""
    scalars, state = work.scalars, work.state
    out.schema[row] = state[SCHEMA]
    out.hint[row] = state[HINT]
    out.count[row] = scalars[COUNT] / divisor + scalars[LOST_COUNT] / divisor
    out.sum[row] = scalars[SUM] / divisor + scalars[LOST_SUM] / divisor
    out.zero_threshold[row] = scalars[THRESHOLD]
    out.zero_count[row] = scalars[ZERO] / divisor + scalars[LOST_ZERO] / divisor
    at = out.positive_start[row]
    for k in range(state[POSITIVE]):
        value = work.positive_count[k] / divisor + work.positive_lost[k] / divisor
        if value != 0:
            out.positive_index[at] = work.positive_index[k]
            out.positive_count[at] = value
            at += 1
    out.positive_start[row + 1] = at
    at = out.negative_start[row]
    for k in range(state[NEGATIVE]):
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


@njit(
    types.void(READ, READ, types.float64, WORK, WRITE, FLAGS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def add_rows(a: Read, b: Read, factor: float, work: Work, out: Write, flags: Flags) -> None:
    """Write a + b / factor, row by row; -1 subtracts. Not compensated, as Prometheus' is not."""
    for h in range(flags.size):
        load(work, a, h)
        flags[h] = add(work, b, h, factor, False, False)
        if flags[h] & INCOMPATIBLE:
            _store_nothing(out, h)
        else:
            _store(work, out, h, 1.0)


@njit(types.boolean(WORK), cache=True, nogil=True)
def _overflows(work: Work) -> bool:
    """Tell whether any count or the sum has become infinite."""
    scalars = work.scalars
    if math.isinf(scalars[COUNT]) or math.isinf(scalars[SUM]) or math.isinf(scalars[ZERO]):
        return True
    for k in range(work.state[POSITIVE]):
        if math.isinf(work.positive_count[k]):
            return True
    for k in range(work.state[NEGATIVE]):
        if math.isinf(work.negative_count[k]):
            return True
    return False


@njit(types.void(WORK, WORK), cache=True, nogil=True)
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


@njit(types.void(WORK, types.float64), cache=True, nogil=True, error_model="numpy")
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


@njit(types.void(WORK, types.float64), cache=True, nogil=True)
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


@njit(
    types.void(READ, INTS, INTS, INTS, types.boolean, WORK, WORK, WRITE, FLAGS),
    cache=True,
    nogil=True,
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
    """Sum or average each run, compensated throughout.

    An average is the sum divided; once a sum overflows, it goes on as a running mean, from the
    sum before the overflow, which `backup` keeps.
    """
    for r in range(flags.size):
        if start[r] == stop[r]:
            flags[r] = 0
            _store_nothing(out, r)
            continue
        load(work, source, members[start[r]])
        seen = 0
        reset = source.hint[members[start[r]]] == RESET
        not_reset = source.hint[members[start[r]]] == NOT_RESET
        running = False
        divisor = 1.0
        for k in range(start[r] + 1, stop[r]):
            row = members[k]
            reset |= source.hint[row] == RESET
            not_reset |= source.hint[row] == NOT_RESET
            number = float(k - start[r] + 1)
            if average and not running:
                _copy_work(work, backup)
            if not running:
                seen |= add(work, source, row, 1.0, True, False)
                if seen & INCOMPATIBLE:
                    break
                divisor = number
                if not average or not _overflows(work):
                    continue
                running = True
                divisor = 1.0
                _copy_work(backup, work)
                _divide(work, number - 1.0)
            _multiply(work, (number - 1.0) / number)
            seen |= add(work, source, row, number, True, False)
            if seen & INCOMPATIBLE:
                break
        if seen & INCOMPATIBLE:
            flags[r] = seen & (INCOMPATIBLE | RECONCILED)
            _store_nothing(out, r)
            continue
        flags[r] = (seen & RECONCILED) | (COLLISION if reset and not_reset else 0)
        _store(work, out, r, divisor if average else 1.0)


@njit(types.boolean(READ, types.int64, READ, types.int64), cache=True, nogil=True)
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


@njit(types.boolean(READ, types.int64, READ, types.int64, types.boolean), cache=True, nogil=True)
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
    while before < end:
        target = ((old_index[before] - 1) >> shift) + 1
        past = old_count[before]
        before += 1
        while before < end and ((old_index[before] - 1) >> shift) + 1 == target:
            past += old_count[before]
            before += 1
        if exponential and exponential_bound(target, schema) <= current.zero_threshold[i]:
            continue
        while at < stop and index[at] < target:
            at += 1
        if at < stop and index[at] == target:
            if count[at] < past:
                return True
        elif past != 0:
            return True
    return False


@njit(types.boolean(READ, types.int64, READ, types.int64), cache=True, nogil=True)
def falls(current: Read, i: int, previous: Read, j: int) -> bool:
    """Tell whether a counter was reset between two histograms.

    What the writer's hint says counts. Else: any count fell, a populated bucket vanished, the
    resolution rose, the zero bucket became narrower, or wider so that it cuts a populated bucket.
    """
    if current.hint[i] == RESET:
        return True
    if current.hint[i] == NOT_RESET:
        return False
    if current.count[i] < previous.count[j]:
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


@njit(types.void(READ, READ, types.boolean[::1]), cache=True, nogil=True)
def falls_by_row(current: Read, previous: Read, out: npt.NDArray[np.bool_]) -> None:
    """Compare two columns of histograms row by row."""
    for h in range(out.size):
        out[h] = falls(current, h, previous, h)


@njit(types.void(READ, INTS, INTS, OUT_CODES), cache=True, nogil=True)
def falls_in_runs(source: Read, start: Ints, stop: Ints, resets: Codes) -> None:
    """Say of each row inside a run, all but its first, whether it fell against the row before.

    `resets` int8[H]: -1 where that is not known yet. Overlapping runs share the answers.
    """
    for r in range(start.size):
        for h in range(start[r] + 1, stop[r]):
            if resets[h] < 0:
                resets[h] = falls(source, h, source, h - 1)


@njit(types.void(INTS, INTS, OUT_CODES, OUT_FLOATS), cache=True, nogil=True)
def count_resets(start: Ints, stop: Ints, resets: Codes, out: Floats) -> None:
    """Count the resets inside each run; see `falls_in_runs`."""
    for r in range(out.size):
        total = 0
        for h in range(start[r] + 1, stop[r]):
            total += resets[h]
        out[r] = total


@njit(
    types.void(READ, INTS, INTS, types.boolean, OUT_CODES, WORK, WRITE, FLAGS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def change_in_runs(
    source: Read,
    start: Ints,
    stop: Ints,
    is_counter: bool,
    resets: Codes,
    work: Work,
    out: Write,
    flags: Flags,
) -> None:
    """Write last minus first of each run of consecutive rows; for counters resets are undone.

    `resets` as `falls_in_runs` leaves it; it may hold resets known otherwise. If the second falls
    against the first, of the first nothing counts, not even its layout. Answers are gauges.
    """
    for r in range(flags.size):
        flags[r] = 0
        low, last = start[r], stop[r] - 1
        if last <= low:
            _store_nothing(out, r)
            continue
        seen = 0
        if is_counter:
            if source.hint[low] == GAUGE or source.hint[last] == GAUGE:
                seen = NOT_COUNTER
        elif source.hint[low] != GAUGE or source.hint[last] != GAUGE:
            seen = NOT_GAUGE
        forgotten = is_counter and resets[low + 1] > 0
        first = low + 1 if forgotten else low
        custom = source.schema[first] == CUSTOM
        mixed = (source.schema[last] == CUSTOM) != custom
        schema = min(source.schema[first], source.schema[last])
        if mixed:
            flags[r] = seen | INCOMPATIBLE
            _store_nothing(out, r)
            continue
        if is_counter:
            for h in range(low + 1, last):
                if source.hint[h] == GAUGE:
                    seen |= NOT_COUNTER
                schema = min(schema, source.schema[h])
                mixed |= (source.schema[h] == CUSTOM) != custom
        if mixed:
            # Only this is said then, whatever else was seen.
            flags[r] = INCOMPATIBLE
            _store_nothing(out, r)
            continue
        load(work, source, last)
        lower_schema(work, schema, False)
        if add(work, source, first, -1.0, False, forgotten) & RECONCILED:
            seen |= RECONCILED
        if is_counter:
            if forgotten and source.hint[first] == RESET:
                # A hint speaks again against the nothing that the first has become.
                if add(work, source, first, 1.0, False, True) & RECONCILED:
                    seen |= RECONCILED_ADDING
            for h in range(first + 1, last + 1):
                if resets[h] > 0 and add(work, source, h - 1, 1.0, False, False) & RECONCILED:
                    seen |= RECONCILED_ADDING
        work.state[HINT] = GAUGE
        flags[r] = seen
        _store(work, out, r, 1.0)


@njit(
    types.void(READ, INTS, INTS, types.boolean, WORK, WRITE, FLAGS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def change_of_pairs(
    source: Read,
    before: Ints,
    after: Ints,
    is_counter: bool,
    work: Work,
    out: Write,
    flags: Flags,
) -> None:
    """Write row `after` minus row `before` for each pair, or the former alone after a reset."""
    for r in range(flags.size):
        i, j = after[r], before[r]
        seen = 0
        if is_counter:
            if source.hint[i] == GAUGE or source.hint[j] == GAUGE:
                seen = NOT_COUNTER
        elif source.hint[i] != GAUGE or source.hint[j] != GAUGE:
            seen = NOT_GAUGE
        load(work, source, i)
        if not is_counter or not falls(source, i, source, j):
            seen |= add(work, source, j, -1.0, False, False) & (INCOMPATIBLE | RECONCILED)
        flags[r] = seen
        if seen & INCOMPATIBLE:
            _store_nothing(out, r)
            continue
        work.state[HINT] = GAUGE
        _store(work, out, r, 1.0)


@njit(types.void(READ, INTS, INTS, INTS, OUT_INTS, OUT_INTS), cache=True, nogil=True)
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
