"""A store as blocks in Prometheus' own format, for promtool, Thanos, and a way back.

From: a database opened for reading, window by window. To: a directory of blocks.
Floats and native histograms of all kinds; the chunks are those of remote read. What writers said of
counter resets goes into headers of chunks, from which Prometheus learns of gauges, not of resets.
A block is whole or absent: written beside, synced, renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.sample_chunks import chunks_of
from gnomon.prometheus.chunk_framing_kernels import FRAME_BYTES, frame_chunks
from gnomon.prometheus.index_writer import SeriesEntry, write_index
from gnomon.tsdb_tools.stored_batches import stored_batches
from tsdb.block_meta import new_ulid
from tsdb.block_writer import TMP_SUFFIX, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tsdb.database import Database
    from tsdb.interface import Matcher, SeriesBatch

WINDOW_MS = 2 * 3_600_000
BATCH_SAMPLES_MAX = 1_000_000
"""Samples whose chunks are made at once: some tens of megabytes."""
SEGMENT_BYTES_MAX = 512 << 20
_SEGMENT_HEADER = b"\x85\xbd\x40\xdd\x01\x00\x00\x00"
_TOMBSTONES = b"\x01\x30\xba\x30\x01\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written; `histograms` are not among the `floats`."""

    blocks: tuple[Path, ...]
    floats: int
    histograms: int


def export_blocks(
    database: Database,
    target: Path,
    matcher_sets: Sequence[Sequence[Matcher]],
    start_ms: int,
    end_ms: int,
) -> ExportReport:
    """Write a block for each two hours that have samples in [start_ms, end_ms]. Raises OSError."""
    blocks = []
    floats = histograms = 0
    target.mkdir(parents=True, exist_ok=True)
    for low, high in _windows(database, start_ms, end_ms):
        writer = _BlockWriter(target)
        try:
            for batch in stored_batches(
                database, matcher_sets, low, high, samples_max=BATCH_SAMPLES_MAX
            ):
                writer.add(batch)
            path = writer.finish()
        except BaseException:
            shutil.rmtree(writer.directory, ignore_errors=True)
            raise
        if path is not None:
            floats += writer.floats
            histograms += writer.histograms
            blocks.append(path)
    return ExportReport(tuple(blocks), floats, histograms)


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
        self.floats = self.histograms = self._chunks = 0

    def add(self, batch: SeriesBatch) -> None:
        """Write the chunks of one batch. Raises OSError."""
        chunks = chunks_of(batch)
        if not chunks.series.size:
            return
        framed = np.empty(chunks.data.size + FRAME_BYTES * chunks.series.size, np.uint8)
        start = np.empty(chunks.series.size, np.int64)
        size = frame_chunks(chunks.data, chunks.start, framed, start)
        refs = self._append(framed[:size].tobytes()) + start
        order = np.lexsort((chunks.first_ms, chunks.series))
        series, first = np.unique(chunks.series[order], return_index=True)
        low, high = chunks.first_ms[order], chunks.last_ms[order]
        pieces = list(zip(low.tolist(), high.tolist(), refs[order].tolist(), strict=True))
        edges = [*first.tolist(), len(pieces)]
        for s, row in enumerate(series.tolist()):
            labels = sorted(batch.labels.row(row).items(), key=lambda pair: pair[0].encode())
            entry = SeriesEntry(tuple(labels), tuple(pieces[edges[s] : edges[s + 1]]))
            self._entries.append(entry)
        self.floats += int(batch.count.sum())
        if batch.histograms is not None:
            self.histograms += int(batch.histograms.count.sum())
        self._chunks += len(pieces)
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
                "numSamples": self.floats + self.histograms,
                "numFloatSamples": self.floats,
                "numHistogramSamples": self.histograms,
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
