"""A SeriesReader over plain lists: for tests of the engine that must not wait for storage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import re2

from promql.histograms.columns import HistogramRow, from_rows
from tsdb.errors import BadMatcherError, TooManySamplesError
from tsdb.interface import (
    ABSENT,
    HistogramRuns,
    LabelColumns,
    Matcher,
    MatchOp,
    Selection,
    SeriesBatch,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MemorySymbols:
    def __init__(self):
        self._texts = [""]
        self._ids = {"": ABSENT}

    def intern(self, text):
        if text not in self._ids:
            self._ids[text] = len(self._texts)
            self._texts.append(text)
        return self._ids[text]

    def text(self, symbol):
        return self._texts[symbol]

    def texts(self, symbols):
        return [self._texts[symbol] for symbol in symbols.tolist()]

    def find(self, text):
        return self._ids.get(text)


@dataclass
class MemorySeries:
    labels: dict[str, str]
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    histogram_times: list[int] = field(default_factory=list)
    histograms: list[HistogramRow] = field(default_factory=list)


def _satisfies(labels: Mapping[str, str], matcher: Matcher) -> bool:
    value = labels.get(matcher.name, "")
    if matcher.op is MatchOp.EQUAL:
        return value == matcher.value
    if matcher.op is MatchOp.NOT_EQUAL:
        return value != matcher.value
    try:
        found = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
    except re2.error as error:
        raise BadMatcherError(matcher.value, str(error)) from error
    return found == (matcher.op is MatchOp.MATCHES)


def _runs(times, histograms, counts):
    if not histograms:
        return None
    count = np.array(counts, dtype=np.int64)
    return HistogramRuns(
        np.array(times, dtype=np.int64), np.cumsum(count) - count, count, from_rows(histograms)
    )


class MemoryReader:
    """Holds series in lists; equal runs of times are shared in what it selects."""

    def __init__(self):
        self.symbols = MemorySymbols()
        self.all: dict[tuple, MemorySeries] = {}
        self.selections: list[Selection] = []

    def add(self, labels, times, values):
        """Append samples, already in order, to the series of these labels; returns self.

        A `HistogramRow` among the values is a native histogram.
        """
        kept = {name: value for name, value in labels.items() if value}
        series = self.all.setdefault(tuple(sorted(kept.items())), MemorySeries(kept))
        for time, value in zip(times, values, strict=True):
            if isinstance(value, HistogramRow):
                series.histogram_times.append(int(time))
                series.histograms.append(value)
            else:
                series.times.append(int(time))
                series.values.append(float(value))
        return self

    def select(self, selections: Sequence[Selection], *, samples_max: int | None = None):
        self.selections = list(selections)
        batches = [self._batch(selection) for selection in selections]
        total = sum(batch.sample_count for batch in batches)
        if samples_max is not None and total > samples_max:
            raise TooManySamplesError(samples_max)
        return batches

    def _batch(self, selection):
        rows, times, values = [], [], []
        time_start, value_start, count = [], [], []
        histogram_times, histograms, histogram_count = [], [], []
        runs = {}
        for _, series in sorted(self.all.items()):
            if not all(_satisfies(series.labels, matcher) for matcher in selection.matchers):
                continue
            inside = [
                (time, value)
                for time, value in zip(series.times, series.values, strict=True)
                if selection.start_ms <= time <= selection.end_ms
            ]
            own = [
                (time, histogram)
                for time, histogram in zip(series.histogram_times, series.histograms, strict=True)
                if selection.start_ms <= time <= selection.end_ms
            ]
            if not inside and not own:
                continue
            histogram_times += [time for time, _ in own]
            histograms += [histogram for _, histogram in own]
            histogram_count.append(len(own))
            run = tuple(time for time, _ in inside)
            if run not in runs:
                runs[run] = len(times)
                times += run
            rows.append(series.labels)
            time_start.append(runs[run])
            value_start.append(len(values))
            count.append(len(inside))
            values += [value for _, value in inside]
        columns = [np.array(column, dtype=np.int64) for column in (time_start, value_start, count)]
        pools = np.array(times, dtype=np.int64), np.array(values, dtype=np.float64)
        for array in (*columns, *pools):
            array.flags.writeable = False
        return SeriesBatch(
            labels=self._columns(rows),
            times=pools[0],
            time_start=columns[0],
            values=pools[1],
            value_start=columns[1],
            count=columns[2],
            histograms=_runs(histogram_times, histograms, histogram_count),
        )

    def _columns(self, rows):
        names = tuple(sorted({name for row in rows for name in row}))
        ids = np.zeros((len(names), len(rows)), dtype=np.uint32)
        for at, name in enumerate(names):
            for series, row in enumerate(rows):
                ids[at, series] = self.symbols.intern(row.get(name, ""))
        ids.flags.writeable = False
        return LabelColumns(names, ids, self.symbols)
