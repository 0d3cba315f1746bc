"""A batch's samples as Prometheus' chunks, floats and native histograms.

From: `remote_read_chunks.py` (frames of an answer), the export of blocks.   To: `chunk_kernels.py`.

A chunk ends after 120 samples, where a series goes over from floats to histograms or back, and with
histograms wherever the format needs them alike: another layout of buckets, a counter that fell or
was reset, a stale marker.
Source: Prometheus documentation of its chunk formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.chunk_kernels import (
    CHUNK_BYTES_MAX,
    SAMPLE_BYTES_MAX,
    encode_floats,
    encode_histograms,
)
from tsdb.interface import ResetHint
from tsdb.staleness import STALE_BITS

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, HistogramColumns, HistogramRuns, Ints, SeriesBatch

    Bools = npt.NDArray[np.bool_]

CHUNK_SAMPLES = 120


@dataclass(frozen=True, slots=True)
class Chunks:
    """C chunks of a batch, floats before histograms, each in order of series and time.

    Chunk c is of series `series[c]`, from `first_ms[c]` to `last_ms[c]` (inclusive), and lies in
    `data[start[c] : stop[c]]`, as field 2 of a ChunkedSeries. Shapes: int64[C]; `data` uint8.
    """

    series: Ints
    first_ms: Ints
    last_ms: Ints
    data: Bytes
    start: Ints
    stop: Ints


def chunks_of(batch: SeriesBatch) -> Chunks:
    """Return all samples of a batch as chunks."""
    times = np.ascontiguousarray(batch.times)
    series, offset, count = _float_pieces(batch)
    time_at, value_at = batch.time_start[series] + offset, batch.value_start[series] + offset
    first_ms, last_ms = times[time_at], times[time_at + count - 1]
    room = SAMPLE_BYTES_MAX * int(count.sum()) + CHUNK_BYTES_MAX * count.size
    start, stop = np.empty_like(count), np.empty_like(count)
    data = np.empty(room, dtype=np.uint8)
    words = np.ascontiguousarray(batch.values).view(np.uint64)
    end = encode_floats(times, words, time_at, value_at, count, data, start, stop)
    data = data[:end]
    runs = batch.histograms
    if runs is not None and runs.count.any():
        more, first, lengths = _histogram_pieces(batch, runs)
        encoded, begins, ends = _encode(runs, first, lengths)
        data = np.concatenate((data, encoded))
        start, stop = np.append(start, begins + end), np.append(stop, ends + end)
        series = np.append(series, more)
        first_ms = np.append(first_ms, runs.times[first])
        last_ms = np.append(last_ms, runs.times[first + lengths - 1])
    return Chunks(series, first_ms, last_ms, data, start, stop)


def _float_pieces(batch: SeriesBatch) -> tuple[Ints, Ints, Ints]:
    """Return series, offset among its floats, and count of each chunk of floats."""
    series = np.flatnonzero(batch.count)
    offset, count = np.zeros_like(series), np.ascontiguousarray(batch.count[series])
    runs = batch.histograms
    if runs is not None:
        parts = [(series[runs.count[series] == 0],) * 2]
        for each in series[runs.count[series] > 0].tolist():
            floats, histograms = _times_of(batch, runs, each)
            begins = np.append(0, np.flatnonzero(np.diff(np.searchsorted(histograms, floats))) + 1)
            parts.append((np.full(begins.size, each), begins))
        alone = parts[0][0].size
        series = np.concatenate([part for part, _ in parts])
        offset = np.concatenate([np.zeros(alone, dtype=np.int64), *(b for _, b in parts[1:])])
        following = np.append(series[1:], -1) == series
        count = np.where(following, np.append(offset[1:], 0), batch.count[series]) - offset
    return _split(series, offset, count)


def _times_of(batch: SeriesBatch, runs: HistogramRuns, series: int) -> tuple[Ints, Ints]:
    low, first = int(batch.time_start[series]), int(runs.start[series])
    return (
        batch.times[low : low + int(batch.count[series])],
        runs.times[first : first + int(runs.count[series])],
    )


def _split(series: Ints, first: Ints, count: Ints) -> tuple[Ints, Ints, Ints]:
    """Cut runs into pieces of CHUNK_SAMPLES."""
    pieces = -(-count // CHUNK_SAMPLES)
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begins = np.repeat(first, pieces) + number * CHUNK_SAMPLES
    left = np.repeat(first + count, pieces) - begins
    return np.repeat(series, pieces), begins, np.minimum(left, CHUNK_SAMPLES)


def _histogram_pieces(batch: SeriesBatch, runs: HistogramRuns) -> tuple[Ints, Ints, Ints]:
    """Return series, first row, and count of each chunk of histograms."""
    last = _ends(runs.columns)
    for series in np.flatnonzero((runs.count > 0) & (batch.count > 0)).tolist():
        floats, histograms = _times_of(batch, runs, series)
        first = int(runs.start[series])
        last[first + np.flatnonzero(np.diff(np.searchsorted(floats, histograms)))] = True
    of = np.repeat(np.arange(runs.count.size), runs.count)
    rows = _ragged(runs.start, runs.count)
    begins = np.flatnonzero(np.append(True, (of[1:] != of[:-1]) | last[rows[:-1]]))
    return _split(of[begins], rows[begins], np.diff(np.append(begins, rows.size)))


def _ragged(start: Ints, count: Ints) -> Ints:
    """Return start[i], start[i] + 1, ... count[i] of them, for each i."""
    ends = np.cumsum(count)
    where: Ints = np.arange(ends[-1] if ends.size else 0) + np.repeat(start - ends + count, count)
    return where


def _ends(columns: HistogramColumns) -> Bools:
    """Say of each histogram whether the next one cannot be in its chunk."""
    out = np.ones(columns.histogram_count, dtype=np.bool_)
    bits = columns.sum.view(np.uint64)
    stale = bits == np.uint64(STALE_BITS)
    out[:-1] = stale[1:] | stale[:-1]
    gauge = columns.hint == ResetHint.GAUGE
    for column in (columns.schema, gauge, columns.is_float, columns.zero_threshold):
        out[:-1] |= column[1:] != column[:-1]
    out[:-1] |= columns.hint[1:] == ResetHint.RESET
    for numbers in (columns.count, columns.zero_count):
        out[:-1] |= ~gauge[1:] & (numbers[1:] < numbers[:-1])
    for start, index, count in (
        (columns.positive_start, columns.positive_index, columns.positive_count),
        (columns.negative_start, columns.negative_index, columns.negative_count),
    ):
        out |= _differs(np.diff(start), index, np.not_equal)
        out |= ~gauge & _differs(np.diff(start), count, np.greater)
    bounds = columns.bounds[_ragged(columns.bounds_start, columns.bounds_count)]
    return out | _differs(columns.bounds_count, bounds, np.not_equal)


def _differs(width: Ints, pool: npt.NDArray[np.generic], unlike: np.ufunc) -> Bools:
    """Compare each run of the pool with the next one, element by element and in length."""
    out = np.zeros(width.size, dtype=np.bool_)
    out[:-1] = width[1:] != width[:-1]
    of = np.repeat(np.arange(width.size), width)
    pool = pool[: of.size]
    there = np.arange(of.size) + width[of]
    known = ~out[of] & (of < width.size - 1)
    out[of[known][unlike(pool[known], pool[there[known]])]] = True
    return out


def _encode(runs: HistogramRuns, first: Ints, count: Ints) -> tuple[Bytes, Ints, Ints]:
    """Return the chunks of histograms, and where each starts and stops."""
    columns = runs.columns
    positives, negatives = np.diff(columns.positive_start), np.diff(columns.negative_start)
    width = 3 + positives + negatives
    field_start = np.append(0, np.cumsum(width))
    fields = np.empty(int(field_start[-1]), dtype=np.float64)
    at = field_start[:-1]
    fields[at], fields[at + 1], fields[at + 2] = columns.count, columns.zero_count, columns.sum
    fields[_ragged(at + 3, positives)] = columns.positive_count[: int(columns.positive_start[-1])]
    fields[_ragged(at + 3 + positives, negatives)] = columns.negative_count[
        : int(columns.negative_start[-1])
    ]
    room = CHUNK_BYTES_MAX + 20 * width[first] + 9 * columns.bounds_count[first]
    room += count * (9 + 10 * width[first])
    out = np.empty(int(room.sum()), dtype=np.uint8)
    start, stop = np.empty_like(first), np.empty_like(first)
    whole = np.ascontiguousarray
    end = encode_histograms(
        whole(runs.times), whole(columns.schema), whole(columns.hint), whole(columns.is_float),
        whole(columns.zero_threshold), whole(columns.positive_start),
        whole(columns.positive_index), whole(columns.negative_start),
        whole(columns.negative_index), whole(columns.bounds_start), whole(columns.bounds_count),
        whole(columns.bounds), fields, field_start, first, count, out, 0, start, stop,
    )  # fmt: skip
    return out[:end], start, stop
