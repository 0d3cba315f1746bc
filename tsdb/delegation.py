"""Storage whose work others do: one that reads, one that appends.

From: `database.py` (its reader and its appender), and stand-ins for a storage.
To:   `interface.SeriesReader`, `Appender`, `HistogramAppender`, `ExemplarStorage`, which all of it
      is an instance of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from tsdb.interface import Appender, HistogramAppender, SeriesReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from tsdb.interface import (
        ExemplarColumns,
        Floats,
        HistogramColumns,
        Ints,
        LabelColumns,
        LabelSpans,
        Matcher,
        MetricMetadata,
        Selection,
        SeriesBatch,
    )


class StorageReader(SeriesReader, Protocol):
    """What reads samples and exemplars."""

    def select_exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> ExemplarColumns:
        """See `interface.ExemplarStorage`."""
        ...


class StorageAppender(Appender, HistogramAppender, Protocol):
    """What takes samples of both kinds, and what is told beside them."""

    def append_exemplars(
        self, refs: Ints, times_ms: Ints, values: Floats, labels: LabelSpans
    ) -> npt.NDArray[np.uint8]:
        """See `interface.ExemplarStorage`."""
        ...

    def append_metadata(self, entries: Sequence[MetricMetadata]) -> int:
        """See `interface.MetadataStorage`."""
        ...


class Delegating(ABC):
    """Passes reads on to `_reading`, what is written on to `_writing`; subclasses say which."""

    @property
    @abstractmethod
    def _reading(self) -> StorageReader: ...

    @property
    @abstractmethod
    def _writing(self) -> StorageAppender: ...

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """Return one batch per selection; see `interface.SeriesReader`."""
        return self._reading.select(selections, samples_max=samples_max)

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """Return the labels of matching series; see `interface.SeriesReader`."""
        return self._reading.series(matcher_sets, start_ms, end_ms)

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the label names in use; see `interface.SeriesReader`."""
        return self._reading.label_names(matcher_sets, start_ms, end_ms)

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the values of one label; see `interface.SeriesReader`."""
        return self._reading.label_values(name, matcher_sets, start_ms, end_ms)

    def select_exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> ExemplarColumns:
        """Return exemplars of matching series; see `interface.ExemplarStorage`."""
        return self._reading.select_exemplars(matcher_sets, start_ms, end_ms)

    def resolve(self, labels: LabelSpans) -> Ints:
        """Return a ref for each series; see `interface.Appender`."""
        return self._writing.resolve(labels)

    def append(
        self,
        refs: Ints,
        times_ms: Ints,
        values: Floats,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch; see `interface.Appender`."""
        return self._writing.append(
            refs, times_ms, values, time_max_ms=time_max_ms, start_times_ms=start_times_ms
        )

    def append_histograms(
        self,
        refs: Ints,
        times_ms: Ints,
        histograms: HistogramColumns,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch of histograms; see `interface.HistogramAppender`."""
        return self._writing.append_histograms(
            refs, times_ms, histograms, time_max_ms=time_max_ms, start_times_ms=start_times_ms
        )

    def append_exemplars(
        self, refs: Ints, times_ms: Ints, values: Floats, labels: LabelSpans
    ) -> npt.NDArray[np.uint8]:
        """Log and keep one batch of exemplars; see `interface.ExemplarStorage`."""
        return self._writing.append_exemplars(refs, times_ms, values, labels)

    def append_metadata(self, entries: Sequence[MetricMetadata]) -> int:
        """Log and keep what metrics are; see `interface.MetadataStorage`."""
        return self._writing.append_metadata(entries)
