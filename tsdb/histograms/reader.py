"""The histograms of a sealed block: rows to stretches, stretches to columns.

From: the arrays `hist.*`, `layout.*`, `span.*`, `bounds.*` of a block's index, and its `pages`.
To:   `block.py`. `writer.py` says what a stretch is.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.columns import ragged, starts_of, weight
from tsdb.histograms.page_kernels import PLAIN_COLUMNS, from_columns
from tsdb.interface import HistogramColumns, HistogramRuns
from tsdb.pages import PAGE_SAMPLES_MAX

if TYPE_CHECKING:
    from tsdb.array_file import Arrays
    from tsdb.interface import Floats, Ints
    from tsdb.page_directory import OnCorrupt, PageDirectory, ReadPlan

_BASE = PAGE_SAMPLES_MAX + 1


class HistogramDirectory:
    """The directory of a block's histograms."""

    def __init__(self, index: Arrays, pages: PageDirectory) -> None:
        """Take the views. Raises `CorruptFileError`."""
        self._pages = pages
        self._row = index.array("hist.row")
        self._slice = index.array("hist.slice")
        self._layout = index.array("hist.layout")
        self._page = index.array("hist.page")
        self._summed = index.array("hist.summed")
        self._frame_page = index.array("hist_frame.page")
        self._frame_offset = index.array("hist_frame.offset")
        self._schema = index.array("layout.schema")
        self._kind = index.array("layout.kind")
        self._threshold = index.array("layout.threshold")
        self._layout_bounds = index.array("layout.bounds")
        self._positive = index.array("layout.positive")
        self._negative = index.array("layout.negative")
        self._span_index = index.array("span.index")
        self._span_length = index.array("span.length")
        self._bounds_start = index.array("bounds.start")
        self._bounds = index.array("bounds.pool")

    @cached_property
    def _buckets(self) -> tuple[Ints, Ints]:
        """How many positive and negative buckets each layout has."""
        ends = starts_of(self._span_length.astype(np.int64))
        positive, negative = ends[self._negative], ends[self._positive]
        return positive - negative[:-1], negative[1:] - positive

    def row_samples(self) -> Ints:
        """Return the number of histograms of every row."""
        return self._sums(self._pages.slice_samples(self._slice))

    def holds(self, rows: Ints) -> bool:
        """Return whether any of some rows has histograms."""
        return bool((self._row[rows] < self._row[rows + 1]).any())

    def row_values(self) -> Ints:
        """Return how many numbers the histograms of every row are."""
        positive, negative = self._buckets
        width = (PLAIN_COLUMNS + positive + negative)[self._layout]
        return self._sums(self._pages.slice_samples(self._slice) * width)

    def value_count(self, first: int, stop: int) -> int:
        """Return how many numbers the histograms of the rows [first, stop) are."""
        positive, negative = self._buckets
        mine = slice(int(self._row[first]), int(self._row[stop]))
        width = (PLAIN_COLUMNS + positive + negative)[self._layout[mine]]
        return int((self._pages.slice_samples(self._slice[mine]) * width).sum())

    def _sums(self, of_stretch: Ints) -> Ints:
        sums: Ints = np.diff(starts_of(of_stretch)[self._row])
        return sums

    def plan(self, rows: Ints, start_ms: int, end_ms: int, on_corrupt: OnCorrupt) -> ReadPlan:
        """Find the stretches of `rows` in [start_ms, end_ms]; `page` of the plan numbers them."""
        return self._pages.find(self._row, self._slice, rows, start_ms, end_ms, on_corrupt)

    def weight(self, plan: ReadPlan) -> int:
        """Return as how many samples the histograms of a plan count."""
        positive, negative = self._buckets
        buckets = (positive + negative)[self._layout[plan.page]]
        return weight(int(plan.take.sum()), int((plan.take * buckets).sum()))

    def read(self, plan: ReadPlan, row_count: int, on_corrupt: OnCorrupt) -> HistogramRuns | None:
        """Return the histograms of a plan by row, without those that are damaged; None for none."""
        plan, times = self._times(plan, on_corrupt)
        if not plan.row.size:
            return None
        layout = self._layout[plan.page].astype(np.int64)
        positive, negative = (buckets[layout] for buckets in self._buckets)
        width = PLAIN_COLUMNS + positive + negative
        page = ragged(self._page[plan.page].astype(np.int64), width)
        take = np.repeat(plan.take, width)
        pool: Floats = np.empty(int(take.sum()))
        samples = self._pages.slice_samples(plan.slice)
        bad = self._pages.decode(
            page,
            np.repeat(samples, width),
            np.repeat(plan.low, width),
            take,
            pool,
            np.cumsum(take) - take,
            self._frame_page,
            self._frame_offset,
            on_corrupt,
        )
        place = np.cumsum(plan.take * width) - plan.take * width
        if bad.size:
            keep = np.ones(plan.row.size, np.bool_)
            keep[np.repeat(np.arange(width.size), width)[bad]] = False
            times = times[np.repeat(keep, plan.take)]
            plan, layout, place = plan.where(keep), layout[keep], place[keep]
            positive, negative = positive[keep], negative[keep]
            if not plan.row.size:
                return None
        columns = self._columns(plan, layout, positive, negative, place, pool)
        count = np.bincount(plan.row, weights=plan.take, minlength=row_count).astype(np.int64)
        return HistogramRuns(times, np.cumsum(count) - count, count, columns)

    def _times(self, plan: ReadPlan, on_corrupt: OnCorrupt) -> tuple[ReadPlan, Ints]:
        """Return what is left of a plan, and all times; series of one scrape decode them once."""
        key = (plan.slice * _BASE + plan.low) * _BASE + plan.take
        _, first, where = np.unique(key, return_index=True, return_inverse=True)
        take = plan.take[first]
        start = np.cumsum(take) - take
        pool = np.empty(int(take.sum()), np.int64)
        bad = self._pages.decode_slices(
            plan.slice[first], plan.low[first], take, pool, start, on_corrupt
        )
        if bad.size:
            keep = ~np.isin(where, bad)
            plan, where = plan.where(keep), where[keep]
        return plan, pool[ragged(start[where], plan.take)]

    def _columns(
        self,
        plan: ReadPlan,
        layout: Ints,
        positive: Ints,
        negative: Ints,
        place: Ints,
        pool: Floats,
    ) -> HistogramColumns:
        of_sample = np.repeat(layout, plan.take)
        positive_start = starts_of(np.repeat(positive, plan.take))
        negative_start = starts_of(np.repeat(negative, plan.take))
        size = of_sample.size
        count, total, zero_count = np.empty(size), np.empty(size), np.empty(size)
        indices = [
            np.empty(int(starts[-1]), np.int32) for starts in (positive_start, negative_start)
        ]
        counts = [np.empty(int(starts[-1])) for starts in (positive_start, negative_start)]
        number = plan.page
        summed = self._summed[number // 8] >> (7 - number % 8).astype(np.uint8) & 1
        from_columns(
            pool,
            pool.view(np.uint64),
            place,
            plan.take,
            layout,
            summed.astype(np.bool_),
            self._positive,
            self._negative,
            self._span_index,
            self._span_length,
            count,
            total.view(np.uint64),
            zero_count,
            positive_start,
            indices[0],
            counts[0],
            negative_start,
            indices[1],
            counts[1],
        )
        kind = self._kind[of_sample]
        used, place_of = np.unique(self._layout_bounds[layout], return_inverse=True)
        first = self._bounds_start[used].astype(np.int64)
        bounds_count = self._bounds_start[used + 1].astype(np.int64) - first
        bounds_at = np.cumsum(bounds_count) - bounds_count
        list_of = np.repeat(place_of, plan.take)
        return HistogramColumns(
            schema=self._schema[of_sample].view(np.int8),
            hint=(kind >> np.uint8(1)).astype(np.int8),
            is_float=(kind & np.uint8(1)).astype(np.bool_),
            count=count,
            sum=total,
            zero_threshold=self._threshold[of_sample],
            zero_count=zero_count,
            positive_start=positive_start,
            positive_index=indices[0],
            positive_count=counts[0],
            negative_start=negative_start,
            negative_index=indices[1],
            negative_count=counts[1],
            bounds_start=bounds_at[list_of],
            bounds_count=bounds_count[list_of],
            bounds=self._bounds[ragged(first, bounds_count)],
        )
