"""What a queue knows of each series: its labels as they are sent, encoded once.

From: the log's records of series, by `queue.py`.   To: `messages_v1.py`, `messages_v2.py`.

External labels are added and `write_relabel_configs` applied when a series is met, never for a
sample. A series becomes an *entry*, a small number; a ref is looked up in two arrays by its slot.
By 1.0 the labels of an entry are encoded bytes, by 2.0 ids of texts.
Invariant: records come in the order of the log, so the series last met under a slot is the one
that its samples belong to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gnomon.forwarding.start_times import EntriesByLabels, are_companions, own_labels, places_in
from gnomon.forwarding.v1_kernels import add_labels, encode_labels
from tsdb.columns import GrowingColumn
from tsdb.histograms.columns import ragged
from tsdb.interface import METRIC_NAME, LabelSpans
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from scraper.relabel import CompiledRules
    from tsdb.interface import Ints, MetricMetadata

    Entries = npt.NDArray[np.int32]

UNKNOWN, DROPPED, INTERNAL = -1, -2, -3
"""Instead of an entry: a ref never met, a series that rules drop, one of storage's own."""
COMPANION = -4
"""What holds the start timestamps of entry e has COMPANION - e; see `start_times.py`."""

_SLOT_MASK = 0xFFFFFFFF
_TYPES = (
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
)  # fmt: skip
_SUFFIXES = ("", "_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum", "_gcount")
"""What the series of a family may be called besides the family."""


class SeriesTable:
    """Refs to entries, entries to labels. One thread at a time."""

    def __init__(
        self, rules: CompiledRules | None, external_labels: Mapping[str, str], *, by_ids: bool
    ) -> None:
        """Know no series; `by_ids`: for remote write 2.0."""
        self._rules, self._external, self._by_ids = rules, dict(external_labels), by_ids
        self._entry = np.full(1024, UNKNOWN, np.int32)
        self._generation = np.full(1024, -1, np.int64)
        self._clear()

    def _clear(self) -> None:
        self.count = 0
        self._first = GrowingColumn(np.int64, reserve=0)
        self._text = GrowingColumn(np.uint8, reserve=0, initial=1024)
        self._refs = GrowingColumn(np.uint32, reserve=0, initial=1024)
        self._metrics = GrowingColumn(np.int32, reserve=0)
        self.symbols = SymbolTable()
        self._by_labels = EntriesByLabels()
        self._traits = np.zeros((1024, 3), np.int32)
        self._families: dict[str, MetricMetadata] = {}

    @property
    def text(self) -> tuple[npt.NDArray[np.uint8], Ints]:
        """The encoded labels of all entries, and where each entry's begin and end."""
        return self._text.array, self._first.array[: self.count + 1]

    @property
    def ids(self) -> tuple[npt.NDArray[np.uint32], Ints]:
        """The labels of all entries as ids, names and values by turns, and where they begin."""
        return self._refs.array, self._first.array[: self.count + 1]

    @property
    def metrics(self) -> Entries:
        """The id of each entry's metric name."""
        return self._metrics.array[: self.count]

    @property
    def traits(self) -> Entries:
        """Type, and ids of help and unit, of each metric by its id: int32[symbols, 3]."""
        return self._traits

    def entries_of(self, refs: Ints) -> Entries:
        """Return the entry of each ref, or why it has none; companions as `COMPANION` says."""
        slots = refs & _SLOT_MASK
        inside = slots < self._entry.size
        if not inside.all():
            slots = np.where(inside, slots, 0)
        known = inside & (self._generation[slots] == refs >> 32)
        return np.where(known, self._entry[slots], UNKNOWN).astype(np.int32, copy=False)

    def learn(self, refs: Ints, labels: LabelSpans) -> None:
        """Meet series: from now on the refs mean these labels."""
        if not refs.size:
            return
        entries = np.full(refs.size, INTERNAL, np.int32)
        own = _is_internal(labels)
        chosen = np.flatnonzero(~own)
        if chosen.size:
            entries[chosen] = self._learn(_chosen(labels, chosen))
        if self._by_ids and chosen.size < refs.size:
            companions = np.flatnonzero(own & are_companions(labels))
            bases = self._by_labels.find(own_labels(_chosen(labels, companions)))
            entries[companions[bases >= 0]] = COMPANION - bases[bases >= 0]
        slots = refs & _SLOT_MASK
        self._make_room(int(slots.max()) + 1)
        self._entry[slots], self._generation[slots] = entries, refs >> 32

    def _learn(self, labels: LabelSpans) -> Entries:
        """Return the entry of each series, DROPPED for those that rules drop."""
        entries = np.full(labels.series_count, DROPPED, np.int32)
        if self._rules is None:
            shown, kept = self._with_external(labels), np.ones(labels.series_count, np.bool_)
        else:
            shown, kept = self._relabelled(labels, self._rules)
        entries[kept] = self._add(shown)
        if self._by_ids:
            self._by_labels.learn(labels, entries)
        return entries

    def describe(self, entries: Iterable[MetricMetadata]) -> None:
        """Take what metric families are; only 2.0 sends it with samples."""
        if not self._by_ids:
            return
        for entry in entries:
            if self._families.get(entry.metric) == entry:
                continue
            self._families[entry.metric] = entry
            for suffix in _SUFFIXES:
                symbol = self.symbols.find(entry.metric + suffix)
                if symbol is not None:
                    self._set_traits(symbol, entry)

    def keep_only(self, refs: Ints) -> None:
        """Forget all series but these."""
        entries = self.entries_of(refs)
        slots = refs[entries != UNKNOWN] & _SLOT_MASK
        entries = entries[entries != UNKNOWN]
        kept, inverse = np.unique(entries[entries >= 0], return_inverse=True)
        renumbered = entries.copy()
        renumbered[entries >= 0] = inverse
        companions = np.flatnonzero(entries <= COMPANION)
        place, there = places_in(kept, COMPANION - entries[companions])
        renumbered[companions] = np.where(there, COMPANION - place, INTERNAL)
        generation = self._generation[slots]
        first = self._first.array
        starts, sizes = first[kept], first[kept + 1] - first[kept]
        at = ragged(starts, sizes)
        text, ids = self._text.array, self._refs.array
        texts, families, by_labels = self.symbols, self._families, self._by_labels
        self._clear()
        by_labels.keep_only(kept)
        self._families, self._by_labels = families, by_labels
        if self._by_ids:
            used, place = np.unique(ids[at], return_inverse=True)
            new = self.symbols.intern_ranges(*texts.ranges(used))
            self._append_ids(new[place], sizes)
        else:
            self._append_text(text[at], sizes)
        self._entry[:] = UNKNOWN
        self._generation[:] = -1
        self._entry[slots], self._generation[slots] = renumbered, generation

    def _with_external(self, labels: LabelSpans) -> LabelSpans:
        if not self._external or not labels.series_count:
            return labels
        extra = LabelSpans.from_labels([self._external])
        spans = extra.spans + np.int32(labels.data.size)
        room = len(labels.spans) + labels.series_count * len(spans)
        out, first = np.empty((room, 4), np.int32), np.empty(labels.first.size, np.int64)
        data = np.concatenate([labels.data, extra.data])
        size = add_labels(data, labels.spans, labels.first, spans, out, first)
        return LabelSpans(data, out[:size], first)

    def _relabelled(
        self, labels: LabelSpans, rules: CompiledRules
    ) -> tuple[LabelSpans, npt.NDArray[np.bool_]]:
        """Return the labels of the series that rules keep, and which these are."""
        kept = np.zeros(labels.series_count, np.bool_)
        found = []
        data, spans, first = labels.data.tobytes(), labels.spans.tolist(), labels.first.tolist()
        for n in range(labels.series_count):
            own = {
                data[a:b].decode(): data[c:d].decode()
                for a, b, c, d in spans[first[n] : first[n + 1]]
            }
            result = rules.apply({**self._external, **own})
            if result:
                kept[n] = True
                found.append(result)
        return LabelSpans.from_labels(found), kept

    def _add(self, labels: LabelSpans) -> Entries:
        """Make an entry of each series."""
        begin = self.count
        if self._by_ids:
            names, values = self.symbols.intern_spans(labels)
            ids = np.empty(2 * names.size, np.uint32)
            ids[::2], ids[1::2] = names, values
            self._append_ids(ids, 2 * np.diff(labels.first))
        else:
            out = np.empty(_text_bytes(labels) + 18 * len(labels.spans), np.uint8)
            first = np.empty(labels.first.size, np.int64)
            size = encode_labels(labels.data, labels.spans, labels.first, out, first)
            self._append_text(out[:size], np.diff(first))
        return np.arange(begin, self.count, dtype=np.int32)

    def _append_text(self, text: npt.NDArray[np.uint8], sizes: Ints) -> None:
        end = self._extend(sizes)
        self._text.ensure(end)
        self._text.array[end - text.size : end] = text

    def _append_ids(self, ids: npt.NDArray[np.uint32], sizes: Ints) -> None:
        begin = self.count
        end = self._extend(sizes)
        self._refs.ensure(end)
        self._refs.array[end - ids.size : end] = ids
        name = self.symbols.intern(METRIC_NAME)
        at = np.flatnonzero(ids[::2] == name)
        entry = np.repeat(np.arange(sizes.size), sizes // 2)[at]
        self._metrics.ensure(self.count)
        self._metrics.array[begin : self.count] = 0
        self._metrics.array[begin + entry] = ids[1::2][at]
        for symbol in np.unique(ids[1::2][at]).tolist():
            family = self._family_of(self.symbols.text(symbol))
            if family is not None:
                self._set_traits(symbol, family)
        self._grow_traits()

    def _extend(self, sizes: Ints) -> int:
        """Add entries of so many bytes, or ids; return where the last one ends."""
        self._first.ensure(self.count + sizes.size + 1)
        first = self._first.array
        stops = first[self.count] + np.cumsum(sizes)
        first[self.count + 1 : self.count + 1 + sizes.size] = stops
        self.count += sizes.size
        return int(first[self.count])

    def _family_of(self, metric: str) -> MetricMetadata | None:
        for suffix in _SUFFIXES:
            if metric.endswith(suffix):
                found = self._families.get(metric.removesuffix(suffix) if suffix else metric)
                if found is not None:
                    return found
        return None

    def _set_traits(self, symbol: int, family: MetricMetadata) -> None:
        kind = _TYPES.index(family.type) if family.type in _TYPES else 0
        texts = self.symbols.intern(family.help), self.symbols.intern(family.unit)
        self._grow_traits()
        self._traits[symbol] = (kind, *texts)

    def _grow_traits(self) -> None:
        if len(self.symbols) > len(self._traits):
            grown = np.zeros((2 * len(self.symbols), 3), np.int32)
            grown[: len(self._traits)] = self._traits
            self._traits = grown

    def _make_room(self, slots: int) -> None:
        have = self._entry.size
        if slots <= have:
            return
        size = max(slots, 2 * have)
        entry, generation = np.full(size, UNKNOWN, np.int32), np.full(size, -1, np.int64)
        entry[:have], generation[:have] = self._entry, self._generation
        self._entry, self._generation = entry, generation


def _text_bytes(labels: LabelSpans) -> int:
    spans = labels.spans
    return int((spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2]).sum(dtype=np.int64))


def _is_internal(labels: LabelSpans) -> npt.NDArray[np.bool_]:
    """Say of each series whether it is storage's own: its first label begins with a zero byte."""
    found = np.zeros(labels.series_count, np.bool_)
    having = np.flatnonzero(np.diff(labels.first) > 0)
    found[having] = labels.data[labels.spans[labels.first[having], 0]] == 0
    return found


def _chosen(labels: LabelSpans, chosen: Ints) -> LabelSpans:
    """Return some of the series; the text stays whole."""
    if chosen.size == labels.series_count:
        return labels
    sizes = np.diff(labels.first)[chosen]
    at = ragged(labels.first[chosen], sizes)
    first = np.zeros(chosen.size + 1, np.int64)
    np.cumsum(sizes, out=first[1:])
    return LabelSpans(labels.data, np.ascontiguousarray(labels.spans[at]), first)
