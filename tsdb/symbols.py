"""Label text <-> uint32, one append-only table for the whole database.

From: `append.py` (spans of new series), `select.py` (texts of blocks that a query reads).
To:   every id column; the JSON writer asks for texts.

The text lies in one byte buffer; a `str` is made only when somebody asks, and the latest are kept.
Invariant: an id once given out means the same text as long as the table lives.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.columns import GrowingColumn
from tsdb.label_kernels import EMPTY, find_text, intern_texts, rebuild_symbol_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tsdb.interface import Bytes, Ids, Ints, LabelSpans

# A guess, not measured: a dashboard's legends fit, and it stays under some ten megabytes.
_CACHED_TEXTS_MAX = 100_000


class SymbolTable:
    """An append-only string table; implements `interface.SymbolSource`.

    Thread-safe: adding and finding hold the table's own lock for microseconds; `text` and `texts`
    read what is never changed and take none.
    """

    def __init__(self, *, reserve: int = 0) -> None:
        """Make a table with id 0 for the empty text; `reserve` symbols of address space."""
        self._lock = threading.Lock()
        self._key = secrets.randbits(64)
        self._text = GrowingColumn(np.uint8, reserve=64 * reserve, initial=1024)
        self._offsets = GrowingColumn(np.int64, reserve=reserve)
        self._hashes = GrowingColumn(np.uint32, reserve=reserve)
        self._table = np.full(256 if reserve else 128, EMPTY, np.int32)
        self._counts = np.zeros(1, np.int64)
        self._cache: dict[int, str] = {}
        self.intern("")

    def __len__(self) -> int:
        """How many symbols there are; ids are 0 to this, exclusive."""
        return int(self._counts[0])

    @property
    def text_bytes(self) -> int:
        """Bytes of all texts together."""
        return int(self._offsets.array[len(self)])

    @property
    def size_bytes(self) -> int:
        """Bytes taken by text, offsets and hash table, without room to grow."""
        return self.text_bytes + 12 * len(self) + self._table.nbytes

    def text(self, symbol: int) -> str:
        """Return the text of one id. Raises IndexError for an id never given out."""
        found = self._cache.get(symbol)
        if found is None:
            if not 0 <= symbol < len(self):
                raise IndexError(f"symbol {symbol} of {len(self)}")
            found = self.raw(symbol).decode()
            if len(self._cache) >= _CACHED_TEXTS_MAX:
                self._cache.clear()
            self._cache[symbol] = found
        return found

    def raw(self, symbol: int) -> bytes:
        """Return the text of one id as UTF-8."""
        offsets = self._offsets.array
        return self._text.array[offsets[symbol] : offsets[symbol + 1]].tobytes()

    def lengths(self, symbols: Ids) -> Ints:
        """Return the bytes of the texts of many ids, in their order: int64."""
        offsets = self._offsets.array
        lengths: Ints = offsets[symbols.astype(np.int64) + 1] - offsets[symbols]
        return lengths

    def ranges(self, symbols: Ids) -> tuple[Bytes, Ints, Ints]:
        """Return one byte buffer and where the text of each id starts and stops in it."""
        offsets = self._offsets.array
        return self._text.array, offsets[symbols], offsets[symbols.astype(np.int64) + 1]

    def buffers(self) -> tuple[Bytes, Ints]:
        """Return all text, and where each id's begins; that of the last id given out ends."""
        return self._text.array, self._offsets.array

    def texts(self, symbols: Ids) -> list[str]:
        """Return the texts of many ids, in their order."""
        return [self.text(symbol) for symbol in symbols.tolist()]

    def find(self, text: str) -> int | None:
        """Return the id of a text, or None if it has none (yet), as what is no UTF-8 never has."""
        data = np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)
        with self._lock:
            found = find_text(
                data,
                self._key,
                self._text.array,
                self._offsets.array,
                self._hashes.array,
                self._table,
            )
        return None if found < 0 else int(found)

    def intern(self, text: str) -> int:
        """Return the id of a text, adding it if needed."""
        return int(self.intern_many([text])[0])

    def intern_many(self, texts: Sequence[str]) -> Ids:
        """Return the ids of many texts, adding those that are new."""
        encoded = [text.encode() for text in texts]
        stops = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        starts = stops - np.fromiter(map(len, encoded), np.int64, len(encoded))
        return self.intern_ranges(np.frombuffer(b"".join(encoded), np.uint8), starts, stops)

    def intern_spans(self, labels: LabelSpans) -> tuple[Ids, Ids]:
        """Return the ids of all names and of all values, each uint32[labels]."""
        spans = labels.spans.astype(np.int64)
        starts = np.concatenate([spans[:, 0], spans[:, 2]])
        stops = np.concatenate([spans[:, 1], spans[:, 3]])
        ids = self.intern_ranges(labels.data, starts, stops)
        return ids[: len(spans)], ids[len(spans) :]

    def intern_ranges(self, data: Bytes, starts: Ints, stops: Ints) -> Ids:
        """Return the ids of the texts `data[start:stop]`, adding those that are new."""
        out = np.empty(starts.size, np.uint32)
        done = 0
        with self._lock:
            while True:
                done = intern_texts(
                    data,
                    starts,
                    stops,
                    done,
                    self._key,
                    self._text.array,
                    self._offsets.array,
                    self._hashes.array,
                    self._table,
                    self._counts,
                    out,
                )
                if done == starts.size:
                    return out
                self._make_room(int(stops[done] - starts[done]))

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`; what is added later does not change it."""
        with self._lock:
            count = len(self)
            return {
                "symbols.key": self._key,
                "symbols.text": self._text.array[: self.text_bytes],
                "symbols.offsets": self._offsets.array[: count + 1],
                "symbols.hashes": self._hashes.array[:count],
                "symbols.count": count,
            }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become the table that was saved. Nobody has an id yet."""
        self._key = saved["symbols.key"]
        self._text.restore(saved["symbols.text"])
        self._offsets.restore(saved["symbols.offsets"])
        self._hashes.restore(saved["symbols.hashes"])
        count = self._counts[0] = saved["symbols.count"]
        size = self._table.size
        while size < 2 * (count + 1):
            size *= 2
        self._rebuild_table(size)
        self._cache.clear()

    def _make_room(self, text_bytes: int) -> None:
        """Grow whatever stands in the way of one more text of that many bytes."""
        count = len(self)
        self._text.ensure(self.text_bytes + text_bytes)
        self._offsets.ensure(count + 2)
        self._hashes.ensure(count + 1)
        if 2 * (count + 1) > self._table.size:
            self._rebuild_table(2 * self._table.size)

    def _rebuild_table(self, size: int) -> None:
        table = np.full(size, EMPTY, np.int32)
        rebuild_symbol_table(self._text.array, self._offsets.array, len(self), self._key, table)
        self._table = table
