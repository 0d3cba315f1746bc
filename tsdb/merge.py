"""Many batches to one: one symbol space, each series once, its samples in time order.

From: `select.py` (head, late buffer and blocks of one query), `compaction.py` (blocks).
To:   the same.

Series are matched by ids once all ids are of one symbol table. What happens to the samples of a
series depends on its times alone, so it is worked out once for all series that share their times in
every batch; then values are copied in runs. Ranges that do not overlap are one run each.
Invariant: series that shared their times in all batches share them in the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from tsdb import merge_kernels
from tsdb.block_symbols import BlockSymbols
from tsdb.interface import ABSENT, LabelColumns, SeriesBatch, SymbolSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsdb.interface import Bytes, Ids, Ints


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
    seen = np.zeros(size, dtype=np.bool_)
    seen[labels.ids] = True
    used = np.flatnonzero(seen).astype(np.uint32)
    if isinstance(source, BlockSymbols):
        interned = symbols.intern_ranges(*source.ranges(used))
    else:
        interned = symbols.intern_many(source.texts(used))
    place = np.zeros(size, dtype=np.uint32)
    place[used] = interned
    return LabelColumns(labels.names, place[labels.ids], symbols)


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
    group, leader = _group(rows)
    return LabelColumns(names, np.ascontiguousarray(rows[leader].T), symbols), group


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
        )
    labels, series_of = merge_labels([batch.labels for batch in batches], symbols)
    series_count = labels.series_count
    # For each series and batch: its time run (0: none) and where its values begin.
    runs = np.zeros((series_count, len(batches)), dtype=np.uint32)
    value_start = np.zeros((len(batches), series_count), dtype=np.int64)
    run_start: list[Ints] = []
    run_count: list[Ints] = []
    pool_start = 0
    row = 0
    for at, batch in enumerate(batches):
        mine = series_of[row : row + batch.series_count]
        row += batch.series_count
        start, count, run = _distinct_runs(batch)
        run_start.append(np.concatenate(([0], start + pool_start)))
        run_count.append(np.concatenate(([0], count)))
        runs[mine, at] = run + 1
        value_start[at, mine] = batch.value_start
        pool_start += batch.times.size
    pool = np.concatenate([batch.times for batch in batches])
    group, leader = _group(runs)
    leading = runs[leader]
    start = np.stack([run_start[at][leading[:, at]] for at in range(len(batches))], axis=1)
    count = np.stack([run_count[at][leading[:, at]] for at in range(len(batches))], axis=1)
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
    out_start = np.cumsum(out_count) - out_count
    values = np.empty(int(out_count.sum()), dtype=np.float64)
    for at, batch in enumerate(batches):
        merge_kernels.copy_pieces(
            batch.values,
            at,
            value_start[at],
            group,
            piece_first,
            source,
            offset,
            size,
            out_start,
            values,
        )
    return SeriesBatch(labels, times, time_first[group], values, out_start, out_count)


def _distinct_runs(batch: SeriesBatch) -> tuple[Ints, Ints, Ints]:
    """Return start and count of each distinct time run, and each series' run."""
    # Where a run starts and how long it is fit in one number: far quicker to sort than two.
    key = batch.time_start * (int(batch.count.max()) + 1) + batch.count
    _, first, run = np.unique(key, return_index=True, return_inverse=True)
    return batch.time_start[first], batch.count[first], run


def _group(rows: Ids) -> tuple[Ints, Ints]:
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
