"""Series that are over are forgotten: their rows, hashes, symbols and, later, their slots.

From: `maintenance.py`, when the head is cut. To: `head.py`, whose parts are replaced.

What is left is made beside readers and writers, which takes some tenths of a second for a million
series; then it takes the place of what there was, under the lock, which takes a few milliseconds
and is all or nothing. A writer that still has the ref of a forgotten series is told so.
Invariant: rows, index and generations know the same series whenever the lock is free.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.kernels import NO_TIME
from tsdb.start_times import companions_among
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.head import Head
    from tsdb.interface import Ids
    from tsdb.label_kernels import Slots
    from tsdb.metric_table import SeriesRows

SYMBOLS_MIN = 100_000
"""Symbol tables of fewer texts are left alone."""
REST_S = 600.0
"""How long a slot rests at most: no read of a few series' samples takes that long."""


@dataclass(frozen=True, slots=True)
class Survivors:
    """What is left of the series that there were at one moment.

    `before` are the rows they are taken from, and `known` how many of these were looked at.
    `place` says what the symbols of `before` became, None where they stay as they are.
    """

    before: SeriesRows
    known: int
    rows: SeriesRows
    table: Slots
    dropped: Slots
    place: Ids | None
    keep_new: bool


def survivors(head: Head, time_ms: int, *, keep_new: bool = False) -> Survivors | None:
    """Return what `collect` would leave now, None if that is everything. Takes the lock twice.

    Left are the series with a sample at or after `time_ms`, and those made since the last time that
    have had none yet: who resolved them may be about to append. With `keep_new` all those are left
    that were made since the last time: where `time_ms` is now. Symbols go if few are in use.
    """
    with head.lock:
        rows = head.rows
        slots = rows.slots
        keep = _needed(head, time_ms, keep_new)[slots]
    if keep.all() and not _many_symbols(head):
        return None
    kept, dropped = slots[keep], slots[~keep]
    left = rows.without(kept) if dropped.size else rows
    place = _symbols_left(head, left)
    if place is not None:
        symbols, moved = place
        left = left.without(kept, symbols=symbols, place=moved)
    if left is rows:
        return None
    with head.lock:
        size = head.index.size_for(len(head.rows))
    table = head.index.table_of(kept, size)
    moved_to = None if place is None else place[1]
    return Survivors(rows, slots.size, left, table, dropped, moved_to, keep_new)


def _many_symbols(head: Head) -> bool:
    """Say whether so many symbols came since the last time that looking may be worth it."""
    return len(head.symbols) >= 2 * max(SYMBOLS_MIN, head.symbols_kept)


def _symbols_left(head: Head, left: SeriesRows) -> tuple[SymbolTable, Ids] | None:
    """Return a table of the symbols in use and which are which; None if most are in use."""
    symbols = left.symbols
    if not _many_symbols(head):
        return None
    before = len(symbols)
    used = left.used_symbols()
    head.symbols_kept = used.size
    if 2 * used.size > before:
        head.symbols_kept = before
        return None
    fewer = SymbolTable(reserve=head.reserve)
    place = np.zeros(before, np.uint32)
    place[used] = fewer.intern_ranges(*symbols.ranges(used))
    return fewer, place


def collect(head: Head, time_ms: int, left: Survivors | None) -> int:
    """Leave only the survivors, and what came, or came back, since; return how many series went.

    The caller holds the lock, and has held off other collections since `survivors`. Slots of what
    goes rest before they are used again, until the next call or `end_rest`: so that a reader that
    found them before this call does not see somebody else's samples.
    """
    _free(head, len(head.resting))
    if left is None:
        head.recent = []
        return 0
    needed = _needed(head, time_ms, left.keep_new)
    head.recent = []
    assert left.before is head.rows
    gone = left.dropped[~needed[left.dropped]]
    came = head.rows.slots[left.known :]
    if gone.size < left.dropped.size:
        returned = left.dropped[~np.isin(left.dropped, gone)]
        came = np.concatenate([returned, came])
    if gone.size:
        generation = head.generation.array
        head.exemplars.collect(gone, head.rows, generation[: head.slot_count])
        generation[gone] += 1
        head.resting.append((time.monotonic(), gone))
        head.series_removed += gone.size - companions_among(head.rows, gone)
    _bring(left, came)
    head.rows = left.rows
    head.symbols = left.rows.symbols
    head.index.take_table(left.table, came, len(left.rows))
    return int(gone.size)


def end_rest(head: Head) -> None:
    """Let slots that have rested for `REST_S` be used again. The caller holds the lock."""
    now = time.monotonic()
    _free(head, sum(now - since > REST_S for since, _ in head.resting))


def _free(head: Head, count: int) -> None:
    """Let the slots of the first resting parts be used again."""
    if count:
        head.free_slots = np.concatenate([head.free_slots, *(s for _, s in head.resting[:count])])
        head.resting = head.resting[count:]


def _needed(head: Head, time_ms: int, keep_new: bool) -> npt.NDArray[np.bool_]:
    """Say of each slot whether its series has a sample at or after a time, or is new and empty."""
    newest = head.newest_time.array[: head.slot_count]
    needed: npt.NDArray[np.bool_] = newest >= time_ms
    for buffer in head.buffers:
        needed[buffer.slots()] = True
    for some in head.recent:
        needed[some if keep_new else some[newest[some] == NO_TIME]] = True
    return needed


def _bring(left: Survivors, came: Slots) -> None:
    """Add rows that came, or came back, while the survivors were made."""
    if not came.size:
        return
    rows, place = left.before, left.place
    if place is not None:
        one = rows.without(came)
        used = one.used_symbols()
        more = np.zeros(len(rows.symbols), np.uint32)
        more[used] = left.rows.symbols.intern_ranges(*rows.symbols.ranges(used))
        place = more
    rows.copy_into(left.rows, came, place)
