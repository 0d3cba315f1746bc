"""A store as blocks in Prometheus' own format, for promtool, Thanos, and a way back.

From: a database opened for reading, window by window. To: a directory of blocks.
Floats only: native histograms are counted and left out.
A block is whole or absent: written beside, synced, renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.chunk_encode_kernels import (
    CHUNK_BYTES_MAX,
    SAMPLE_BYTES_MAX,
    encode_chunks,
)
from gnomon.prometheus.index_writer import SeriesEntry, write_index
from gnomon.tsdb_tools.stored_batches import stored_batches
from tsdb.block_meta import new_ulid
from tsdb.block_writer import TMP_SUFFIX, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tsdb.database import Database
    from tsdb.interface import Ints, Matcher, SeriesBatch

WINDOW_MS = 2 * 3_600_000
CHUNK_SAMPLES = 120
SEGMENT_BYTES_MAX = 512 << 20
_SEGMENT_HEADER = b"\x85\xbd\x40\xdd\x01\x00\x00\x00"
_TOMBSTONES = b"\x01\x30\xba\x30\x01\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written. `histograms` were left out."""

    blocks: tuple[Path, ...]
    samples: int
    histograms: int


def export_blocks(
    database: Database,
    target: Path,
    matcher_sets: Sequence[Sequence[Matcher]],
    start_ms: int,
    end_ms: int,
) -> ExportReport:
    """Write a block for each two hours that have floats in [start_ms, end_ms]. Raises OSError."""
    blocks = []
    samples = histograms = 0
    target.mkdir(parents=True, exist_ok=True)
    for low, high in _windows(database, start_ms, end_ms):
        writer = _BlockWriter(target)
        try:
            for batch in stored_batches(database, matcher_sets, low, high):
                writer.add(batch)
            path = writer.finish()
        except BaseException:
            shutil.rmtree(writer.directory, ignore_errors=True)
            raise
        histograms += writer.histograms
        if path is not None:
            samples += writer.samples
            blocks.append(path)
    return ExportReport(tuple(blocks), samples, histograms)


def _windows(database: Database, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the aligned windows, inclusive, that may have samples."""
    spans = [
        (meta["minTime"], meta["maxTime"] - 1) for meta in map(json.loads, database.block_metas())
    ]
    stats = database.stats()
    if stats.head_min_time_ms is not None and stats.head_max_time_ms is not None:
        spans.append((stats.head_min_time_ms, stats.head_max_time_ms))
    windows = {
        number
        for low, high in spans
        for number in range(max(low, start_ms) // WINDOW_MS, min(high, end_ms) // WINDOW_MS + 1)
    }
    for number in sorted(windows):
        low, high = number * WINDOW_MS, (number + 1) * WINDOW_MS - 1
        yield max(low, start_ms), min(high, end_ms)


class _BlockWriter:
    """One block being written: chunks go to files at once, series wait for the index."""

    def __init__(self, target: Path) -> None:
        self._ulid = new_ulid()
        self._target = target
        self.directory = target / (self._ulid + TMP_SUFFIX)
        (self.directory / "chunks").mkdir(parents=True)
        self._entries: list[SeriesEntry] = []
        self._segment, self._segment_bytes = 0, 0
        self._low, self._high = 2**62, -(2**62)
        self.samples = self.histograms = self._chunks = 0

    def add(self, batch: SeriesBatch) -> None:
        """Write the chunks of one batch. Raises OSError."""
        if batch.histograms is not None:
            self.histograms += int(batch.histograms.count.sum())
        rows = np.flatnonzero(batch.count)
        if not rows.size:
            return
        # Chunks cut each series' samples evenly into pieces of at most 120.
        count = batch.count[rows]
        pieces = -(-count // CHUNK_SAMPLES)
        series = np.repeat(np.arange(rows.size), pieces)
        nth = np.arange(series.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        first = count[series] * nth // pieces[series]
        size = count[series] * (nth + 1) // pieces[series] - first
        low = batch.times[batch.time_start[rows][series] + first]
        high = batch.times[batch.time_start[rows][series] + first + size - 1]
        refs = self._write_chunks(batch, rows[series], first, size)
        edges = np.concatenate(([0], np.cumsum(pieces))).tolist()
        chunks = list(zip(low.tolist(), high.tolist(), refs.tolist(), strict=True))
        for s, row in enumerate(rows.tolist()):
            labels = sorted(batch.labels.row(row).items(), key=lambda pair: pair[0].encode())
            entry = SeriesEntry(tuple(labels), tuple(chunks[edges[s] : edges[s + 1]]))
            self._entries.append(entry)
        self.samples += int(count.sum())
        self._chunks += series.size
        self._low, self._high = min(self._low, int(low.min())), max(self._high, int(high.max()))

    def finish(self) -> Path | None:
        """Write the index and the rest; give the block its name. None if it is empty."""
        if not self._entries:
            shutil.rmtree(self.directory)
            return None
        self._entries.sort(key=_label_order)
        write_index(self.directory / "index", self._entries)
        (self.directory / "tombstones").write_bytes(_TOMBSTONES)
        meta = {
            "ulid": self._ulid,
            "minTime": self._low,
            "maxTime": self._high + 1,
            "stats": {
                "numSamples": self.samples,
                "numSeries": len(self._entries),
                "numChunks": self._chunks,
            },
            "compaction": {"level": 1, "sources": [self._ulid]},
            "version": 1,
        }
        (self.directory / "meta.json").write_text(json.dumps(meta, indent="\t"), encoding="utf-8")
        for path in self.directory.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_directory(self.directory)
        block = self._target / self._ulid
        self.directory.rename(block)
        sync_directory(self._target)
        return block

    def _write_chunks(self, batch: SeriesBatch, row: Ints, first: Ints, size: Ints) -> Ints:
        """Write chunks, some at a time; return their refs."""
        refs = np.empty(row.size, np.int64)
        step = 1 << 13
        for at in range(0, row.size, step):
            part = slice(at, at + step)
            ends = np.cumsum(size[part])
            begins = ends - size[part]
            inside = np.arange(int(ends[-1])) - np.repeat(begins, size[part])
            times = batch.times[
                np.repeat(batch.time_start[row[part]] + first[part], size[part]) + inside
            ]
            values = batch.values[
                np.repeat(batch.value_start[row[part]] + first[part], size[part]) + inside
            ]
            room = ends[-1] * SAMPLE_BYTES_MAX + CHUNK_BYTES_MAX * begins.size
            out, start = np.empty(room, np.uint8), np.empty(begins.size, np.int64)
            length = encode_chunks(
                times, values.view(np.uint64), begins, size[part].copy(), out, start
            )
            refs[part] = self._append(out[:length].tobytes()) + start
        return refs

    def _append(self, content: bytes) -> int:
        """Append to the newest chunk file, or begin one; return the ref of its first byte."""
        if not self._segment or self._segment_bytes + len(content) > SEGMENT_BYTES_MAX:
            self._segment += 1
            self._segment_bytes = 0
            content = _SEGMENT_HEADER + content
        path = self.directory / "chunks" / f"{self._segment:06d}"
        with path.open("ab") as file:
            file.write(content)
        header = 0 if self._segment_bytes else len(_SEGMENT_HEADER)
        ref = (self._segment - 1) << 32 | self._segment_bytes + header
        self._segment_bytes += len(content)
        return ref


def _label_order(entry: SeriesEntry) -> list[tuple[bytes, bytes]]:
    """Compare series as Prometheus does: label by label, names and values by their bytes."""
    return [(name.encode(), value.encode()) for name, value in entry.labels]
