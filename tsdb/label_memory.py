"""Names and values of labels over all series, of which only new rows are looked at.

From: `select.py`, where no matchers narrow a question. To: rows of `metric_table.py`.

Label browsers ask for them again and again. Rows never change and never leave a store of rows, so
what the first n of them have stays, and a question costs as much as there are new series.
Invariant: an entry says what the first `count` rows have, in order of creation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdb.kernels import NO_TIME

if TYPE_CHECKING:
    from tsdb.interface import Ints
    from tsdb.metric_table import SeriesRows

_TEXTS_MAX = 10_000
"""Values of a label that are kept at most: 1 MB."""

_LABELS_MAX = 64


class LabelMemory:
    """What is known of the rows of one store. Thread-safe: who comes second knows no less."""

    def __init__(self, rows: SeriesRows) -> None:
        self.rows = rows
        self._sampled = 0
        self._names: tuple[int, frozenset[str]] = (0, frozenset())
        self._values: dict[str, tuple[int, frozenset[str]]] = {}

    def sampled(self, newest_time: Ints) -> int | None:
        """Return how many rows there are if all have had a sample in order, else None.

        `newest_time` is that of each slot, `NO_TIME` for those that have had none.
        """
        known, slots = self._sampled, self.rows.slots
        if known < slots.size:
            if (newest_time[slots[known:]] == NO_TIME).any():
                return None
            self._sampled = slots.size
        return int(slots.size)

    def names(self, count: int) -> frozenset[str]:
        """Return the names of the labels of the first `count` rows."""
        known, texts = self._names
        if known < count:
            texts = texts.union(self.rows.names(self.rows.slots[known:count]))
            self._names = (count, texts)
        return texts

    def values(self, label: str, count: int) -> frozenset[str]:
        """Return the values of a label of the first `count` rows."""
        known, texts = self._values.get(label, (0, frozenset[str]()))
        if known < count:
            texts = texts.union(self.rows.values(label, self.rows.slots[known:count]))
            if len(texts) <= _TEXTS_MAX:
                if len(self._values) >= _LABELS_MAX:
                    self._values = {}
                self._values[label] = (count, texts)
        return texts
