"""What a query asks of storage, and what it gets.

From: `promql/`, `api/` (selections, matchers).   To: the same (`SeriesBatch`, `LabelColumns`).

`SeriesReader.select` takes every selection of a query at once and answers with one `SeriesBatch`
each, all of one snapshot and one symbol space, so that ids compare across batches.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsdb.interface.arrays import Floats, Ints
    from tsdb.interface.histograms import HistogramRuns
    from tsdb.interface.labels import LabelColumns


class MatchOp(enum.Enum):
    """How a matcher compares; the value is PromQL's own spelling."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. A regular expression is RE2, anchored, dot matches newline.

    A label that a series lacks reads as the empty string.
    """

    name: str
    op: MatchOp
    value: str

    def __str__(self) -> str:
        return f'{self.name}{self.op.value}"{self.value}"'


@dataclass(frozen=True, slots=True)
class SelectHints:
    """What the query will do with the samples; storage may use it to skip work, never must.

    Units: milliseconds. `func` is the innermost function or aggregation, "" if none.
    """

    step_ms: int = 0
    range_ms: int = 0
    func: str = ""
    grouping: tuple[str, ...] = ()
    by: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The series that satisfy all matchers, with their samples in [start_ms, end_ms], inclusive.

    With `start_times` the start timestamps of these samples are read as well. With `deferred`
    storage may leave the values of very many samples to be read later: see `DeferredValues`.
    """

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int
    hints: SelectHints = field(default_factory=SelectHints)
    start_times: bool = False
    deferred: bool = False


class DeferredValues(Protocol):
    """The values of a batch's series, read when they are asked for: of the same snapshot."""

    def read(self, low: int, high: int) -> Floats:
        """Return the values of the series [low, high), one after the other, in new memory.

        Those of series s begin at `value_start[s] - value_start[low]`. Raises `ReadAgainError`
        where the batch must be selected anew, without `deferred`.
        """
        ...


@dataclass(frozen=True, slots=True)
class StartTimes:
    """When what the samples of a batch's S series count began, as far as that is known.

    Series s has `starts[first[s] : first[s + 1]]` (int64, milliseconds, never 0) for its samples,
    floats or histograms, at `times` (int64, strictly increasing) of the same positions. There may
    be times at which the series has no sample: what stands there means nothing.
    Shapes: `first` int64[S + 1].
    """

    first: Ints
    times: Ints
    starts: Ints


@dataclass(frozen=True, slots=True)
class SeriesBatch:
    """Samples of S series as columns. Series may share a run of times.

    Series s has its times at `times[time_start[s] : time_start[s] + count[s]]` (strictly
    increasing) and its values at `values[value_start[s] : value_start[s] + count[s]]`.
    Shapes: `times` int64[any], `values` float64[any]; `time_start`, `value_start`, `count`
    int64[S]. Units: milliseconds since the epoch. Stale markers are among the values.
    Equal `time_start` and `count` of two series mean that they share their times, so a window
    search for one serves the other. Series without samples in range are left out.
    `histograms` holds the native histogram samples of the same series, None if there are none.
    `start_times` is None unless the selection asked for them and there are some.
    `warnings` is what whoever asked should know of the whole select, in words.
    Where `deferred` is not None (which only a selection that says so gets) `values` is empty, there
    are no histograms, and `value_start` is as if all values were there, series after series.
    All arrays are read-only to the receiver; the batch keeps alive what they view.
    """

    labels: LabelColumns
    times: Ints
    time_start: Ints
    values: Floats
    value_start: Ints
    count: Ints
    histograms: HistogramRuns | None = None
    start_times: StartTimes | None = None
    warnings: tuple[str, ...] = ()
    deferred: DeferredValues | None = None

    @property
    def series_count(self) -> int:
        """S."""
        return int(self.count.size)

    @property
    def sample_count(self) -> int:
        """All samples of all series, shared times counted for each."""
        return int(self.count.sum())


class SeriesReader(Protocol):
    """What a query sees of storage. Thread-safe; never blocks an append."""

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """Return one batch per selection, all of one snapshot, with one symbol space.

        Raises `TooManySamplesError` before memory is taken if all batches together hold more
        than `samples_max` samples; `BadMatcherError` for a bad regular expression. A native
        histogram counts as 11 samples and one more for two buckets, as in Prometheus.
        """
        ...

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """Return the labels of every series that satisfies any of the sets and has samples.

        An empty sequence of sets means all series. Samples in [start_ms, end_ms] count, even
        where they have been deleted since. No series comes twice.
        """
        ...

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the label names in use, sorted, once each; arguments as for `series`.

        They are those of series that may have samples: every one of the head, and of each block,
        whose time range overlaps [start_ms, end_ms]. So does Prometheus.
        """
        ...

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the values of one label, sorted, once each; as `label_names` does."""
        ...


ALL_TIMES_MS = -(1 << 63)
"""A time before all others."""


class ChangeSource(Protocol):
    """Storage that tells where its data changed, for those who keep answers. Thread-safe."""

    def change_ticket(self) -> int:
        """Return a mark of now. Take it before reading what an answer is made of."""
        ...

    def oldest_change_ms(self, ticket: int) -> int | None:
        """Return the oldest time at which data changed since a ticket; None where there is none.

        What was read of earlier times is still so. May be `ALL_TIMES_MS`: nothing is certain.
        """
        ...
