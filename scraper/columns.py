"""The columns of one body while they are written: room that grows, and is used again.

From: `exposition.py`, which lets the kernel fill them.   To: `ingest.py`, which holds one set for
each of its threads: allocating and zeroing them for each scrape cost more than the parsing.
"""

from __future__ import annotations

import numpy as np

from scraper.kernels import STATE_SIZE

ROOM_MIN = 256
ROOM_KEPT_MAX = 1 << 16
"""Columns with room for more samples are not kept from one scrape to the next: 6 MB a thread."""

REPORT_ROOM = 16


class Columns:
    """Results of `kernels.scan` and `cache_kernels.settle`, each with room for `room` samples.

    Whoever took views of a set before `begin` or `grow` finds them overwritten or outdated.
    """

    def __init__(self, room: int = ROOM_MIN) -> None:
        self.state = np.zeros(STATE_SIZE, np.uint64)
        self.room = 0
        self.exemplars = np.empty((3, 0), np.int32)
        self._make(room)

    def begin(self, *, exemplars: bool) -> None:
        """Start with nothing written; OpenMetrics alone has exemplars."""
        self.state[:] = 0
        if exemplars and self.exemplars.shape[1] < self.room:
            self.exemplars = np.empty((3, self.room), np.int32)

    def grow(self) -> None:
        """Double the room and keep what is written."""
        old = dict(vars(self))
        self._make(2 * self.room)
        for name, column in old.items():
            if isinstance(column, np.ndarray) and name not in ("state", "exemplars"):
                getattr(self, name)[..., : column.shape[-1]] = column
        if self.exemplars.size:
            exemplars = np.empty((3, self.room), np.int32)
            exemplars[:, : self.exemplars.shape[1]] = self.exemplars
            self.exemplars = exemplars

    def _make(self, room: int) -> None:
        self.room = room
        self.spans = np.empty((4, room), np.int32)
        self.low = np.empty(room, np.uint64)
        self.high = np.empty(room, np.uint64)
        self.entries = np.empty(room, np.int32)
        self.seen_before = np.empty(room, np.int32)
        self.flags = np.empty(room, np.uint8)
        self.values = np.empty(room, np.float64)
        self.times = np.empty(room, np.int64)
        self.comments = np.empty((3, room), np.int32)
        # What is appended: the samples to store, and the report behind them.
        self.out_refs = np.empty(room + REPORT_ROOM, np.int64)
        self.out_times = np.empty(room + REPORT_ROOM, np.int64)
        self.out_values = np.empty(room + REPORT_ROOM, np.float64)
        self.out_samples = np.empty(room, np.int64)
