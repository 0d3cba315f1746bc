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
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tsdb import array_file, frames, pages
from tsdb.block_meta import META_FILE, BlockMeta, BlockParent, BlockStats, new_ulid
from tsdb.distinct import distinct
from tsdb.histogram_writer import HistogramWriter
from tsdb.interface import ABSENT, METRIC_NAME, LabelColumns, SeriesBatch
from tsdb.pages import Layout
from tsdb.series_order import column_order, is_strictly_ordered, text_ranks
from tsdb.text_order import joined, order_of, ranges_of, ranges_of_texts
from tsdb.time_dictionary import TimeDictionary, cut_runs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ids, Ints, SymbolSource

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
            stats=BlockStats(
                writer.sample_count,
                writer.series_count,
                writer.page_count + writer.histograms.stretch_count,
                num_histograms=writer.histograms.sample_count,
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
        self._times = TimeDictionary(pages_file)
        self.histograms = HistogramWriter(pages_file, self._times, page_samples)
        self.page_count = 0
        self.series_count = 0
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
        _, ranks = text_ranks(labels.ids[:, rows], labels.symbols)
        order = np.lexsort(ranks[column_order(labels.names)][::-1]) if labels.names else rows * 0
        rows = rows[order]
        self._add_labels(labels, rows)
        self.series_count += rows.size
        self._add_floats(batch, rows)
        self.histograms.add(batch.histograms, rows)

    @property
    def sample_count(self) -> int:
        """Samples of both kinds."""
        return self.float_count + self.histograms.sample_count

    def _add_floats(self, batch: SeriesBatch, rows: Ints) -> None:
        has = np.flatnonzero(batch.count[rows])
        if not has.size:
            self._row_pages.append(np.zeros(rows.size, dtype=np.int64))
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
        self._row_pages.append(np.bincount(has[cells.row], minlength=all_rows.size))
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
        """Write the pages that wait and return the arrays of the index."""
        self._frames.finish()
        self.histograms.finish()
        self._times.finish()
        arrays = self._label_arrays()
        row_pages = np.concatenate(self._row_pages)
        row_page = np.concatenate(([0], np.cumsum(row_pages)))
        arrays |= {
            "row.page": array_file.narrow(row_page.astype(np.uint64)),
            "page.slice": _narrow(self._page_slice),
            "page.number": _narrow(self._page_number),
            "frame.page": np.array(self._frames.first_page, dtype=np.uint32),
            "frame.offset": np.array(self._frames.offset, dtype=np.uint64),
            "pages.bytes": np.array([self._file.tell()], dtype=np.uint64),
        }
        return arrays | self._times.arrays() | self.histograms.arrays()

    def _label_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return symbols, tables and columns; check the order of all series."""
        tables = _join_tables(self._tables)
        name_texts = sorted({name for table in tables for name in table.names})
        used = [distinct(table.ids) for table in tables]
        metrics = np.array([table.metric for table in tables], dtype=np.uint32)
        ids = distinct(np.concatenate([*used, metrics, np.zeros(1, dtype=np.uint32)]))
        symbol_offset, symbol_bytes, new_ids, place = _sorted_symbols(
            self._symbols, ids, [*name_texts, METRIC_NAME, ""]
        )

        table_metric = new_ids[np.searchsorted(ids, metrics)]
        if table_metric.size > 1 and not (np.diff(table_metric.astype(np.int64)) > 0).all():
            raise ValueError("metrics come twice or out of order")
        table_row, table_column, column_name, column_distinct = [0], [0], [], [0]
        column_width, column_codes, codes_bytes = [], [], 0
        distinct_ids, codes = [], []
        for table in tables:
            columns = new_ids[np.searchsorted(ids, table.ids)]
            if not is_strictly_ordered(columns.astype(np.int64)) and columns.shape[1] > 1:
                metric = self._symbols.text(table.metric)
                raise ValueError(f"series of {metric!r} come twice or out of order")
            for name, column in zip(table.names, columns, strict=True):
                in_use, code = np.unique(column, return_inverse=True)
                narrow = array_file.narrow(code.astype(np.uint64))
                width = narrow.itemsize if in_use.size > 1 else 0
                column_name.append(place[name])
                distinct_ids.append(in_use)
                column_distinct.append(column_distinct[-1] + in_use.size)
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
            "symbol.offset": array_file.narrow(symbol_offset.astype(np.uint64)),
            "symbol.bytes": symbol_bytes,
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


def _sorted_symbols(
    symbols: SymbolSource, ids: Ids, names: list[str]
) -> tuple[Ints, Bytes, Ids, dict[str, int]]:
    """Return offsets and bytes of the block's symbols, what `ids` and `names` become among them."""
    text, starts, stops = ranges_of(symbols, ids)
    own = joined(text, starts, stops)
    lengths = stops - starts
    more, more_starts, more_stops = ranges_of_texts(names)
    text = np.concatenate([own, more])
    starts = np.concatenate([np.cumsum(lengths) - lengths, own.size + more_starts])
    stops = np.concatenate([np.cumsum(lengths), own.size + more_stops])
    order, repeats = order_of(text, starts, stops)
    place = np.empty(order.size, np.uint32)
    place[order] = np.cumsum(~repeats) - 1
    kept = order[~repeats]
    offset = np.zeros(kept.size + 1, np.int64)
    np.cumsum((stops - starts)[kept], out=offset[1:])
    data = joined(text, starts[kept], stops[kept])
    return (
        offset,
        data,
        place[: ids.size],
        dict(zip(names, place[ids.size :].tolist(), strict=True)),
    )


def _narrow(parts: list[Ints]) -> npt.NDArray[np.unsignedinteger]:
    joined = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    return array_file.narrow(joined.astype(np.uint64))


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
