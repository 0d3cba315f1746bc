"""Which times the data changed at, for those who keep what they worked out of it.

From: `append.py`, `maintenance.py`: every batch that is stored, every deletion.
To: caches of answers, through `interface.ChangeSource`.
Invariant: what a reader sees of times before `oldest_since(ticket)` is what it saw, or would have
seen, when the ticket was given out. To keep it, a change is noted before it can be read and again
afterwards: whoever took a ticket in between is told as well.
"""

from __future__ import annotations

import threading
from collections import deque

from tsdb.interface import ALL_TIMES_MS

_COARSE_MS = 1000
"""Times are kept by the second: targets that are scraped one after the other make one entry."""
_ENTRIES_MAX = 8192


class Noting:
    """See `ChangeLog.noting`. A class: appends of single scrapes are too short for a generator."""

    __slots__ = ("_log", "_time_ms")

    def __init__(self, log: ChangeLog, time_ms: int) -> None:
        self._log, self._time_ms = log, time_ms

    def __enter__(self) -> None:
        self._log.note(self._time_ms)

    def __exit__(self, *_raised: object) -> None:
        self._log.note(self._time_ms)


class ChangeLog:
    """The oldest time of all changes since any ticket, as far back as it goes. Thread-safe.

    Entries are (number of the change, its time), both rising: an entry is dropped as soon as a
    later change is as old, for it decides nothing any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._entries: deque[tuple[int, int]] = deque()
        self._forgotten = 0
        """The number of the newest change whose entry was given up for want of room."""

    def note(self, time_ms: int) -> None:
        """Say that data changed at this time, or from it on. Prefer `noting`."""
        floor_ms = max(ALL_TIMES_MS, time_ms // _COARSE_MS * _COARSE_MS)
        with self._lock:
            self._number += 1
            entries = self._entries
            while entries and entries[-1][1] >= floor_ms:
                entries.pop()
            entries.append((self._number, floor_ms))
            if len(entries) > _ENTRIES_MAX:
                self._forgotten = entries.popleft()[0]

    def noting(self, time_ms: int) -> Noting:
        """Return a context in which data of this time changes: noted before and after."""
        return Noting(self, time_ms)

    def note_everything(self) -> None:
        """Say that data of any time may have changed."""
        self.note(ALL_TIMES_MS)

    def ticket(self) -> int:
        """Return what to ask `oldest_since` with later; take it before reading."""
        return self._number

    def oldest_since(self, ticket: int) -> int | None:
        """Return the oldest time in ms at which data changed since the ticket, None if nowhere.

        May be older than the truth by a second. `ALL_TIMES_MS` where nothing is certain.
        """
        with self._lock:
            if ticket < self._forgotten:
                return ALL_TIMES_MS
            # The newest entries are asked for most: caches that are used are young.
            oldest = None
            for number, time_ms in reversed(self._entries):
                if number <= ticket:
                    break
                oldest = time_ms
            return oldest
