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
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tsdb import array_file, frames, pages
from tsdb.block_meta import META_FILE, BlockMeta, BlockParent, BlockStats, new_ulid
from tsdb.interface import ABSENT, METRIC_NAME, LabelColumns, SeriesBatch
from tsdb.pages import Layout
from tsdb.series_order import column_order, is_strictly_ordered, text_ranks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.interface import Floats, Ids, Ints, SymbolSource

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
            arrays = writer.finish()
            pages_file.flush()
            os.fsync(pages_file.fileno())
        facts = (min_time_ms, max_time_ms, writer.sample_count, writer.series_count)
        arrays["block.facts"] = np.array(facts, dtype=np.int64)
        array_file.write_arrays(tmp_dir / INDEX_FILE, arrays)
        meta = BlockMeta(
            ulid=name,
            min_time_ms=min_time_ms,
            max_time_ms=max_time_ms,
            stats=BlockStats(writer.sample_count, writer.series_count, writer.page_count),
            level=level,
            sources=sources or (name,),
            parents=parents,
            hints=hints,
        )
        assert min_time_ms <= writer.time_min_ms
        assert writer.time_max_ms < max_time_ms
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


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of one metric as they came: label names and ids in the caller's symbol space."""

    metric: int
    names: tuple[str, ...]
    ids: Ids


class _Writer:
    """What a block being written has in memory."""

    def __init__(self, pages_file: BinaryIO, symbols: SymbolSource, page_samples: int) -> None:
        self._file = pages_file
        self._symbols = symbols
        self._page_samples = page_samples
        self._frames = frames.FrameWriter(pages_file)
        self._tables: list[_Table] = []
        self._row_pages: list[Ints] = []
        self._page_slice: list[Ints] = []
        self._page_number: list[Ints] = []
        self._times = _TimeDictionary()
        self.page_count = 0
        self.series_count = 0
        self.sample_count = 0
        self.time_min_ms = np.iinfo(np.int64).max
        self.time_max_ms = np.iinfo(np.int64).min

    def add(self, batch: SeriesBatch) -> None:
        """Take over one chunk: its labels to memory, its samples to the pages file."""
        rows = np.flatnonzero(batch.count > 0)
        if not rows.size:
            return
        labels = batch.labels
        _, ranks = text_ranks(labels.ids[:, rows], labels.symbols)
        order = np.lexsort(ranks[column_order(labels.names)][::-1]) if labels.names else rows * 0
        rows = rows[order]
        self._add_labels(labels, rows)
        time_start, value_start, count = (
            np.ascontiguousarray(column[rows])
            for column in (batch.time_start, batch.value_start, batch.count)
        )
        last = batch.times[time_start + count - 1]
        self.time_min_ms = min(self.time_min_ms, int(batch.times[time_start].min()))
        self.time_max_ms = max(self.time_max_ms, int(last.max()))
        self.series_count += rows.size
        self.sample_count += int(count.sum())
        cells = _cut_runs(time_start, count, self._page_samples)
        slices = self._times.slices(batch.times, cells)
        starts = value_start[cells.row] + cells.row_offset
        # Pages of one stretch of time lie side by side: a query of that stretch unpacks no others,
        # and zstd sees what moves together.
        file_order = np.argsort(batch.times[cells.start], kind="stable")
        number = np.empty(file_order.size, dtype=np.int64)
        number[file_order] = np.arange(file_order.size) + self.page_count
        self._row_pages.append(np.bincount(cells.row, minlength=rows.size))
        self._page_slice.append(slices)
        self._page_number.append(number)
        self.page_count += number.size
        self._write_values(batch.values, starts[file_order], cells.count[file_order])

    def _add_labels(self, labels: LabelColumns, rows: Ints) -> None:
        """Split the chunk into its metrics and keep the columns that each has."""
        ids = labels.ids[:, rows]
        if METRIC_NAME in labels.names:
            metric_at = labels.names.index(METRIC_NAME)
            metric = ids[metric_at]
        else:
            metric_at, metric = -1, np.zeros(rows.size, dtype=np.uint32)
        edges = [0, *(np.flatnonzero(np.diff(metric)) + 1).tolist(), rows.size]
        for first, stop in pairwise(edges):
            part = ids[:, first:stop]
            used = [at for at in np.flatnonzero(part.any(axis=1)).tolist() if at != metric_at]
            self._tables.append(
                _Table(int(metric[first]), tuple(labels.names[at] for at in used), part[used])
            )

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

    def finish(self) -> dict[str, npt.NDArray[np.generic]]:
        """Write the time pages and return the arrays of the index."""
        self._frames.finish()
        time_frames = frames.FrameWriter(self._file)
        encoded_times = self._times.encoded()
        time_frames.add(encoded_times, encoded_times)
        time_frames.finish()
        arrays = self._label_arrays()
        row_pages = np.concatenate(self._row_pages)
        row_page = np.concatenate(([0], np.cumsum(row_pages)))
        arrays |= {
            "row.page": array_file.narrow(row_page.astype(np.uint64)),
            "page.slice": array_file.narrow(np.concatenate(self._page_slice).astype(np.uint64)),
            "page.number": array_file.narrow(np.concatenate(self._page_number).astype(np.uint64)),
            "frame.page": np.array(self._frames.first_page, dtype=np.uint32),
            "frame.offset": np.array(self._frames.offset, dtype=np.uint64),
            "time_frame.page": np.array(time_frames.first_page, dtype=np.uint32),
            "time_frame.offset": np.array(time_frames.offset, dtype=np.uint64),
            "pages.bytes": np.array([self._file.tell()], dtype=np.uint64),
        }
        return arrays | self._times.arrays()

    def _label_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return symbols, tables and columns; check the order of all series."""
        tables = _join_tables(self._tables)
        name_texts = sorted({name for table in tables for name in table.names})
        used = [np.unique(table.ids) for table in tables]
        metrics = np.array([table.metric for table in tables], dtype=np.uint32)
        ids = np.unique(np.concatenate([*used, metrics, np.zeros(1, dtype=np.uint32)]))
        texts = self._symbols.texts(ids)
        all_texts = sorted({*texts, *name_texts, METRIC_NAME, ""})
        place = {text: number for number, text in enumerate(all_texts)}
        new_ids = np.array([place[text] for text in texts], dtype=np.uint32)
        encoded = [text.encode() for text in all_texts]
        symbol_offset = np.zeros(len(encoded) + 1, dtype=np.uint64)
        np.cumsum([len(text) for text in encoded], out=symbol_offset[1:])

        table_metric = new_ids[np.searchsorted(ids, metrics)]
        if table_metric.size > 1 and not (np.diff(table_metric.astype(np.int64)) > 0).all():
            raise ValueError("metrics come twice or out of order")
        table_row, table_column, column_name, column_distinct = [0], [0], [], [0]
        column_width, column_codes, codes_bytes = [], [], 0
        distinct_ids, codes = [], []
        for table in tables:
            columns = new_ids[np.searchsorted(ids, table.ids)]
            if not is_strictly_ordered(columns.astype(np.int64)) and columns.shape[1] > 1:
                metric = all_texts[table_metric[len(table_row) - 1]]
                raise ValueError(f"series of {metric!r} come twice or out of order")
            for name, column in zip(table.names, columns, strict=True):
                distinct, code = np.unique(column, return_inverse=True)
                narrow = array_file.narrow(code.astype(np.uint64))
                width = narrow.itemsize if distinct.size > 1 else 0
                column_name.append(place[name])
                distinct_ids.append(distinct)
                column_distinct.append(column_distinct[-1] + distinct.size)
                column_width.append(width)
                codes_bytes += -codes_bytes % max(width, 1)
                column_codes.append(codes_bytes)
                if width:
                    codes.append((codes_bytes, narrow))
                    codes_bytes += narrow.nbytes
            table_row.append(table_row[-1] + columns.shape[1])
            table_column.append(len(column_name))
        code_pool = np.zeros(codes_bytes, dtype=np.uint8)
        for at, packed in codes:
            code_pool[at : at + packed.nbytes] = packed.view(np.uint8)
        empty = np.zeros(0, dtype=np.uint32)
        return {
            "symbol.offset": array_file.narrow(symbol_offset),
            "symbol.bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "table.metric": table_metric.astype(np.uint32),
            "table.row": np.array(table_row, dtype=np.uint32),
            "table.column": np.array(table_column, dtype=np.uint32),
            "column.name": np.array(column_name, dtype=np.uint32),
            "column.distinct": np.array(column_distinct, dtype=np.uint32),
            "column.width": np.array(column_width, dtype=np.uint8),
            "column.codes": np.array(column_codes, dtype=np.uint64),
            "distinct.ids": np.concatenate([empty, *distinct_ids]).astype(np.uint32),
            "codes": code_pool,
        }


def _join_tables(parts: list[_Table]) -> list[_Table]:
    """Join neighbouring parts of one metric: chunks cut metrics where they must."""
    joined: list[_Table] = []
    at = 0
    while at < len(parts):
        stop = at + 1
        while stop < len(parts) and parts[stop].metric == parts[at].metric:
            stop += 1
        same = parts[at:stop]
        names = tuple(sorted({name for part in same for name in part.names}))
        rows = sum(part.ids.shape[1] for part in same)
        ids = np.full((len(names), rows), ABSENT, dtype=np.uint32)
        row = 0
        for part in same:
            width = part.ids.shape[1]
            ids[[names.index(name) for name in part.names], row : row + width] = part.ids
            row += width
        joined.append(_Table(parts[at].metric, names, ids))
        at = stop
    return joined


@dataclass(frozen=True, slots=True)
class _Cells:
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


def _cut_runs(start: Ints, count: Ints, page_samples: int) -> _Cells:
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
    return _Cells(row, page_start - start[row], page_start, page_count, cell_start, cell_stop)


class _TimeDictionary:
    """Distinct time pages, and distinct slices of them."""

    def __init__(self) -> None:
        self._page_of: dict[bytes, int] = {}
        self._pages: list[bytes] = []
        self._page_samples: list[int] = []
        self._slice_of: dict[tuple[int, int, int], int] = {}
        self._slice_min: list[int] = []
        self._slice_max: list[int] = []

    def slices(self, times: Ints, cells: _Cells) -> Ints:
        """Return the slice of each page, as int64[pages]; new pages and slices are remembered."""
        keys = np.stack([cells.cell_start, cells.cell_stop], axis=1)
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        cell_start = np.ascontiguousarray(distinct[:, 0])
        cell_count = distinct[:, 1] - cell_start
        encoded = pages.encode_times(times, cell_start, cell_count, layout=Layout.PLANES)
        time_page = np.array(
            [self._page(encoded.page(at), int(n)) for at, n in enumerate(cell_count)], np.int64
        )[inverse]
        wanted = np.stack([time_page, cells.start - cells.cell_start, cells.count], axis=1)
        distinct, place, inverse = np.unique(wanted, axis=0, return_index=True, return_inverse=True)
        first = times[cells.start[place]].tolist()
        last = times[cells.start[place] + cells.count[place] - 1].tolist()
        slice_of = [
            self._slice((page, skip, count), low, high)
            for (page, skip, count), low, high in zip(distinct.tolist(), first, last, strict=True)
        ]
        return np.array(slice_of, dtype=np.int64)[inverse]

    def _page(self, encoded: bytes, samples: int) -> int:
        key = blake2b(encoded, digest_size=16).digest() + samples.to_bytes(2, "little")
        number = self._page_of.setdefault(key, len(self._pages))
        if number == len(self._pages):
            self._pages.append(encoded)
            self._page_samples.append(samples)
        return number

    def _slice(self, key: tuple[int, int, int], low: int, high: int) -> int:
        number = self._slice_of.setdefault(key, len(self._slice_min))
        if number == len(self._slice_min):
            self._slice_min.append(low)
            self._slice_max.append(high)
        return number

    def encoded(self) -> pages.EncodedPages:
        """Return all time pages."""
        offset = np.zeros(len(self._pages) + 1, dtype=np.int64)
        np.cumsum([len(page) for page in self._pages], out=offset[1:])
        return pages.EncodedPages(
            data=np.frombuffer(b"".join(self._pages), dtype=np.uint8),
            offset=offset,
            noise=np.zeros(0, dtype=np.uint8),
            noise_offset=np.zeros(offset.size, dtype=np.int64),
        )

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what the index says of time pages and slices."""
        keys = np.array(list(self._slice_of), dtype=np.int64).reshape(-1, 3)
        return {
            "time_page.samples": np.array(self._page_samples, dtype=np.uint32),
            "slice.page": keys[:, 0].astype(np.uint32),
            "slice.skip": keys[:, 1].astype(np.uint32),
            "slice.count": keys[:, 2].astype(np.uint32),
            "slice.min": np.array(self._slice_min, dtype=np.int64),
            "slice.max": np.array(self._slice_max, dtype=np.int64),
        }
