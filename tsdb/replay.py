"""Segments of the log -> head.

From: the files that `wal.py` wrote. To: `append.py`, record by record, in bounded memory.

A torn tail, which a crash in the middle of a write leaves, is cut off and said so. Damage in the
middle is reported and counted, and reading goes on with the next segment. Neither stops a start.
"""

from __future__ import annotations

import logging
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb.histogram_columns import take
from tsdb.histogram_record import histogram_payload, read_histograms
from tsdb.interface import AppendStatus
from tsdb.wal import (
    HEADER,
    HISTOGRAMS,
    PAYLOAD_BYTES_MAX,
    SAMPLES,
    SEGMENT_MAGIC,
    SERIES,
    TOMBSTONE,
    ZSTD,
    checkpoint_path,
    checkpoints,
    choose_series,
    header_of,
    read_samples,
    read_series,
    read_tombstone,
    segments,
    series_payload,
)
from tsdb.wal_kernels import encode_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.append import BatchAppender
    from tsdb.interface import Ints
    from tsdb.tombstones import Tombstone

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far the replay is, in segment numbers: first, last, the one being read."""

    first: int = 0
    last: int = 0
    current: int = 0


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found. `next_segment` is the first number not in use."""

    next_segment: int = 0
    records: int = 0
    samples: int = 0
    unknown_series_samples: int = 0
    corruptions: int = 0


class DamagedError(Exception):
    """Reading a segment ended before its end: where, why, and whether it looks torn off."""

    def __init__(self, offset: int, reason: str, *, torn: bool) -> None:
        super().__init__(f"at byte {offset}: {reason}")
        self.offset, self.torn = offset, torn


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload of each record of a segment. Raises `DamagedError`, OSError."""
    decompressor = zstandard.ZstdDecompressor()
    with path.open("rb") as file:
        magic = file.read(len(SEGMENT_MAGIC))
        if magic != SEGMENT_MAGIC:
            torn = SEGMENT_MAGIC.startswith(magic)
            raise DamagedError(0, "not a segment of the log", torn=torn)
        offset = len(SEGMENT_MAGIC)
        while header := file.read(HEADER.size):
            if len(header) < HEADER.size:
                raise DamagedError(offset, "header cut short", torn=True)
            size, kind, flags, _, crc = HEADER.unpack(header)
            if size > PAYLOAD_BYTES_MAX:
                raise DamagedError(offset, f"record of {size} bytes", torn=False)
            payload = file.read(size)
            if len(payload) < size:
                raise DamagedError(offset, "record cut short", torn=True)
            if zlib.crc32(payload, zlib.crc32(header[:8])) != crc:
                raise DamagedError(offset, "checksum differs", torn=not file.read(1))
            if flags & ZSTD:
                try:
                    payload = decompressor.decompress(payload)
                except zstandard.ZstdError as error:
                    raise DamagedError(offset, str(error), torn=False) from error
            yield kind, payload
            offset += HEADER.size + size


def replay(
    directory: Path,
    appender: BatchAppender,
    *,
    repair: bool,
    progress: Callable[[ReplayProgress], None],
    on_tombstone: Callable[[Tombstone], None],
) -> ReplayReport:
    """Read the newest checkpoint and all segments after it into the head.

    With `repair` torn tails are cut off on disk and left-over temporary files deleted; without,
    nothing is changed. Raises OSError if the directory cannot be read.
    """
    if repair:
        for left in directory.glob("*.tmp"):
            left.unlink()
    files = _files(directory)
    report = _Counts()
    numbers = [number for number, _ in segments(directory)]
    numbers += [number for number, _ in checkpoints(directory)]
    first, last = (files[0][0], files[-1][0]) if files else (0, 0)
    for number, path in files:
        progress(ReplayProgress(first, last, number))
        try:
            for kind, payload in read_records(path):
                report.records += 1
                _apply(kind, payload, appender, on_tombstone, report)
        except DamagedError as damage:
            report.corruptions += 1
            if damage.torn and number == last:
                _log.warning("log segment %s is torn %s; cutting it off there", path, damage)
                if repair:
                    os.truncate(path, max(damage.offset, 0))
                    if damage.offset == 0:
                        path.unlink()
            else:
                _log.error("log segment %s is damaged %s; the rest of it is lost", path, damage)
    progress(ReplayProgress(first, last, last))
    if report.unknown:
        _log.warning("%d samples of the log belong to series that it does not know", report.unknown)
    return ReplayReport(
        max(numbers, default=-1) + 1,
        report.records,
        report.samples,
        report.unknown,
        report.corruptions,
    )


def write_checkpoint(
    directory: Path,
    before: int,
    *,
    keep_from_ms: int,
    is_live: Callable[[Ints], npt.NDArray[np.bool_]],
) -> None:
    """Write what is still needed of everything before segment `before` into one checkpoint.

    Kept are series for whose refs `is_live` says so, and their samples at or after
    `keep_from_ms`. The file is whole and synced before it has its name. Raises OSError.
    """
    path = checkpoint_path(directory, before)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as out:
        out.write(SEGMENT_MAGIC)
        for number, source in _files(directory):
            if number >= before and source.suffix == "":
                continue
            try:
                for kind, payload in read_records(source):
                    kept = _kept(kind, payload, keep_from_ms, is_live)
                    if kept is not None:
                        out.write(kept)
            except DamagedError as damage:
                _log.error("checkpoint leaves out the rest of %s, damaged %s", source, damage)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make renames and deletions in a directory last."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class _Counts:
    def __init__(self) -> None:
        self.records = self.samples = self.unknown = self.corruptions = 0


def _files(directory: Path) -> list[tuple[int, Path]]:
    """Return the newest checkpoint, if any, and the segments from its number on."""
    newest = checkpoints(directory)[-1:]
    begin = newest[0][0] if newest else 0
    return [*newest, *((number, path) for number, path in segments(directory) if number >= begin)]


def _apply(
    kind: int,
    payload: bytes,
    appender: BatchAppender,
    on_tombstone: Callable[[Tombstone], None],
    report: _Counts,
) -> None:
    """Give one record to the head. A record of a kind that we do not know is left alone."""
    try:
        if kind == SERIES:
            appender.restore_series(*read_series(payload))
        elif kind == SAMPLES:
            status = appender.restore_samples(*read_samples(payload))
            report.samples += status.size
            report.unknown += int(np.count_nonzero(status == AppendStatus.UNKNOWN_SERIES))
        elif kind == HISTOGRAMS:
            status = appender.restore_histograms(*read_histograms(payload))
            report.samples += status.size
            report.unknown += int(np.count_nonzero(status == AppendStatus.UNKNOWN_SERIES))
        elif kind == TOMBSTONE:
            on_tombstone(read_tombstone(payload))
    except ValueError as error:
        report.corruptions += 1
        _log.error("a record of the log has a right checksum and wrong content: %s", error)


def _kept(
    kind: int, payload: bytes, keep_from_ms: int, is_live: Callable[[Ints], npt.NDArray[np.bool_]]
) -> bytes | None:
    """Return the part of a record that a checkpoint keeps, as a record, None if nothing."""
    flags = 0
    if kind == SERIES:
        refs, labels = read_series(payload)
        chosen = np.flatnonzero(is_live(refs))
        if not chosen.size:
            return None
        payload = series_payload(refs[chosen], choose_series(labels, chosen))
        payload, flags = zstandard.ZstdCompressor(level=1).compress(payload), ZSTD
    elif kind == SAMPLES:
        refs, times, bits = read_samples(payload)
        mask = (times >= keep_from_ms) & is_live(refs)
        if not mask.any():
            return None
        refs, times, bits = refs[mask], times[mask], bits[mask]
        out = np.empty(25 * refs.size + 40, np.uint8)
        size = encode_samples(refs, times, bits.view(np.float64), bits, out)
        payload = out[:size].tobytes()
    elif kind == HISTOGRAMS:
        refs, times, columns = read_histograms(payload)
        chosen = np.flatnonzero((times >= keep_from_ms) & is_live(refs))
        if not chosen.size:
            return None
        payload = histogram_payload(refs[chosen], times[chosen], take(columns, chosen))
        payload, flags = zstandard.ZstdCompressor(level=1).compress(payload), ZSTD
    elif kind == TOMBSTONE and read_tombstone(payload).end_ms < keep_from_ms:
        return None
    return header_of(kind, flags, payload) + payload
