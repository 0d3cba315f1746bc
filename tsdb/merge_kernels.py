"""Compiled loops of `merge.py`: equal rows found, runs of times woven, values copied.

All indices are made by `merge.py` and trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Floats, Ints

INTS_IN = types.Array(types.int64, 1, "C", readonly=True)
TABLE_IN = types.Array(types.int64, 2, "C", readonly=True)
FLOATS_IN = types.Array(types.float64, 1, "C", readonly=True)
INTS = types.Array(types.int64, 1, "C")
FLOATS = types.Array(types.float64, 1, "C")


@kernel(types.int64(INTS_IN, INTS_IN, INTS_IN, INTS, INTS))
def group_equal_runs(items: Ints, first: Ints, count: Ints, group: Ints, leader: Ints) -> int:
    """Give each distinct run a number, in order of first appearance; return how many there are.

    Shapes: `items` int64[any]; `first`, `count` int64[S]: run s is items[first[s]:][:count[s]];
    `group` int64[S] gets each run's number, `leader` int64[S] the first run of each number.
    """
    slots = 16
    while slots < 2 * first.size:
        slots *= 2
    mask = np.uint64(slots - 1)
    table = np.full(slots, -1, np.int64)
    found = 0
    for s in range(first.size):
        mixed = np.uint64(0x9E3779B97F4A7C15) + np.uint64(count[s])
        for at in range(first[s], first[s] + count[s]):
            mixed = (mixed ^ np.uint64(items[at])) * np.uint64(0xD6E8FEB86659FD93)
            mixed ^= mixed >> np.uint64(32)
        slot = mixed & mask
        # Runs are compared in full: the hash only says where to begin looking.
        while True:
            number = table[np.int64(slot)]
            if number < 0:
                table[np.int64(slot)] = found
                leader[found] = s
                group[s] = found
                found += 1
                break
            other = leader[number]
            equal = count[s] == count[other]
            at = 0
            while equal and at < count[s]:
                equal = items[first[s] + at] == items[first[other] + at]
                at += 1
            if equal:
                group[s] = number
                break
            slot = (slot + np.uint64(1)) & mask
    return found


@kernel(
    types.void(INTS_IN, TABLE_IN, TABLE_IN, types.boolean, INTS, INTS, INTS, INTS, INTS, INTS),
)
def weave_runs(
    pool: Ints,
    start: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    fill: bool,
    group_times: Ints,
    group_pieces: Ints,
    out_times: Ints,
    piece_source: Ints,
    piece_offset: Ints,
    piece_count: Ints,
) -> None:
    """Merge the time runs of each group; of equal times the first source's counts.

    Shapes: `pool` int64[any]; `start`, `count` int64[G, B], count 0 for "not in this source".
    Without `fill`: `group_times`, `group_pieces` int64[G] get the lengths of the result. With it
    they hold where each group's result begins in `out_times` and in the three arrays of pieces:
    `piece_count` samples of source `piece_source` from its sample `piece_offset` on.
    """
    sources = start.shape[1]
    at = np.empty(sources, np.int64)
    for g in range(start.shape[0]):
        at[:] = 0
        time_to = group_times[g] if fill else 0
        piece_to = group_pieces[g] if fill else 0
        while True:
            best = -1
            best_time = np.int64(0)
            next_time = np.int64(0)
            has_next = False
            for b in range(sources):
                if at[b] >= count[g, b]:
                    continue
                time = pool[start[g, b] + at[b]]
                if best < 0 or time < best_time:
                    if best >= 0:
                        next_time = best_time
                        has_next = True
                    best = b
                    best_time = time
                elif not has_next or time < next_time:
                    next_time = time
                    has_next = True
            if best < 0:
                break
            # `best` goes on alone until the next source has something to say.
            first = at[best]
            stop = count[g, best]
            base = start[g, best]
            if has_next and pool[base + stop - 1] >= next_time:
                stop = first + 1
                while stop < count[g, best] and pool[base + stop] < next_time:
                    stop += 1
            if fill:
                for i in range(first, stop):
                    out_times[time_to + i - first] = pool[base + i]
                piece_source[piece_to] = best
                piece_offset[piece_to] = first
                piece_count[piece_to] = stop - first
            time_to += stop - first
            piece_to += 1
            at[best] = stop
            last = pool[base + stop - 1]
            for b in range(sources):
                while at[b] < count[g, b] and pool[start[g, b] + at[b]] <= last:
                    at[b] += 1
        if not fill:
            group_times[g] = time_to
            group_pieces[g] = piece_to


@kernel(
    types.void(
        FLOATS_IN,
        types.int64,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        INTS_IN,
        FLOATS,
    ),
)
def copy_pieces(
    values: Floats,
    source: int,
    value_start: Ints,
    group: Ints,
    first_piece: Ints,
    piece_source: Ints,
    piece_offset: Ints,
    piece_count: Ints,
    out_start: Ints,
    out: Floats,
) -> None:
    """Copy what one source contributes to each series.

    Shapes: `values`, `out` float64[any]; `value_start`, `group`, `out_start` int64[S];
    `first_piece` int64[G + 1]; the pieces as `weave_runs` made them.
    """
    for s in range(group.size):
        to = out_start[s]
        for piece in range(first_piece[group[s]], first_piece[group[s] + 1]):
            size = piece_count[piece]
            if piece_source[piece] == source:
                at = value_start[s] + piece_offset[piece]
                for i in range(size):
                    out[to + i] = values[at + i]
            to += size


@kernel(
    types.void(INTS_IN, INTS_IN, INTS_IN, INTS_IN, types.Array(types.boolean, 1, "C")),
)
def find_times(
    pool: Ints, start: Ints, count: Ints, wanted: Ints, found: npt.NDArray[np.bool_]
) -> None:
    """Say whether each wanted time is in its run of the pool, pool[start[n]:][:count[n]]."""
    for n in range(wanted.size):
        low, high = start[n], start[n] + count[n]
        while low < high:
            middle = (low + high) // 2
            if pool[middle] < wanted[n]:
                low = middle + 1
            else:
                high = middle
        found[n] = low < start[n] + count[n] and pool[low] == wanted[n]
