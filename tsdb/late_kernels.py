"""Compiled loops over late samples: runs sorted by slot and time, and their way into a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy as np

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words

    Int = int | np.integer[Any]

_i32, _i64, _u64 = types.int32, types.int64, types.uint64


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@kernel(
    types.void(_in(_i32), _in(_i64), _in(_i32), _in(_i64), _i64[::1])
)  # fmt: skip
def lower_bounds(run_slots: Slots, run_times: Ints, slots: Slots, times: Ints, out: Ints) -> None:
    """Write for each (slot, time) the place of the first entry of the run that is not before it.

    Invariant: the run is sorted by slot, then time, without repetition.
    """
    for n in range(slots.size):
        lo, hi = 0, run_slots.size
        while lo < hi:
            middle = (lo + hi) // 2
            before = run_slots[middle] < slots[n]
            if before or (run_slots[middle] == slots[n] and run_times[middle] < times[n]):
                lo = middle + 1
            else:
                hi = middle
        out[n] = lo


@kernel(
    types.void(
        _in(_i32), _in(_i64), _in(_u64), _in(_i32), _in(_i64), _in(_u64),
        _i32[::1], _i64[::1], _u64[::1],
    ),
)  # fmt: skip
def merge_runs(
    left_slots: Slots,
    left_times: Ints,
    left_bits: Words,
    right_slots: Slots,
    right_times: Ints,
    right_bits: Words,
    slots: Slots,
    times: Ints,
    bits: Words,
) -> None:
    """Merge two sorted runs that have no (slot, time) in common into one."""
    a = b = 0
    for n in range(slots.size):
        if b == right_slots.size:
            left = True
        elif a == left_slots.size:
            left = False
        elif left_slots[a] != right_slots[b]:
            left = left_slots[a] < right_slots[b]
        else:
            left = left_times[a] < right_times[b]
        if left:
            slots[n], times[n], bits[n] = left_slots[a], left_times[a], left_bits[a]
            a += 1
        else:
            slots[n], times[n], bits[n] = right_slots[b], right_times[b], right_bits[b]
            b += 1


@kernel(
    _i64(
        _in(_i64), _in(_i64), _in(_u64),
        _i64[::1], _u64[::1], _i64, _i64[::1], _i64[::1], _i64[::1],
    ),
)  # fmt: skip
def splice_late(
    late_first: Ints,
    late_times: Ints,
    late_bits: Words,
    times: Ints,
    bits: Words,
    used: Int,
    time_start: Ints,
    value_start: Ints,
    count: Ints,
) -> Int:
    """Give each row that has late samples a run of its own, merged in order of time.

    Row r has the late samples `late_first[r]` to `late_first[r + 1]`, sorted. New runs are written
    to `times` and `bits` from `used` on, and `time_start`, `value_start` and `count` turned to
    them; returns the pools' end. Of two samples of one time the row's own stays.
    """
    for row in range(count.size):
        late, late_stop = late_first[row], late_first[row + 1]
        if late == late_stop:
            continue
        own_time, own_bits, own_stop = time_start[row], value_start[row], count[row]
        begin, own = used, 0
        while own < own_stop or late < late_stop:
            take_late = late < late_stop
            if take_late and own < own_stop:
                time = times[own_time + own]
                if late_times[late] == time:
                    late += 1
                    continue
                take_late = late_times[late] < time
            if take_late:
                times[used], bits[used] = late_times[late], late_bits[late]
                late += 1
            else:
                times[used], bits[used] = times[own_time + own], bits[own_bits + own]
                own += 1
            used += 1
        time_start[row], value_start[row], count[row] = begin, begin, used - begin
    return used
