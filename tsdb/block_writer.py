"""A window of many series to a block: a directory that is whole or absent.

From: `head.py` when it is cut, `compaction.py`, importers: `SeriesBatch` by `SeriesBatch`.
To:   the directory that `block.py` opens. FORMAT.md has the byte tables.

Pages are written as chunks arrive; only labels and the page directory stay in memory to the end.
Everything goes to `<ULID>.tmp`, is fsynced, and is renamed last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tsdb import array_file, frames, pages
from tsdb.block_labels import LabelTables
from tsdb.block_meta import META_FILE, BlockMeta, BlockParent, BlockStats, new_ulid
from tsdb.histograms.writer import HistogramWriter
from tsdb.interface import ABSENT
from tsdb.pages import Layout
from tsdb.series_order import series_order
from tsdb.start_times import COMPANION_LABEL
from tsdb.time_dictionary import TimeDictionary, cut_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.interface import Floats, Ints, SeriesBatch, SymbolSource

    Unsigned = npt.NDArray[np.unsignedinteger]

INDEX_FILE = "index"
PAGES_FILE = "pages"
TMP_SUFFIX = ".tmp"
PAGE_SAMPLES = 1024
"""Samples a page: a whole 2 h window at 15 s is one page, and so is a window four times as dense.
Longer pages gain little: benchmarks/block_size.py."""

_ENCODE_SAMPLES = 1 << 20


def write_block(
    parent_dir: Path,
    symbols: SymbolSource,
    chunks: Iterable[SeriesBatch],
    *,
    min_time_ms: int,
    max_time_ms: int,
    level: int = 1,
    sources: tuple[str, ...] = (),
    parents: tuple[BlockParent, ...] = (),
    hints: tuple[str, ...] = (),
    ulid: str | None = None,
    page_samples: int = PAGE_SAMPLES,
) -> Path | None:
    """Write one block of all samples of `chunks`; return its directory, None if there are none.

    Chunks come in series order (`series_order.py`), rows within a chunk in any order; a series is
    in one chunk, with all its samples, which lie in [min_time_ms, max_time_ms). Labels of every
    chunk are ids in `symbols`. A block of level 1 is its own source.
    Raises `OSError` if it cannot be written, ValueError if series come twice or out of order; no
    trace of the block is left then.
    """
    name = ulid or new_ulid()
    block_dir, tmp_dir = parent_dir / name, parent_dir / (name + TMP_SUFFIX)
    tmp_dir.mkdir(parents=True)
    try:
        with (tmp_dir / PAGES_FILE).open("wb") as pages_file:
            writer = _Writer(pages_file, symbols, page_samples)
            for chunk in chunks:
                writer.add(chunk)
            if not writer.sample_count:
                shutil.rmtree(tmp_dir)
                return None
            facts = (min_time_ms, max_time_ms, writer.sample_count, writer.series_count)
            about = ("block.facts", np.array(facts, dtype=np.int64))
            array_file.write_arrays(tmp_dir / INDEX_FILE, chain(writer.finish(), [about]))
            pages_file.flush()
            os.fsync(pages_file.fileno())
        meta = BlockMeta(
            ulid=name,
            min_time_ms=min_time_ms,
            max_time_ms=max_time_ms,
            stats=BlockStats(
                writer.sample_count,
                writer.series_count,
                writer.page_count + writer.histograms.stretch_count,
                num_histograms=writer.histograms.sample_count,
                num_start_series=writer.start_series_count,
                num_start_samples=writer.start_sample_count,
            ),
            level=level,
            sources=sources or (name,),
            parents=parents,
            hints=hints,
        )
        assert min_time_ms <= min(writer.time_min_ms, writer.histograms.time_min_ms)
        assert max(writer.time_max_ms, writer.histograms.time_max_ms) < max_time_ms
        with (tmp_dir / META_FILE).open("wb") as meta_file:
            meta_file.write(meta.to_json())
            meta_file.flush()
            os.fsync(meta_file.fileno())
        sync_directory(tmp_dir)
        tmp_dir.rename(block_dir)
        sync_directory(parent_dir)
    except BaseException:
        for trace in (tmp_dir, block_dir):
            with contextlib.suppress(OSError):
                shutil.rmtree(trace)
        raise
    return block_dir


def sync_directory(directory: Path) -> None:
    """Make renames and new names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(parent_dir: Path) -> list[Path]:
    """Delete the temporary directories that a crash left; return what was deleted."""
    leftovers = [path for path in parent_dir.glob("*" + TMP_SUFFIX) if path.is_dir()]
    for path in leftovers:
        shutil.rmtree(path)
    return leftovers


class _Writer:
    """What a block being written has in memory."""

    def __init__(self, pages_file: BinaryIO, symbols: SymbolSource, page_samples: int) -> None:
        self._file = pages_file
        self._page_samples = page_samples
        self._frames = frames.FrameWriter(pages_file)
        self._labels = LabelTables(symbols)
        self._row_pages: list[Unsigned] = []
        self._page_slice: list[Unsigned] = []
        self._page_number: list[Unsigned] = []
        self._times = TimeDictionary(pages_file)
        self.histograms = HistogramWriter(pages_file, self._times, page_samples)
        self.page_count = 0
        self.series_count = 0
        self.start_series_count = 0
        self.start_sample_count = 0
        self.float_count = 0
        self.time_min_ms = np.iinfo(np.int64).max
        self.time_max_ms = np.iinfo(np.int64).min

    def add(self, batch: SeriesBatch) -> None:
        """Take over one chunk: its labels to memory, its samples to the pages file."""
        has = batch.count > 0
        if batch.histograms is not None:
            has = has | (batch.histograms.count > 0)
        rows = np.flatnonzero(has)
        if not rows.size:
            return
        labels = batch.labels
        rows = rows[series_order(replace(labels, ids=labels.ids[:, rows]))]
        self._labels.add(labels, rows)
        self.series_count += rows.size
        if COMPANION_LABEL in labels.names:
            companions = labels.ids[labels.names.index(COMPANION_LABEL), rows] != ABSENT
            self.start_series_count += int(np.count_nonzero(companions))
            self.start_sample_count += int(batch.count[rows[companions]].sum())
        self._add_floats(batch, rows)
        self.histograms.add(batch.histograms, rows)

    @property
    def sample_count(self) -> int:
        """Samples of both kinds."""
        return self.float_count + self.histograms.sample_count

    def _add_floats(self, batch: SeriesBatch, rows: Ints) -> None:
        has = np.flatnonzero(batch.count[rows])
        if not has.size:
            self._row_pages.append(np.zeros(rows.size, dtype=np.uint8))
            return
        all_rows, rows = rows, rows[has]
        time_start, value_start, count = (
            np.ascontiguousarray(column[rows])
            for column in (batch.time_start, batch.value_start, batch.count)
        )
        last = batch.times[time_start + count - 1]
        self.time_min_ms = min(self.time_min_ms, int(batch.times[time_start].min()))
        self.time_max_ms = max(self.time_max_ms, int(last.max()))
        self.float_count += int(count.sum())
        cells = cut_runs(time_start, count, self._page_samples)
        slices = self._times.slices(batch.times, cells)
        starts = value_start[cells.row] + cells.row_offset
        # Pages of one stretch of time lie side by side: a query of that stretch unpacks no others,
        # and zstd sees what moves together.
        file_order = np.argsort(batch.times[cells.start], kind="stable")
        number = np.empty(file_order.size, dtype=np.int64)
        number[file_order] = np.arange(file_order.size) + self.page_count
        # There may be millions of rows: as narrow as can be until all are there.
        row_pages = np.bincount(has[cells.row], minlength=all_rows.size)
        for kept, column in (
            (self._row_pages, row_pages),
            (self._page_slice, slices),
            (self._page_number, number),
        ):
            kept.append(array_file.narrow(column.astype(np.uint64)))
        self.page_count += number.size
        self._write_values(batch.values, starts[file_order], cells.count[file_order])

    def _write_values(self, values: Floats, start: Ints, count: Ints) -> None:
        """Encode and frame pages, a bounded number of samples at a time."""
        at = 0
        ends = np.cumsum(count)
        while at < count.size:
            limit = (ends[at - 1] if at else 0) + _ENCODE_SAMPLES
            stop = max(at + 1, int(np.searchsorted(ends, limit)))
            runs = np.ascontiguousarray(start[at:stop]), np.ascontiguousarray(count[at:stop])
            planes = pages.encode_values(values, *runs, layout=Layout.PLANES)
            split = pages.encode_values(values, *runs, layout=Layout.SPLIT)
            self._frames.add(planes, split)
            at = stop

    def finish(self) -> Iterator[tuple[str, npt.NDArray[np.generic] | array_file.Parts]]:
        """Write the pages that wait and yield the arrays of the index, each made when its turn is.

        For a day of pods that come and go they are hundreds of megabytes together.
        """
        self._frames.finish()
        self.histograms.finish()
        self._times.finish()
        yield from self._labels.arrays()
        yield "row.page", array_file.in_narrowest(self._row_starts(), self.page_count)
        yield "page.slice", array_file.in_narrowest(self._page_slice)
        yield "page.number", array_file.in_narrowest(self._page_number)
        yield "frame.page", np.array(self._frames.first_page, dtype=np.uint32)
        yield "frame.offset", np.array(self._frames.offset, dtype=np.uint64)
        yield "pages.bytes", np.array([self._file.tell()], dtype=np.uint64)
        yield from self._times.arrays().items()
        yield from self.histograms.arrays().items()

    def _row_starts(self) -> Iterator[Unsigned]:
        """Yield where the pages of each row begin, and where the last one's end."""
        total = np.zeros(1, np.uint64)
        yield total
        for pages_of_row in self._row_pages:
            starts = total[-1] + np.cumsum(pages_of_row, dtype=np.uint64)
            yield starts
            total = starts[-1:] if starts.size else total
