"""The one way by which pushed samples reach storage, whatever protocol brought them.

From: the receivers (`remote_write.py`, `otlp.py`, `import_receiver.py`, `falcon.py`).
To:   `tsdb.interface.Storage`, in a thread.

A receiver makes columns; here they are resolved and appended, tried again where a series was
collected meanwhile, and what was refused is put into Prometheus' words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from api.receivers.write_batch import series_text
from promql.float_text import general_text
from tsdb.interface import AppendStatus, ExemplarStatus, LabelSpans

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tsdb.interface import HistogramColumns, Storage

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Statuses = npt.NDArray[np.uint8]

AHEAD_MS_MAX = 600_000
"""Prometheus' own bound on samples from the future."""

RESOLVE_TRIES = 3
"""A series may be collected between resolving and appending; three times running, hardly."""

PROBLEMS_MAX = 10
"""So many refusals of a kind are told in one reply."""

EXEMPLAR_PROBLEM = "out of order exemplar"

RETRY_AFTER_S = 5
"""What a sender is asked to wait when storage cannot take anything now."""

# Looked up once: a member of an enumeration is found in Python, in half a microsecond.
_DUPLICATE, _UNKNOWN_SERIES = int(AppendStatus.DUPLICATE), int(AppendStatus.UNKNOWN_SERIES)

_REASONS = {
    AppendStatus.CONFLICT: "duplicate sample for timestamp {time}; overrides not allowed: "
    "new value {value}",
    AppendStatus.OUT_OF_ORDER: "out of order sample",
    AppendStatus.TOO_OLD: "too old sample",
    AppendStatus.OUT_OF_BOUNDS: "out of bounds",
    AppendStatus.TOO_FAR_AHEAD: "out of bounds: timestamp is too far in the future",
    AppendStatus.UNKNOWN_SERIES: "series was deleted while the sample was appended",
}


class FloatColumns(Protocol):
    """Float samples: `series_of` int64[N] numbers the series of `labels` for each of them."""

    @property
    def labels(self) -> LabelSpans:
        """The labels of the series."""
        ...

    @property
    def times_ms(self) -> Ints:
        """The times, int64[N]."""
        ...

    @property
    def values(self) -> Floats:
        """The values, float64[N]."""
        ...

    @property
    def series_of(self) -> Ints:
        """The series of each sample, int64[N]."""
        ...


@dataclass(frozen=True, slots=True)
class Pushed:
    """Float samples of one request, as `FloatColumns`."""

    labels: LabelSpans
    times_ms: Ints
    values: Floats
    series_of: Ints


@dataclass(slots=True)
class Outcome:
    """What came of some histograms or exemplars: how many are stored, and the refusals' texts.

    `refused_numbers` says which of them were not, of histograms alone.
    """

    stored: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    refused_numbers: list[int] = field(default_factory=list)


class PushAppender:
    """Stores what was pushed. Threads may call it at once."""

    def __init__(self, storage: Storage, now: Callable[[], float]) -> None:
        self.storage, self._now = storage, now

    @property
    def now_ms(self) -> int:
        """The time of what came without one."""
        return int(self._now() * 1000)

    @property
    def time_max_ms(self) -> int:
        """The latest time that is taken now."""
        return self.now_ms + AHEAD_MS_MAX

    def floats(
        self, batch: FloatColumns, start_times_ms: Ints | None = None
    ) -> tuple[Ints, Statuses]:
        """Store floats; return the ref and the `AppendStatus` of every sample.

        `start_times_ms` int64[N]: when what they count began, 0 where nobody knows.
        Raises WriteFailedError, ClosedError.
        """
        if not batch.series_of.size:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8)
        refs = self.storage.resolve(batch.labels)[batch.series_of]
        statuses = self.storage.append(
            refs,
            batch.times_ms,
            batch.values,
            time_max_ms=self.time_max_ms,
            start_times_ms=start_times_ms,
        )
        if (statuses == _UNKNOWN_SERIES).any():
            return self.again(refs, statuses, batch, start_times_ms)
        return refs, statuses

    def again(
        self,
        refs: Ints,
        statuses: Statuses,
        batch: FloatColumns,
        start_times_ms: Ints | None = None,
    ) -> tuple[Ints, Statuses]:
        """Store those floats of a batch whose refs were of series that are gone; as `floats`."""
        time_max_ms = self.time_max_ms
        refs = refs.copy()
        for _ in range(RESOLVE_TRIES - 1):
            lost = np.flatnonzero(statuses == _UNKNOWN_SERIES)
            if not lost.size:
                break
            refs[lost] = self.storage.resolve(batch.labels)[batch.series_of[lost]]
            statuses = statuses.copy()
            statuses[lost] = self.storage.append(
                refs[lost],
                batch.times_ms[lost],
                batch.values[lost],
                time_max_ms=time_max_ms,
                start_times_ms=None if start_times_ms is None else start_times_ms[lost],
            )
        return refs, statuses

    def histograms(
        self,
        labels: LabelSpans,
        series: Ints,
        times_ms: Ints,
        histograms: HistogramColumns,
        start_times_ms: Ints | None = None,
    ) -> Outcome:
        """Store native histograms; `series` int64[H] numbers those of `labels`.

        `start_times_ms` as for `floats`.
        """
        refs = self.storage.resolve(labels)
        for _ in range(RESOLVE_TRIES):
            statuses = self.storage.append_histograms(
                refs[series],
                times_ms,
                histograms,
                time_max_ms=self.time_max_ms,
                start_times_ms=start_times_ms,
            )
            if not (statuses == AppendStatus.UNKNOWN_SERIES).any():
                break
            # What was stored before is a duplicate now.
            refs = self.storage.resolve(labels)
        bad = np.flatnonzero(statuses > AppendStatus.DUPLICATE)
        problems = []
        for each in bad[:PROBLEMS_MAX].tolist():
            reason = reason_text(int(statuses[each]), int(times_ms[each]), "(a histogram)")
            problems.append(f"{reason} for series {series_text(labels, int(series[each]))}")
        return Outcome(int(statuses.size - bad.size), int(bad.size), problems, bad.tolist())

    def exemplars(
        self,
        labels: LabelSpans,
        series: Ints,
        times_ms: Ints,
        values: Floats,
        exemplar_labels: LabelSpans,
    ) -> Outcome:
        """Keep exemplars. To be called after the samples: their series are there by then."""
        refs = self.storage.resolve(labels)
        found = self.storage.append_exemplars(refs[series], times_ms, values, exemplar_labels)
        kept = int(np.count_nonzero(found <= ExemplarStatus.DUPLICATE))
        late = np.flatnonzero(found == ExemplarStatus.OUT_OF_ORDER)[:PROBLEMS_MAX].tolist()
        problems = [
            f"{EXEMPLAR_PROBLEM} for series {series_text(labels, int(series[each]))}"
            for each in late
        ]
        return Outcome(kept, int(found.size) - kept, problems)


def refused(statuses: Statuses) -> Ints:
    """Return the numbers of the samples that were not stored, and are not there already."""
    return np.flatnonzero(statuses > _DUPLICATE)


def refusal_text(batch: FloatColumns, sample: int, status: int) -> str:
    """Return why a sample was refused, as Prometheus says it."""
    value = general_text(float(batch.values[sample]))
    reason = reason_text(status, int(batch.times_ms[sample]), value)
    return f"{reason} for series {series_text(batch.labels, int(batch.series_of[sample]))}"


def reason_text(status: int, time_ms: int, value: str) -> str:
    """Return what an `AppendStatus` means for one sample."""
    return _REASONS[AppendStatus(status)].format(time=time_ms, value=value)
