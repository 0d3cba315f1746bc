"""A sealed block, memory-mapped and read-only.

From: the directory that `block_writer.py` made. FORMAT.md has the byte tables.
To:   `select.py` (samples and labels of one time range), `compaction.py` (all, in series order).

Opening reads `meta.json` and the header of `index`, nothing else. Reading a range goes: matchers to
rows, rows to pages, pages to time slices (few, since series of one scrape share them), slices to
exact sample counts, and only then values, frame by frame, straight into the pools of the batch.
Invariant: a batch's pools are its own memory; no view of a map leaves but through label texts.
"""

from __future__ import annotations

import mmap
import threading
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb import frames, pages
from tsdb.array_file import ArrayFile
from tsdb.block_meta import META_FILE, BlockMeta
from tsdb.block_rows import BlockRows
from tsdb.block_symbols import BlockSymbols
from tsdb.block_writer import INDEX_FILE, PAGES_FILE
from tsdb.errors import ClosedError, CorruptFileError
from tsdb.interface import LabelColumns, Matcher, SeriesBatch
from tsdb.series_order import column_order, is_strictly_ordered, text_ranks
from tsdb.tombstones import (
    DeletedRange,
    Tombstone,
    mask_deleted,
    read_tombstones,
    write_tombstones,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tsdb.interface import Floats, Ints

    OnCorrupt = Callable[[CorruptFileError], None]

CHUNK_SAMPLES = 1 << 21
"""Samples in one chunk of `Block.chunks`, about: 16 MB of values."""


def _raise(error: CorruptFileError) -> None:
    raise error


class Block:
    """One block. Thread-safe: nothing in it changes but its tombstones and whether it is closed."""

    def __init__(self, path: Path, meta: BlockMeta, index: ArrayFile) -> None:
        """Use `open`."""
        self.path = path
        self.meta = meta
        self._index = index
        self._closed = False
        self._index_checked = False
        self._lock = threading.Lock()
        self._delete_lock = threading.Lock()
        self._tombstones: tuple[tuple[Tombstone, Ints], ...] | None = None

    @staticmethod
    def open(path: Path) -> Block:
        """Open the block in directory `path`. Raises `CorruptFileError`, `OSError`."""
        return Block(path, BlockMeta.read(path), ArrayFile(path / INDEX_FILE))

    def close(self) -> None:
        """Refuse every further read; maps go when the last batch that uses them goes."""
        self._closed = True

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all its files together."""
        return sum(file.stat().st_size for file in self.path.iterdir())

    @cached_property
    def symbols(self) -> BlockSymbols:
        """The symbol space of every batch of this block."""
        index = self._checked_index()
        return BlockSymbols(index.array("symbol.offset"), index.array("symbol.bytes"))

    @cached_property
    def _rows(self) -> BlockRows:
        return BlockRows(self._checked_index(), self.symbols)

    @cached_property
    def _directory(self) -> _Directory:
        return _Directory(self._checked_index(), self.path / PAGES_FILE)

    def _checked_index(self) -> ArrayFile:
        """Return the index, its checksums checked once before its first use."""
        if self._closed:
            raise ClosedError(f"block {self.meta.ulid} is closed")
        with self._lock:
            if not self._index_checked:
                self._index.verify()
                self._index_checked = True
        return self._index

    def match(self, matchers: Sequence[Matcher]) -> Ints:
        """Return the rows int64[rows] that satisfy all matchers. Raises `BadMatcherError`."""
        self._check_open()
        return self._rows.match(matchers)

    def labels(self, rows: Ints) -> LabelColumns:
        """Return the labels of some rows (rising), in the block's symbol space."""
        self._check_open()
        return self._rows.labels(rows)

    def label_columns(self, matchers: Sequence[Matcher]) -> LabelColumns:
        """Return the labels of every series that satisfies all matchers."""
        return self.labels(self.match(matchers))

    def count_samples(
        self,
        rows: Ints,
        start_ms: int,
        end_ms: int,
        *,
        on_corrupt: OnCorrupt = _raise,
    ) -> int:
        """Return how many samples `select_rows` would give; no value is decoded."""
        self._check_open()
        return int(self._directory.plan(rows, start_ms, end_ms, on_corrupt).take.sum())

    def select_into(
        self,
        matchers: Sequence[Matcher],
        start_ms: int,
        end_ms: int,
        *,
        on_corrupt: OnCorrupt = _raise,
    ) -> SeriesBatch | None:
        """Return all matching series with their samples in [start_ms, end_ms], None for none.

        The batch is in the block's own symbol space, in series order. `on_corrupt` is called for
        every damaged frame; if it returns, the samples of that frame are left out.
        """
        return self.select_rows(self.match(matchers), start_ms, end_ms, on_corrupt=on_corrupt)

    def select_rows(
        self, rows: Ints, start_ms: int, end_ms: int, *, on_corrupt: OnCorrupt = _raise
    ) -> SeriesBatch | None:
        """Return some rows (rising) with their samples in [start_ms, end_ms], None for none."""
        self._check_open()
        if not self.meta.overlaps(start_ms, end_ms):
            return None
        directory = self._directory
        plan = directory.plan(rows, start_ms, end_ms, on_corrupt)
        values, damaged = directory.decode_values(plan, on_corrupt)
        plan, values = plan.without(damaged, values)
        times, time_start, damaged = directory.decode_times(plan, rows.size, on_corrupt)
        while damaged.size:
            plan, values = plan.without(damaged, values)
            times, time_start, damaged = directory.decode_times(plan, rows.size, on_corrupt)
        count = np.bincount(plan.row, weights=plan.take, minlength=rows.size).astype(np.int64)
        kept = np.flatnonzero(count)
        if not kept.size:
            return None
        value_start = np.cumsum(count) - count
        batch = SeriesBatch(
            labels=self._rows.labels(rows[kept]),
            times=times,
            time_start=time_start[kept],
            values=values,
            value_start=value_start[kept],
            count=count[kept],
        )
        return self._mask_deleted(batch, rows[kept]) if self._deleted else batch

    def select_all(
        self, first: int, stop: int, *, on_corrupt: OnCorrupt | None = None
    ) -> SeriesBatch | None:
        """Return the rows [first, stop) with all their samples, None for none."""
        rows = np.arange(first, stop, dtype=np.int64)
        low, high = self.meta.min_time_ms, self.meta.max_time_ms - 1
        return self.select_rows(rows, low, high, on_corrupt=on_corrupt or _raise)

    def metrics(self) -> list[tuple[str, int, int]]:
        """Return name, first and stop row of every metric, in series order."""
        self._check_open()
        return self._rows.metrics()

    def row_samples(self) -> Ints:
        """Return the number of samples of every row, int64[series]; tombstones not applied."""
        self._check_open()
        return self._directory.row_samples()

    @property
    def tombstones(self) -> tuple[Tombstone, ...]:
        """What has been deleted from this block."""
        return tuple(tombstone for tombstone, _ in self._deleted)

    @cached_property
    def _tombstones_on_disk(self) -> tuple[tuple[Tombstone, Ints], ...]:
        return tuple((one, self._rows.match(one.matchers)) for one in read_tombstones(self.path))

    @property
    def _deleted(self) -> tuple[tuple[Tombstone, Ints], ...]:
        """Tombstones, each with the rows it hits: a tuple that is replaced, never changed."""
        return self._tombstones_on_disk if self._tombstones is None else self._tombstones

    def delete(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> bool:
        """Delete samples in [start_ms, end_ms]: durable and visible to every later read.

        Returns whether any series of the block is concerned. Raises `BadMatcherError`, `OSError`.
        """
        self._check_open()
        start_ms = max(start_ms, self.meta.min_time_ms)
        end_ms = min(end_ms, self.meta.max_time_ms - 1)
        rows = self.match(matchers)
        if start_ms > end_ms or not rows.size:
            return False
        with self._delete_lock:
            added = (Tombstone(tuple(matchers), start_ms, end_ms), rows)
            deleted = (*self._deleted, added)
            write_tombstones(self.path, [tombstone for tombstone, _ in deleted])
            self._tombstones = deleted
        self.__dict__.pop("size_bytes", None)
        return True

    def _mask_deleted(self, batch: SeriesBatch, rows: Ints) -> SeriesBatch | None:
        """Leave out what tombstones delete; `rows` are those of the batch, rising."""
        ranges = []
        for tombstone, hit in self._deleted:
            series = np.flatnonzero(np.isin(rows, hit, assume_unique=True))
            if series.size:
                ranges.append(DeletedRange(series, tombstone.start_ms, tombstone.end_ms))
        return mask_deleted(batch, ranges) if ranges else batch

    def chunks(
        self, *, samples_max: int = CHUNK_SAMPLES, on_corrupt: OnCorrupt = _raise
    ) -> Iterator[SeriesBatch]:
        """Yield all series with all samples, in series order, a bounded number at a time."""
        self._check_open()
        counts = self._directory.row_samples()
        ends = np.cumsum(counts)
        first = 0
        while first < counts.size:
            limit = (ends[first - 1] if first else 0) + samples_max
            stop = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
            batch = self.select_all(first, stop, on_corrupt=on_corrupt)
            if batch is not None:
                yield batch
            first = stop

    def verify(self) -> list[CorruptFileError]:
        """Check every checksum and every order invariant; return all that is wrong."""
        self._check_open()
        found: list[CorruptFileError] = []
        try:
            self._index.verify()
            self._verify_order(found)
            samples = 0
            for batch in self.chunks(on_corrupt=found.append):
                samples += batch.sample_count
                self._verify_times(batch, found)
        except CorruptFileError as error:
            return [*found, error]
        if not found and not self._deleted and samples != self.meta.stats.num_samples:
            text = f"{samples} samples, and {self.meta.stats.num_samples} in the meta"
            found.append(CorruptFileError(self.path / META_FILE, 0, text))
        return found

    def _verify_order(self, found: list[CorruptFileError]) -> None:
        index_path = self.path / INDEX_FILE
        everything = np.arange(len(self.symbols), dtype=np.uint32)
        texts = self.symbols.texts(everything)
        if any(a >= b for a, b in pairwise(texts)):
            found.append(CorruptFileError(index_path, 0, "symbols are not sorted"))
            return
        for _, first, stop in self._rows.metrics():
            labels = self._rows.labels(np.arange(first, stop, dtype=np.int64))
            _, ranks = text_ranks(labels.ids, labels.symbols)
            if not is_strictly_ordered(ranks[column_order(labels.names)]) and stop - first > 1:
                found.append(CorruptFileError(index_path, 0, f"rows from {first} are not sorted"))

    def _verify_times(self, batch: SeriesBatch, found: list[CorruptFileError]) -> None:
        runs = np.unique(np.stack([batch.time_start, batch.count], axis=1), axis=0)
        for start, count in runs.tolist():
            times = batch.times[start : start + count]
            if (np.diff(times) <= 0).any():
                found.append(CorruptFileError(self.path / PAGES_FILE, 0, "times do not rise"))

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"block {self.meta.ulid} is closed")


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which samples of which pages to decode, row by row and in time order within a row.

    Shapes: int64[P]. `row`: place in the caller's list of rows; `page`: number in file order;
    `slice`: time slice; `low`, `take`: part of the page wanted.
    """

    row: Ints
    page: Ints
    slice: Ints
    low: Ints
    take: Ints

    def without(self, damaged: Ints, values: Floats) -> tuple[_Plan, Floats]:
        """Return plan and values with some pages (places in the plan) left out."""
        if not damaged.size:
            return self, values
        keep = np.ones(self.row.size, dtype=np.bool_)
        keep[damaged] = False
        kept_values = values[np.repeat(keep, self.take)]
        plan = _Plan(
            self.row[keep], self.page[keep], self.slice[keep], self.low[keep], self.take[keep]
        )
        return plan, kept_values


class _Directory:
    """The page directory of a block and the frames it points to."""

    def __init__(self, index: ArrayFile, pages_path: Path) -> None:
        self._path = pages_path
        self._row_page = index.array("row.page")
        self._page_slice = index.array("page.slice")
        self._page_number = index.array("page.number")
        self._frame_page = index.array("frame.page")
        self._frame_offset = index.array("frame.offset")
        self._time_frame_page = index.array("time_frame.page")
        self._time_frame_offset = index.array("time_frame.offset")
        self._time_samples = index.array("time_page.samples").astype(np.int64)
        self._slice_page = index.array("slice.page").astype(np.int64)
        self._slice_skip = index.array("slice.skip").astype(np.int64)
        self._slice_count = index.array("slice.count").astype(np.int64)
        self._slice_min = index.array("slice.min")
        self._slice_max = index.array("slice.max")
        with pages_path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._file = memoryview(self._map)

    def row_samples(self) -> Ints:
        """Return the number of samples of every row."""
        counts = self._slice_count[self._page_slice]
        sums = np.concatenate(([0], np.cumsum(counts)))[self._row_page]
        samples: Ints = np.diff(sums)
        return samples

    def plan(self, rows: Ints, start_ms: int, end_ms: int, on_corrupt: OnCorrupt) -> _Plan:
        """Find the pages of `rows` in [start_ms, end_ms] and the part of each that is wanted."""
        first = self._row_page[rows].astype(np.int64)
        pages_of_row = self._row_page[rows + 1].astype(np.int64) - first
        row = np.repeat(np.arange(rows.size), pages_of_row)
        nth = np.arange(row.size) - np.repeat(np.cumsum(pages_of_row) - pages_of_row, pages_of_row)
        entry = first[row] + nth
        piece = self._page_slice[entry].astype(np.int64)
        low = np.zeros(self._slice_min.size, dtype=np.int64)
        take = np.where(
            (self._slice_max >= start_ms) & (self._slice_min <= end_ms), self._slice_count, 0
        )
        partial = (take > 0) & ((self._slice_min < start_ms) | (self._slice_max > end_ms))
        if partial.any():
            used = np.zeros(partial.size, dtype=np.bool_)
            used[piece] = True
            cut = np.flatnonzero(partial & used)
            self._cut_slices(cut, start_ms, end_ms, low, take, on_corrupt)
        wanted = take[piece] > 0
        piece, row = piece[wanted], row[wanted]
        return _Plan(
            row=row,
            page=self._page_number[entry[wanted]].astype(np.int64),
            slice=piece,
            low=low[piece],
            take=take[piece],
        )

    def _cut_slices(
        self,
        cut: Ints,
        start_ms: int,
        end_ms: int,
        low: Ints,
        take: Ints,
        on_corrupt: OnCorrupt,
    ) -> None:
        """Set `low` and `take` of slices that stick out of the range, by looking at their times."""
        count = self._slice_count[cut]
        start = np.cumsum(count) - count
        times = np.empty(int(count.sum()), dtype=np.int64)
        bad = self._decode_time_pages(
            self._slice_page[cut], self._slice_skip[cut], count, times, start, on_corrupt
        )
        take[cut[bad]] = 0
        good = np.setdiff1d(np.arange(cut.size), bad)
        for at in good.tolist():
            run = times[start[at] : start[at] + count[at]]
            first = int(np.searchsorted(run, start_ms, side="left"))
            stop = int(np.searchsorted(run, end_ms, side="right"))
            low[cut[at]], take[cut[at]] = first, stop - first

    def _decode_time_pages(
        self,
        page: Ints,
        skip: Ints,
        take: Ints,
        out: Ints,
        out_start: Ints,
        on_corrupt: OnCorrupt,
    ) -> Ints:
        """Decode parts of time pages; return the places of those that are damaged."""
        return self._decode(
            page,
            self._time_samples[page],
            skip,
            take,
            out.view(np.float64),
            out_start,
            self._time_frame_page,
            self._time_frame_offset,
            on_corrupt,
        )

    def decode_values(self, plan: _Plan, on_corrupt: OnCorrupt) -> tuple[Floats, Ints]:
        """Return the values of all pages of the plan, in its order, and the damaged places."""
        values = np.empty(int(plan.take.sum()), dtype=np.float64)
        bad = self._decode(
            plan.page,
            self._slice_count[plan.slice],
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
        self, plan: _Plan, row_count: int, on_corrupt: OnCorrupt
    ) -> tuple[Ints, Ints, Ints]:
        """Return a pool of times, where each row's begin, and the damaged places of the plan.

        Rows with one history share it.
        """
        group, leader = _group_rows(plan.row, plan.slice, row_count)
        keep = np.isin(plan.row, leader)
        row, piece, take = plan.row[keep], plan.slice[keep], plan.take[keep]
        times = np.empty(int(take.sum()), dtype=np.int64)
        start = np.cumsum(take) - take
        bad = self._decode_time_pages(
            self._slice_page[piece],
            self._slice_skip[piece] + plan.low[keep],
            take,
            times,
            start,
            on_corrupt,
        )
        if bad.size:
            return times, start, np.flatnonzero(np.isin(plan.slice, piece[bad]))
        first_of_row = np.zeros(row_count, dtype=np.int64)
        edges = np.flatnonzero(np.diff(row, prepend=-1))
        first_of_row[row[edges]] = start[edges]
        return times, first_of_row[leader[group]], bad

    def _decode(
        self,
        page: Ints,
        count: Ints,
        skip: Ints,
        take: Ints,
        out: Floats,
        out_start: Ints,
        frame_page: Ints,
        frame_offset: Ints,
        on_corrupt: OnCorrupt,
    ) -> Ints:
        if not page.size:
            return np.zeros(0, dtype=np.int64)
        order = np.argsort(page, kind="stable")
        in_order = page[order]
        frame_of = np.searchsorted(frame_page, in_order, side="right") - 1
        edges = np.flatnonzero(np.diff(frame_of, prepend=-1))
        stops = [*edges[1:].tolist(), order.size]
        decompressor = zstandard.ZstdDecompressor()
        damaged = [np.zeros(0, dtype=np.int64)]
        for edge, stop in zip(edges.tolist(), stops, strict=True):
            number = int(frame_of[edge])
            at = order[edge:stop]
            offset_bytes = int(frame_offset[number])
            within = in_order[edge:stop] - int(frame_page[number])
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
        return np.concatenate(damaged)


def _group_rows(row: Ints, piece: Ints, row_count: int) -> tuple[Ints, Ints]:
    """Group the rows that have the same sequence of slices.

    Returns the group of each row int64[row_count] and for each group its first row. Rows are runs
    in `row`, which rises; rows without pages form a group as well.
    """
    count = np.bincount(row, minlength=row_count)
    first = np.cumsum(count) - count
    group = np.zeros(row_count, dtype=np.int64)
    # One round for each page of the longest row: rows are told apart by (group so far, next slice).
    bound = int(piece.max()) + 2 if piece.size else 1
    for nth in range(int(count.max()) if count.size else 0):
        has = count > nth
        slice_of = np.zeros(row_count, dtype=np.int64)
        slice_of[has] = piece[first[has] + nth] + 1
        _, group = np.unique(group * bound + slice_of, return_inverse=True)
    _, leader = np.unique(group, return_index=True)
    return group, leader
