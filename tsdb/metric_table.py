"""Series as rows, label names as columns of symbol ids.

From: `append.py` (label ids of new series). To: `matching.py` (one column at a time), `select.py`
(all columns of chosen rows).

Rows are written once, in one pool, by one kernel call a batch: a row is its *shape* (the sequence
of its label names) and the ids of its values. What a query compares are columns of one metric's
table, made from the rows when first asked for and extended as rows are added; most metrics are
never asked for. Making them on write would cost Python per metric and scrape.
Invariant: a row and a column's filled part never change; collection makes a new `SeriesRows`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.columns import GrowingColumn
from tsdb.interface import METRIC_NAME, LabelColumns
from tsdb.label_kernels import (
    EMPTY,
    add_rows,
    fill_column,
    fill_label_columns,
    mark_ids,
    rebuild_shape_table,
    walk_metric,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tsdb.interface import Ids, Ints, Matcher
    from tsdb.label_kernels import Slots
    from tsdb.symbols import SymbolTable


_COPIED_AT_ONCE = 1 << 14
_REMEMBERED_ROWS_MAX = 1 << 14
_REMEMBERED_MATCHERS_MAX = 64
"""With the former: 8 MB a table at most, and most tables are never asked."""


class MetricTable:
    """The rows of one metric, or of all: their slots, and label columns as far as asked for."""

    __slots__ = ("_columns", "_matches", "_rows", "_slots", "count")

    def __init__(self, rows: SeriesRows) -> None:
        self._rows = rows
        self._slots = np.empty(0, np.int32)
        self._columns: dict[int, tuple[Ids, int]] = {}
        self._matches: dict[Matcher, tuple[int, Ints]] = {}
        self.count = 0

    @property
    def slots(self) -> Slots:
        """Slots of all rows, oldest first: int32[count]."""
        return self._slots[: self.count]

    @property
    def size_bytes(self) -> int:
        """Bytes of slots, columns and remembered matches."""
        columns = sum(column.nbytes for column, _ in list(self._columns.values()))
        matches = sum(rows.nbytes for _, rows in list(self._matches.values()))
        return self._slots.nbytes + columns + matches

    def column(self, label: int, count: int) -> Ids:
        """Return the ids of label `label` of the first `count` rows. The caller holds the lock."""
        column, filled = self._columns.get(label, (np.empty(0, np.uint32), 0))
        if filled < count:
            if column.size < count:
                bigger = np.empty(self._slots.size, np.uint32)
                bigger[:filled] = column[:filled]
                column = bigger
            self._rows.fill(label, self._slots[filled:count], column[filled:count])
            self._columns[label] = (column, count)
        return column[:count]

    def recall(self, matcher: Matcher) -> tuple[int, Ints]:
        """Return how many rows a matcher was asked about, and which of them satisfy it."""
        return self._matches.get(matcher, (0, np.empty(0, np.int64)))

    def remember(self, matcher: Matcher, count: int, rows: Ints) -> None:
        """Keep which of the first `count` rows satisfy a matcher, if they are few enough."""
        if rows.size > _REMEMBERED_ROWS_MAX:
            return
        if len(self._matches) >= _REMEMBERED_MATCHERS_MAX:
            self._matches = {}
        self._matches[matcher] = (count, rows)

    def extend(self, slots: Slots) -> None:
        """Add rows at the end."""
        count = self.count + slots.size
        if count > self._slots.size:
            bigger = np.empty(max(count, self._slots.size * 3 // 2), np.int32)
            bigger[: self.count] = self._slots[: self.count]
            self._slots = bigger
        self._slots[self.count : count] = slots
        self.count = count


class SeriesRows:
    """The labels of all series of the head.

    `add` is called under the head's lock. Readers take none but the one for making columns.
    """

    def __init__(self, symbols: SymbolTable, *, reserve: int = 0) -> None:
        """Make an empty store; `reserve` series of address space."""
        self.symbols = symbols
        self._reserve = reserve
        self._metric_label = symbols.intern(METRIC_NAME)
        self._shape_of = GrowingColumn(np.int32, reserve=reserve)
        self._row_start = GrowingColumn(np.int64, reserve=reserve)
        self._pool = GrowingColumn(np.uint32, reserve=16 * reserve, initial=512)
        self._next_in_metric = GrowingColumn(np.int32, reserve=reserve)
        self._metric_newest = GrowingColumn(np.int32, reserve=reserve)
        self._metric_size = GrowingColumn(np.int32, reserve=reserve)
        self._shape_first = GrowingColumn(np.int32, reserve=0)
        self._shape_names = GrowingColumn(np.uint32, reserve=0, initial=256)
        self._shape_table = np.full(64, EMPTY, np.int32)
        self._counts = np.zeros(2, np.int64)
        self._members = GrowingColumn(np.int32, reserve=reserve)
        self._member_count = 0
        self._tables: dict[int | None, MetricTable] = {}
        self._places: dict[int, Slots] = {}
        self._one_shape: dict[int, tuple[tuple[str, ...], Slots]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many series there are."""
        return self._member_count

    @property
    def slots(self) -> Slots:
        """Slots of all series, in order of creation."""
        slots: Slots = self._members.array[: self._member_count]
        return slots

    @property
    def label_pair_count(self) -> int:
        """Labels of all series together."""
        return int(self._counts[0])

    @property
    def size_bytes(self) -> int:
        """Bytes taken by rows, and by what was asked of them, without room to grow."""
        tables = sum(table.size_bytes for table in list(self._tables.values()))
        slots = int(self.slots.max(initial=-1)) + 1
        return 4 * self.label_pair_count + 16 * slots + 4 * len(self) + tables

    def add(self, slots: Slots, names: Ids, values: Ids, first: Ints) -> None:
        """Store the labels of new series, of which n has the ids `first[n]` to `first[n + 1]`."""
        if not slots.size:
            return
        slot_count = int(slots.max()) + 1
        for column in (self._shape_of, self._row_start, self._next_in_metric):
            column.ensure(slot_count)
        self._metric_newest.ensure(len(self.symbols))
        self._metric_size.ensure(len(self.symbols))
        self._members.ensure(self._member_count + slots.size)
        done = 0
        while True:
            done = add_rows(
                names,
                values,
                first,
                slots,
                done,
                self._metric_label,
                self._shape_of.array,
                self._row_start.array,
                self._pool.array,
                self._next_in_metric.array,
                self._metric_newest.array,
                self._metric_size.array,
                self._shape_first.array,
                self._shape_names.array,
                self._shape_table,
                self._counts,
            )
            if done == slots.size:
                break
            self._make_room(int(first[done + 1] - first[done]))
        self._members.array[self._member_count : self._member_count + slots.size] = slots
        self._member_count += slots.size

    def table(self, metric: int | None) -> tuple[MetricTable, int]:
        """Return the table of one metric (None: of all series) and how many rows it has now."""
        with self._lock:
            table = self._tables.get(metric)
            if table is None:
                table = self._tables[metric] = MetricTable(self)
            if metric is None:
                count = self._member_count
                if count > table.count:
                    table.extend(self._members.array[table.count : count])
            elif metric < self._metric_newest.array.size:
                newest = int(self._metric_newest.array[metric])
                known = int(table.slots[-1]) if table.count else -1
                # The size may be behind what the chain has, while a writer is at it.
                expected = max(0, int(self._metric_size.array[metric]) - table.count)
                slots = np.empty(expected, np.int32)
                while (
                    found := walk_metric(self._next_in_metric.array, newest, known, slots)
                ) > slots.size:
                    slots = np.empty(found, np.int32)
                table.extend(slots[:found][::-1])
            return table, table.count

    def forget_tables(self) -> None:
        """Let go of what was made for readers; they and this store hold each other."""
        with self._lock:
            self._tables = {}

    def column(self, table: MetricTable, label: int, count: int) -> Ids:
        """Return label ids of the first `count` rows of a table: uint32[count], 0 for absent."""
        with self._lock:
            return table.column(label, count)

    def mark(self, metric: int | None) -> int:
        """Return a number that changes when a row comes to a metric (None: to any)."""
        if metric is None:
            return self._member_count
        newest = self._metric_newest.array
        return int(newest[metric]) if metric < newest.size else 0

    def metrics(self) -> tuple[Ids, Slots]:
        """Return the symbol of each metric in use and how many series it has."""
        size = self._metric_size.array[: len(self.symbols)]
        metrics = np.flatnonzero(size).astype(np.uint32)
        return metrics, size[metrics].copy()

    def label_pairs(self, slots: Slots) -> tuple[Ids, Ids, Ints]:
        """Return every label that some series have, as name id, value id, number of series.

        Sorted by the id of the name.
        """
        shapes = self._shape_of.array[slots]
        pairs, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for label in np.unique(self._shape_names.array[: self._shape_first.array[self._counts[1]]]):
            place = self._places_of(int(label))
            having = slots[place[shapes] >= 0]
            if not having.size:
                continue
            column = np.empty(having.size, np.uint32)
            self.fill(int(label), having, column)
            values, series = np.unique(column, return_counts=True)
            pairs.append(np.uint64(label) << np.uint64(32) | values.astype(np.uint64))
            counts.append(series.astype(np.int64))
        both = np.concatenate(pairs)
        return (
            (both >> np.uint64(32)).astype(np.uint32),
            (both & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            np.concatenate(counts),
        )

    def fill(self, label: int, slots: Slots, out: Ids) -> None:
        """Write the id of one label of each slot."""
        place = self._places_of(label)
        fill_column(
            slots, self._shape_of.array, self._row_start.array, self._pool.array, place, out
        )

    def names(self, slots: Slots) -> list[str]:
        """Return the names of all labels that any of the given series has, sorted."""
        return self._names_of(slots)[0]

    def values(self, label: str, slots: Slots) -> list[str]:
        """Return the values of one label among the given series, once each, in no order."""
        symbol = self.symbols.find(label)
        if symbol is None:
            return []
        column = np.empty(slots.size, np.uint32)
        self.fill(symbol, slots, column)
        seen = np.zeros(len(self.symbols), np.bool_)
        mark_ids(column, seen)
        seen[0] = False
        return self.symbols.texts(np.flatnonzero(seen).astype(np.uint32))

    def labels(self, slots: Slots) -> LabelColumns:
        """Return all labels of the given series, as columns."""
        texts, column_of = self._columns_of(slots)
        ids = np.zeros((len(texts), slots.size), np.uint32)
        fill_label_columns(
            slots,
            self._shape_of.array,
            self._row_start.array,
            self._pool.array,
            self._shape_first.array,
            column_of,
            ids,
        )
        return LabelColumns(texts, ids, self.symbols)

    def _columns_of(self, slots: Slots) -> tuple[tuple[str, ...], Slots]:
        """Return what `_names_of` does; series of one shape, the usual case, cost next to none."""
        shapes = self._shape_of.array[slots]
        shape = int(shapes[0]) if shapes.size else 0
        if not shapes.size or (shapes != shape).any():
            texts, column_of = self._names_of(slots)
            return tuple(texts), column_of
        first, stop = self._shape_first.array[shape : shape + 2].tolist()
        known = self._one_shape.get(shape)
        if known is None:
            texts, column_of = self._names_of(slots[:1])
            known = self._one_shape[shape] = (tuple(texts), column_of[first:stop].copy())
        beside = np.empty(stop, np.int32)
        beside[first:] = known[1]
        return known[0], beside

    def _names_of(self, slots: Slots) -> tuple[list[str], Slots]:
        """Return the names of the given series, and beside all names of shapes their place."""
        shape_count = int(self._counts[1])
        first = self._shape_first.array[: shape_count + 1]
        names = self._shape_names.array[: first[-1]]
        seen = np.zeros(shape_count + 1, np.bool_)
        mark_ids(self._shape_of.array[slots].view(np.uint32), seen)
        per_name = np.repeat(seen[:-1], np.diff(first))
        used = np.unique(names[per_name])
        texts = self.symbols.texts(used)
        order = sorted(range(len(texts)), key=texts.__getitem__)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        column_of = np.zeros(max(names.size, 1), np.int32)
        column_of[: names.size][per_name] = rank[np.searchsorted(used, names[per_name])]
        return [texts[at] for at in order], column_of

    def used_symbols(self) -> Ids:
        """Return every symbol that a row or a label name uses, rising."""
        seen = np.zeros(len(self.symbols), np.bool_)
        mark_ids(self._pool.array[: int(self._counts[0])], seen)
        mark_ids(self._shape_names.array[: self._shape_first.array[self._counts[1]]], seen)
        return np.flatnonzero(seen).astype(np.uint32)

    def without(
        self, keep: Slots, *, symbols: SymbolTable | None = None, place: Ids | None = None
    ) -> SeriesRows:
        """Return a new store with the rows of `keep` only, in that order.

        With `symbols` it has those, and symbol s of this store is `place[s]` there.
        """
        other = SeriesRows(symbols or self.symbols, reserve=self._reserve)
        self.copy_into(other, keep, place)
        return other

    def copy_into(self, other: SeriesRows, keep: Slots, place: Ids | None = None) -> None:
        """Add the rows of `keep` to another store; takes no lock, rows never change."""
        # In parts: NumPy lets other threads wait while it repeats and gathers.
        for at in range(0, keep.size, _COPIED_AT_ONCE):
            self._copy_into(other, keep[at : at + _COPIED_AT_ONCE], place)

    def _copy_into(self, other: SeriesRows, keep: Slots, place: Ids | None) -> None:
        shapes = self._shape_of.array[keep]
        starts = self._row_start.array[keep]
        shape_first = self._shape_first.array
        sizes = (shape_first[shapes + 1] - shape_first[shapes]).astype(np.int64)
        first = np.zeros(keep.size + 1, np.int64)
        np.cumsum(sizes, out=first[1:])
        inside = np.arange(first[-1]) - np.repeat(first[:-1], sizes)
        values = self._pool.array[np.repeat(starts, sizes) + inside]
        names = self._shape_names.array[np.repeat(shape_first[shapes], sizes) + inside]
        if place is not None:
            names, values = place[names], place[values]
        other.add(keep, names, values, first)

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`; symbols are saved by their table.

        The caller holds the head's lock. What is added later does not change what is returned.
        """
        used, shapes = self._counts.tolist()
        rows = int(self.slots.max(initial=-1)) + 1
        metrics, size = self.metrics()
        first = self._shape_first.array[: shapes + 1]
        return {
            "rows.shape_of": self._shape_of.array[:rows],
            "rows.start": self._row_start.array[:rows],
            "rows.pool": self._pool.array[:used],
            "rows.next": self._next_in_metric.array[:rows],
            "rows.metrics": metrics,
            "rows.newest": self._metric_newest.array[metrics],
            "rows.size": size,
            "rows.shape_first": first,
            "rows.shape_names": self._shape_names.array[: first[-1]],
            "rows.counts": self._counts.copy(),
            "rows.members": self.slots,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become the rows that were saved, in this empty store. Symbols were restored before."""
        for column, name in (
            (self._shape_of, "shape_of"),
            (self._row_start, "start"),
            (self._pool, "pool"),
            (self._next_in_metric, "next"),
            (self._shape_first, "shape_first"),
            (self._shape_names, "shape_names"),
            (self._members, "members"),
        ):
            column.restore(saved[f"rows.{name}"])
        metrics = saved["rows.metrics"]
        for column, name in ((self._metric_newest, "newest"), (self._metric_size, "size")):
            column.ensure(len(self.symbols))
            column.array[metrics] = saved[f"rows.{name}"]
        self._metric_label = self.symbols.intern(METRIC_NAME)
        self._counts[:] = saved["rows.counts"]
        self._member_count = saved["rows.members"].size
        self._rebuild_shape_table(self._shape_table.size)

    def _places_of(self, label: int) -> Slots:
        """For each shape the place of a label among its names, or -1. Grows with the shapes."""
        shape_count = int(self._counts[1])
        place = self._places.get(label)
        if place is None or place.size < shape_count:
            first = self._shape_first.array[: shape_count + 1]
            at = np.flatnonzero(self._shape_names.array[: first[-1]] == label)
            shape = np.searchsorted(first, at, side="right") - 1
            place = np.full(shape_count, -1, np.int32)
            place[shape] = at - first[shape]
            self._places[label] = place
        return place

    def _make_room(self, labels: int) -> None:
        """Grow whatever stands in the way of one more row of that many labels."""
        used, shapes = int(self._counts[0]), int(self._counts[1])
        self._pool.ensure(used + labels)
        self._shape_first.ensure(shapes + 2)
        self._shape_names.ensure(int(self._shape_first.array[shapes]) + labels)
        if 2 * (shapes + 1) > self._shape_table.size:
            self._rebuild_shape_table(2 * self._shape_table.size)

    def _rebuild_shape_table(self, size: int) -> None:
        shapes = int(self._counts[1])
        while size < 2 * (shapes + 1):
            size *= 2
        table = np.full(size, EMPTY, np.int32)
        rebuild_shape_table(self._shape_first.array, self._shape_names.array, shapes, table)
        self._shape_table = table
