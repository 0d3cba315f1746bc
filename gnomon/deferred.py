"""Storage that may not be open yet: what the API and the engine hold from the first moment on.

The server listens before the data directory is opened (a replay may take long, probes want an
answer), so its parts are built over this stand-in. The API answers 503 until `ready`; whoever
calls earlier all the same gets a ClosedError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdb.delegation import Delegating
from tsdb.errors import ClosedError

if TYPE_CHECKING:
    from tsdb.interface import MetricMetadata, Storage


class DeferredStorage(Delegating):
    """Implements `Storage` by one that is set later. `open` is called once, from any thread."""

    def __init__(self) -> None:
        self._storage: Storage | None = None

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

    _reading = _writing = _there

    def change_ticket(self) -> int:
        """See `ChangeSource.change_ticket`."""
        return self._there.change_ticket()

    def oldest_change_ms(self, ticket: int) -> int | None:
        """See `ChangeSource.oldest_change_ms`."""
        return self._there.oldest_change_ms(ticket)

    def metadata(self, metric: str | None = None) -> list[MetricMetadata]:
        """See `MetadataStorage.metadata`."""
        return self._there.metadata(metric)
