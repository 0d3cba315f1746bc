"""Many batches to one: one symbol space, each series once, its samples in time order.

From: `select.py` (head, late buffer and blocks of one query), `direct_read.py` (how they go
together before any value is read), `compaction.py` (blocks).
To:   the same.

Series are matched by ids once all ids are of one symbol table. What happens to the samples of a
series depends on its times alone, so it is worked out once for all series that share their times in
every batch; then values are copied in runs. Ranges that do not overlap are one run each.
Invariant: series that shared their times in all batches share them in the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tsdb import merge_kernels
from tsdb.block_symbols import BlockSymbols
from tsdb.histograms.columns import concat, ragged, take
from tsdb.interface import ABSENT, HistogramRuns, LabelColumns, SeriesBatch, SymbolSource
from tsdb.large_arrays import large_empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ids, Ints


_FEW_OF = 16
"""So many times as many texts as ids: then only those in use are looked at."""


class SymbolSink(SymbolSource, Protocol):
    """A symbol table that takes new texts: `symbols.SymbolTable`."""

    def intern_many(self, texts: Sequence[str]) -> Ids:
        """Return the ids of many texts, adding those that are new."""
        ...

    def intern_ranges(self, data: Bytes, starts: Ints, stops: Ints) -> Ids:
        """Return the ids of the texts `data[start:stop]`, adding those that are new."""
        ...


def empty_batch(symbols: SymbolSource) -> SeriesBatch:
    """Return a batch of no series."""
    none = np.zeros(0, dtype=np.int64)
    labels = LabelColumns((), np.zeros((0, 0), dtype=np.uint32), symbols)
    return SeriesBatch(labels, none, none, np.zeros(0, dtype=np.float64), none, none)


def translate_labels(labels: LabelColumns, symbols: SymbolSink) -> LabelColumns:
    """Return the same labels as ids of `symbols`, interning what is new."""
    if labels.symbols is symbols:
        return labels
    source = labels.symbols
    size = int(labels.ids.max()) + 1 if labels.ids.size else 1
    if size > _FEW_OF * (labels.ids.size + 1):
        # A piece of a block with millions of texts: no table of all of them.
        few, inverse = np.unique(labels.ids, return_inverse=True)
        ids: Ids = _interned(source, few, symbols)[inverse].reshape(labels.ids.shape)
        return LabelColumns(labels.names, ids, symbols)
    seen = np.zeros(size, dtype=np.bool_)
    seen[labels.ids] = True
    used = np.flatnonzero(seen).astype(np.uint32)
    place = np.zeros(size, dtype=np.uint32)
    place[used] = _interned(source, used, symbols)
    return LabelColumns(labels.names, place[labels.ids], symbols)


def _interned(source: SymbolSource, used: Ids, symbols: SymbolSink) -> Ids:
    """Return the ids in `symbols` of some texts of another table."""
    if isinstance(source, BlockSymbols):
        return symbols.intern_ranges(*source.ranges(used))
    return symbols.intern_many(source.texts(used))


def merge_labels(parts: Sequence[LabelColumns], symbols: SymbolSink) -> tuple[LabelColumns, Ints]:
    """Return each series of all parts once, in order of first appearance.

    The second result int64[all series] says which series of the result each one became.
    """
    translated = [translate_labels(part, symbols) for part in parts]
    names = tuple(sorted({name for part in translated for name in part.names}))
    place = {name: at for at, name in enumerate(names)}
    total = sum(part.series_count for part in translated)
    rows = np.full((total, len(names)), ABSENT, dtype=np.uint32)
    row = 0
    for part in translated:
        columns = [place[name] for name in part.names]
        rows[row : row + part.series_count, columns] = part.ids.T
        row += part.series_count
    group, leader = group_rows(rows)
    return LabelColumns(names, np.ascontiguousarray(rows[leader].T), symbols), group


class TimedRows(Protocol):
    """Series and when they have samples, as in `SeriesBatch`."""

    @property
    def labels(self) -> LabelColumns:
        """The labels of S series, none of which comes twice."""
        ...

    @property
    def times(self) -> Ints:
        """The pool of times."""
        ...

    @property
    def time_start(self) -> Ints:
        """Where the times of each series begin."""
        ...

    @property
    def count(self) -> Ints:
        """How many samples each series has."""
        ...


@dataclass(frozen=True, slots=True)
class Weave:
    """What becomes of the samples of many parts, known from their labels and times alone.

    Shapes: `series_of` int64[series of the part] for each part: which series of the result each of
    its own is; `group` int64[S]: series with equal times everywhere; the samples of group g come
    in the pieces `piece_first[g]` to `piece_first[g + 1]`, each `piece_count` samples of part
    `piece_source` from its sample `piece_offset` on. `count`, `value_start` int64[S] are those of
    the result, `runs` int64[G, parts] how many samples of each part there were.
    """

    labels: LabelColumns
    series_of: tuple[Ints, ...]
    group: Ints
    runs: Ints
    times: Ints
    time_first: Ints
    piece_first: Ints
    piece_source: Ints
    piece_offset: Ints
    piece_count: Ints
    count: Ints
    value_start: Ints

    def batch(self, values: Floats, first: int = 0) -> SeriesBatch:
        """Return the result with its values, which begin at `values[first]`."""
        time_start = self.time_first[self.group]
        start = self.value_start + first if first else self.value_start
        return SeriesBatch(self.labels, self.times, time_start, values, start, self.count)

    def places(self) -> list[Ints] | None:
        """Return where the samples of each part's series go, as if the values began at 0.

        Returns None if not all samples of a series go to one place: parts overlap.
        """
        pieces = np.diff(self.piece_first)
        whole = pieces == np.count_nonzero(self.runs, axis=1)
        if not (whole & (np.diff(self.time_first) == self.runs.sum(axis=1))).all():
            return None
        of_piece = np.repeat(np.arange(pieces.size), pieces)
        before = np.zeros(self.runs.shape, dtype=np.int64)
        before[of_piece, self.piece_source] = (
            np.cumsum(self.piece_count) - self.piece_count - self.time_first[of_piece]
        )
        return [
            self.value_start[mine] + before[self.group[mine], at]
            for at, mine in enumerate(self.series_of)
        ]


def weave(parts: Sequence[TimedRows], symbols: SymbolSink) -> Weave:
    """Find out how the samples of some parts go together, in the symbol space of `symbols`.

    Of samples of one series at one time that of the part that comes first counts.
    """
    labels, all_series = merge_labels([part.labels for part in parts], symbols)
    edges = np.cumsum([part.count.size for part in parts])[:-1]
    series_of = tuple(np.split(all_series, edges))
    # For each series and part: its time run, 0 for none.
    runs = np.zeros((labels.series_count, len(parts)), dtype=np.uint32)
    run_start: list[Ints] = []
    run_count: list[Ints] = []
    pool_start = 0
    for at, part in enumerate(parts):
        start, count, run = _distinct_runs(part)
        run_start.append(np.concatenate(([0], start + pool_start)))
        run_count.append(np.concatenate(([0], count)))
        runs[series_of[at], at] = run + 1
        pool_start += part.times.size
    pool = np.concatenate([part.times for part in parts])
    group, leader = group_rows(runs)
    leading = runs[leader]
    start = np.stack([run_start[at][leading[:, at]] for at in range(len(parts))], axis=1)
    count = np.stack([run_count[at][leading[:, at]] for at in range(len(parts))], axis=1)
    groups = leader.size
    group_times = np.zeros(groups, dtype=np.int64)
    group_pieces = np.zeros(groups, dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    merge_kernels.weave_runs(
        pool, start, count, False, group_times, group_pieces, none, none, none, none
    )
    time_first = np.concatenate(([0], np.cumsum(group_times)))
    piece_first = np.concatenate(([0], np.cumsum(group_pieces)))
    times = np.empty(time_first[-1], dtype=np.int64)
    source, offset, size = (np.empty(piece_first[-1], dtype=np.int64) for _ in range(3))
    merge_kernels.weave_runs(
        pool, start, count, True, time_first, piece_first, times, source, offset, size
    )
    out_count = group_times[group]
    return Weave(
        labels,
        series_of,
        group,
        count,
        times,
        time_first,
        piece_first,
        source,
        offset,
        size,
        out_count,
        np.cumsum(out_count) - out_count,
    )


def merge_batches(batches: Sequence[SeriesBatch], symbols: SymbolSink) -> SeriesBatch:
    """Join batches into one in the symbol space of `symbols`.

    Of samples of one series at one time that of the batch that comes first in `batches` counts.
    Series come in order of first appearance. No batch holds a series twice.
    """
    batches = [batch for batch in batches if batch.series_count]
    if not batches:
        return empty_batch(symbols)
    if len(batches) == 1:
        only = batches[0]
        return SeriesBatch(
            translate_labels(only.labels, symbols),
            only.times,
            only.time_start,
            only.values,
            only.value_start,
            only.count,
            only.histograms,
        )
    woven = weave(batches, symbols)
    values = large_empty(int(woven.count.sum()), np.float64)
    for at, batch in enumerate(batches):
        value_start = np.zeros(woven.count.size, dtype=np.int64)
        value_start[woven.series_of[at]] = batch.value_start
        merge_kernels.copy_pieces(
            batch.values,
            at,
            value_start,
            woven.group,
            woven.piece_first,
            woven.piece_source,
            woven.piece_offset,
            woven.piece_count,
            woven.value_start,
            values,
        )
    merged = woven.batch(values)
    series_of = np.concatenate(woven.series_of)
    if all(batch.histograms is None for batch in batches):
        return merged
    return _add_histograms(merged, batches, series_of)


def _add_histograms(
    merged: SeriesBatch, batches: Sequence[SeriesBatch], series_of: Ints
) -> SeriesBatch:
    """Return the merged floats with the histograms of all batches beside them.

    Of a float and a histogram of one time, too, that of the batch that comes first counts.
    """
    series, times, source, parts = [], [], [], []
    row = 0
    for at, batch in enumerate(batches):
        runs = batch.histograms
        if runs is not None:
            rows = ragged(runs.start, runs.count)
            series.append(np.repeat(series_of[row : row + batch.series_count], runs.count))
            times.append(runs.times[rows])
            source.append(np.full(rows.size, at, dtype=np.int64))
            parts.append(take(runs.columns, rows))
        row += batch.series_count
    all_series, all_times, all_source = map(np.concatenate, (series, times, source))
    order = np.lexsort((all_source, all_times, all_series))
    all_series, all_times, all_source = all_series[order], all_times[order], all_source[order]
    first = np.ones(order.size, dtype=np.bool_)
    first[1:] = (np.diff(all_series) != 0) | (np.diff(all_times) != 0)
    twice = _find(merged, all_series, all_times) & first
    if twice.any():
        # Rare: a late sample is of another kind than one that only a block has.
        hits = np.flatnonzero(twice)
        float_source = np.full(hits.size, len(batches), dtype=np.int64)
        row = 0
        for number, batch in enumerate(batches):
            place = np.full(merged.series_count, -1, dtype=np.int64)
            place[series_of[row : row + batch.series_count]] = np.arange(batch.series_count)
            row += batch.series_count
            mine = np.flatnonzero(place[all_series[hits]] >= 0)
            here = mine[_find(batch, place[all_series[hits[mine]]], all_times[hits[mine]])]
            float_source[here] = np.minimum(float_source[here], number)
        loses = float_source < all_source[hits]
        first[hits[loses]] = False
        merged = _without_floats(merged, all_series[hits[~loses]], all_times[hits[~loses]])
    kept = np.flatnonzero(first)
    count = np.bincount(all_series[kept], minlength=merged.series_count).astype(np.int64)
    columns = take(concat(parts), order[kept])
    runs = HistogramRuns(all_times[kept], np.cumsum(count) - count, count, columns)
    return replace(merged, histograms=runs)


def _find(batch: SeriesBatch, series: Ints, times: Ints) -> npt.NDArray[np.bool_]:
    """Say of each (series, time) whether the batch has a float there."""
    found = np.empty(series.size, dtype=np.bool_)
    merge_kernels.find_times(
        batch.times, batch.time_start[series], batch.count[series], times, found
    )
    return found


def _without_floats(batch: SeriesBatch, series: Ints, times: Ints) -> SeriesBatch:
    """Return the batch without the floats at the given places; series may end up without any."""
    of_series = np.repeat(np.arange(batch.series_count), batch.count)
    all_times = batch.times[ragged(batch.time_start, batch.count)]
    values = batch.values[ragged(batch.value_start, batch.count)]
    drop = np.zeros(all_times.size, dtype=np.bool_)
    start = np.cumsum(batch.count) - batch.count
    for one, time in zip(series.tolist(), times.tolist(), strict=True):
        run = slice(start[one], start[one] + batch.count[one])
        drop[start[one] + np.searchsorted(all_times[run], time)] = True
    count = np.bincount(of_series[~drop], minlength=batch.series_count).astype(np.int64)
    start = np.cumsum(count) - count
    return SeriesBatch(batch.labels, all_times[~drop], start, values[~drop], start, count)


def _distinct_runs(batch: TimedRows) -> tuple[Ints, Ints, Ints]:
    """Return start and count of each distinct time run, and each series' run."""
    # Where a run starts and how long it is fit in one number: far quicker to sort than two.
    key = batch.time_start * (int(batch.count.max()) + 1) + batch.count
    _, first, run = np.unique(key, return_index=True, return_inverse=True)
    return batch.time_start[first], batch.count[first], run


def group_rows(rows: Ids) -> tuple[Ints, Ints]:
    """Return the number of each row among the distinct ones, and the first row of each."""
    series, width = rows.shape
    group = np.empty(series, dtype=np.int64)
    leader = np.empty(series, dtype=np.int64)
    found = merge_kernels.group_equal_runs(
        rows.astype(np.int64).ravel(),
        np.arange(series, dtype=np.int64) * width,
        np.full(series, width, dtype=np.int64),
        group,
        leader,
    )
    return group, leader[:found]
