"""Samples in any order, more than memory holds, brought into the order of blocks.

From: `prometheus/head.py` (a log), `backfill.py` (text).
To:   `tsdb/block_writer.py`, a block a window.

Samples wait in files, one for each window of time and piece of series, so that one file at a time
is read back and sorted. The directory ends in `.tmp`: what a crash leaves goes at the next start.
Invariant: samples of one series keep the order in which they came, so that the first one counts.
"""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Self

import numpy as np
import zstandard

from gnomon.tsdb_tools.run_building import build_batch
from tsdb.block_writer import TMP_SUFFIX, write_block
from tsdb.histogram_columns import concat, take
from tsdb.histogram_record import histogram_payload, read_histograms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gnomon.tsdb_tools.run_building import Deleted
    from gnomon.tsdb_tools.series_table import SeriesTable
    from tsdb.interface import Floats, HistogramColumns, Ints, SeriesBatch

_SAMPLE = np.dtype([("series", "<u4"), ("time", "<i8"), ("value", "<f8")])
_LENGTH = struct.Struct("<I")
HELD_SAMPLES = 1 << 20
"""Samples that wait in memory before they go to their files: 24 MB."""
_PAYLOAD_ROWS = 1 << 14


class Spool:
    """A directory of samples that wait; a context manager that removes it."""

    def __init__(self, directory: Path, *, window_ms: int, piece_of: Ints) -> None:
        """Make the directory. `piece_of` int64[series] says which piece each series is of."""
        self._directory = directory.with_name(directory.name + TMP_SUFFIX)
        self._directory.mkdir(parents=True)
        self._window_ms = window_ms
        self._piece_of = piece_of
        self._held: list[tuple[Ints, Ints, Floats]] = []
        self._held_histograms: list[tuple[Ints, Ints, HistogramColumns]] = []
        self._held_samples = self._held_rows = 0
        self._range: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def add(self, series: Ints, times: Ints, values: Floats) -> None:
        """Take samples. Raises OSError."""
        if not series.size:
            return
        self._held.append((series, times, values))
        self._held_samples += series.size
        if self._held_samples >= HELD_SAMPLES:
            self._flush()

    def add_histograms(self, series: Ints, times: Ints, columns: HistogramColumns) -> None:
        """Take native histograms. Raises OSError."""
        if not series.size:
            return
        self._held_histograms.append((series, times, columns))
        self._held_rows += series.size
        if self._held_rows >= _PAYLOAD_ROWS:
            self._flush_histograms()

    def windows(self) -> list[int]:
        """Bring everything to the files; return the numbers of the windows that have samples."""
        self._flush()
        self._flush_histograms()
        return sorted(self._range)

    def range_ms(self, window: int) -> tuple[int, int]:
        """Return the first and the last millisecond of a window's samples."""
        return self._range[window]

    def write(
        self,
        parent_dir: Path,
        table: SeriesTable,
        pieces: list[Ints],
        window: int,
        deleted: Deleted | None = None,
    ) -> Path | None:
        """Write the block of one window; None if deletions leave nothing. Raises OSError."""
        low, high = self._range[window]
        return write_block(
            parent_dir,
            table.symbols,
            self._batches(table, pieces, window, deleted),
            min_time_ms=low,
            max_time_ms=high + 1,
        )

    def _batches(
        self, table: SeriesTable, pieces: list[Ints], window: int, deleted: Deleted | None
    ) -> Iterator[SeriesBatch]:
        place = np.empty(self._piece_of.size, np.int64)
        for number, rows in enumerate(pieces):
            samples, histograms = self._path(window, number), self._path(window, number, "h")
            if not (samples.exists() or histograms.exists()):
                continue
            place[rows] = np.arange(rows.size)
            waiting = np.fromfile(samples, _SAMPLE) if samples.exists() else np.empty(0, _SAMPLE)
            mine = None
            if deleted is not None:
                chosen = np.flatnonzero(self._piece_of[deleted[0]] == number)
                if chosen.size:
                    mine = (place[deleted[0][chosen]], deleted[1][chosen], deleted[2][chosen])
            batch = build_batch(
                table.labels(rows),
                place[waiting["series"]],
                waiting["time"].astype(np.int64),
                waiting["value"].astype(np.float64),
                _read(histograms, place),
                mine,
            )
            samples.unlink(missing_ok=True)
            histograms.unlink(missing_ok=True)
            yield batch

    def _path(self, window: int, piece: int, suffix: str = "f") -> Path:
        return self._directory / f"{window}-{piece}.{suffix}"

    def _flush(self) -> None:
        if not self._held:
            return
        series, times, values = (np.concatenate(part) for part in zip(*self._held, strict=True))
        self._held, self._held_samples = [], 0
        for window, piece, rows in self._groups(series, times):
            out = np.empty(rows.size, _SAMPLE)
            out["series"], out["time"], out["value"] = series[rows], times[rows], values[rows]
            with self._path(window, piece).open("ab") as file:
                file.write(out.tobytes())

    def _flush_histograms(self) -> None:
        if not self._held_histograms:
            return
        held, self._held_histograms, self._held_rows = self._held_histograms, [], 0
        series = np.concatenate([part[0] for part in held])
        times = np.concatenate([part[1] for part in held])
        columns = concat([part[2] for part in held])
        compressor = zstandard.ZstdCompressor(level=1)
        for window, piece, rows in self._groups(series, times):
            payload = compressor.compress(
                histogram_payload(series[rows], times[rows], take(columns, rows))
            )
            with self._path(window, piece, "h").open("ab") as file:
                file.write(_LENGTH.pack(len(payload)) + payload)

    def _groups(self, series: Ints, times: Ints) -> Iterator[tuple[int, int, Ints]]:
        """Yield window, piece and rows of what belongs together, in the order in which it came."""
        window = times // self._window_ms
        piece = self._piece_of[series]
        order = np.lexsort((piece, window))
        edges = np.flatnonzero((np.diff(window[order]) != 0) | (np.diff(piece[order]) != 0)) + 1
        for rows in np.split(order, edges):
            number = int(window[rows[0]])
            low, high = int(times[rows].min()), int(times[rows].max())
            before = self._range.get(number, (low, high))
            self._range[number] = (min(low, before[0]), max(high, before[1]))
            yield number, int(piece[rows[0]]), rows


def _read(path: Path, place: Ints) -> tuple[Ints, Ints, HistogramColumns] | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    zstd = zstandard.ZstdDecompressor()
    parts = []
    at = 0
    while at < len(content):
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        parts.append(read_histograms(zstd.decompress(content[at : at + size])))
        at += size
    return (
        place[np.concatenate([part[0] for part in parts])],
        np.concatenate([part[1] for part in parts]),
        concat([part[2] for part in parts]),
    )
