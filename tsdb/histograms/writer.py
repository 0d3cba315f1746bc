"""Native histograms of a window to pages: stretches of one layout, column by column.

From: `block_writer.py`, chunk by chunk.
To:   frames in the block's `pages`, and the arrays `hist.*` of its index; `reader.py`
      reads both. FORMAT.md has the byte tables.

The histograms of a series mostly have the same buckets for a long time, so each bucket is a run of
numbers like any other and goes through the page codec. What does not change lies in a dictionary
of layouts.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tsdb import array_file, frames, pages
from tsdb.histograms.columns import ragged, starts_of
from tsdb.histograms.page_kernels import (
    PLAIN_COLUMNS,
    mark_layout_changes,
    to_columns,
    write_layouts,
)
from tsdb.histograms.reset_hints import as_written
from tsdb.merge_kernels import group_equal_runs
from tsdb.pages import Layout
from tsdb.time_dictionary import Cells, cut_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tsdb.interface import Floats, HistogramColumns, HistogramRuns, Ints
    from tsdb.time_dictionary import TimeDictionary

_ENCODE_VALUES = 1 << 20


class LayoutDictionary:
    """Distinct layouts, numbered as they come."""

    def __init__(self) -> None:
        self._number_of: dict[bytes, int] = {}
        self._bounds_of: dict[bytes, int] = {}
        self._schema = array("B")
        self._kind = array("B")
        self._threshold = array("q")
        self._bounds = array("I")
        self._positive = array("I", [0])
        self._negative = array("I")
        self._span_index = array("I")
        self._span_length = array("I")
        self._bounds_start = array("I", [0])
        self._bounds_pool = array("q")
        # The list of those that have no bounds.
        self._bounds_number(np.zeros(0, np.int64))

    def numbers(self, columns: HistogramColumns, rows: Ints) -> Ints:
        """Return the number of the layout of each of `rows`; new ones are remembered."""
        positive = np.diff(columns.positive_start)[rows]
        size = 3 + positive + np.diff(columns.negative_start)[rows] + columns.bounds_count[rows]
        first = starts_of(size)
        items = np.empty(int(first[-1]), np.int64)
        write: Callable[..., None] = write_layouts
        write(*layout_arguments(columns), rows, first[:-1].copy(), items)
        group, leader = np.empty((2, rows.size), np.int64)
        found = group_equal_runs(items, first[:-1].copy(), size, group, leader)
        numbers = np.empty(found, np.int64)
        for number, at in enumerate(leader[:found].tolist()):
            row = rows[at]
            content = items[first[at] : first[at + 1]]
            bounds = int(columns.bounds_count[row])
            numbers[number] = self._number(content, bounds)
        return numbers[group]

    def _number(self, content: Ints, bounds: int) -> int:
        # 128 bits of a hash stand for the layout, as with pages of times.
        key = blake2b(content.tobytes() + bounds.to_bytes(8, "little"), digest_size=16).digest()
        number = self._number_of.setdefault(key, len(self._kind))
        if number < len(self._kind):
            return number
        facts, threshold, positive = content[:3].tolist()
        indices = content[3 : content.size - bounds]
        self._schema.append(facts >> 4 & 0xFF)
        self._kind.append(facts & 0xF)
        self._threshold.append(threshold)
        self._bounds.append(self._bounds_number(content[content.size - bounds :]))
        self._add_spans(indices[:positive])
        self._negative.append(len(self._span_index))
        self._add_spans(indices[positive:])
        self._positive.append(len(self._span_index))
        return number

    def _add_spans(self, indices: Ints) -> None:
        edges = np.flatnonzero(np.diff(indices, prepend=np.iinfo(np.int64).min >> 1) != 1)
        lengths = np.diff(edges, append=indices.size)
        self._span_index.extend((indices[edges] & 0xFFFFFFFF).tolist())
        self._span_length.extend(lengths.tolist())

    def _bounds_number(self, bits: Ints) -> int:
        number = self._bounds_of.setdefault(bits.tobytes(), len(self._bounds_of))
        if number == len(self._bounds_start) - 1:
            self._bounds_pool.extend(bits.tolist())
            self._bounds_start.append(len(self._bounds_pool))
        return number

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what the index says of layouts."""
        return {
            "layout.schema": np.array(self._schema, np.uint8),
            "layout.kind": np.array(self._kind, np.uint8),
            "layout.threshold": np.array(self._threshold, np.int64).view(np.float64),
            "layout.bounds": np.array(self._bounds, np.uint32),
            "layout.positive": np.array(self._positive, np.uint32),
            "layout.negative": np.array(self._negative, np.uint32),
            "span.index": np.array(self._span_index, np.uint32),
            "span.length": np.array(self._span_length, np.uint32),
            "bounds.start": np.array(self._bounds_start, np.uint32),
            "bounds.pool": np.array(self._bounds_pool, np.int64).view(np.float64),
        }


def layout_arguments(columns: HistogramColumns) -> tuple[npt.NDArray[Any], ...]:
    """Return the columns that make a layout, as the kernels take them."""
    return (
        columns.schema,
        columns.hint,
        columns.is_float,
        columns.zero_threshold.view(np.uint64),
        columns.positive_start,
        columns.positive_index,
        columns.negative_start,
        columns.negative_index,
        columns.bounds_start,
        columns.bounds_count,
        columns.bounds.view(np.uint64),
    )


class HistogramWriter:
    """The histograms of a block that is being written."""

    def __init__(self, file: BinaryIO, times: TimeDictionary, page_samples: int) -> None:
        """Write frames to `file`, between those of others; `times` is the block's dictionary."""
        self._frames = frames.FrameWriter(file)
        self._times = times
        self._page_samples = page_samples
        self._layouts = LayoutDictionary()
        self._row_stretches: list[Ints] = []
        self._slice: list[Ints] = []
        self._layout: list[Ints] = []
        self._page: list[Ints] = []
        self._summed: list[npt.NDArray[np.bool_]] = []
        self._page_count = 0
        self.sample_count = 0
        self.stretch_count = 0
        self.time_min_ms = np.iinfo(np.int64).max
        self.time_max_ms = np.iinfo(np.int64).min

    def add(self, runs: HistogramRuns | None, rows: Ints) -> None:
        """Take the histograms of the next rows of the block, the series `rows` of a chunk."""
        has = rows[:0] if runs is None else np.flatnonzero(runs.count[rows])
        if runs is None or not has.size:
            self._row_stretches.append(np.zeros(rows.size, np.int64))
            return
        runs = replace(runs, columns=as_written(runs.columns))
        start = np.ascontiguousarray(runs.start[rows[has]])
        count = np.ascontiguousarray(runs.count[rows[has]])
        stretches = self._cut(runs, start, count)
        self._row_stretches.append(np.bincount(has[stretches.row], minlength=rows.size))
        self._slice.append(self._times.slices(runs.times, stretches))
        layout = self._layouts.numbers(runs.columns, stretches.start)
        self._layout.append(layout)
        self.sample_count += int(count.sum())
        self.stretch_count += stretches.start.size
        self.time_min_ms = min(self.time_min_ms, int(runs.times[start].min()))
        self.time_max_ms = max(self.time_max_ms, int(runs.times[start + count - 1].max()))
        columns = runs.columns
        width = (
            PLAIN_COLUMNS
            + np.diff(columns.positive_start)[stretches.start]
            + np.diff(columns.negative_start)[stretches.start]
        )
        # Stretches of one time lie side by side, as pages of floats do.
        order = np.argsort(runs.times[stretches.start], kind="stable")
        page = np.empty(order.size, np.int64)
        page[order] = self._page_count + np.cumsum(width[order]) - width[order]
        self._page.append(page)
        self._page_count += int(width.sum())
        summed = np.empty(order.size, np.bool_)
        summed[order] = self._write(
            columns, stretches.start[order], stretches.count[order], width[order]
        )
        self._summed.append(summed)

    def _cut(self, runs: HistogramRuns, start: Ints, count: Ints) -> Cells:
        """Cut the runs into pages, and those where the layout changes."""
        cells = cut_runs(start, count, self._page_samples)
        at = ragged(start, count)
        changed = np.empty(at.size, np.bool_)
        mark: Callable[..., None] = mark_layout_changes
        mark(*layout_arguments(runs.columns), at, changed)
        cell_first = np.cumsum(cells.count) - cells.count
        changed[cell_first] = True
        first = np.flatnonzero(changed)
        size = np.diff(first, append=at.size)
        cell = np.searchsorted(cell_first, first, side="right") - 1
        offset = cells.row_offset[cell] + first - cell_first[cell]
        return Cells(
            cells.row[cell], offset, at[first], size, cells.cell_start[cell], cells.cell_stop[cell]
        )

    def _write(
        self, columns: HistogramColumns, first: Ints, size: Ints, width: Ints
    ) -> npt.NDArray[np.bool_]:
        """Encode and frame stretches, a bounded number of values at a time."""
        summed = np.empty(first.size, np.bool_)
        values = size * width
        ends = np.cumsum(values)
        at = 0
        while at < first.size:
            limit = (ends[at - 1] if at else 0) + _ENCODE_VALUES
            stop = max(at + 1, int(np.searchsorted(ends, limit)))
            some = slice(at, stop)
            place = np.cumsum(values[some]) - values[some]
            pool: Floats = np.empty(int(values[some].sum()))
            to_columns(
                columns.count,
                columns.sum.view(np.uint64),
                columns.zero_count,
                columns.positive_start,
                columns.positive_count,
                columns.negative_start,
                columns.negative_count,
                first[some],
                size[some],
                place,
                pool,
                pool.view(np.uint64),
                summed[some],
            )
            counts = np.repeat(size[some], width[some])
            starts = np.cumsum(counts) - counts
            planes = pages.encode_values(pool, starts, counts, layout=Layout.PLANES)
            split = pages.encode_values(pool, starts, counts, layout=Layout.SPLIT)
            self._frames.add(planes, split)
            at = stop
        return summed

    def finish(self) -> None:
        """Write the pages that wait for more."""
        self._frames.finish()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what the index says of histograms: nothing if there are none."""
        if not self.sample_count:
            return {}

        def narrow(parts: list[Ints]) -> npt.NDArray[Any]:
            return array_file.narrow(np.concatenate(parts).astype(np.uint64))

        first = starts_of(np.concatenate(self._row_stretches))
        return {
            "hist.row": narrow([first]),
            "hist.slice": narrow(self._slice),
            "hist.layout": narrow(self._layout),
            "hist.page": narrow(self._page),
            "hist.summed": np.packbits(np.concatenate(self._summed)),
            "hist_frame.page": np.array(self._frames.first_page, np.uint32),
            "hist_frame.offset": np.array(self._frames.offset, np.uint64),
            **self._layouts.arrays(),
        }
