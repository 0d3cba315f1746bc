"""What queries read from: storage alone, until the configuration names other servers.

From: the query engine.   To: storage, or `reader.py`, which a start without `remote_read` does not
load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnomon.remote_read.reader import RemoteReads
    from tsdb.interface import LabelColumns, Matcher, Selection, SeriesBatch, Storage


class FanOut:
    """Implements `SeriesReader` and `ChangeSource`. `remote` is set once, from any thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.remote: RemoteReads | None = None

    def close(self) -> None:
        """End what `remote` has begun."""
        if self.remote is not None:
            self.remote.close()

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """See `SeriesReader.select`."""
        return (self.remote or self._storage).select(selections, samples_max=samples_max)

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """See `SeriesReader.series`; label names and values are of our own series alone."""
        return (self.remote or self._storage).series(matcher_sets, start_ms, end_ms)

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """See `SeriesReader.label_names`."""
        return self._storage.label_names(matcher_sets, start_ms, end_ms)

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """See `SeriesReader.label_values`."""
        return self._storage.label_values(name, matcher_sets, start_ms, end_ms)

    def change_ticket(self) -> int:
        """See `ChangeSource.change_ticket`."""
        return self._storage.change_ticket()

    def oldest_change_ms(self, ticket: int) -> int | None:
        """See `ChangeSource.oldest_change_ms`."""
        return (self.remote or self._storage).oldest_change_ms(ticket)
