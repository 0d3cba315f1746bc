"""The write-ahead log: what was acknowledged, in the order in which it came.

From: `append.py`. To: `replay.py`, after a restart.

Records go to segment files `wal/00000000`, ...; `wal/checkpoint.00000007` stands for all segments
before number 7. The bytes of both are described in FORMAT.md. A record is written with one call
to the operating system before its samples can be read; segments are synced to disk when they are
full, at intervals, and on close. The checksum is zlib's CRC-32: 3.7 GB/s from the standard library,
where CRC-32C needs one more compiled dependency for the same guarantee.
"""

from __future__ import annotations

import enum
import json
import logging
import os
import struct
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb.errors import WriteFailedError
from tsdb.histograms.record import histogram_payload
from tsdb.interface import LabelSpans, Matcher, MatchOp
from tsdb.metadata import metadata_payload
from tsdb.sample_record import SampleEncoder
from tsdb.tombstones import Tombstone
from tsdb.wal_kernels import copy_spans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tsdb.interface import Floats, HistogramColumns, Ints, MetricMetadata
    from tsdb.label_kernels import Slots, Words

_log = logging.getLogger(__name__)

SEGMENT_MAGIC = b"GNOMWAL\x01"
HEADER = struct.Struct("<IBBHI")
"""Payload bytes, type, flags, zero, CRC-32 of the eight bytes before it and of the payload."""
SERIES, SAMPLES, TOMBSTONE, HISTOGRAMS, EXEMPLARS, METADATA = 1, 2, 3, 4, 5, 6
ZSTD = 1
"""Flag: the payload is one zstd frame."""
PAYLOAD_BYTES_MAX = 1 << 30
WAL_SEGMENT_BYTES = 128 << 20
_COMPRESS_FROM_BYTES = 512
_DELETIONS = "deletions."


class Packing(enum.Enum):
    """Which records are packed by zstd, of those that are long enough."""

    NONE = frozenset[int]()
    TEXT = frozenset({SERIES, HISTOGRAMS, EXEMPLARS, METADATA})
    """Those that it makes several times smaller."""
    ALL = TEXT | {SAMPLES}
    """Samples as well: by a tenth to a half, at an eighth more CPU for appends."""


@dataclass(frozen=True, slots=True)
class WalStats:
    """Counters and gauges of the log. Durations in seconds."""

    size_bytes: int = 0
    segment: int = -1
    records: int = 0
    written_bytes: int = 0
    fsyncs: int = 0
    fsync_seconds: float = 0.0
    truncations: int = 0
    truncations_failed: int = 0
    writes_failed: int = 0
    sync_recent_s: tuple[float, ...] = ()
    """How long each of the last syncs took."""


class WalWriter:
    """Appends records to the newest segment. Callers serialise `write`; `sync` may run beside."""

    def __init__(
        self,
        directory: Path,
        *,
        segment: int,
        segment_bytes: int,
        packing: Packing = Packing.TEXT,
    ) -> None:
        """Begin a new segment. Raises OSError."""
        self._packing = packing
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._retired: list[int] = []
        self._sync_lock = threading.Lock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._samples = SampleEncoder()
        self._records = self._written = self._fsyncs = 0
        self._fsync_seconds = 0.0
        self._truncations = self._truncations_failed = self._writes_failed = 0
        self._sync_recent_s: deque[float] = deque(maxlen=128)
        self.segment = segment
        self._file = self._open(segment)
        self._size = len(SEGMENT_MAGIC)

    def write_series(self, refs: Ints, labels: LabelSpans) -> None:
        """Log new series. Raises `WriteFailedError`; then nothing was logged."""
        self.write(SERIES, series_payload(refs, labels))

    def write_samples(self, refs: Ints, times: Ints, bits: Words) -> None:
        """Log one batch as one record. Raises `WriteFailedError`; then nothing was logged."""
        payload = self._samples.encode(refs, times, bits, self._size)
        if not self._has_room(HEADER.size + len(payload)):
            self.rotate()
            payload = self._samples.encode(refs, times, bits, self._size)
        self.write(SAMPLES, payload)
        self._samples.written()

    def write_histograms(self, refs: Ints, times: Ints, columns: HistogramColumns) -> None:
        """Log one batch as one record. Raises `WriteFailedError`; then nothing was logged."""
        self.write(HISTOGRAMS, histogram_payload(refs, times, columns))

    def write_exemplars(self, refs: Ints, times: Ints, values: Floats, labels: LabelSpans) -> None:
        """Log one batch as one record. Raises `WriteFailedError`; then nothing was logged."""
        self.write(EXEMPLARS, exemplar_payload(refs, times, values, labels))

    def write_metadata(self, entries: Sequence[MetricMetadata]) -> None:
        """Log one batch as one record. Raises `WriteFailedError`; then nothing was logged."""
        self.write(METADATA, metadata_payload(entries))

    def write_tombstone(self, tombstone: Tombstone) -> None:
        """Log what is deleted from the head. Raises `WriteFailedError`; then nothing was logged."""
        payload = tombstone_payload(tombstone)
        if not self._has_room(HEADER.size + len(payload)):
            self.rotate()
        try:
            note_deletions(self._directory, self.segment)
        except OSError as error:
            raise WriteFailedError(f"write to the log failed: {error}") from error
        self.write(TOMBSTONE, payload)

    def write(self, kind: int, payload: bytes | memoryview[int]) -> None:
        """Write one record, whole or not at all."""
        flags = 0
        if kind in self._packing.value and len(payload) >= _COMPRESS_FROM_BYTES:
            packed = self._compressor.compress(payload)
            # Noisy values do not become smaller; then reading them need not unpack anything.
            if len(packed) < len(payload):
                payload, flags = packed, ZSTD
        record = (header_of(kind, flags, payload), payload)
        size = HEADER.size + len(payload)
        if not self._has_room(size):
            self.rotate()
        try:
            written = os.writev(self._file, record)
            while written < size:
                written += os.write(self._file, b"".join(record)[written:])
        except OSError as error:
            self._writes_failed += 1
            self._take_back()
            raise WriteFailedError(f"write to the log failed: {error}") from error
        self._size += size
        self._written += size
        self._records += 1

    def _has_room(self, size: int) -> bool:
        """Say whether a record belongs into this segment; the first one does in any case."""
        return self._size + size <= self._segment_bytes or self._size == len(SEGMENT_MAGIC)

    @property
    def written_bytes(self) -> int:
        """Bytes of records written since the start."""
        return self._written

    @property
    def segment_bytes(self) -> int:
        """Size of the newest segment."""
        return self._size

    def rotate(self) -> int:
        """Begin the next segment and return its number; the old one is synced by `sync`."""
        try:
            file = self._open(self.segment + 1)
        except OSError as error:
            raise WriteFailedError(f"cannot begin a segment of the log: {error}") from error
        with self._sync_lock:
            self._retired.append(self._file)
            self._file = file
            self.segment += 1
        self._size = len(SEGMENT_MAGIC)
        self._samples.begin_segment()
        return self.segment

    def sync(self) -> None:
        """Bring everything written so far to the disk. Raises OSError."""
        with self._sync_lock:
            retired, self._retired = self._retired, []
            current = os.dup(self._file)
        begin = time.perf_counter()
        for file in [*retired, current]:
            try:
                os.fdatasync(file)
                self._fsyncs += 1
            finally:
                os.close(file)
        took_s = time.perf_counter() - begin
        self._fsync_seconds += took_s
        self._sync_recent_s.append(took_s)

    def sync_retired(self) -> None:
        """Bring full segments to the disk, and leave the one being written alone."""
        if self._retired:
            self.sync()

    def remove_before(self, segment: int) -> None:
        """Delete segments below the number, and checkpoints below it; a checkpoint stands in."""
        self._truncations += 1
        try:
            for number, path in segments(self._directory):
                if number < segment:
                    path.unlink()
            for number, path in [*checkpoints(self._directory), *deletions(self._directory)]:
                if number < segment:
                    path.unlink()
        except OSError as error:
            self._truncations_failed += 1
            _log.warning("cannot remove old segments of the log: %s", error)

    def stats(self) -> WalStats:
        """Return counters and gauges."""
        size = 0
        for path in self._directory.iterdir():
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                continue
        return WalStats(
            size,
            self.segment,
            self._records,
            self._written,
            self._fsyncs,
            self._fsync_seconds,
            self._truncations,
            self._truncations_failed,
            self._writes_failed,
            tuple(self._sync_recent_s),
        )

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._file)

    def _open(self, number: int) -> int:
        path = segment_path(self._directory, number)
        file = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        try:
            os.write(file, SEGMENT_MAGIC)
        except OSError:
            os.close(file)
            path.unlink()
            raise
        return file

    def _take_back(self) -> None:
        """Cut half a record off, so that those behind it stay readable; else leave the segment."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            _log.exception("half a record stays in segment %d", self.segment)
            try:
                self.rotate()
            except WriteFailedError:
                _log.exception("and no new segment can be made")


def header_of(kind: int, flags: int, payload: bytes | memoryview[int]) -> bytes:
    """Return the header of a record."""
    start = HEADER.pack(len(payload), kind, flags, 0, 0)[:8]
    return start + struct.pack("<I", zlib.crc32(payload, zlib.crc32(start)))


def segment_path(directory: Path, number: int) -> Path:
    """Return where segment `number` lies."""
    return directory / f"{number:08d}"


def checkpoint_path(directory: Path, number: int) -> Path:
    """Return where the checkpoint lies that stands for the segments before `number`."""
    return directory / f"checkpoint.{number:08d}"


def segments(directory: Path) -> list[tuple[int, Path]]:
    """Return all segments, oldest first."""
    return sorted((int(p.name), p) for p in directory.glob("[0-9]*") if p.name.isdigit())


def checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """Return all whole checkpoints, oldest first."""
    found = directory.glob("checkpoint.[0-9]*")
    return sorted((int(p.suffix[1:]), p) for p in found if p.suffix[1:].isdigit())


def current_files(directory: Path) -> list[tuple[int, Path]]:
    """Return the newest checkpoint, if any, and the segments from its number on."""
    newest = checkpoints(directory)[-1:]
    begin = newest[0][0] if newest else 0
    return [*newest, *((number, path) for number, path in segments(directory) if number >= begin)]


def note_deletions(directory: Path, number: int) -> None:
    """Leave a mark that segment `number`, or its checkpoint, has deletions. Raises OSError."""
    (directory / f"{_DELETIONS}{number:08d}").touch()


def deletions(directory: Path) -> list[tuple[int, Path]]:
    """Return which segments, or checkpoints, have deletions, and the marks of it."""
    found = directory.glob(f"{_DELETIONS}[0-9]*")
    return sorted((int(p.suffix[1:]), p) for p in found if p.suffix[1:].isdigit())


def choose_series(labels: LabelSpans, chosen: Ints) -> LabelSpans:
    """Return the labels of some series, in one compact text."""
    sizes = np.diff(labels.first)[chosen]
    first = np.zeros(chosen.size + 1, np.int64)
    np.cumsum(sizes, out=first[1:])
    at = np.arange(first[-1]) + np.repeat(labels.first[chosen] - first[:-1], sizes)
    spans = np.ascontiguousarray(labels.spans[at])
    lengths = np.stack([spans[:, 1] - spans[:, 0], spans[:, 3] - spans[:, 2]], axis=1)
    text = np.empty(int(lengths.sum(dtype=np.int64)), np.uint8)
    copy_spans(labels.data, spans, text)
    return LabelSpans(text, _spans_of(lengths.ravel()), first)


def _spans_of(lengths: Ints) -> Slots:
    """Return the spans of texts that lie one behind the other: name, value, name, ..."""
    stops = np.cumsum(lengths, dtype=np.int64)
    spans = np.stack([stops - lengths, stops], axis=1).reshape(-1, 4)
    return spans.astype(np.int32)


def series_payload(refs: Ints, labels: LabelSpans) -> bytes:
    """Return the payload of a series record; `labels` is compact, as `choose_series` makes it."""
    spans = labels.spans
    lengths = np.stack([spans[:, 1] - spans[:, 0], spans[:, 3] - spans[:, 2]], axis=1)
    return b"".join(
        (
            struct.pack("<II", refs.size, len(spans)),
            refs.astype("<i8").tobytes(),
            np.diff(labels.first).astype("<u4").tobytes(),
            lengths.astype("<u4").tobytes(),
            labels.data.tobytes(),
        )
    )


def read_series(payload: bytes) -> tuple[Ints, LabelSpans]:
    """Return refs and labels of a series record. Raises ValueError if it cannot be right."""
    if len(payload) < 8:
        raise ValueError("series record too short")
    count, label_count = struct.unpack_from("<II", payload)
    if 8 + 12 * count + 8 * label_count > len(payload):
        raise ValueError("series record too short")
    refs = np.frombuffer(payload, "<i8", count, 8).astype(np.int64)
    at = 8 + 8 * count
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.frombuffer(payload, "<u4", count, at), out=first[1:])
    at += 4 * count
    lengths = np.frombuffer(payload, "<u4", 2 * label_count, at).astype(np.int64)
    at += 8 * label_count
    data = np.frombuffer(payload, np.uint8, offset=at)
    if first[-1] != label_count or lengths.sum() != data.size:
        raise ValueError("series record does not add up")
    return refs, LabelSpans(data, _spans_of(lengths), first)


def exemplar_payload(refs: Ints, times: Ints, values: Floats, labels: LabelSpans) -> bytes:
    """Return the payload of an exemplar record; `labels` is as `choose_series` makes it."""
    return b"".join(
        (
            struct.pack("<I", refs.size),
            times.astype("<i8").tobytes(),
            values.astype("<f8").tobytes(),
            series_payload(refs, labels),
        )
    )


def read_exemplars(payload: bytes) -> tuple[Ints, Ints, Floats, LabelSpans]:
    """Return refs, times, values and labels of an exemplar record. Raises ValueError."""
    if len(payload) < 4:
        raise ValueError("exemplar record too short")
    (count,) = struct.unpack_from("<I", payload)
    if 4 + 16 * count > len(payload):
        raise ValueError("exemplar record too short")
    times = np.frombuffer(payload, "<i8", count, 4).astype(np.int64)
    values = np.frombuffer(payload, "<f8", count, 4 + 8 * count).astype(np.float64)
    refs, labels = read_series(payload[4 + 16 * count :])
    if refs.size != count:
        raise ValueError("exemplar record does not add up")
    return refs, times, values, labels


def tombstone_payload(tombstone: Tombstone) -> bytes:
    """Return the payload of a tombstone record: JSON."""
    matchers = [[m.name, m.op.value, m.value] for m in tombstone.matchers]
    content = {"matchers": matchers, "start": tombstone.start_ms, "end": tombstone.end_ms}
    return json.dumps(content).encode()


def read_tombstone(payload: bytes) -> Tombstone:
    """Return what a tombstone record says. Raises ValueError."""
    try:
        content = json.loads(payload)
        matchers = [Matcher(name, MatchOp(op), value) for name, op, value in content["matchers"]]
        return Tombstone(tuple(matchers), int(content["start"]), int(content["end"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a tombstone: {error!r}") from error
