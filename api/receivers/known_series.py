"""Which series a sender's bytes mean: the text of their labels, and the ref that they had before.

From: `remote_write.py`, bodies of 1.0.   To: `known_series_kernels.py`.

A live sender repeats the labels of its series with every body. Where all of a body's texts are
known, nothing is parsed, judged, sorted or hashed label by label; that is half of what a body
costs otherwise. A text is known by a 128-bit hash under a secret of this process, and only if it
was found to be sound. A ref that storage does not know any more has everything forgotten.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.receivers.known_series_kernels import SAMPLE_BYTES_MIN, hash_texts, read_known
from scraper.cache_kernels import insert_entries
from scraper.series_cache import HASH_KEYS

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]

SERIES_MAX = 1 << 20
"""So many are known at most: 36 MB. One more has all forgotten, and what still comes is learnt."""

BODY_BYTES_MAX = 16 << 20
"""Larger bodies are backfills rather than live."""

_ROOM_MIN = 1 << 12


@dataclass(frozen=True, slots=True)
class KnownSamples:
    """The samples of a body: refs, times in milliseconds, values. Shapes: [N]."""

    refs: Ints
    times_ms: Ints
    values: Floats


class _Entries:
    """Columns with room, and the table that finds them: of one size, so replaced together.

    Readers need no lock: an entry is complete before the table has it.
    """

    def __init__(self, room: int) -> None:
        self.low: Words = np.zeros(room, np.uint64)
        self.high: Words = np.zeros(room, np.uint64)
        self.refs: Ints = np.zeros(room, np.int64)
        self.table: Int32s = np.zeros(2 * room, np.int32)
        self.count = 0

    def add(self, low: Words, high: Words, refs: Ints) -> None:
        """Add entries that are not there, and for which there is room."""
        begin, stop = self.count, self.count + low.size
        self.refs[begin:stop], self.high[begin:stop] = refs, high
        self.low[begin:stop] = low
        insert_entries(self.low, np.arange(begin, stop), self.table)
        self.count = stop

    def grown(self, room: int) -> _Entries:
        """Return the same with more room."""
        made = _Entries(room)
        kept = slice(self.count)
        made.add(self.low[kept], self.high[kept], self.refs[kept])
        return made


class KnownSeries:
    """Texts to refs. Threads may call it at once."""

    def __init__(self, series_max: int = SERIES_MAX) -> None:
        self._series_max = series_max
        self._entries = _Entries(_ROOM_MIN)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many texts are known."""
        return self._entries.count

    def read(self, body: bytes) -> KnownSamples | None:
        """Return the samples of a body all of whose series are known, None for any other."""
        entries = self._entries
        if not entries.count or len(body) > BODY_BYTES_MAX:
            return None
        room = len(body) // SAMPLE_BYTES_MIN
        refs, times = np.empty(room, np.int64), np.empty(room, np.int64)
        bits = np.empty(room, np.uint64)
        size = read_known(
            np.frombuffer(body, np.uint8), HASH_KEYS, entries.table, entries.low, entries.high,
            entries.refs, refs, times, bits,
        )  # fmt: skip
        if size <= 0:
            return None
        return KnownSamples(refs[:size], times[:size], bits[:size].view(np.float64))

    def learn(self, body: bytes, refs: Ints) -> None:
        """Take the refs of a body's series, which are all sound; of one that is not plain nothing.

        Shapes: `refs` int64[series], in the body's order.
        """
        if len(body) > BODY_BYTES_MAX or not 0 < refs.size <= self._series_max:
            return
        low, high = np.empty(refs.size, np.uint64), np.empty(refs.size, np.uint64)
        if hash_texts(np.frombuffer(body, np.uint8), HASH_KEYS, low, high) != refs.size:
            return
        low, first = np.unique(low, return_index=True)
        high, refs = high[first], refs[first]
        with self._lock:
            entries = self._entries
            # By half of the hash: two texts that share it by chance are not both known.
            fresh = ~np.isin(low, entries.low[: entries.count])
            low, high, refs = low[fresh], high[fresh], refs[fresh]
            count = entries.count + low.size
            if count > self._series_max:
                entries, count = _Entries(_ROOM_MIN), low.size
            if count > entries.low.size:
                entries = entries.grown(1 << (count - 1).bit_length())
            entries.add(low, high, refs)
            self._entries = entries

    def forget(self) -> None:
        """Know nothing."""
        with self._lock:
            self._entries = _Entries(_ROOM_MIN)
