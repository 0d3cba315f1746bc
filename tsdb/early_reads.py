"""Reads while the log is replayed: of blocks, of the saved head, and of what came back so far.

From: `database.py`, while it opens. To: whoever shows data that early.

The head is read as it is beside writers: whole batches of the log or nothing of them. What no read
may see is the one thing that only a replay does, series that go at once so that others get their
slots: then the replay waits for the reads that run, and reads wait for it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tsdb.interface import (
        ExemplarColumns,
        LabelColumns,
        Matcher,
        MetricMetadata,
        Selection,
        SeriesBatch,
        Storage,
    )
    from tsdb.replay import ReplayProgress


class EarlyReads:
    """What of a storage can be read while it opens. Thread-safe."""

    def __init__(self, storage: Storage, progress: Callable[[], ReplayProgress]) -> None:
        self._storage = storage
        self._progress = progress
        self._state = threading.Condition()
        self._reads = 0
        self._is_alone = False

    def warning(self) -> str:
        """Say that results lack something, and how far the replay is."""
        progress = self._progress()
        number, count = progress.current - progress.first, progress.last - progress.first + 1
        return f"results may be incomplete: the log is being replayed, {number} of {count} segments"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Do something that no read may see; for the replay."""
        with self._state:
            self._is_alone = True
            self._state.wait_for(lambda: not self._reads)
        try:
            yield
        finally:
            with self._state:
                self._is_alone = False
                self._state.notify_all()

    @contextmanager
    def _reading(self) -> Iterator[Storage]:
        with self._state:
            self._state.wait_for(lambda: not self._is_alone)
            self._reads += 1
        try:
            yield self._storage
        finally:
            with self._state:
                self._reads -= 1
                self._state.notify_all()

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """See `interface.SeriesReader`; each batch says that it may be incomplete."""
        warning = self.warning()
        # What is read later would be read beside who may change anything.
        at_once = [replace(each, deferred=False) for each in selections]
        with self._reading() as storage:
            batches = storage.select(at_once, samples_max=samples_max)
        return [replace(each, warnings=(*each.warnings, warning)) for each in batches]

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """See `interface.SeriesReader`."""
        with self._reading() as storage:
            return storage.series(matcher_sets, start_ms, end_ms)

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """See `interface.SeriesReader`."""
        with self._reading() as storage:
            return storage.label_names(matcher_sets, start_ms, end_ms)

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """See `interface.SeriesReader`."""
        with self._reading() as storage:
            return storage.label_values(name, matcher_sets, start_ms, end_ms)

    def select_exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> ExemplarColumns:
        """See `interface.ExemplarStorage`."""
        with self._reading() as storage:
            return storage.select_exemplars(matcher_sets, start_ms, end_ms)

    def metadata(self, metric: str | None = None) -> list[MetricMetadata]:
        """See `interface.MetadataStorage`."""
        return self._storage.metadata(metric)
