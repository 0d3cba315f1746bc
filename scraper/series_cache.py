"""What a target's earlier scrapes taught: the text of a series, and the ref it is stored under.

From: `ingest.py`, which adds series and ends scrapes.   To: `kernels.scan`, which finds them again.
One cache belongs to one target and is used by one thread at a time: scrapes do not overlap.

Equal text means an equal series, for as long as job and target labels are the same; so label
parsing, relabelling and limits happen once for each new text. The hash that finds a candidate is
keyed by a secret of this process, and bytes are always compared: texts never alias.
Memory for each series: its text and 33 bytes in columns, 8 to 16 of them in the table.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scraper.kernels import insert_entries
from scraper.text_kernels import PADDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

DROPPED = -(1 << 63)
"""Ref of a series that relabelling drops: known, counted, never stored."""

HASH_KEY: np.uint64 = np.uint64(secrets.randbits(64))
"""Secret of this process, so that no target can prepare colliding series."""

_TABLE_MIN = 16


def _padded(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data + bytes(PADDING), np.uint8)


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
    hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    text: npt.NDArray[np.uint8] = field(default_factory=lambda: _padded(b""))
    at: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    length: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    seen: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    refs: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    live: Mask = field(default_factory=lambda: np.empty(0, np.bool_))

    def begin(self) -> int:
        """Start a scrape; return its generation."""
        self.generation = self.generation % 0x7FFF_FFF0 + 1
        return self.generation

    def add(self, texts: Sequence[bytes], hashes: npt.NDArray[np.uint64], refs: Ints) -> Ints:
        """Add series that are not known yet, as seen in this scrape; return their entries."""
        new = len(texts)
        entries = np.arange(self.count, self.count + new, dtype=np.int64)
        lengths = np.fromiter((len(t) for t in texts), np.int32, new)
        used = self.text.size - PADDING
        starts = used + np.cumsum(lengths, dtype=np.int64) - lengths
        self.text = _padded(self.text[:used].tobytes() + b"".join(texts))
        self.hashes = np.concatenate((self.hashes, hashes))
        self.at = np.concatenate((self.at, starts))
        self.length = np.concatenate((self.length, lengths))
        self.seen = np.concatenate((self.seen, np.full(new, self.generation, np.int32)))
        self.refs = np.concatenate((self.refs, refs))
        self.live = np.concatenate((self.live, np.zeros(new, np.bool_)))
        self.count += new
        if self.count * 3 > self.table.size * 2:
            self._rebuild_table()
        else:
            insert_entries(self.hashes, entries, self.table)
        return entries

    def keep(self, order: Ints) -> None:
        """Keep the entries in `order`, renumbered by it, and forget all others.

        The next scrape most likely shows series in this order: the kernel then finds each by
        looking at the one after the last, without hashing.
        """
        lengths = self.length[order]
        total = int(lengths.sum())
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        # Position of each kept byte in the old text: one run for each entry.
        source = np.arange(total) + np.repeat(self.at[order] - starts, lengths)
        self.text = _padded(self.text[source].tobytes())
        self.at, self.length = starts, lengths
        self.hashes, self.seen = self.hashes[order], self.seen[order]
        self.refs, self.live = self.refs[order], self.live[order]
        self.count = int(order.size)
        self._rebuild_table()

    def _rebuild_table(self) -> None:
        size = _TABLE_MIN
        while size * 2 < self.count * 3:
            size *= 2
        self.table = np.zeros(size, np.int32)
        insert_entries(self.hashes, np.arange(self.count, dtype=np.int64), self.table)

    @property
    def memory_bytes(self) -> int:
        """Bytes held in columns."""
        return sum(
            column.nbytes
            for column in (
                self.table,
                self.hashes,
                self.text,
                self.at,
                self.length,
                self.seen,
                self.refs,
                self.live,
            )
        )
