"""Follow the log while it is written: what came in, in its order, from a position that lasts.

From: the segments that `wal.py` writes. To: forwarding, in the app.

A position is a segment and a byte; it stays right over restarts. Nothing is locked and the writer
is not asked: a record is there when all of its bytes are and its checksum is right. What cannot be
read is passed over as `replay.py` does it: a damaged record alone, or else the rest of its segment.
Records of kinds that are not known here are passed over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tsdb.histograms.record import read_histograms
from tsdb.metadata import read_metadata
from tsdb.sample_record import SampleDecoder
from tsdb.segment_reader import unpacked
from tsdb.wal import (
    EXEMPLARS,
    HEADER,
    HISTOGRAMS,
    METADATA,
    PAYLOAD_BYTES_MAX,
    SAMPLES,
    SEGMENT_MAGIC,
    SERIES,
    ZSTD,
    read_exemplars,
    read_series,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tsdb.interface import Floats, HistogramColumns, Ints, LabelSpans, MetricMetadata
    from tsdb.label_kernels import Words

_log = logging.getLogger(__name__)

READ_BYTES = 256 << 10
"""So much is read at once: 10 000 to 100 000 samples."""


class WalPosition(NamedTuple):
    """A place in the log; compares in the order of the log."""

    segment: int
    offset: int = len(SEGMENT_MAGIC)


@dataclass(frozen=True, slots=True)
class LoggedSeries:
    """New series: from here on the refs mean these labels."""

    refs: Ints
    labels: LabelSpans


@dataclass(frozen=True, slots=True)
class LoggedSamples:
    """Floats, as refs, times and bits; of one batch or of several."""

    refs: Ints
    times: Ints
    bits: Words


@dataclass(frozen=True, slots=True)
class LoggedHistograms:
    """A batch of native histograms."""

    refs: Ints
    times: Ints
    columns: HistogramColumns


@dataclass(frozen=True, slots=True)
class LoggedExemplars:
    """A batch of exemplars; `labels` are their own, of their series there are the refs."""

    refs: Ints
    times: Ints
    values: Floats
    labels: LabelSpans


@dataclass(frozen=True, slots=True)
class LoggedMetadata:
    """What metric families are, or are from now on."""

    entries: list[MetricMetadata]


Logged = LoggedSeries | LoggedSamples | LoggedHistograms | LoggedExemplars | LoggedMetadata


class LogFiles(Protocol):
    """Where the files of the log are; see `wal_hold.py`."""

    def segment(self, number: int) -> Path | None:
        """Return the file of a segment, None if there is none (any more)."""
        ...

    def following(self, number: int) -> int | None:
        """Return the least number above `number` of which there is a segment, None if none is."""
        ...

    def series_files(self, before: int) -> list[Path]:
        """Return the files that define the series of what comes at `before` and later.

        The newest checkpoint that stands for nothing at or behind `before`, and the segments from
        it to `before`, that one included.
        """
        ...


class WalTail:
    """Reads forward from a position. One thread at a time."""

    def __init__(self, files: LogFiles, position: WalPosition) -> None:
        """Begin at `position`; nothing is opened before the first read."""
        self._files = files
        self.position = position
        self.damaged = 0
        """Records, and rests of segments, that could not be read."""
        self._file = -1
        self._file_segment = -1
        self._decoder = SampleDecoder(self._samples_at)

    def close(self) -> None:
        """Close the segment that is open. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def move(self, position: WalPosition) -> None:
        """Go on from another position."""
        self.close()
        self.position = position

    def known_series(self) -> Iterator[LoggedSeries | LoggedMetadata]:
        """Yield the series, and metadata, that the log knew before the position. Raises OSError."""
        for path in self._files.series_files(self.position.segment):
            stop = self.position.offset if _number(path) == self.position.segment else None
            yield from read_definitions(path, stop)

    def read(self, bytes_max: int = READ_BYTES) -> list[Logged]:
        """Return what comes next, and move behind it; nothing: the end is reached for now.

        At least one record, however long it is. Raises OSError.
        """
        settled = -1
        while True:
            if not self._open():
                return []
            data = os.pread(self._file, bytes_max, self.position.offset)
            found, used, missing = self._parse(data)
            while not used and missing:
                data = os.pread(self._file, missing, self.position.offset)
                if len(data) < missing:
                    break
                found, used, missing = self._parse(data)
            if used:
                self.position = WalPosition(self.position.segment, self.position.offset + used)
                if found:
                    return found
                continue
            following = self._files.following(self.position.segment)
            if following is None:
                return []
            # The segment was complete before the next one began; look once more, then leave it.
            size = os.fstat(self._file).st_size
            if size != settled:
                settled = size
                continue
            if size > self.position.offset:
                self.damaged += 1
                _log.error(
                    "forwarding leaves out the rest of segment %d of the log, from byte %d",
                    self.position.segment,
                    self.position.offset,
                )
            self._skip_to(following)

    def bytes_behind(self) -> int:
        """Return how many bytes of the log come behind the position."""
        size, number = 0, self.position.segment
        before = self.position.offset
        while True:
            path = self._files.segment(number)
            if path is not None:
                with contextlib.suppress(FileNotFoundError):
                    size += max(0, path.stat().st_size - before)
            following = self._files.following(number)
            if following is None:
                return size
            number, before = following, len(SEGMENT_MAGIC)

    def _open(self) -> bool:
        """Have the segment of the position open; where it is gone, the next one there is."""
        if self._file >= 0 and self._file_segment == self.position.segment:
            return True
        self.close()
        path = self._files.segment(self.position.segment)
        if path is None:
            following = self._files.following(self.position.segment)
            if following is None:
                return False
            self._skip_to(following)
            path = self._files.segment(following)
        if path is None:
            return False
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._file_segment = self.position.segment
        self._decoder = SampleDecoder(self._samples_at)
        return True

    def _skip_to(self, segment: int) -> None:
        gone = segment - self.position.segment - 1
        if gone:
            _log.error("forwarding finds %d segments of the log gone before %d", gone, segment)
        self.move(WalPosition(segment))

    def _parse(self, data: bytes) -> tuple[list[Logged], int, int]:
        """Return what whole records hold, how many bytes they are, and what one more needs."""
        builder = _Builder(data, self._decoder)
        at = missing = 0
        while True:
            if at + HEADER.size > len(data):
                missing = missing or (0 if at else HEADER.size)
                break
            size, kind, flags, _, checksum = HEADER.unpack_from(data, at)
            stop = at + HEADER.size + size
            if size > PAYLOAD_BYTES_MAX:
                break
            if stop > len(data):
                missing = stop if not at else 0
                break
            view = memoryview(data)
            start = at + HEADER.size
            if zlib.crc32(view[start:stop], zlib.crc32(view[at : at + 8])) != checksum:
                if not self._is_record(self.position.offset + stop):
                    break
                self.damaged += 1
                _log.error("forwarding leaves out a damaged record of the log")
            else:
                self.damaged += builder.add(kind, flags, start, stop, self.position.offset + at)
            at = stop
        self.damaged += builder.flush()
        return builder.found, at, missing

    def _is_record(self, offset: int) -> bool:
        """Say whether a whole and right record lies at a byte of the open segment."""
        return self._record_at(offset) is not None

    def _samples_at(self, offset: int) -> bytes | None:
        """Return the payload of the samples record at a byte, None if there is none."""
        found = self._record_at(offset)
        return unpacked(found[2], found[1]) if found and found[0] == SAMPLES else None

    def _record_at(self, offset: int) -> tuple[int, int, bytes] | None:
        """Return type, flags and payload of the record at a byte, None if none is right there."""
        header = os.pread(self._file, HEADER.size, offset)
        if len(header) < HEADER.size:
            return None
        size, kind, flags, _, checksum = HEADER.unpack(header)
        if size > PAYLOAD_BYTES_MAX:
            return None
        payload = os.pread(self._file, size, offset + HEADER.size)
        found = zlib.crc32(payload, zlib.crc32(header[:8]))
        return (kind, flags, payload) if len(payload) == size and found == checksum else None


def read_definitions(path: Path, stop: int | None) -> Iterator[LoggedSeries | LoggedMetadata]:
    """Yield series and metadata of a file of the log, up to byte `stop`; samples are not looked at.

    Raises OSError.
    """
    with path.open("rb") as file:
        at = len(SEGMENT_MAGIC)
        while stop is None or at < stop:
            file.seek(at)
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return
            size, kind, flags, _, checksum = HEADER.unpack(header)
            at += HEADER.size + size
            if size > PAYLOAD_BYTES_MAX:
                return
            if kind not in (SERIES, METADATA):
                continue
            payload = file.read(size)
            if len(payload) < size or zlib.crc32(payload, zlib.crc32(header[:8])) != checksum:
                continue
            plain = unpacked(payload, flags)
            with contextlib.suppress(ValueError):
                if plain is not None and kind == SERIES:
                    yield LoggedSeries(*read_series(plain))
                elif plain is not None:
                    yield LoggedMetadata(read_metadata(plain))


def count_samples(path: Path, from_byte: int = len(SEGMENT_MAGIC)) -> int:
    """Return how many floats and histograms a segment has from a byte on, by its headers."""
    count, at = 0, from_byte
    with path.open("rb") as file:
        while True:
            file.seek(at)
            header = file.read(HEADER.size + 4)
            if len(header) < HEADER.size + 4:
                return count
            size, kind, flags, _, _ = HEADER.unpack_from(header)
            if size > PAYLOAD_BYTES_MAX:
                return count
            if kind == SAMPLES and not flags & ZSTD:
                count += struct.unpack_from("<I", header, HEADER.size)[0]
            elif kind in (SAMPLES, HISTOGRAMS):
                plain = unpacked(header[HEADER.size :] + file.read(size - 4), flags)
                count += struct.unpack_from("<I", plain)[0] if plain and len(plain) >= 4 else 0
            at += HEADER.size + size


def _number(path: Path) -> int:
    return int(path.name) if path.name.isdigit() else -1


class _Builder:
    """Makes columns of records; samples records that follow each other are decoded together."""

    def __init__(self, data: bytes, decoder: SampleDecoder) -> None:
        self.found: list[Logged] = []
        self._data = data
        self._decoder = decoder

    def add(self, kind: int, flags: int, start: int, stop: int, place: int) -> int:
        """Take the record at byte `place` of its segment; return how many made no sense."""
        if kind == SAMPLES and not flags & ZSTD:
            self._decoder.add(self._data, start, stop, place)
            return 0
        wrong = self.flush()
        if kind not in (SERIES, SAMPLES, HISTOGRAMS, EXEMPLARS, METADATA):
            return wrong
        payload = unpacked(self._data[start:stop], flags)
        if payload is None:
            return wrong + 1
        if kind == SAMPLES:
            self._decoder.add(payload, 0, len(payload), place)
            return wrong + self._decoded(payload)
        try:
            self.found.append(_logged(kind, payload))
        except ValueError as error:
            _log.error("forwarding leaves out a record of the log: %s", error)
            wrong += 1
        return wrong

    def flush(self) -> int:
        """Decode the samples records held; return how many made no sense."""
        return self._decoded(self._data)

    def _decoded(self, data: bytes) -> int:
        samples = self._decoder.decode(data)
        if samples.refs.size:
            self.found.append(LoggedSamples(samples.refs, samples.times, samples.bits))
        return samples.damaged


def _logged(kind: int, payload: bytes) -> Logged:
    """Decode one record. Raises ValueError."""
    if kind == SERIES:
        return LoggedSeries(*read_series(payload))
    if kind == HISTOGRAMS:
        return LoggedHistograms(*read_histograms(payload))
    if kind == EXEMPLARS:
        return LoggedExemplars(*read_exemplars(payload))
    return LoggedMetadata(read_metadata(payload))
