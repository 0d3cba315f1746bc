"""A small store in lists, with native histograms: what scripts run on that have such.

From: `runner.py`.   To: the engine, through `tsdb.interface`.
It reads back reset hints as Prometheus' chunks do: a counter's histogram is known not to be a
reset where it follows one of the same layout; one that begins anew says so only if it was told.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import re2

from promql.histogram_columns import concat, take
from tsdb.errors import TooManySamplesError
from tsdb.interface import (
    ABSENT,
    AppendStatus,
    HistogramColumns,
    HistogramRuns,
    LabelColumns,
    Matcher,
    MatchOp,
    ResetHint,
    Selection,
    SeriesBatch,
)
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tsdb.interface import LabelSpans

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_STALE_BITS = STALE_NAN.view(np.uint64)
_BUCKETS = ("positive", "negative")


class _Symbols:
    """Texts by id, append-only."""

    def __init__(self) -> None:
        self._texts = [""]
        self._ids = {"": ABSENT}

    def intern(self, text: str) -> int:
        symbol = self._ids.setdefault(text, len(self._texts))
        if symbol == len(self._texts):
            self._texts.append(text)
        return symbol

    def text(self, symbol: int) -> str:
        return self._texts[symbol]

    def texts(self, symbols: npt.NDArray[np.uint32]) -> list[str]:
        return [self._texts[symbol] for symbol in symbols.tolist()]

    def find(self, text: str) -> int | None:
        return self._ids.get(text)


@dataclass(slots=True)
class _Series:
    """One series: floats by time, and histograms as one-row columns by time; both in order."""

    labels: dict[str, str]
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    histogram_times: list[int] = field(default_factory=list)
    histograms: list[HistogramColumns] = field(default_factory=list)

    @property
    def newest_ms(self) -> int | None:
        return max((*self.times[-1:], *self.histogram_times[-1:]), default=None)


class MemoryStore:
    """Storage in lists. Samples of a series must come in the order of time."""

    def __init__(self) -> None:
        self._symbols = _Symbols()
        self._series: list[_Series] = []
        self._refs: dict[tuple[tuple[str, str], ...], int] = {}

    def close(self) -> None:
        """Nothing is held open."""

    def resolve(self, labels: LabelSpans) -> Ints:
        """Return a ref for each series, new ones among them."""
        data = labels.data.tobytes()
        refs = []
        for series in range(labels.series_count):
            spans = labels.spans[labels.first[series] : labels.first[series + 1]].tolist()
            key = tuple((data[a:b].decode(), data[c:d].decode()) for a, b, c, d in spans)
            ref = self._refs.setdefault(key, len(self._series))
            if ref == len(self._series):
                self._series.append(_Series(dict(key)))
            refs.append(ref)
        return np.array(refs, dtype=np.int64)

    def append(
        self, refs: Ints, times_ms: Ints, values: Floats, *, time_max_ms: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """Store floats, one status each."""
        statuses = []
        rows = zip(refs.tolist(), times_ms.tolist(), values.tolist(), strict=True)
        for ref, time_ms, value in rows:
            series = self._series[ref]
            newest = series.newest_ms
            if newest is not None and newest >= time_ms:
                statuses.append(AppendStatus.OUT_OF_ORDER)
                continue
            series.times.append(time_ms)
            series.values.append(value)
            statuses.append(AppendStatus.STORED)
        return np.array(statuses, dtype=np.uint8)

    def append_histograms(
        self,
        refs: Ints,
        times_ms: Ints,
        histograms: HistogramColumns,
        *,
        time_max_ms: int | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Store histograms, one status each."""
        statuses = []
        for row, (ref, time_ms) in enumerate(zip(refs.tolist(), times_ms.tolist(), strict=True)):
            series = self._series[ref]
            newest = series.newest_ms
            if newest is not None and newest >= time_ms:
                statuses.append(AppendStatus.OUT_OF_ORDER)
                continue
            histogram = take(histograms, np.array([row]))
            follows = bool(series.histogram_times) and series.histogram_times[-1] == newest
            histogram.hint[0] = _read_hint(histogram, series.histograms[-1] if follows else None)
            series.histogram_times.append(time_ms)
            series.histograms.append(histogram)
            statuses.append(AppendStatus.STORED)
        return np.array(statuses, dtype=np.uint8)

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """Return one batch per selection."""
        batches = [self._batch(selection) for selection in selections]
        held = sum(batch.sample_count for batch in batches)
        if samples_max is not None and held > samples_max:
            raise TooManySamplesError(samples_max)
        return batches

    def _batch(self, selection: Selection) -> SeriesBatch:
        chosen: list[_Series] = []
        floats, histograms = _Runs(), _Runs()
        rows: list[HistogramColumns] = []
        for series in self._series:
            if not all(_satisfies(series.labels, matcher) for matcher in selection.matchers):
                continue
            inside = _inside(series.times, selection)
            inside_histograms = _inside(series.histogram_times, selection)
            if not series.times[inside] and not series.histogram_times[inside_histograms]:
                continue
            chosen.append(series)
            floats.add(series.times[inside], series.values[inside])
            histograms.add(series.histogram_times[inside_histograms], ())
            rows += series.histograms[inside_histograms]
        runs = None
        if rows:
            runs = HistogramRuns(histograms.times, histograms.start, histograms.count, concat(rows))
        return SeriesBatch(
            labels=self._columns([series.labels for series in chosen]),
            times=floats.times,
            time_start=floats.start,
            values=floats.values,
            value_start=floats.start,
            count=floats.count,
            histograms=runs,
        )

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """Return the labels of the series that satisfy any of the sets."""
        return self._columns(self._matching(matcher_sets))

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the label names in use, sorted."""
        return sorted({name for labels in self._matching(matcher_sets) for name in labels})

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the values of one label, sorted."""
        return sorted({row[name] for row in self._matching(matcher_sets) if name in row})

    def _matching(self, matcher_sets: Sequence[Sequence[Matcher]]) -> list[dict[str, str]]:
        return [
            series.labels
            for series in self._series
            if not matcher_sets
            or any(
                all(_satisfies(series.labels, matcher) for matcher in matchers)
                for matchers in matcher_sets
            )
        ]

    def _columns(self, rows: Sequence[Mapping[str, str]]) -> LabelColumns:
        names = tuple(sorted({name for row in rows for name in row}))
        ids = np.zeros((len(names), len(rows)), dtype=np.uint32)
        for at, name in enumerate(names):
            for series, row in enumerate(rows):
                ids[at, series] = self._symbols.intern(row.get(name, ""))
        return LabelColumns(names, ids, self._symbols)


class _Runs:
    """Runs of times and values laid one after the other."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._values: list[float] = []
        self._start: list[int] = []
        self._count: list[int] = []

    def add(self, times: Sequence[int], values: Sequence[float]) -> None:
        self._start.append(len(self._times))
        self._count.append(len(times))
        self._times += times
        self._values += values

    @property
    def times(self) -> Ints:
        return np.array(self._times, dtype=np.int64)

    @property
    def values(self) -> Floats:
        return np.array(self._values, dtype=np.float64)

    @property
    def start(self) -> Ints:
        return np.array(self._start, dtype=np.int64)

    @property
    def count(self) -> Ints:
        return np.array(self._count, dtype=np.int64)


def _inside(times: Sequence[int], selection: Selection) -> slice:
    low = bisect.bisect_left(times, selection.start_ms)
    return slice(low, bisect.bisect_right(times, selection.end_ms))


def _satisfies(labels: Mapping[str, str], matcher: Matcher) -> bool:
    text = labels.get(matcher.name, "")
    if matcher.op is MatchOp.EQUAL:
        return text == matcher.value
    if matcher.op is MatchOp.NOT_EQUAL:
        return text != matcher.value
    matched = re2.fullmatch(f"(?s:{matcher.value})", text) is not None
    return matched is (matcher.op is MatchOp.MATCHES)


def _is_stale(one: HistogramColumns) -> bool:
    return bool(one.sum.view(np.uint64)[0] == _STALE_BITS)


def _read_hint(one: HistogramColumns, before: HistogramColumns | None) -> ResetHint:
    """Return what a reader learns of a histogram that follows `before` in its series."""
    told = ResetHint(int(one.hint[0]))
    if told in (ResetHint.GAUGE, ResetHint.RESET):
        return told
    if before is None or before.hint[0] == ResetHint.GAUGE or _is_stale(before):
        return ResetHint.UNKNOWN
    if _is_stale(one):
        return ResetHint.NOT_RESET
    if (
        one.schema[0] != before.schema[0]
        or one.zero_threshold[0] != before.zero_threshold[0]
        or _bounds(one) != _bounds(before)
        or one.count[0] < before.count[0]
        or one.zero_count[0] < before.zero_count[0]
    ):
        return ResetHint.UNKNOWN
    for side in _BUCKETS:
        now, earlier = _counts(one, side), _counts(before, side)
        if any(now.get(index, 0.0) < count for index, count in earlier.items()):
            return ResetHint.UNKNOWN
    return ResetHint.NOT_RESET


def _bounds(one: HistogramColumns) -> list[float]:
    start = int(one.bounds_start[0])
    bounds: list[float] = one.bounds[start : start + int(one.bounds_count[0])].tolist()
    return bounds


def _counts(one: HistogramColumns, side: str) -> dict[int, float]:
    index, count = getattr(one, f"{side}_index"), getattr(one, f"{side}_count")
    return dict(zip(index.tolist(), count.tolist(), strict=True))
