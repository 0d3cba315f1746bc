"""The page directory of a block: rows to pages, pages to samples.

From: the arrays `row.*`, `page.*`, `frame.*`, `time_*`, `slice.*` of a block's index; `pages`.
To:   `block.py`.

A row has pages, a page has a slice: part of a page of the dictionary of times. Slices are few,
since series of one scrape share them, so what of a range is wanted is decided slice by slice;
sample counts are exact before any value is read, and each frame is unpacked once.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb import frames, merge_kernels, pages
from tsdb.errors import CorruptFileError
from tsdb.free_memory import let_go
from tsdb.large_arrays import large_empty

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.array_file import Arrays
    from tsdb.interface import Floats, Ints

    OnCorrupt = Callable[[CorruptFileError], None]

_FRAMES_A_TASK = 4
"""Frames that a thread decodes in one go: about 1 ms."""

_COUNTED_AT_ONCE = 1 << 20
"""Pages whose slices are counted in one go: counting widens them to 8 bytes each."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Which samples of which pages to decode, row by row and in time order within a row.

    Shapes: int64[P]. `row`: place in the caller's list of rows; `page`: number in file order;
    `slice`: time slice; `low`, `take`: part of the page wanted.
    """

    row: Ints
    page: Ints
    slice: Ints
    low: Ints
    take: Ints

    def without(self, damaged: Ints, values: Floats) -> tuple[ReadPlan, Floats]:
        """Return plan and values with some pages (places in the plan) left out."""
        if not damaged.size:
            return self, values
        keep = np.ones(self.row.size, dtype=np.bool_)
        keep[damaged] = False
        return self.where(keep), values[np.repeat(keep, self.take)]

    def where(self, keep: npt.NDArray[np.bool_]) -> ReadPlan:
        """Return the plan of some pages."""
        return ReadPlan(
            self.row[keep], self.page[keep], self.slice[keep], self.low[keep], self.take[keep]
        )


@dataclass(frozen=True, slots=True)
class PageSizes:
    """The pages of a block, counted by what they have in common.

    Of each slice of time: float64[T] samples and range in ms, int64[T] how many pages have it.
    Of each frame: float64[F] bytes on disk for each of its pages, int64[F] how many these are.
    """

    samples: Floats
    range_ms: Floats
    pages_of_slice: Ints
    frame_page_bytes: Floats
    pages_of_frame: Ints


class PageDirectory:
    """The page directory of a block, and the map of its `pages` file."""

    def __init__(self, index: Arrays, path: Path, file: memoryview) -> None:
        """Take the views; `file` is what `pages` holds, `path` its name. Raises `CorruptFileError`.

        Without the arrays of pages of values there are none: only times can be read then.
        """
        self._path = path
        self._file = file
        self.size_bytes = len(file)
        if "row.page" in index:
            self._row_page = index.array("row.page")
            self._page_slice = index.array("page.slice")
            self._page_number = index.array("page.number")
            self._frame_page = index.array("frame.page")
            self._frame_offset = index.array("frame.offset")
        self._time_frame_page = index.array("time_frame.page")
        self._time_frame_offset = index.array("time_frame.offset")
        self._time_samples = index.array("time_page.samples")
        self._slice_page = index.array("slice.page")
        self._slice_skip = index.array("slice.skip")
        self._slice_count = index.array("slice.count")
        self._slice_min = index.array("slice.min")
        self._slice_max = index.array("slice.max")

    @staticmethod
    def map(index: Arrays, path: Path) -> PageDirectory:
        """Map the file `pages` of a block. Raises `CorruptFileError`, `OSError`."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            wanted = int(index.array("pages.bytes")[0])
            if size != wanted:
                raise CorruptFileError(path, size, f"{wanted} bytes were written")
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return PageDirectory(index, path, mapped)

    def sizes(self) -> PageSizes:
        """Return how large the pages of values are."""
        pages = np.zeros(self._slice_count.size, dtype=np.int64)
        for first in range(0, self._page_slice.size, _COUNTED_AT_ONCE):
            part = self._page_slice[first : first + _COUNTED_AT_ONCE]
            pages += np.bincount(part, minlength=pages.size)
        first_page = self._frame_page.astype(np.int64)
        in_frame = first_page[1:] - first_page[:-1]
        offsets = self._frame_offset.astype(np.int64)
        # Frames of times lie between those of values.
        borders = np.unique(np.concatenate((offsets, self._time_frame_offset, [self.size_bytes])))
        ends = borders[np.searchsorted(borders, offsets, side="right")]
        range_ms = self._slice_max.astype(np.float64) - self._slice_min.astype(np.float64)
        return PageSizes(
            self._slice_count.astype(np.float64),
            range_ms,
            pages,
            (ends - offsets) / np.maximum(in_frame, 1),
            in_frame,
        )

    def let_go(self) -> None:
        """Count no more as memory of this process what was read; it is read again if needed."""
        if isinstance(self._file.obj, mmap.mmap):
            let_go(self._file.obj)

    def row_samples(self) -> Ints:
        """Return the number of samples of every row."""
        ends = np.cumsum(self.slice_samples(self._page_slice))
        sums = np.concatenate(([0], ends))[self._row_page]
        samples: Ints = np.diff(sums)
        return samples

    def sample_count(self, first: int, stop: int) -> int:
        """Return the number of samples of the rows [first, stop)."""
        mine = slice(int(self._row_page[first]), int(self._row_page[stop]))
        return int(self._slice_count[self._page_slice[mine]].sum(dtype=np.int64))

    def slice_samples(self, slices: npt.NDArray[np.integer]) -> Ints:
        """Return how many samples slices of time have."""
        samples: Ints = self._slice_count[slices].astype(np.int64)
        return samples

    def plan(self, rows: Ints, start_ms: int, end_ms: int, on_corrupt: OnCorrupt) -> ReadPlan:
        """Find the pages of `rows` in [start_ms, end_ms] and the part of each that is wanted."""
        found = self.find(self._row_page, self._page_slice, rows, start_ms, end_ms, on_corrupt)
        return replace(found, page=self._page_number[found.page].astype(np.int64))

    def find(
        self,
        row_first: npt.NDArray[np.unsignedinteger],
        entry_slice: npt.NDArray[np.unsignedinteger],
        rows: Ints,
        start_ms: int,
        end_ms: int,
        on_corrupt: OnCorrupt,
    ) -> ReadPlan:
        """Find the entries of `rows` in [start_ms, end_ms]; `page` of the plan numbers entries.

        Row r has the entries from `row_first[r]` to `row_first[r + 1]`, dated by `entry_slice`.
        """
        first = row_first[rows].astype(np.int64)
        pages_of_row = row_first[rows + 1].astype(np.int64) - first
        row = np.repeat(np.arange(rows.size), pages_of_row)
        nth = np.arange(row.size) - np.repeat(np.cumsum(pages_of_row) - pages_of_row, pages_of_row)
        entry = first[row] + nth
        piece = entry_slice[entry]
        low_ms, high_ms = self._slice_min[piece], self._slice_max[piece]
        overlaps = np.flatnonzero((high_ms >= start_ms) & (low_ms <= end_ms))
        row, entry, piece = row[overlaps], entry[overlaps], piece[overlaps].astype(np.int64)
        low = np.zeros(piece.size, dtype=np.int64)
        take = self._slice_count[piece].astype(np.int64)
        partial = (low_ms[overlaps] < start_ms) | (high_ms[overlaps] > end_ms)
        if partial.any():
            cut, where = np.unique(piece[partial], return_inverse=True)
            cut_low, cut_take = self._cut_slices(cut, start_ms, end_ms, on_corrupt)
            low[partial], take[partial] = cut_low[where], cut_take[where]
        kept = np.flatnonzero(take)
        return ReadPlan(
            row=row[kept],
            page=entry[kept],
            slice=piece[kept],
            low=low[kept],
            take=take[kept],
        )

    def _cut_slices(
        self, cut: Ints, start_ms: int, end_ms: int, on_corrupt: OnCorrupt
    ) -> tuple[Ints, Ints]:
        """Return what is wanted of slices that stick out of the range, by looking at their times.

        Samples to skip and samples to take, int64[slices]; none of those whose times are damaged.
        """
        count = self._slice_count[cut].astype(np.int64)
        start = np.cumsum(count) - count
        times = np.empty(int(count.sum()), dtype=np.int64)
        bad = self.decode_slices(cut, np.zeros_like(count), count, times, start, on_corrupt)
        low = np.add.reduceat(times < start_ms, start, dtype=np.int64)
        take = np.add.reduceat(times <= end_ms, start, dtype=np.int64) - low
        take[bad] = 0
        return low, take

    def decode_slices(
        self,
        slices: Ints,
        low: Ints,
        take: Ints,
        out: Ints,
        out_start: Ints,
        on_corrupt: OnCorrupt,
    ) -> Ints:
        """Decode parts of slices; return the places of those that are damaged."""
        page = self._slice_page[slices]
        return self.decode(
            page.astype(np.int64),
            self._time_samples[page].astype(np.int64),
            self._slice_skip[slices].astype(np.int64) + low,
            take,
            out.view(np.float64),
            out_start,
            self._time_frame_page,
            self._time_frame_offset,
            on_corrupt,
        )

    def decode_values(self, plan: ReadPlan, on_corrupt: OnCorrupt) -> tuple[Floats, Ints]:
        """Return the values of all pages of the plan, in its order, and the damaged places."""
        values = large_empty(int(plan.take.sum()), np.float64)
        bad = self.decode(
            plan.page,
            self.slice_samples(plan.slice),
            plan.low,
            plan.take,
            values,
            np.cumsum(plan.take) - plan.take,
            self._frame_page,
            self._frame_offset,
            on_corrupt,
        )
        return values, bad

    def decode_times(
        self, plan: ReadPlan, row_count: int, on_corrupt: OnCorrupt
    ) -> tuple[Ints, Ints, Ints]:
        """Return a pool of times, where each row's begin, and the damaged places of the plan.

        Rows with one history share it.
        """
        group, leader = _group_rows(plan.row, plan.slice, row_count)
        keep = np.isin(plan.row, leader)
        row, piece, take = plan.row[keep], plan.slice[keep], plan.take[keep]
        times = np.empty(int(take.sum()), dtype=np.int64)
        start = np.cumsum(take) - take
        bad = self.decode_slices(piece, plan.low[keep], take, times, start, on_corrupt)
        if bad.size:
            return times, start, np.flatnonzero(np.isin(plan.slice, piece[bad]))
        first_of_row = np.zeros(row_count, dtype=np.int64)
        edges = np.flatnonzero(np.diff(row, prepend=-1))
        first_of_row[row[edges]] = start[edges]
        return times, first_of_row[leader[group]], bad

    def decode(
        self,
        page: Ints,
        count: Ints,
        skip: Ints,
        take: Ints,
        out: Floats,
        out_start: Ints,
        frame_page: npt.NDArray[np.unsignedinteger],
        frame_offset: npt.NDArray[np.unsignedinteger],
        on_corrupt: OnCorrupt,
    ) -> Ints:
        """Decode parts of pages, by number, of the frames given; return the damaged places."""
        damaged: list[Ints] = [np.zeros(0, dtype=np.int64)]
        for task in self._tasks(
            page, count, skip, take, out, out_start, frame_page, frame_offset, on_corrupt, damaged
        ):
            task()
        return np.concatenate(damaged)

    def value_tasks(
        self, plan: ReadPlan, out: Floats, out_start: Ints, damaged: list[Ints]
    ) -> list[Callable[[], None]]:
        """Return what decodes the values of a plan, each page to `out[out_start[page]:]`.

        The tasks may be done in any order, by any thread; places of the plan that turn out damaged
        are put into `damaged`, and nobody else is told.
        """
        return self._tasks(
            plan.page,
            self.slice_samples(plan.slice),
            plan.low,
            plan.take,
            out,
            out_start,
            self._frame_page,
            self._frame_offset,
            _keep_quiet,
            damaged,
        )

    def _tasks(
        self,
        page: Ints,
        count: Ints,
        skip: Ints,
        take: Ints,
        out: Floats,
        out_start: Ints,
        frame_page: npt.NDArray[np.unsignedinteger],
        frame_offset: npt.NDArray[np.unsignedinteger],
        on_corrupt: OnCorrupt,
        damaged: list[Ints],
    ) -> list[Callable[[], None]]:
        """Return a task for each few frames that decodes what is wanted of them."""
        if not page.size:
            return []
        order = np.argsort(page, kind="stable")
        in_order = page[order]
        frame_of = np.searchsorted(frame_page, in_order, side="right") - 1
        edges = np.flatnonzero(np.diff(frame_of, prepend=-1))
        bounds = [*edges.tolist(), order.size]

        def decode(first: int, stop: int) -> None:
            decompressor = zstandard.ZstdDecompressor()
            for edge, end in pairwise(bounds[first : stop + 1]):
                number = int(frame_of[edge])
                at = order[edge:end]
                offset_bytes = int(frame_offset[number])
                within = in_order[edge:end] - int(frame_page[number])
                try:
                    frame = frames.unpack(self._path, self._file, offset_bytes, decompressor)
                    if within[-1] >= frame.offset.size - 1:
                        raise CorruptFileError(self._path, offset_bytes, "frame lacks a page")
                    pages.decode_values(
                        frame.data,
                        frame.offset[within],
                        count[at],
                        out,
                        out_start[at],
                        stop=frame.offset[within + 1],
                        skip=skip[at],
                        take=take[at],
                        noise=frame.noise,
                        noise_offset=frame.noise_offset[within],
                    )
                except pages.BadPageError as error:
                    on_corrupt(CorruptFileError(self._path, offset_bytes, str(error)))
                    damaged.append(at)
                except CorruptFileError as error:
                    on_corrupt(error)
                    damaged.append(at)

        last = len(bounds) - 1
        return [
            partial(decode, first, min(first + _FRAMES_A_TASK, last))
            for first in range(0, last, _FRAMES_A_TASK)
        ]


def _keep_quiet(_error: CorruptFileError) -> None:
    pass


def _group_rows(row: Ints, piece: Ints, row_count: int) -> tuple[Ints, Ints]:
    """Group the rows that have the same sequence of slices.

    Returns the group of each row int64[row_count] and for each group its first row. Rows are runs
    in `row`, which rises; rows without pages form a group as well.
    """
    count = np.bincount(row, minlength=row_count)
    group = np.empty(row_count, dtype=np.int64)
    leader = np.empty(row_count, dtype=np.int64)
    groups = merge_kernels.group_equal_runs(piece, np.cumsum(count) - count, count, group, leader)
    return group, leader[:groups]
