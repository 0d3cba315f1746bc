"""Sealed pages of many series brought together before they are decoded, in bounded memory.

From: `head_pages.py`. To: `head_cut.py`, which reads them through `head_view.py`.

A cut goes through all series in their order, and the pages of each piece of them lie all over the
files of the head: read in place, every file is mapped from end to end for as long as the cut lasts
(700 MB of 1 GB for 400 k series), once for each of a hundred pieces. So the pages of as many series
as fill one buffer are copied first, still compressed; a file is gone through a part at a time, and
what was looked at is no longer counted as memory of this process.
Invariant: what a view of gathered pages shows is what the same view of the files would show.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tsdb.gather_kernels import gather_pages
from tsdb.kernels import SEGMENT_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tsdb.head import Head
    from tsdb.head_view import HeadView
    from tsdb.interface import Ints
    from tsdb.kernels import Int
    from tsdb.label_kernels import Slots, Words

BUFFER_WORDS = 1 << 21
"""Words gathered at once: 16 MB, of which a piece of samples is a small part."""
PART_WORDS = 1 << 21
"""Words of a file that are mapped at once: 16 MB."""
_RUNS = 1 << 12
_LOCKED_ROWS = 4096


class GatheredPages:
    """The pages of some series in one window of time. Used by one thread, while no cut ends."""

    def __init__(self, head: Head, start_ms: int, end_ms: int) -> None:
        """Take no pages yet; samples in [start_ms, end_ms] are wanted."""
        self._head = head
        self._range = (start_ms, end_ms)
        self._out: Words = np.empty(BUFFER_WORDS, np.uint64)
        self._used = np.zeros(2, np.int64)
        self._page = self._heads = np.empty(0, np.int64)

    def each(self, pieces: Sequence[Slots]) -> Iterator[tuple[Slots, Ints]]:
        """Yield each piece of slots and its rows among those gathered, which `view` wants."""
        first, total = 0, sum(piece.size for piece in pieces)
        while first < len(pieces):
            with self._head.lock:
                words = self._head.pages.size_bytes // 8
            # As many as should fit; if they do not, half as many.
            rows_max = BUFFER_WORDS * 3 // 4 * total // max(words, 1)
            stop, rows = first, 0
            while stop < len(pieces) and (stop == first or rows + pieces[stop].size <= rows_max):
                rows += pieces[stop].size
                stop += 1
            while not self._take(np.concatenate(pieces[first:stop]), grow=stop == first + 1):
                stop = first + (stop - first) // 2
            row = 0
            for piece in pieces[first:stop]:
                yield piece, np.arange(row, row + piece.size)
                row += piece.size
            first = stop

    def view(self, view: HeadView, rows: Ints) -> HeadView:
        """Return a view taken a moment ago as one of the gathered pages; `rows` are its rows here.

        What was sealed since they were gathered is gathered now.
        """
        new = np.flatnonzero(view.page != self._page[rows])
        if new.size:
            at = rows[new]
            behind = self._heads[at]
            heads = behind.copy()
            self._copy(view.segments, view.page[new], self._page[at], behind, heads, grow=True)
            self._page[at], self._heads[at] = view.page[new], heads
        return replace(view, page=self._heads[rows], segments={0: self._out})

    def _take(self, slots: Slots, *, grow: bool) -> bool:
        """Gather the pages of these series instead of others; say whether there was room."""
        head = self._head
        page = np.empty(slots.size, np.int64)
        for first in range(0, slots.size, _LOCKED_ROWS):
            some = slice(first, first + _LOCKED_ROWS)
            with head.lock:
                page[some] = head.page_head.array[slots[some]]
        with head.lock:
            segments = head.pages.segments
        self._used[:] = 0
        none = np.full(slots.size, -1, np.int64)
        heads = none.copy()
        if not self._copy(segments, page, none, none, heads, grow=grow):
            return False
        self._page, self._heads = page, heads
        return True

    def _copy(
        self,
        segments: Mapping[int, Words],
        page: Ints,
        until: Ints,
        behind: Ints,
        heads: Ints,
        *,
        grow: bool,
    ) -> bool:
        """Copy chains from `page` up to `until`; see `gather_pages`. Without `grow` it may fail."""
        cursor, tails = page.copy(), np.full(page.size, -1, np.int64)
        for number in sorted(segments, reverse=True):
            base = number * SEGMENT_WORDS
            newest = int(cursor.max(initial=-1))
            if newest < base:
                continue
            runs = np.zeros((_RUNS, 2), np.int64)
            self._used[1] = 0
            for part in range((newest - base) // PART_WORDS, -1, -1):
                row: Int = 0
                while True:
                    row = gather_pages(
                        segments[number],
                        base,
                        base + part * PART_WORDS,
                        row,
                        cursor,
                        until,
                        *self._range,
                        behind,
                        heads,
                        tails,
                        runs,
                        self._out,
                        self._used,
                    )
                    if row == cursor.size:
                        break
                    if 2 * self._used[1] >= len(runs):
                        # Those that are copied again are shared by fewer, and are as good.
                        runs = np.zeros((2 * len(runs), 2), np.int64)
                        self._used[1] = 0
                    elif grow:
                        bigger = np.empty(2 * self._out.size, np.uint64)
                        bigger[: self._out.size] = self._out
                        self._out = bigger
                    else:
                        return False
                self._head.pages.let_go(number, part * PART_WORDS, PART_WORDS)
        return True
