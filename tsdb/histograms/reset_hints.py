"""Counter-reset hints of native histograms, as a reader gets them.

From: `select.py`, the merged samples of a query. To: the same.

Writers say GAUGE and RESET, and both are kept. NOT_RESET is true of two neighbours, and who a
sample's neighbour is changes with late samples, deletions and merged blocks: so it is not stored,
but worked out of what is read, after all of that. Buckets are decoded by then, and a comparison
takes far less than decoding them.
Prometheus compares when it appends, cuts a chunk where a histogram does not go on from the one
before, and reads NOT_RESET within a chunk and UNKNOWN at the beginning of each: of a fall, after a
gauge, a float or a stale marker, in front of and behind late samples, and wherever a chunk is full.
We say NOT_RESET over the seams of pages and blocks, where it is as true. RESET, which Prometheus
writes into the chunk and does not give back (its issues 15234 and 15346), comes back as written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.reset_hint_kernels import count_earlier, mark_counting_on
from tsdb.interface import ResetHint
from tsdb.tombstones import take_series

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import HistogramColumns, Ints, SeriesBatch

BEFORE_MS = 300_000
"""How far before a range the neighbour of its first histogram is looked for; else it is UNKNOWN.

A day of histograms must not be read to answer for one moment; scrapes are not further apart.
"""


def as_written(columns: HistogramColumns) -> HistogramColumns:
    """Return histograms with only those hints that are stored: what a neighbour tells is not.

    A writer's NOT_RESET says what the reader of a chunk is told; kept, it would tell the first
    histogram of every chunk of the sender from the others, and pages of one layout would be cut.
    """
    told = columns.hint == ResetHint.NOT_RESET
    if not told.any():
        return columns
    return replace(columns, hint=np.where(told, np.int8(ResetHint.UNKNOWN), columns.hint))


def with_reset_hints(batch: SeriesBatch) -> SeriesBatch:
    """Return samples, as merged, with the hints that they are read with."""
    runs = batch.histograms
    if runs is None:
        return batch
    columns = runs.columns
    hint = np.array(columns.hint)
    mark_counting_on(
        batch.times,
        batch.time_start,
        batch.count,
        runs.times,
        runs.start,
        runs.count,
        columns.schema,
        columns.is_float,
        columns.count,
        columns.sum.view(np.uint64),
        columns.zero_threshold,
        columns.zero_count,
        columns.positive_start,
        columns.positive_index,
        columns.positive_count,
        columns.negative_start,
        columns.negative_index,
        columns.negative_count,
        columns.bounds_start,
        columns.bounds_count,
        columns.bounds,
        hint,
    )
    return replace(batch, histograms=replace(runs, columns=replace(columns, hint=hint)))


def since(batch: SeriesBatch, start_ms: int) -> SeriesBatch:
    """Return a batch without what is before `start_ms`. Pools are shared, nothing is copied."""
    skipped = samples_before(batch.times, batch.time_start, batch.count, start_ms)
    count, runs = batch.count - skipped, batch.histograms
    left = count
    if runs is not None:
        out = samples_before(runs.times, runs.start, runs.count, start_ms)
        runs = replace(runs, start=runs.start + out, count=runs.count - out)
        left = count + runs.count
        if not runs.count.any():
            runs = None
    trimmed = replace(
        batch,
        time_start=batch.time_start + skipped,
        value_start=batch.value_start + skipped,
        count=count,
        histograms=runs,
    )
    return trimmed if left.all() else take_series(trimmed, np.flatnonzero(left))


def samples_before(times: Ints, start: Ints, count: Ints, limit_ms: int | Ints) -> Ints:
    """Return how many samples of each series are before a time, int64[series]."""
    before: npt.NDArray[np.int64] = np.empty(start.size, np.int64)
    limits = np.ascontiguousarray(np.broadcast_to(np.asarray(limit_ms, np.int64), start.shape))
    count_earlier(times, start, count, limits, before)
    return before
