"""Records of a log segment, checked, some megabytes at a time.

From: the files that `wal.py` wrote. To: `replay.py`, which gives them to the head or keeps them.

A record whose checksum differs is passed over if a whole record follows where its length says;
else the rest of the segment cannot be trusted and reading ends with `DamagedError`. Files are read
and not mapped, so that a disk that fails raises an error and does not kill the process.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from tsdb.wal import HEADER, PAYLOAD_BYTES_MAX, SEGMENT_MAGIC, ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 4 << 20


class DamagedError(Exception):
    """Reading a segment ended before its end: where, why, and whether it looks torn off."""

    def __init__(self, offset: int, reason: str, *, torn: bool) -> None:
        super().__init__(f"at byte {offset}: {reason}")
        self.offset, self.torn = offset, torn


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a chunk: its payload lies at `data[start:stop]`, as stored.

    `place` is where in the segment the record begins.
    """

    kind: int
    flags: int
    start: int
    stop: int
    place: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records, one behind the other, and how many were passed over."""

    data: bytes
    records: list[Record]
    damaged: int


def read_chunks(path: Path) -> Iterator[Chunk]:
    """Yield the records of a segment. Raises `DamagedError`, OSError."""
    with path.open("rb") as file:
        magic = file.read(len(SEGMENT_MAGIC))
        if magic != SEGMENT_MAGIC:
            torn = SEGMENT_MAGIC.startswith(magic)
            raise DamagedError(0, "not a segment of the log", torn=torn)
        base, data = len(magic), b""
        while True:
            records, damaged, at, missing = _scan(data, path, base)
            if records or damaged:
                yield Chunk(data, records, damaged)
            data, base = data[at:], base + at
            more = file.read(max(_CHUNK_BYTES, missing)) if missing else b""
            if more:
                data += more
            elif data:
                raise _damage(data, base, file)
            else:
                return


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload, unpacked, of each record. Raises `DamagedError`, OSError."""
    for chunk in read_chunks(path):
        for record in chunk.records:
            payload = unpacked(chunk.data[record.start : record.stop], record.flags)
            if payload is not None:
                yield record.kind, payload


def unpacked(payload: bytes, flags: int) -> bytes | None:
    """Return a payload as it was before it was packed, None (and say so) if it cannot be."""
    if not flags & ZSTD:
        return payload
    try:
        return zstandard.ZstdDecompressor().decompress(payload)
    except zstandard.ZstdError as error:
        _log.error("a record of the log has a right checksum and wrong content: %s", error)
        return None


def _scan(data: bytes, path: Path, base: int) -> tuple[list[Record], int, int, int]:
    """Return records, how many were passed over, where it ended, and how many bytes are missing.

    0 missing bytes: what follows is damaged.
    """
    records: list[Record] = []
    damaged = at = 0
    size = len(data)
    while True:
        length, good = _look(data, at)
        if at + length > size:
            return records, damaged, at, at + length - size
        if good:
            _, kind, flags, _, _ = HEADER.unpack_from(data, at)
            records.append(Record(kind, flags, at + HEADER.size, at + length, base + at))
        elif not length:
            return records, damaged, at, 0
        else:
            following, good = _look(data, at + length)
            if at + length + following > size:
                return records, damaged, at, at + length + following - size
            if not good:
                return records, damaged, at, 0
            _log.error("a record of %s at byte %d is damaged and left out", path, base + at)
            damaged += 1
        at += length


def _look(data: bytes, at: int) -> tuple[int, bool]:
    """Return the bytes of the record at `at`, and whether it is all there and right.

    0 bytes: no record can begin so.
    """
    if at + HEADER.size > len(data):
        return HEADER.size, False
    size, _, _, _, crc = HEADER.unpack_from(data, at)
    length = HEADER.size + size
    if size > PAYLOAD_BYTES_MAX:
        return 0, False
    if at + length > len(data):
        return length, False
    view = memoryview(data)
    found = zlib.crc32(view[at + HEADER.size : at + length], zlib.crc32(view[at : at + 8]))
    return length, found == crc


def _damage(data: bytes, base: int, file: BinaryIO) -> DamagedError:
    """Say what is wrong with what begins at `data` and goes on to the end of the file."""
    if len(data) < HEADER.size:
        return DamagedError(base, "header cut short", torn=True)
    length, _ = _look(data, 0)
    if not length:
        reason, torn = "record of impossible size", False
    elif length > len(data):
        reason, torn = "record cut short", True
    else:
        reason, torn = "checksum differs", length == len(data) and not file.read(1)
    # A power failure may leave zeros where the file had grown and data had not reached the disk.
    zeros = not data.strip(b"\0")
    while zeros and (more := file.read(_CHUNK_BYTES)):
        zeros = not more.strip(b"\0")
    return DamagedError(base, reason, torn=torn or zeros)
