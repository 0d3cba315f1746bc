"""Exemplars: the newest of all series together, in a ring of columns.

From: `append.py`, under the head's lock. To: `select.py`, the exemplars of a query.

The ring has `capacity` places; the oldest exemplar makes room for a new one. Labels of exemplars
are trace ids and the like, seldom seen twice, so they are text in a pool and not symbols. The pool
is packed anew, elsewhere, when it is full: mostly of exemplars that are gone. When the head
collects a series, the ring takes over its labels for as long as it has exemplars of it
(`collected`), as Prometheus' ring keeps those of all its series. If the series comes back, what it
had is not compared with what it gets; a query finds both.
Invariant: bytes of a pool, once written, do not change: a reader may keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.columns import GrowingColumn
from tsdb.exemplar_kernels import (
    NEXT,
    POOL,
    STATE_SIZE,
    USED,
    copy_texts,
    find_labels,
    put_exemplars,
)
from tsdb.interface import (
    ABSENT,
    ExemplarColumns,
    ExemplarStatus,
    LabelColumns,
    LabelSpans,
)
from tsdb.merge import merge_labels, translate_labels
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tsdb.interface import Bytes, Floats, Ints
    from tsdb.kernels import Small
    from tsdb.label_kernels import Slots
    from tsdb.metric_table import SeriesRows

_SLOT_MASK = 0xFFFFFFFF
_SYMBOLS_MIN = 4096


@dataclass(frozen=True, slots=True)
class ExemplarRows:
    """Some exemplars, as they lie in the ring. Shapes: all [E], but for the pool.

    A ref below -1 is series `-2 - ref` of those that were collected.
    """

    refs: Ints
    times: Ints
    values: Floats
    text: Ints
    size: Ints
    pool: Bytes

    def where(self, at: Ints) -> ExemplarRows:
        """Return those at some places, in that order."""
        return ExemplarRows(
            self.refs[at],
            self.times[at],
            self.values[at],
            self.text[at],
            self.size[at],
            self.pool,
        )


class ExemplarRing:
    """The exemplars of one database. Not thread-safe: the head's lock guards it."""

    def __init__(self, capacity: int) -> None:
        """Make an empty ring; a capacity of 0 keeps nothing."""
        self._reset(capacity)
        self._newest = GrowingColumn(np.int32, reserve=0)
        self._symbols = SymbolTable()
        self.collected = LabelColumns((), np.zeros((0, 0), np.uint32), self._symbols)
        """Labels of series that only the ring still knows; replaced, never changed."""

    def _reset(self, capacity: int) -> None:
        self.capacity = max(capacity, 0)
        self._time, self._ref, self._text, self._size = np.zeros((4, self.capacity), np.int64)
        self._value = np.zeros(self.capacity)
        self._pool: Bytes = np.empty(1 << 12, np.uint8)
        self._state = np.zeros(STATE_SIZE, np.int64)

    def __len__(self) -> int:
        """How many exemplars there are."""
        return int(self._state[USED])

    @property
    def size_bytes(self) -> int:
        """Memory of ring and texts."""
        own = 40 * self.capacity + self._pool.nbytes + self._newest.array.nbytes
        return own + self.collected.ids.nbytes

    def oldest_ms(self) -> int | None:
        """Return the time of the oldest exemplar, None where there is none."""
        return int(self._time[: len(self)].min()) if len(self) else None

    def series_count(self) -> int:
        """Return how many series have exemplars."""
        return int(np.count_nonzero(self._newest.array))

    def resize(self, capacity: int, generation: Slots) -> None:
        """Change the capacity; the newest stay."""
        if max(capacity, 0) == self.capacity:
            return
        kept = self._oldest_first()
        self._reset(capacity)
        self._refill(kept, generation)

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`."""
        kept = self._oldest_first()
        pool, text = np.empty(int(kept.size.sum()), np.uint8), np.empty_like(kept.text)
        copy_texts(kept.pool, kept.text, kept.size, pool, text)
        collected = self.collected
        return {
            "exemplars.refs": kept.refs,
            "exemplars.times": kept.times,
            "exemplars.values": kept.values,
            "exemplars.text": text,
            "exemplars.size": kept.size,
            "exemplars.pool": pool,
            "exemplars.series": [collected.row(at) for at in range(collected.series_count)],
        }

    def restore(self, saved: Mapping[str, Any], generation: Slots) -> None:
        """Take what was saved into an empty ring, which may have another capacity."""
        names = ("refs", "times", "values", "text", "size", "pool")
        rows = ExemplarRows(*(np.array(saved[f"exemplars.{name}"]) for name in names))
        if saved["exemplars.series"]:
            labels = label_columns(LabelSpans.from_labels(saved["exemplars.series"]))
            self.collected = translate_labels(labels, self._symbols)
        self._refill(rows, generation)

    def _refill(self, kept: ExemplarRows, generation: Slots) -> None:
        """Put exemplars, oldest first, into the empty ring: the newest, if they are too many."""
        count = min(kept.refs.size, self.capacity)
        kept = kept.where(np.arange(kept.refs.size - count, kept.refs.size))
        self._ref[:count], self._time[:count], self._value[:count] = (
            kept.refs,
            kept.times,
            kept.values,
        )
        self._pool = np.empty(max(int(kept.size.sum()), 1 << 12), np.uint8)
        copy_texts(kept.pool, kept.text, kept.size, self._pool, self._text[:count])
        self._size[:count] = kept.size
        state = (count % max(self.capacity, 1), count, int(kept.size.sum()))
        self._state[[NEXT, USED, POOL]] = state
        self._newest.ensure(generation.size)
        self._newest.array[:] = 0
        live = np.flatnonzero(kept.refs >= 0)
        # Of several exemplars of a series the last one is written last.
        self._newest.array[kept.refs[live] & _SLOT_MASK] = live + 1

    def collect(self, slots: Slots, rows: SeriesRows, generation: Slots) -> None:
        """Take over the labels of series that are being collected, where there are exemplars.

        `rows` still has them, and `generation` int32[slots] still is theirs.
        """
        at = self._ages()
        refs = self._ref[at]
        gone = np.zeros(generation.size, np.bool_)
        gone[slots] = True
        owner = np.where(refs >= 0, refs & _SLOT_MASK, 0)
        mine = (refs >= 0) & gone[owner] & (generation[owner] == refs >> 32)
        if not mine.any():
            return
        having, series = np.unique(owner[mine], return_inverse=True)
        labels = rows.labels(having.astype(np.int32))
        left, number = np.unique(-2 - refs[refs < -1], return_inverse=True)
        before = some_series(self.collected, left)
        # Texts that nobody has any more are left behind now and then.
        if len(self._symbols) > _SYMBOLS_MIN + 4 * np.unique(before.ids).size:
            self._symbols = SymbolTable()
        self.collected, group = merge_labels([before, labels], self._symbols)
        self._ref[at[refs < -1]] = -2 - group[number]
        self._ref[at[mine]] = -2 - group[left.size + series]
        self._newest.array[having] = 0

    def put(
        self, refs: Ints, times: Ints, values: Floats, labels: LabelSpans, generation: Slots
    ) -> Small:
        """Keep a batch; return the `ExemplarStatus` of each.

        `generation` int32[slots] is the head's: it says which refs are of series that are there.
        """
        status = np.full(refs.size, ExemplarStatus.DISABLED, np.uint8)
        if not self.capacity or not refs.size:
            return status
        spans = labels.spans[labels.first[0] : labels.first[-1]]
        sizes = (spans[:, 1] - spans[:, 0]) + (spans[:, 3] - spans[:, 2]) + 4
        self._make_room(int(sizes.sum(dtype=np.int64)))
        self._newest.ensure(generation.size)
        put_exemplars(
            refs,
            times,
            values,
            labels.data,
            labels.spans,
            labels.first,
            generation.size,
            generation,
            self._time,
            self._value,
            self._ref,
            self._text,
            self._size,
            self._newest.array,
            self._pool,
            self._state,
            status,
        )
        return status

    def forget_newest(self, count: int) -> None:
        """Take back the last `count` exemplars put; those that made room for them do not return."""
        at = (int(self._state[NEXT]) - 1 - np.arange(count)) % max(self.capacity, 1)
        self._newest.array[self._ref[at] & _SLOT_MASK] = 0
        self._ref[at] = -1

    def of_slots(self, slots: Slots, generation: Slots, start_ms: int, end_ms: int) -> ExemplarRows:
        """Return the exemplars of some series, and of all collected ones, oldest first."""
        at = self._ages()
        times = self._time[at]
        at = at[(times >= start_ms) & (times <= end_ms)]
        refs = self._ref[at]
        owner = np.where(refs >= 0, refs & _SLOT_MASK, 0)
        wanted = np.zeros(generation.size, np.bool_)
        wanted[slots] = True
        # A slot that has another owner by now has another generation.
        return self._rows(at[(refs < -1) | wanted[owner] & (generation[owner] == refs >> 32)])

    def _oldest_first(self) -> ExemplarRows:
        return self._rows(self._ages())

    def _ages(self) -> Ints:
        """Return the places that hold an exemplar, that of the oldest first."""
        used = len(self)
        begin = int(self._state[NEXT]) if used == self.capacity else 0
        at = (begin + np.arange(used)) % max(used, 1)
        kept: Ints = at[self._ref[at] != -1]
        return kept

    def _rows(self, at: Ints) -> ExemplarRows:
        return ExemplarRows(
            self._ref[at],
            self._time[at],
            self._value[at],
            self._text[at],
            self._size[at],
            self._pool,
        )

    def _make_room(self, more: int) -> None:
        """Have room for so many bytes of text behind the pool's end."""
        used = int(self._state[POOL])
        if used + more <= self._pool.size:
            return
        live = len(self)
        needed = int(self._size[:live].sum())
        pool = np.empty(max(2 * needed, needed + more, 1 << 12), np.uint8)
        copy_texts(self._pool, self._text[:live].copy(), self._size[:live], pool, self._text[:live])
        self._pool = pool
        self._state[POOL] = needed


def some_series(labels: LabelColumns, series: Ints) -> LabelColumns:
    """Return the labels of some series, in that order."""
    return LabelColumns(labels.names, np.ascontiguousarray(labels.ids[:, series]), labels.symbols)


def spans_of(rows: ExemplarRows) -> LabelSpans:
    """Return the labels of exemplars as spans into their pool."""
    none = np.empty((0, 4), np.int32)
    first = np.empty(rows.text.size + 1, np.int64)
    count = find_labels(rows.pool, rows.text, rows.size, none, first)
    spans = np.empty((int(count), 4), np.int32)
    find_labels(rows.pool, rows.text, rows.size, spans, first)
    return LabelSpans(rows.pool, spans, first)


def label_columns(labels: LabelSpans) -> LabelColumns:
    """Return labels as columns of ids in a symbol table of their own."""
    symbols = SymbolTable()
    names, values = symbols.intern_spans(labels)
    distinct, column = np.unique(names, return_inverse=True)
    texts = symbols.texts(distinct)
    order = sorted(range(len(texts)), key=texts.__getitem__)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    ids = np.full((len(order), labels.series_count), ABSENT, np.uint32)
    row = np.repeat(np.arange(labels.series_count), np.diff(labels.first))
    ids[place[column], row] = values
    return LabelColumns(tuple(texts[at] for at in order), ids, symbols)


def exemplar_columns(
    rows: ExemplarRows, order: Ints, owner: Ints, series: LabelColumns
) -> ExemplarColumns:
    """Return exemplars as an answer: in `order`, of the series `owner` (rising) of `series`."""
    chosen = rows.where(order)
    first = np.searchsorted(owner, np.arange(series.series_count + 1)).astype(np.int64)
    labels = label_columns(spans_of(chosen))
    return ExemplarColumns(series, first, chosen.times, chosen.values, labels)
