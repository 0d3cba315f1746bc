"""All of storage that other packages may call.

Reading: `SeriesReader.select` takes every selection of a query at once and answers with one
`SeriesBatch` each, all of one snapshot and one symbol space, so that ids compare across batches.
Writing: `Appender.resolve` turns label bytes into refs, `Appender.append` stores a batch of
samples and returns one `AppendStatus` for each.

No string is hashed and no label dict is built on either path: labels travel as columns of ids
(reading) or as spans into one byte buffer (writing).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Ids = npt.NDArray[np.uint32]
    Bytes = npt.NDArray[np.uint8]

METRIC_NAME = "__name__"
"""The label that names the metric; a column like every other."""

ABSENT = 0
"""Symbol id of "this series has no such label"; its text is the empty string."""


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

    With `start_times` the start timestamps of these samples are read as well.
    """

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int
    hints: SelectHints = field(default_factory=SelectHints)
    start_times: bool = False


class SymbolSource(Protocol):
    """Text by id and id by text; append-only while anyone holds it. Id 0 is the empty string."""

    def text(self, symbol: int) -> str:
        """Return the text of one id. Raises IndexError for an id never given out."""
        ...

    def texts(self, symbols: Ids) -> list[str]:
        """Return the texts of many ids, in their order."""
        ...

    def find(self, text: str) -> int | None:
        """Return the id of a text, or None if it has none (yet)."""
        ...


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The labels of S series: row l of `ids` is the column of label `names[l]`.

    Shapes: `ids` uint32[len(names), S]; 0 where the series lacks the label. `names` is sorted by
    code point and holds no name twice. Every column has at least one id that is not 0, or S is 0.
    """

    names: tuple[str, ...]
    ids: Ids
    symbols: SymbolSource

    @property
    def series_count(self) -> int:
        """S, also where there is no column."""
        return int(self.ids.shape[1])

    def row(self, series: int) -> dict[str, str]:
        """Return one series' labels as a dict, for errors, tests and small answers."""
        ids = self.ids[:, series]
        return {
            name: self.symbols.text(int(symbol))
            for name, symbol in zip(self.names, ids, strict=True)
            if symbol != ABSENT
        }


class ResetHint(enum.IntEnum):
    """What the writer of a native histogram knew of counter resets; numbers as on the wire."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


CUSTOM_BUCKETS_SCHEMA = -53
"""The schema of histograms whose bounds are listed (NHCB) rather than computed."""


@dataclass(frozen=True, slots=True)
class HistogramColumns:
    """H native histograms as columns, with ragged buckets in pools.

    Shapes: `schema`, `hint` int8[H]; `is_float` bool[H] (counts were floats, not integers);
    `count`, `sum`, `zero_threshold`, `zero_count` float64[H]. Histogram h has its positive
    buckets at `positive_index[positive_start[h] : positive_start[h + 1]]` (int32, strictly
    rising) with the absolute (not cumulative, not delta) `positive_count` float64 beside; negative
    ones likewise. Bucket i of schema s covers (2^((i-1) * 2^-s), 2^(i * 2^-s)]. With the schema
    `CUSTOM_BUCKETS_SCHEMA` its upper bounds are `bounds[bounds_start[h] : bounds_start[h] +
    bounds_count[h]]` (rising, without +Inf; runs may be shared), index 0 is the first of them, and
    there are no negative buckets. A stale marker is a histogram whose `sum` is the stale NaN.
    Buckets may be listed with a count of 0; none comes twice.
    Source: Prometheus' native histogram specification.
    """

    schema: npt.NDArray[np.int8]
    hint: npt.NDArray[np.int8]
    is_float: npt.NDArray[np.bool_]
    count: Floats
    sum: Floats
    zero_threshold: Floats
    zero_count: Floats
    positive_start: Ints
    positive_index: npt.NDArray[np.int32]
    positive_count: Floats
    negative_start: Ints
    negative_index: npt.NDArray[np.int32]
    negative_count: Floats
    bounds_start: Ints
    bounds_count: Ints
    bounds: Floats

    @property
    def histogram_count(self) -> int:
        """H."""
        return int(self.schema.size)


@dataclass(frozen=True, slots=True)
class HistogramRuns:
    """The native histogram samples of a batch's S series.

    Series s has the histograms `start[s]` to `start[s] + count[s]` of `columns`, at the times
    `times` (int64[H], aligned with `columns`) of the same positions, strictly increasing within a
    series. A time holds a float or a histogram of a series, never both.
    Shapes: `start`, `count` int64[S].
    """

    times: Ints
    start: Ints
    count: Ints
    columns: HistogramColumns


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


class AppendStatus(enum.IntEnum):
    """What became of one sample. The first two are success."""

    STORED = 0
    """Late samples of a time that only a block has are among these: no block is read to append.
    When they are read, the first value of a time counts, as if this one had been refused."""
    DUPLICATE = 1
    """Same time, same value as one stored already: nothing to do."""
    CONFLICT = 2
    """Same time, another value: refused, the first stays."""
    OUT_OF_ORDER = 3
    """Older than the newest of its series, and late samples are not taken at all."""
    TOO_OLD = 4
    """Older than the out-of-order window (where one is set) allows."""
    OUT_OF_BOUNDS = 5
    """Older than retention keeps."""
    TOO_FAR_AHEAD = 6
    """Later than `time_max_ms` of the call."""
    UNKNOWN_SERIES = 7
    """The ref is of a series that is gone; resolve again and append again."""


@dataclass(frozen=True, slots=True)
class LabelSpans:
    """The labels of N series as spans into one buffer; nothing is copied or decoded.

    Shapes: `data` uint8[bytes]; `spans` int32[labels, 4] with rows (name start, name stop, value
    start, value stop); `first` int64[N + 1]: series n has the spans first[n] to first[n + 1].
    Within a series names are sorted by their bytes and differ, no name and no value is empty,
    and all text is valid UTF-8. The producer sees to that.
    """

    data: Bytes
    spans: npt.NDArray[np.int32]
    first: Ints

    @property
    def series_count(self) -> int:
        """N."""
        return int(self.first.size - 1)

    @staticmethod
    def from_labels(label_sets: Iterable[Mapping[str, str]]) -> LabelSpans:
        """Build spans from plain dicts: for tests, rules and other small writers.

        >>> spans = LabelSpans.from_labels([{"__name__": "up", "job": "a", "none": ""}])
        >>> spans.series_count, spans.spans.shape
        (1, (2, 4))
        """
        chunks: list[bytes] = []
        rows: list[tuple[int, int, int, int]] = []
        first = [0]
        at = 0
        for labels in label_sets:
            encoded = sorted((n.encode(), v.encode()) for n, v in labels.items() if v)
            for name, value in encoded:
                middle = at + len(name)
                rows.append((at, middle, middle, middle + len(value)))
                chunks += (name, value)
                at = middle + len(value)
            first.append(len(rows))
        return LabelSpans(
            data=np.frombuffer(b"".join(chunks), dtype=np.uint8),
            spans=np.array(rows, dtype=np.int32).reshape(-1, 4),
            first=np.array(first, dtype=np.int64),
        )


class Appender(Protocol):
    """What a writer sees of storage. Thread-safe."""

    def resolve(self, labels: LabelSpans) -> Ints:
        """Return a ref for each series, creating (and logging) those that are new.

        Refs are opaque int64, valid until the series is collected; `UNKNOWN_SERIES` says so.
        """
        ...

    def append(
        self,
        refs: Ints,
        times_ms: Ints,
        values: Floats,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch; return the `AppendStatus` of each sample.

        `start_times_ms` are the start timestamps of the samples, 0 for none; what is beyond 2^53
        is taken for none. They are stored with the samples that are; the first one stays.
        Shapes: all [N]. A ref may come several times; samples are taken in the given order. When
        this returns, what is STORED has been written to the operating system and is visible to
        the next `select`, all of it or none.
        """
        ...


class HistogramAppender(Protocol):
    """The writer's side for native histograms. Thread-safe."""

    def append_histograms(
        self,
        refs: Ints,
        times_ms: Ints,
        histograms: HistogramColumns,
        *,
        time_max_ms: int | None = None,
        start_times_ms: Ints | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Log and store one batch of histograms; as `append`, one `AppendStatus` each."""
        ...


class ExemplarStatus(enum.IntEnum):
    """What became of one exemplar. The first two are success."""

    STORED = 0
    DUPLICATE = 1
    """The newest of its series, again: nothing to do."""
    OUT_OF_ORDER = 2
    """Older than the newest of its series; of one time, of a smaller value."""
    LABELS_TOO_LONG = 3
    """Its label names and values are more than `EXEMPLAR_LABEL_CHARS_MAX` characters together."""
    UNKNOWN_SERIES = 4
    """The ref is of a series that is gone; resolve again and append again."""
    DISABLED = 5
    """None are kept: `storage.exemplars.max_exemplars` is 0."""


EXEMPLAR_LABEL_CHARS_MAX = 128
"""OpenMetrics' limit on the label set of an exemplar, in characters of UTF-8."""


@dataclass(frozen=True, slots=True)
class ExemplarColumns:
    """E exemplars of S series, by series and time.

    Series s, with the labels `series`, has the exemplars `first[s]` to `first[s + 1]`; `labels`
    has the labels of each of the E, in a symbol space of their own.
    Shapes: `first` int64[S + 1]; `times` int64[E], milliseconds; `values` float64[E].
    """

    series: LabelColumns
    first: Ints
    times: Ints
    values: Floats
    labels: LabelColumns


class ExemplarStorage(Protocol):
    """Exemplars: the newest few of all series, in a ring. Thread-safe."""

    def append_exemplars(
        self, refs: Ints, times_ms: Ints, values: Floats, labels: LabelSpans
    ) -> npt.NDArray[np.uint8]:
        """Log and keep one batch; return the `ExemplarStatus` of each, in the given order.

        Shapes: [N] each; `labels` are those of the exemplars, of their series there are the refs.
        Raises `WriteFailedError`; then nothing was stored.
        """
        ...

    def select_exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> ExemplarColumns:
        """Return the exemplars in [start_ms, end_ms] of series that satisfy any of the sets.

        An empty sequence of sets means all series. Raises `BadMatcherError`.
        """
        ...


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """What a metric family is; `unit` and `help` may be empty.

    `type` is counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown.
    """

    metric: str
    type: str
    unit: str = ""
    help: str = ""


class MetadataStorage(Protocol):
    """Type, unit and help of metric families. Thread-safe."""

    def append_metadata(self, entries: Sequence[MetricMetadata]) -> int:
        """Log and keep what is new in the entries; return how many families that concerns.

        The latest counts. Raises `WriteFailedError`; then nothing was stored.
        """
        ...

    def metadata(self, metric: str | None = None) -> list[MetricMetadata]:
        """Return what is known of one family, or of all, by name."""
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


class Storage(
    SeriesReader,
    Appender,
    HistogramAppender,
    ExemplarStorage,
    MetadataStorage,
    ChangeSource,
    Protocol,
):
    """Both sides, as an opened database offers them."""
