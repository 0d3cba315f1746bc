"""What a target's earlier scrapes taught: the text of a series, and the ref it is stored under.

From: `ingest.py`, which adds series and ends scrapes.   To: `kernels.scan`, which finds them again.
One cache belongs to one target and is used by one thread at a time: scrapes do not overlap.

Equal text means an equal series, for as long as job and target labels are the same; so label
parsing, relabelling and limits happen once for each new text. A text is known by a 128-bit hash
under a secret of this process, not by its bytes: those would be most of the memory, and two of a
billion texts have one hash with a probability of 1e-21.
Memory for each series: 37 bytes in columns, 6 to 12 of them in the table.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scraper.cache_kernels import DROPPED, insert_entries

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]
    Mask = npt.NDArray[np.bool_]

HASH_KEYS: npt.NDArray[np.uint64] = np.array([secrets.randbits(64) for _ in range(4)], np.uint64)
"""Secret of this process, so that no target can prepare colliding series."""

_TABLE_MIN = 16

__all__ = ["DROPPED", "HASH_KEYS", "SeriesCache"]


@dataclass(slots=True)
class SeriesCache:
    """Known series as columns, in the order in which the target shows them.

    Shapes: [count] each; `table` int32[power of two], entry + 1 or 0. `seen` is the generation
    of the scrape that showed the series last, `live` says that the last stored scrape did, and
    that its disappearance is to be marked.
    """

    count: int = 0
    generation: int = 0
    table: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(_TABLE_MIN, np.int32))
    low: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    high: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    length: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    seen: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    refs: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    live: Mask = field(default_factory=lambda: np.empty(0, np.bool_))

    def begin(self) -> int:
        """Start a scrape; return its generation."""
        self.generation = self.generation % 0x7FFF_FFF0 + 1
        return self.generation

    def add(self, low: Words, high: Words, length: Int32s, refs: Ints) -> Ints:
        """Add series that are not known yet, as seen in this scrape; return their entries."""
        new = refs.size
        entries = np.arange(self.count, self.count + new, dtype=np.int64)
        self.low = np.concatenate((self.low, low))
        self.high = np.concatenate((self.high, high))
        self.length = np.concatenate((self.length, length))
        self.seen = np.concatenate((self.seen, np.full(new, self.generation, np.int32)))
        self.refs = np.concatenate((self.refs, refs))
        self.live = np.concatenate((self.live, np.zeros(new, np.bool_)))
        self.count += new
        if self.count * 3 > self.table.size * 2:
            self._rebuild_table()
        else:
            insert_entries(self.low, entries, self.table)
        return entries

    def keep(self, order: Ints) -> None:
        """Keep the entries in `order`, renumbered by it, and forget all others.

        The next scrape most likely shows series in this order: the kernel then finds each by
        looking at the one after the last.
        """
        self.low, self.high = self.low[order], self.high[order]
        self.length, self.seen = self.length[order], self.seen[order]
        self.refs, self.live = self.refs[order], self.live[order]
        self.count = int(order.size)
        self._rebuild_table()

    def _rebuild_table(self) -> None:
        size = _TABLE_MIN
        while size * 2 < self.count * 3:
            size *= 2
        self.table = np.zeros(size, np.int32)
        insert_entries(self.low, np.arange(self.count, dtype=np.int64), self.table)

    @property
    def memory_bytes(self) -> int:
        """Bytes held in columns."""
        return sum(
            column.nbytes
            for column in (
                self.table,
                self.low,
                self.high,
                self.length,
                self.seen,
                self.refs,
                self.live,
            )
        )
