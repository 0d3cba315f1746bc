"""The samples of a few series of the head: what `head_view.py` does for many, in fewer steps.

From: `head.py` (under its lock, for some 50 ns a row). To: `select.py`.

Most queries of a dashboard read a handful of series, and then the calls cost, not the samples. The
open samples are copied under the lock, so that nothing has to be looked at again afterwards; pages
never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.errors import TooManySamplesError
from tsdb.few_kernels import (
    COUNT,
    END,
    FACTS,
    PAGE,
    START,
    TIME_START,
    VALUE_START,
    arrange_few,
    copy_few,
    decode_few,
    place_open,
)
from tsdb.head_view import RowSamples, with_late, without_deleted
from tsdb.kernels import SEGMENT_WORDS, SLAB
from tsdb.late import late_rows
from tsdb.read_kernels import walk_pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tsdb.head import Head
    from tsdb.head_deletion import DeletedSlots
    from tsdb.histograms.run import Run
    from tsdb.interface import Ints
    from tsdb.kernels import Int, Small
    from tsdb.label_kernels import Slots, Words
    from tsdb.late import LateRun

FEW = 64
"""Series at most: what is done under the lock then takes microseconds."""

_PAGES_AT_ONCE = 256


@dataclass(slots=True)
class FewRows:
    """What the head held of the series `slots` at one moment; `read_few` uses it up."""

    slots: Slots
    facts: Ints
    times: Ints
    bits: Words
    page: int
    segments: Mapping[int, Words]
    late_runs: tuple[LateRun, ...]
    histogram_runs: tuple[Run, ...]
    deleted: tuple[DeletedSlots, ...]


def take_few(head: Head, slots: Slots, start_ms: Ints, end_ms: Ints) -> FewRows:
    """Take the open samples of each row in [start_ms[row], end_ms[row]], and where pages begin.

    At most `FEW` rows. The caller holds the head's lock.
    """
    facts = np.empty((FACTS, slots.size), np.int64)
    facts[START], facts[END] = start_ms, end_ms
    times, bits = np.empty((slots.size, SLAB), np.int64), np.empty((slots.size, SLAB), np.uint64)
    page = copy_few(
        slots,
        head.fill.array,
        head.block_of.array,
        head.page_head.array,
        head.block_times.array,
        head.open_bits.array,
        head.readable_ms,
        facts,
        times,
        bits,
    )
    return FewRows(
        slots,
        facts,
        times,
        bits,
        int(page),
        head.pages.segments if page >= 0 else {},
        head.frozen_late.runs + head.late.runs,
        head.frozen_histograms.runs + head.histograms.runs,
        head.deleted,
    )


def read_few(
    view: FewRows, start_ms: Ints, end_ms: Ints, *, samples_max: int | None = None
) -> RowSamples:
    """Return the samples of each row in the range that was taken, late ones merged in.

    Raises `TooManySamplesError` before memory is taken.
    """
    late = late_rows(view.late_runs, view.slots, start_ms, end_ms)
    late_count = 0 if late is None else late.times.size
    found = _read_own(view, None if samples_max is None else samples_max - late_count)
    if view.deleted:
        found = without_deleted(found, view.deleted, view.slots)
    return found if late is None else with_late(found, late)


def _read_own(view: FewRows, samples_max: int | None) -> RowSamples:
    """Return what slots and pages hold."""
    facts = view.facts
    size = facts.shape[1]
    sign, leader, sizes = (
        np.zeros((size, 2), np.uint64),
        np.empty(size, np.int32),
        np.empty(2, "i8"),
    )
    pages = _find_pages(view, sign) if view.page >= 0 else []
    total = arrange_few(facts, sign, leader, sizes)
    if samples_max is not None and total > samples_max:
        raise TooManySamplesError(samples_max)
    values, times = np.empty(total), np.empty(sizes[1], np.int64)
    bits = values.view(np.uint64)
    place_open(facts, leader, view.times, view.bits, bits, times)
    for number, rows, positions, lows, highs in pages:
        words, base = view.segments[number], number * SEGMENT_WORDS
        decode_few(words, base, rows, positions, lows, highs, leader, facts, values, bits, times)
    return RowSamples(times, facts[TIME_START], values, facts[VALUE_START], facts[COUNT])


_Pages = list[tuple[int, "Slots", "Ints", "Small", "Small"]]


def _find_pages(view: FewRows, sign: Words) -> _Pages:
    """Return the pages that overlap each row's range by segment, newest first; count samples."""
    pages: _Pages = []
    facts = view.facts
    cursor, newest = facts[PAGE], view.page
    while (number := newest // SEGMENT_WORDS) in view.segments:  # none is left, or it was dropped
        row: Int = 0
        while row < cursor.size:
            rows, positions = np.empty(_PAGES_AT_ONCE, np.int32), np.empty(_PAGES_AT_ONCE, "i8")
            lows, highs = np.empty((2, _PAGES_AT_ONCE), np.uint8)
            found = np.zeros(1, np.int64)
            row = walk_pages(
                view.segments[number],
                number * SEGMENT_WORDS,
                row,
                cursor,
                facts[START],
                facts[END],
                rows,
                positions,
                lows,
                highs,
                facts[COUNT],
                sign,
                found,
            )
            n = int(found[0])
            if n:
                pages.append((number, rows[:n], positions[:n], lows[:n], highs[:n]))
        newest = int(cursor.max())
    return pages
