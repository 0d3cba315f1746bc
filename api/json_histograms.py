"""Series of native histograms -> JSON bytes, among series of floats.

From: `json_writer.py`, with a result that has histograms.   To: chunks of bytes, as there.

Each histogram is written once, by a kernel, however many points show it. Runs of series that hold
only floats go back to the plain writer; a series that has histograms is put together in Python.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from api.float_kernels import SLACK_BYTES
from api.json_histogram_kernels import BUCKET_BYTES_MAX, HISTOGRAM_BYTES_MAX, write_histograms
from api.json_text import quoted
from promql.float_text import sample_text
from promql.histograms.columns import take
from promql.histograms.text import bucket_list
from promql.result import MatrixResult, RawResult, VectorResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from promql.labels import SeriesLabels
    from tsdb.interface import HistogramColumns, HistogramRuns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]
    Words = npt.NDArray[np.uint64]

    Result = VectorResult | MatrixResult | RawResult


_AT_ONCE = 1024
"""So many stored histograms, or one series' own, are written at once: a few MB of text."""


class HistogramTexts:
    """The JSON of the histograms of some columns, by row."""

    def __init__(self, columns: HistogramColumns) -> None:
        buckets = bucket_list(columns)
        size = columns.histogram_count * HISTOGRAM_BYTES_MAX
        size += buckets.rule.size * BUCKET_BYTES_MAX + SLACK_BYTES
        out = np.empty(size, dtype=np.uint8)
        at = np.empty(columns.histogram_count + 1, dtype=np.int64)
        length = write_histograms(
            _bits(columns.count),
            _bits(columns.sum),
            buckets.start,
            np.ascontiguousarray(buckets.rule),
            _bits(buckets.lower),
            _bits(buckets.upper),
            _bits(buckets.count),
            out,
            at,
        )
        self._text, self._at = out[:length].tobytes(), at.tolist()

    def __getitem__(self, row: int) -> bytes:
        """Return the JSON object of one histogram."""
        return self._text[self._at[row] : self._at[row + 1]]


def vector_chunks(
    value: VectorResult, plain: Callable[[VectorResult], Iterator[bytes]], chunk_bytes: int
) -> Iterator[bytes]:
    """Yield the series of a vector that has histograms."""
    histograms = value.histograms
    assert histograms is not None
    columns, row = histograms.distinct()
    texts, rows = HistogramTexts(columns), row[:, 0].tolist()
    metrics = _Metrics(value.labels)
    time = seconds(value.time_ms)

    def series(at: int) -> bytes:
        return b'{"metric":%b,"histogram":[%b,%b]}' % (metrics[at], time, texts[rows[at]])

    def floats(low: int, high: int) -> Iterator[bytes]:
        return plain(
            VectorResult(value.time_ms, _some(value.labels, low, high), value.values[low:high])
        )

    yield from _mingled(row[:, 0] >= 0, series, floats, chunk_bytes)


def matrix_chunks(
    value: MatrixResult, plain: Callable[[MatrixResult], Iterator[bytes]], chunk_bytes: int
) -> Iterator[bytes]:
    """Yield the series of a matrix that has histograms."""
    histograms = value.histograms
    assert histograms is not None
    columns, row = histograms.distinct()
    texts, metrics = HistogramTexts(columns), _Metrics(value.labels)
    times = [seconds(time_ms) for time_ms in value.steps_ms.tolist()]

    def series(at: int) -> bytes:
        own, there = row[at], value.present[at]
        return _series(
            metrics[at],
            [times[step] for step in np.flatnonzero(there).tolist()],
            value.values[at][there],
            [times[step] for step in np.flatnonzero(own >= 0).tolist()],
            [texts[which] for which in own[own >= 0].tolist()],
        )

    def floats(low: int, high: int) -> Iterator[bytes]:
        return plain(
            MatrixResult(
                value.steps_ms,
                _some(value.labels, low, high),
                value.values[low:high],
                value.present[low:high],
            )
        )

    yield from _mingled(np.asarray((row >= 0).any(axis=1)), series, floats, chunk_bytes)


def raw_chunks(
    value: RawResult, plain: Callable[[RawResult], Iterator[bytes]], chunk_bytes: int
) -> Iterator[bytes]:
    """Yield the series of a range vector that has histograms."""
    runs = value.histograms
    assert runs is not None
    metrics, texts_of = _Metrics(value.labels), _RunTexts(runs)

    def series(at: int) -> bytes:
        time, own, count = (
            int(array[at]) for array in (value.time_start, value.value_start, value.count)
        )
        first = int(runs.start[at])
        texts = texts_of[at]
        return _series(
            metrics[at],
            [seconds(time_ms) for time_ms in value.times[time : time + count].tolist()],
            value.values[own : own + count],
            [seconds(time_ms) for time_ms in runs.times[first : first + len(texts)].tolist()],
            texts,
        )

    def floats(low: int, high: int) -> Iterator[bytes]:
        return plain(
            replace(
                value,
                labels=_some(value.labels, low, high),
                time_start=value.time_start[low:high],
                value_start=value.value_start[low:high],
                count=value.count[low:high],
                histograms=None,
            )
        )

    yield from _mingled(runs.count > 0, series, floats, chunk_bytes)


def seconds(time_ms: int) -> bytes:
    """Return a time as samples have it: a JSON number, in full where it has a fraction.

    >>> seconds(1435781451110), seconds(4000), seconds(-1500)
    (b'1435781451.110', b'4', b'-1.500')
    """
    whole, millis = divmod(abs(time_ms), 1000)
    return b"%b%d%b" % (b"-" if time_ms < 0 else b"", whole, b".%03d" % millis if millis else b"")


def _series(
    metric: bytes,
    float_times: list[bytes],
    values: Floats,
    histogram_times: list[bytes],
    histograms: list[bytes],
) -> bytes:
    parts = [b'{"metric":' + metric]
    if float_times:
        points = b",".join(
            b'[%b,"%b"]' % (time, sample_text(value).encode())
            for time, value in zip(float_times, values.tolist(), strict=True)
        )
        parts.append(b',"values":[%b]' % points)
    if histogram_times:
        points = b",".join(
            b"[%b,%b]" % (time, text)
            for time, text in zip(histogram_times, histograms, strict=True)
        )
        parts.append(b',"histograms":[%b]' % points)
    return b"".join(parts) + b"}"


def _mingled(
    has_histograms: Mask,
    series: Callable[[int], bytes],
    floats: Callable[[int, int], Iterator[bytes]],
    chunk_bytes: int,
) -> Iterator[bytes]:
    """Yield all series in their order, in chunks, with commas between them."""
    edges = np.flatnonzero(np.diff(has_histograms)) + 1
    bounds = [0, *edges.tolist(), has_histograms.size]
    held: list[bytes] = []
    size = 0
    for low, high in itertools.pairwise(bounds):
        if low == high:
            continue
        if not has_histograms[low]:
            if low:
                held.append(b",")
            if held:
                yield b"".join(held)
            held, size = [], 0
            yield from floats(low, high)
            continue
        for at in range(low, high):
            text = (b"," if at else b"") + series(at)
            held.append(text)
            size += len(text)
            if size >= chunk_bytes:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


class _RunTexts:
    """The JSON of each series' own histograms, made for some series at once, asked for in order."""

    def __init__(self, runs: HistogramRuns) -> None:
        self._runs = runs
        self._before = np.concatenate(([0], np.cumsum(runs.count)))
        self._low = self._high = 0
        self._texts: HistogramTexts

    def __getitem__(self, series: int) -> list[bytes]:
        """Return those of one series."""
        if not self._low <= series < self._high:
            self._make_from(series)
        before = self._before
        first = int(before[series] - before[self._low])
        return [self._texts[first + which] for which in range(int(self._runs.count[series]))]

    def _make_from(self, series: int) -> None:
        before, runs = self._before, self._runs
        full = int(np.searchsorted(before, before[series] + _AT_ONCE, side="right")) - 1
        self._low, self._high = series, max(full, series + 1)
        some = slice(self._low, self._high)
        places = np.arange(int(before[self._low]), int(before[self._high]))
        rows = places + np.repeat(runs.start[some] - before[some], runs.count[some])
        self._texts = HistogramTexts(take(runs.columns, rows))


class _Metrics:
    """The labels of series as JSON objects; each text is escaped once."""

    def __init__(self, labels: SeriesLabels) -> None:
        self._ids = labels.ids
        self._names = [quoted(name) + b":" for name in labels.names]
        self._symbols = labels.symbols
        self._texts: dict[int, bytes] = {}

    def __getitem__(self, series: int) -> bytes:
        """Return the object of one series."""
        parts = []
        for name, symbol in zip(self._names, self._ids[:, series].tolist(), strict=True):
            if symbol:
                text = self._texts.get(symbol)
                if text is None:
                    text = self._texts[symbol] = quoted(self._symbols.text(symbol))
                parts.append(name + text)
        return b"{%b}" % b",".join(parts)


def _some(labels: SeriesLabels, low: int, high: int) -> SeriesLabels:
    return labels.take(np.arange(low, high))


def _bits(values: Floats) -> Words:
    return np.ascontiguousarray(values).view(np.uint64)
