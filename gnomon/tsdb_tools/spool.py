"""Samples in any order, more than memory holds, brought into the order of blocks.

From: `prometheus/head.py` (a log), `backfill.py` (text).
To:   `tsdb/block_writer.py`, a block a window.

Samples wait in one file for each window of time. When all series are known, a window is split into
files for pieces of series, and one piece at a time is read back and sorted. The directory ends in
`.tmp`: what a crash leaves goes at the next start.
Invariant: samples of one series keep the order in which they came, so that the first one counts.
"""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Self

import numpy as np
import zstandard

from gnomon.tsdb_tools.run_building import build_batch
from tsdb.block_meta import new_ulid
from tsdb.block_writer import TMP_SUFFIX, write_block
from tsdb.errors import StorageError
from tsdb.histograms.columns import concat, take
from tsdb.histograms.record import histogram_payload, read_histograms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from gnomon.tsdb_tools.run_building import Deleted
    from gnomon.tsdb_tools.series_table import SeriesTable
    from tsdb.interface import Floats, HistogramColumns, Ints, SeriesBatch

    RowOf = Callable[[Ints], Ints]
    """Keys to rows of the table of series, -1 for what is none."""

_SAMPLE = np.dtype([("key", "<i8"), ("time", "<i8"), ("value", "<f8")])
_LENGTH = struct.Struct("<I")
HELD_SAMPLES = 1 << 20
"""Samples that wait in memory before they go to their files: 24 MB."""
WINDOWS_MAX = 20_000
"""Files of windows at most: four and a half years of two hours."""
_HELD_HISTOGRAMS = 1 << 14


class TooManyWindowsError(StorageError):
    """Samples lie so far apart that their windows would be too many blocks."""


class Spool:
    """A directory of samples that wait; a context manager that removes it."""

    def __init__(self, parent_dir: Path, *, window_ms: int) -> None:
        """Make the directory in `parent_dir`. Raises OSError."""
        self._directory = parent_dir / f"spool-{new_ulid()}{TMP_SUFFIX}"
        self._directory.mkdir(parents=True)
        self._window_ms = window_ms
        self._held: list[tuple[Ints, Ints, Floats]] = []
        self._held_histograms: list[tuple[Ints, Ints, HistogramColumns]] = []
        self._held_count = self._held_histogram_count = 0
        self._ranges: dict[int, tuple[int, int]] = {}
        self.unknown = 0
        """Samples of keys that were no series."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def add(self, keys: Ints, times: Ints, values: Floats) -> None:
        """Take samples. Raises OSError, `TooManyWindowsError`."""
        if not keys.size:
            return
        self._held.append((keys, times, values))
        self._held_count += keys.size
        if self._held_count >= HELD_SAMPLES:
            self._flush()

    def add_histograms(self, keys: Ints, times: Ints, columns: HistogramColumns) -> None:
        """Take native histograms, compact as `take` makes them. Raises as `add`."""
        if not keys.size:
            return
        self._held_histograms.append((keys, times, columns))
        self._held_histogram_count += keys.size
        if self._held_histogram_count >= _HELD_HISTOGRAMS:
            self._flush_histograms()

    def windows(self) -> list[int]:
        """Bring everything to the files; return the numbers of the windows that have samples."""
        self._flush()
        self._flush_histograms()
        return sorted(self._ranges)

    def range_ms(self, window: int) -> tuple[int, int]:
        """Return the first and the last time of a window's samples."""
        return self._ranges[window]

    def write(
        self,
        parent_dir: Path,
        table: SeriesTable,
        row_of: RowOf,
        window: int,
        deleted: Deleted | None = None,
        *,
        ulid: str | None = None,
    ) -> Path | None:
        """Write the block of one window; None if nothing of it is left. Raises OSError."""
        low, high = self._ranges[window]
        path = write_block(
            parent_dir,
            table.symbols,
            self._batches(table, row_of, window, deleted),
            min_time_ms=low,
            max_time_ms=high + 1,
            ulid=ulid,
        )
        for file in (self._path(window), self._path(window, suffix="h")):
            file.unlink(missing_ok=True)
        return path

    def _batches(
        self, table: SeriesTable, row_of: RowOf, window: int, deleted: Deleted | None
    ) -> Iterator[SeriesBatch]:
        weight = np.zeros(table.series_count, np.int64)
        for samples in _read_samples(self._path(window)):
            rows = row_of(samples["key"])
            self.unknown += int(np.count_nonzero(rows < 0))
            weight += np.bincount(rows[rows >= 0], minlength=weight.size)
        for keys, _, columns in _read_histograms(self._path(window, suffix="h")):
            rows = row_of(keys)
            self.unknown += int(np.count_nonzero(rows < 0))
            numbers = 8 + np.diff(columns.positive_start) + np.diff(columns.negative_start)
            np.add.at(weight, rows[rows >= 0], numbers[rows >= 0])
        pieces = table.pieces(weight)
        piece_of = np.zeros(table.series_count, np.int64)
        place = np.zeros(table.series_count, np.int64)
        for number, rows in enumerate(pieces):
            piece_of[rows], place[rows] = number, np.arange(rows.size)
        self._split(window, row_of, piece_of)
        for number, rows in enumerate(pieces):
            mine = None
            if deleted is not None:
                chosen = np.flatnonzero((piece_of[deleted[0]] == number) & (weight[deleted[0]] > 0))
                if chosen.size:
                    mine = (place[deleted[0][chosen]], deleted[1][chosen], deleted[2][chosen])
            yield self._batch(window, number, table, rows, place, mine)

    def _batch(
        self,
        window: int,
        piece: int,
        table: SeriesTable,
        rows: Ints,
        place: Ints,
        deleted: Deleted | None,
    ) -> SeriesBatch:
        files = self._path(window, piece), self._path(window, piece, "h")
        samples = np.concatenate([np.empty(0, _SAMPLE), *_read_samples(files[0])])
        parts = list(_read_histograms(files[1]))
        histograms = None
        if parts:
            keys, times, columns = zip(*parts, strict=True)
            histograms = (place[np.concatenate(keys)], np.concatenate(times), concat(columns))
        for file in files:
            file.unlink(missing_ok=True)
        return build_batch(
            table.labels(rows),
            place[samples["key"]],
            samples["time"].astype(np.int64),
            samples["value"].astype(np.float64),
            histograms,
            deleted,
        )

    def _split(self, window: int, row_of: RowOf, piece_of: Ints) -> None:
        """Write each piece's samples of a window to a file of its own, under rows for keys."""
        for samples in _read_samples(self._path(window)):
            rows = row_of(samples["key"])
            known = np.flatnonzero(rows >= 0)
            samples["key"] = rows
            for piece, chosen in _groups(piece_of[rows[known]]):
                _write_samples(self._path(window, piece), samples[known[chosen]])
        for keys, times, columns in _read_histograms(self._path(window, suffix="h")):
            rows = row_of(keys)
            known = np.flatnonzero(rows >= 0)
            for piece, at in _groups(piece_of[rows[known]]):
                chosen = known[at]
                _write_histograms(
                    self._path(window, piece, "h"),
                    rows[chosen],
                    times[chosen],
                    take(columns, chosen),
                )

    def _path(self, window: int, piece: int | None = None, suffix: str = "f") -> Path:
        name = f"{window}" if piece is None else f"{window}-{piece}"
        return self._directory / f"{name}.{suffix}"

    def _flush(self) -> None:
        if not self._held:
            return
        keys, times, values = (np.concatenate(part) for part in zip(*self._held, strict=True))
        self._held, self._held_count = [], 0
        samples = np.empty(keys.size, _SAMPLE)
        samples["key"], samples["time"], samples["value"] = keys, times, values
        for window, chosen in self._by_window(times):
            _write_samples(self._path(window), samples[chosen])

    def _flush_histograms(self) -> None:
        if not self._held_histograms:
            return
        keys, times, parts = zip(*self._held_histograms, strict=True)
        self._held_histograms, self._held_histogram_count = [], 0
        all_keys, all_times, columns = np.concatenate(keys), np.concatenate(times), concat(parts)
        for window, chosen in self._by_window(all_times):
            _write_histograms(
                self._path(window, suffix="h"),
                all_keys[chosen],
                all_times[chosen],
                take(columns, chosen),
            )

    def _by_window(self, times: Ints) -> Iterator[tuple[int, Ints]]:
        for window, chosen in _groups(times // self._window_ms):
            low, high = int(times[chosen].min()), int(times[chosen].max())
            before = self._ranges.get(window, (low, high))
            self._ranges[window] = (min(low, before[0]), max(high, before[1]))
            if len(self._ranges) > WINDOWS_MAX:
                raise TooManyWindowsError(
                    f"samples lie in more than {WINDOWS_MAX} windows of "
                    f"{self._window_ms // 1000} s; are their times in the right unit?"
                )
            yield window, chosen


def _groups(numbers: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each distinct number and its places, in the order in which they came."""
    if not numbers.size:
        return
    order = np.argsort(numbers, kind="stable")
    edges = np.flatnonzero(np.diff(numbers[order])) + 1
    for chosen in np.split(order, edges):
        yield int(numbers[chosen[0]]), chosen


def _write_samples(path: Path, samples: npt.NDArray[np.void]) -> None:
    with path.open("ab") as file:
        file.write(samples.tobytes())


def _read_samples(path: Path) -> Iterator[npt.NDArray[np.void]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        while content := bytearray(file.read(HELD_SAMPLES * _SAMPLE.itemsize)):
            yield np.frombuffer(content, _SAMPLE)


def _write_histograms(path: Path, keys: Ints, times: Ints, columns: HistogramColumns) -> None:
    payload = zstandard.ZstdCompressor(level=1).compress(histogram_payload(keys, times, columns))
    with path.open("ab") as file:
        file.write(_LENGTH.pack(len(payload)) + payload)


def _read_histograms(path: Path) -> Iterator[tuple[Ints, Ints, HistogramColumns]]:
    if not path.exists():
        return
    zstd = zstandard.ZstdDecompressor()
    with path.open("rb") as file:
        while length := file.read(_LENGTH.size):
            yield read_histograms(zstd.decompress(file.read(_LENGTH.unpack(length)[0])))
