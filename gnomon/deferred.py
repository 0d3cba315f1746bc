"""Storage that may not be open yet: what the API and the engine hold from the first moment on.

The server listens before the data directory is opened (a replay may take long, probes want an
answer), so its parts are built over this stand-in. Until storage is open, what can be read of it
early is read, once there is anything; the API answers 503 to the rest, and whoever calls all the
same gets a ClosedError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdb.delegation import Delegating
from tsdb.errors import ClosedError
from tsdb.interface import ALL_TIMES_MS

if TYPE_CHECKING:
    from tsdb.early_reads import EarlyReads
    from tsdb.interface import MetricMetadata, Storage


class DeferredStorage(Delegating):
    """Implements `Storage` by one that is set later.

    `read_early`, if at all, and then `open` are called once, from any thread.
    """

    def __init__(self) -> None:
        self._storage: Storage | None = None
        self._early: EarlyReads | None = None

    def read_early(self, early: EarlyReads) -> None:
        """From now on reads go to `early`."""
        self._early = early

    def open(self, storage: Storage) -> None:
        """From now on calls go to `storage`."""
        self._storage = storage

    @property
    def opened(self) -> bool:
        """Say whether there is a storage."""
        return self._storage is not None

    @property
    def _there(self) -> Storage:
        if self._storage is None:
            raise ClosedError("storage is not open yet")
        return self._storage

    _writing = _there

    @property
    def _reading(self) -> Storage | EarlyReads:
        early = self._early
        return self._there if self._storage is not None or early is None else early

    def change_ticket(self) -> int:
        """See `ChangeSource.change_ticket`."""
        # An opened storage has changed as a whole since any ticket from before.
        return 0 if self._storage is None else self._storage.change_ticket()

    def oldest_change_ms(self, ticket: int) -> int | None:
        """See `ChangeSource.oldest_change_ms`; of what is read early nothing is certain."""
        return ALL_TIMES_MS if self._storage is None else self._storage.oldest_change_ms(ticket)

    def metadata(self, metric: str | None = None) -> list[MetricMetadata]:
        """See `MetadataStorage.metadata`."""
        return self._reading.metadata(metric)
