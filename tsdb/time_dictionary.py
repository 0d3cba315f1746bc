"""Time runs of many series to a dictionary of pages of times and slices of them.

From: `block_writer.py`, chunk by chunk: where each series has its times in the chunk's pool.
To:   frames in the block's `pages`, and the arrays `time_*` and `slice.*` of its index.

Series of one scrape share a run of times, and so share its pages; a series that came later or ended
sooner has slices of the same pages. Equal pages of other chunks are found by a 128-bit hash.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tsdb import frames, pages
from tsdb.pages import PAGE_SAMPLES_MAX, Layout

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Ints

_BASE = PAGE_SAMPLES_MAX + 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Runs cut into pages, series by series. Shapes: all int64[pages].

    `row`: whose samples; `row_offset`: how many of its samples come before; `start`, `count`: the
    page's samples in the pool of times; `cell_start`, `cell_stop`: the whole time page around them.
    """

    row: Ints
    row_offset: Ints
    start: Ints
    count: Ints
    cell_start: Ints
    cell_stop: Ints


def cut_runs(start: Ints, count: Ints, page_samples: int) -> Cells:
    """Cut the time run of each series into pages, at places that series with one run share.

    Runs that overlap in the pool of times are parts of one longer run: all are cut on its grid, so
    that a series that came later or ended sooner uses the same time pages.
    """
    stop = start + count
    order = np.argsort(start, kind="stable")
    ends = np.maximum.accumulate(stop[order])
    begins = np.concatenate(([True], start[order][1:] >= ends[:-1]))
    run_of = np.empty(start.size, dtype=np.int64)
    run_of[order] = np.cumsum(begins) - 1
    run_start = start[order][begins]
    run_stop = ends[np.concatenate((np.flatnonzero(begins)[1:] - 1, [start.size - 1]))]
    first_cell = (start - run_start[run_of]) // page_samples
    last_cell = (stop - 1 - run_start[run_of]) // page_samples
    cells = last_cell - first_cell + 1
    row = np.repeat(np.arange(start.size), cells)
    nth = np.arange(row.size) - np.repeat(np.cumsum(cells) - cells, cells)
    cell_start = run_start[run_of[row]] + (first_cell[row] + nth) * page_samples
    cell_stop = np.minimum(cell_start + page_samples, run_stop[run_of[row]])
    page_start = np.maximum(cell_start, start[row])
    page_count = np.minimum(cell_stop, stop[row]) - page_start
    return Cells(row, page_start - start[row], page_start, page_count, cell_start, cell_stop)


class TimeDictionary:
    """Distinct pages of times, written as they come, and distinct slices of them."""

    def __init__(self, file: BinaryIO) -> None:
        """Write frames to `file`, between those of others."""
        self._frames = frames.FrameWriter(file)
        self._page_of: dict[bytes, int] = {}
        self._page_samples = array("I")
        self._slice_of: dict[int, int] = {}
        self._slice_min = array("q")
        self._slice_max = array("q")

    def slices(self, times: Ints, cells: Cells) -> Ints:
        """Return the slice of each page, as int64[pages]; new pages and slices are remembered."""
        # A cell's start in the pool says which cell it is.
        cell_start, place, cell = np.unique(
            cells.cell_start, return_index=True, return_inverse=True
        )
        cell_count = cells.cell_stop[place] - cell_start
        page = self._pages(times, cell_start, cell_count)[cell]
        wanted = (page * _BASE + (cells.start - cells.cell_start)) * _BASE + cells.count
        distinct, place, slice_of = np.unique(wanted, return_index=True, return_inverse=True)
        first = times[cells.start[place]]
        last = times[cells.start[place] + cells.count[place] - 1]
        numbers = [
            self._slice(key, low, high)
            for key, low, high in zip(distinct.tolist(), first.tolist(), last.tolist(), strict=True)
        ]
        return np.array(numbers, dtype=np.int64)[slice_of]

    def _pages(self, times: Ints, start: Ints, count: Ints) -> Ints:
        """Return the number of each page of times, after writing those that are new."""
        encoded = pages.encode_times(times, start, count, layout=Layout.PLANES)
        numbers = np.empty(start.size, dtype=np.int64)
        new: list[int] = []
        for at, samples in enumerate(count.tolist()):
            page = encoded.page(at)
            key = blake2b(page, digest_size=16).digest() + samples.to_bytes(2, "little")
            number = self._page_of.setdefault(key, len(self._page_samples))
            if number == len(self._page_samples):
                self._page_samples.append(samples)
                new.append(at)
            numbers[at] = number
        if new:
            chosen = encoded if len(new) == start.size else encoded.choose(new)
            self._frames.add(chosen, chosen)
        return numbers

    def _slice(self, key: int, low: int, high: int) -> int:
        number = self._slice_of.setdefault(key, len(self._slice_min))
        if number == len(self._slice_min):
            self._slice_min.append(low)
            self._slice_max.append(high)
        return number

    def finish(self) -> None:
        """Write the pages that wait for more."""
        self._frames.finish()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what the index says of time pages and slices."""
        keys = np.array(list(self._slice_of), dtype=np.int64)
        return {
            "time_frame.page": np.array(self._frames.first_page, dtype=np.uint32),
            "time_frame.offset": np.array(self._frames.offset, dtype=np.uint64),
            "time_page.samples": np.array(self._page_samples, dtype=np.uint32),
            "slice.page": (keys // _BASE**2).astype(np.uint32),
            "slice.skip": (keys // _BASE % _BASE).astype(np.uint32),
            "slice.count": (keys % _BASE).astype(np.uint32),
            "slice.min": np.array(self._slice_min, dtype=np.int64),
            "slice.max": np.array(self._slice_max, dtype=np.int64),
        }
