"""Hash of a label set -> slot.

From: `append.py`. To: refs, which are slots with a generation (`head.py`).

A series is known by a 128-bit hash of its labels under a random key that lives and dies with the
process. The key is secret, so nobody can prepare two label sets that collide; by chance two of a
billion series collide with probability 1e-21. Nothing of this is on disk.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.columns import GrowingColumn
from tsdb.label_kernels import (
    EMPTY,
    claim_series,
    find_series,
    hash_series,
    rebuild_series_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tsdb.interface import Ints, LabelSpans
    from tsdb.label_kernels import Slots, Words


class SeriesIndex:
    """Open addressing over slots. Not thread-safe: the head's lock guards it, except `hash`."""

    def __init__(self, *, reserve: int = 0) -> None:
        """Make an empty index; `reserve` slots of address space."""
        self._keys = np.array([secrets.randbits(64) for _ in range(4)], np.uint64)
        self._low = GrowingColumn(np.uint64, reserve=reserve)
        self._high = GrowingColumn(np.uint64, reserve=reserve)
        self._table = np.full(128, EMPTY, np.int32)
        self._count = 0

    def __len__(self) -> int:
        """How many series are in the index."""
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes of the hashes of all series and of the table."""
        return 16 * self._count + self._table.nbytes

    def hash(self, labels: LabelSpans) -> tuple[Words, Words]:
        """Return both halves of each series' hash. Takes no lock."""
        low, high = np.empty((2, labels.series_count), np.uint64)
        hash_series(labels.data, labels.spans, labels.first, self._keys, low, high)
        return low, high

    def find(self, low: Words, high: Words) -> Slots:
        """Return the slot of each hash, -1 where there is none."""
        slots = np.empty(low.size, np.int32)
        find_series(low, high, self._table, self._low.array, self._high.array, slots)
        return slots

    def claim(self, low: Words, high: Words, fresh: Slots) -> tuple[Slots, Ints]:
        """Enter the hashes that are missing, the j-th of them under slot `fresh[j]`.

        Returns the slot of each hash and the positions of those that were entered.
        """
        self._make_room(int(fresh.max(initial=-1)) + 1, self._count + low.size)
        slots, new = np.empty(low.size, np.int32), np.empty(low.size, np.int64)
        entered = claim_series(
            low, high, fresh, self._table, self._low.array, self._high.array, slots, new
        )
        self._count += entered
        return slots, new[:entered]

    def keep_only(self, slots: Slots) -> None:
        """Forget every series that is not in `slots`."""
        table = self.table_of(slots, self.size_for(slots.size))
        self._table, self._count = table, slots.size

    def size_for(self, series: int) -> int:
        """Return how many places a table of so many series has: it shrinks late."""
        size = self._table.size
        while size > 128 and size > 8 * series:
            size //= 2
        return size

    def table_of(self, slots: Slots, size: int) -> Slots:
        """Return a table of `size` places with series of the index, for `take_table`. No lock."""
        table = np.full(size, EMPTY, np.int32)
        rebuild_series_table(slots, self._low.array, table)
        return table

    def take_table(self, table: Slots, more: Slots, count: int) -> None:
        """Know only the series of `table` and those of `more`, in all `count`."""
        if 2 * count > table.size:
            more = np.concatenate([table[table >= 0], more])
            table = np.full(self._table.size, EMPTY, np.int32)
        rebuild_series_table(more, self._low.array, table)
        self._table, self._count = table, count

    def save(self, slot_count: int) -> dict[str, Any]:
        """Return the hashes of the first slots, for `restore`.

        Later changes concern only slots that are free now.
        """
        return {
            "index.keys": self._keys,
            "index.low": self._low.array[:slot_count],
            "index.high": self._high.array[:slot_count],
        }

    def restore(self, saved: Mapping[str, Any], slots: Slots) -> None:
        """Become the index that was saved, of the given slots."""
        self._keys = saved["index.keys"].copy()
        self._low.restore(saved["index.low"])
        self._high.restore(saved["index.high"])
        self._table, self._count = np.full(128, EMPTY, np.int32), slots.size
        self._make_room(0, slots.size)
        rebuild_series_table(slots, self._low.array, self._table)

    def _make_room(self, slots: int, series: int) -> None:
        self._low.ensure(slots)
        self._high.ensure(slots)
        size = self._table.size
        # Half full at most: a probe then looks at 1.5 places on average.
        while size < 2 * series:
            size *= 2
        if size > self._table.size:
            used = self._table[self._table >= 0]
            table = np.full(size, EMPTY, np.int32)
            rebuild_series_table(used, self._low.array, table)
            self._table = table
