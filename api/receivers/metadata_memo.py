"""What senders have said of their metrics before, so that it is not read with every body.

From: `remote_write_v2.py`: by remote write 2.0 each series brings its metadata along, always the
same. Reading it again took four times as long as all else in a body.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import numpy as np

from api.receivers.metadata_kernels import hash_metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

FORGET_S = 300.0
"""Storage drops the metadata of metrics without series, so what is known must be said again."""

ENTRIES_MAX = 200_000
"""Hashes of so many metrics are remembered: 20 MB."""


class MetadataMemo:
    """Hashes of the latest metadata of each metric. Threads may share one."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._key = np.uint64(secrets.randbits(64))
        self._known: dict[int, int] = {}
        self._since_s = now_s()

    def forget(self) -> None:
        """Forget everything: what was found new was not stored."""
        self._known.clear()

    def fresh(
        self,
        data: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int32],
        kinds: npt.NDArray[np.int64],
    ) -> list[int]:
        """Return the numbers of the rows that say something new, and know them from now on.

        Shapes: as in `hash_metadata`. Of two rows on one metric the later counts.
        """
        names, rows = np.empty(kinds.size, np.uint64), np.empty(kinds.size, np.uint64)
        hash_metadata(data, places, kinds, self._key, names, rows)
        if self._now_s() - self._since_s > FORGET_S or len(self._known) > ENTRIES_MAX:
            self._known.clear()
            self._since_s = self._now_s()
        known = self._known
        latest = dict(zip(names.tolist(), rows.tolist(), strict=True))
        if all(known.get(name) == row for name, row in latest.items()):
            return []
        last = dict(zip(names.tolist(), range(kinds.size), strict=True))
        found = [last[name] for name, row in latest.items() if known.get(name) != row]
        known.update(latest)
        return sorted(found)
