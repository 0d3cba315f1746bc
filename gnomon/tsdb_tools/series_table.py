"""Labels of many series in one compact table, and the order and pieces in which blocks want them.

From: `prometheus/` (indexes and logs), `backfill.py` (text).
To:   `tsdb/block_writer.py`, piece by piece: memory holds all labels but never all samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.columns import ragged
from tsdb.interface import METRIC_NAME, LabelColumns
from tsdb.merge_kernels import group_equal_runs
from tsdb.series_order import series_order

if TYPE_CHECKING:
    from tsdb.interface import Ids, Ints
    from tsdb.symbols import SymbolTable

PIECE_SERIES = 8192
PIECE_SAMPLES = 1 << 21


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """The labels of N series: those of n are `names` and `values` from first[n] to first[n + 1].

    Shapes: `first` int64[N + 1]; `names`, `values` uint32[labels], ids of `symbols`, by name in the
    order of the texts' bytes; no value is empty.
    """

    first: Ints
    names: Ids
    values: Ids
    symbols: SymbolTable

    @property
    def series_count(self) -> int:
        """N."""
        return int(self.first.size - 1)

    def labels(self, rows: Ints) -> LabelColumns:
        """Return the labels of some series as columns."""
        count = self.first[rows + 1] - self.first[rows]
        cells = ragged(self.first[rows], count)
        used, column = np.unique(self.names[cells], return_inverse=True)
        texts = self.symbols.texts(used)
        order = sorted(range(len(texts)), key=texts.__getitem__)
        place = np.empty(len(texts), np.int64)
        place[order] = np.arange(len(texts))
        ids = np.zeros((len(texts), rows.size), np.uint32)
        ids[place[column], np.repeat(np.arange(rows.size), count)] = self.values[cells]
        return LabelColumns(tuple(texts[at] for at in order), ids, self.symbols)

    def distinct(self) -> tuple[SeriesTable, Ints]:
        """Return each label set once, and which one each series became: int64[N]."""
        flat = np.empty((self.names.size, 2), np.int64)
        flat[:, 0], flat[:, 1] = self.names, self.values
        group, leader = (np.empty(self.series_count, np.int64) for _ in range(2))
        count = np.diff(self.first)
        found = group_equal_runs(flat.ravel(), 2 * self.first[:-1], 2 * count, group, leader)
        if found == self.series_count:
            return self, group
        return self.take(leader[:found]), group

    def take(self, rows: Ints) -> SeriesTable:
        """Return some series."""
        count = self.first[rows + 1] - self.first[rows]
        cells = ragged(self.first[rows], count)
        first = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
        return SeriesTable(first, self.names[cells], self.values[cells], self.symbols)

    def pieces(self, weight: Ints, *, limit: int = PIECE_SAMPLES) -> list[Ints]:
        """Return the series in series order, cut where a piece would weigh more than `limit`.

        Shapes: `weight` int64[N]: samples of each series, or what they are worth. Series that weigh
        nothing are left out.
        """
        metric = np.zeros(self.series_count, np.int64)
        name = self.symbols.find(METRIC_NAME)
        if name is not None:
            cells = np.flatnonzero(self.names == name)
            metric[np.searchsorted(self.first, cells, side="right") - 1] = self.values[cells]
        rows = np.argsort(metric, kind="stable")
        rows = rows[weight[rows] > 0]
        metrics, begins = np.unique(metric[rows], return_index=True)
        edges = [*begins.tolist(), rows.size]
        texts = self.symbols.texts(metrics.astype(np.uint32))
        pieces: list[Ints] = []
        held: list[Ints] = []
        held_weight = held_series = 0
        for at in sorted(range(len(texts)), key=texts.__getitem__):
            mine = rows[edges[at] : edges[at + 1]]
            total = int(weight[mine].sum())
            if held and (held_weight + total > limit or held_series + mine.size > PIECE_SERIES):
                pieces.append(np.concatenate(held))
                held, held_weight, held_series = [], 0, 0
            if total <= limit and mine.size <= PIECE_SERIES:
                held.append(mine)
                held_weight += total
                held_series += mine.size
                continue
            ordered = mine[series_order(self.labels(mine))]
            pieces += _cut(ordered, weight, limit)
        if held:
            pieces.append(np.concatenate(held))
        return pieces


def join_tables(parts: list[SeriesTable], symbols: SymbolTable) -> SeriesTable:
    """Return the series of all parts, one behind the other; all are in `symbols`."""
    counts = [np.diff(part.first) for part in parts]
    ends = np.cumsum(np.concatenate([np.empty(0, np.int64), *counts]))
    no_ids = np.empty(0, np.uint32)
    return SeriesTable(
        np.concatenate(([0], ends)).astype(np.int64),
        np.concatenate([no_ids, *(part.names for part in parts)]),
        np.concatenate([no_ids, *(part.values for part in parts)]),
        symbols,
    )


def _cut(rows: Ints, weight: Ints, limit: int) -> list[Ints]:
    """Cut one metric's series, in order, into pieces of bounded weight and number."""
    ends = np.cumsum(weight[rows])
    pieces: list[Ints] = []
    first = 0
    while first < rows.size:
        before = int(ends[first - 1]) if first else 0
        stop = int(np.searchsorted(ends, before + limit, side="right"))
        stop = min(max(first + 1, stop), first + PIECE_SERIES)
        pieces.append(rows[first:stop])
        first = stop
    return pieces
