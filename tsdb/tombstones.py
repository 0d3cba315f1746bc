"""Deleted ranges: remembered beside the data, masked when it is read, gone when it is rewritten.

From: the delete API, through `database.py`.
To:   `block.py` (masks what it reads; `compaction.py` reads through it), `head.py` likewise.

A tombstone names its series by matchers, as the request did, so that deleting writes a line and not
a list of a million rows. What it matches in a block is found once, since a block never changes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.errors import CorruptFileError
from tsdb.histograms.columns import keep_rows, ragged
from tsdb.histograms.columns import take_series as take_histograms
from tsdb.interface import Matcher, MatchOp, SeriesBatch, StartTimes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tsdb.interface import HistogramRuns, Ints

TOMBSTONES_FILE = "tombstones"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Samples in [start_ms, end_ms], inclusive, of the series that satisfy all matchers."""

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class DeletedRange:
    """One tombstone resolved for one batch: `series` int64[any], places of series in the batch."""

    series: Ints
    start_ms: int
    end_ms: int


def write_tombstones(directory: Path, tombstones: Sequence[Tombstone]) -> None:
    """Replace the tombstones of a block, atomically and durably."""
    entries = [
        {
            "matchers": [[m.name, m.op.value, m.value] for m in tombstone.matchers],
            "start": tombstone.start_ms,
            "end": tombstone.end_ms,
        }
        for tombstone in tombstones
    ]
    body = json.dumps({"version": _VERSION, "deleted": entries}).encode()
    tmp = directory / (TOMBSTONES_FILE + ".tmp")
    with tmp.open("wb") as file:
        file.write(f"{zlib.crc32(body):08x}\n".encode() + body + b"\n")
        file.flush()
        os.fsync(file.fileno())
    tmp.rename(directory / TOMBSTONES_FILE)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_tombstones(directory: Path) -> tuple[Tombstone, ...]:
    """Return the tombstones of a block; none if it has no such file. Raises `CorruptFileError`."""
    path = directory / TOMBSTONES_FILE
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return ()
    body = body.removesuffix(b"\n")
    if f"{zlib.crc32(body):08x}".encode() != checksum:
        raise CorruptFileError(path, 0, "checksum mismatch")
    try:
        content = json.loads(body)
        if content["version"] != _VERSION:
            raise CorruptFileError(path, 0, f"version {content['version']} is not known")
        return tuple(
            Tombstone(
                tuple(Matcher(name, MatchOp(op), value) for name, op, value in entry["matchers"]),
                int(entry["start"]),
                int(entry["end"]),
            )
            for entry in content["deleted"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(path, 0, f"not tombstones: {error!r}") from error


def mask_deleted(batch: SeriesBatch, deleted: Sequence[DeletedRange]) -> SeriesBatch | None:
    """Return the batch without the deleted samples, None if none are left.

    Series that lose nothing keep their place in the pools; series that shared their times and
    lose the same ranges share them still.
    """
    histograms = _mask_histograms(batch.histograms, deleted)
    hit = np.zeros((len(deleted), batch.series_count), dtype=np.bool_)
    first, last = _time_bounds(batch)
    for at, one in enumerate(deleted):
        hit[at, one.series] = True
        hit[at] &= (first <= one.end_ms) & (last >= one.start_ms)
    touched = np.flatnonzero(hit.any(axis=0))
    if not touched.size:
        if histograms is batch.histograms:
            return batch
        return _with_samples(dataclasses.replace(batch, histograms=histograms))
    count = batch.count[touched]
    start = np.cumsum(count) - count
    of_series = np.repeat(np.arange(touched.size), count)
    inside = np.arange(of_series.size) - start[of_series]
    times = batch.times[batch.time_start[touched][of_series] + inside]
    keep = np.ones(times.size, dtype=np.bool_)
    for at, one in enumerate(deleted):
        if hit[at].any():
            in_range = (times >= one.start_ms) & (times <= one.end_ms)
            keep &= ~(hit[at, touched][of_series] & in_range)
    kept = np.bincount(of_series[keep], minlength=touched.size).astype(np.int64)
    kept_values = batch.values[batch.value_start[touched][of_series] + inside][keep]
    # One run of times for each distinct (run, ranges lost).
    keys = np.column_stack(
        [batch.time_start[touched], count, np.packbits(hit[:, touched], axis=0).T.astype(np.int64)]
    )
    _, leader, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    leads = np.zeros(touched.size, dtype=np.bool_)
    leads[leader] = True
    kept_times = times[keep & leads[of_series]]
    run_start = np.cumsum(np.where(leads, kept, 0)) - np.where(leads, kept, 0)
    time_start, value_start, all_count = (
        column.copy() for column in (batch.time_start, batch.value_start, batch.count)
    )
    time_start[touched] = batch.times.size + run_start[leader][group]
    value_start[touched] = batch.values.size + np.cumsum(kept) - kept
    all_count[touched] = kept
    return _with_samples(
        SeriesBatch(
            batch.labels,
            np.concatenate([batch.times, kept_times]),
            time_start,
            np.concatenate([batch.values, kept_values]),
            value_start,
            all_count,
            histograms,
        )
    )


def _mask_histograms(
    runs: HistogramRuns | None, deleted: Sequence[DeletedRange]
) -> HistogramRuns | None:
    """Return the histograms without the deleted ones: the same object if none is."""
    if runs is None:
        return None
    of_series = np.repeat(np.arange(runs.count.size), runs.count)
    times = runs.times[ragged(runs.start, runs.count)]
    keep = np.ones(times.size, dtype=np.bool_)
    for one in deleted:
        hit = np.zeros(runs.count.size, dtype=np.bool_)
        hit[one.series] = True
        keep &= ~(hit[of_series] & (times >= one.start_ms) & (times <= one.end_ms))
    return runs if keep.all() else keep_rows(runs, keep)


def _with_samples(batch: SeriesBatch) -> SeriesBatch | None:
    """Return the batch without series that have no samples, None if none has any."""
    has = batch.count > 0
    if batch.histograms is not None:
        has |= batch.histograms.count > 0
    left = np.flatnonzero(has)
    return take_series(batch, left) if left.size else None


def take_series(batch: SeriesBatch, series: Ints) -> SeriesBatch:
    """Return some series of a batch, in that order, with its pools, without emptied columns."""
    labels = batch.labels
    if not np.array_equal(series, np.arange(batch.series_count)):
        ids = labels.ids[:, series]
        used = np.atleast_1d(ids.any(axis=1))
        names = tuple(n for n, keep in zip(labels.names, used.tolist(), strict=True) if keep)
        labels = type(labels)(names, np.ascontiguousarray(ids[used]), labels.symbols)
    return SeriesBatch(
        labels,
        batch.times,
        batch.time_start[series],
        batch.values,
        batch.value_start[series],
        batch.count[series],
        None if batch.histograms is None else take_histograms(batch.histograms, series),
        None if batch.start_times is None else _take_starts(batch.start_times, series),
    )


def _take_starts(starts: StartTimes, series: Ints) -> StartTimes:
    count = (starts.first[1:] - starts.first[:-1])[series]
    first = np.zeros(series.size + 1, np.int64)
    np.cumsum(count, out=first[1:])
    at = ragged(starts.first[series], count)
    return StartTimes(first, starts.times[at], starts.starts[at])


def _time_bounds(batch: SeriesBatch) -> tuple[Ints, Ints]:
    """Return the first and the last time of each series' floats: the wrong way round for none."""
    first = np.full(batch.series_count, np.iinfo(np.int64).max)
    last = np.full(batch.series_count, np.iinfo(np.int64).min)
    has = np.flatnonzero(batch.count)
    first[has] = batch.times[batch.time_start[has]]
    last[has] = batch.times[batch.time_start[has] + batch.count[has] - 1]
    return first, last
