"""Segments of Prometheus' log to records: pages and fragments put together, checked, unpacked.

From: `wal/` (its newest checkpoint first) and `wbl/`. To: `head.py`.
A record that is cut off or damaged ends what is read of its segment. A repair by Prometheus drops
all that follows; here it is reported, and the next segment is read all the same.
Source: Prometheus documentation, WAL disk format.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

import cramjam
import numpy as np
import zstandard

from gnomon.prometheus.bit_kernels import SLACK_BYTES, crc32c
from gnomon.prometheus.mapped_file import map_file
from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tsdb.interface import Bytes

PAGE_BYTES = 32 * 1024
_HEADER = struct.Struct(">BHI")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_SNAPPY, _ZSTD = 8, 16
_SLACK = bytes(SLACK_BYTES)


class RecordType(enum.IntEnum):
    """What the first byte of a record says."""

    SERIES = 1
    SAMPLES = 2
    TOMBSTONES = 3
    EXEMPLARS = 4
    MMAP_MARKERS = 5
    METADATA = 6
    HISTOGRAMS = 7
    FLOAT_HISTOGRAMS = 8
    CUSTOM_HISTOGRAMS = 9
    CUSTOM_FLOAT_HISTOGRAMS = 10


def log_files(directory: Path) -> list[Path]:
    """Return the segments of a log in the order of replay, those of the newest checkpoint first."""
    if not directory.is_dir():
        return []
    segments = sorted((int(p.name), p) for p in directory.iterdir() if p.name.isdigit())
    checkpoints = sorted(
        (int(p.suffix[1:]), p)
        for p in directory.glob("checkpoint.*")
        if p.suffix[1:].isdigit() and p.is_dir()
    )
    files: list[Path] = []
    after = -1
    if checkpoints:
        after, newest = checkpoints[-1]
        files += sorted(p for p in newest.iterdir() if p.name.isdigit())
    return files + [path for number, path in segments if number > after]


def read_records(
    path: Path, on_corrupt: Callable[[CorruptFileError], None]
) -> Iterator[tuple[int, int, Bytes]]:
    """Yield type, size and bytes of each record of a segment, `SLACK_BYTES` of zeros behind them.

    `on_corrupt` is called once where the segment cannot be read further. Raises OSError.
    """
    data = map_file(path)
    parts: list[bytes] = []
    at, began = 0, 0
    zstd = zstandard.ZstdDecompressor()
    while at < data.size:
        left = PAGE_BYTES - at % PAGE_BYTES
        kind = int(data[at])
        if kind & 7 == 0:
            # The rest of a page that no fragment fits into, or where the writer stopped.
            rest = data[at : at + left]
            if rest.any():
                on_corrupt(CorruptFileError(path, at, "bytes where a page should be empty"))
                return
            at += left
            continue
        if left < _HEADER.size or at + _HEADER.size > data.size:
            on_corrupt(CorruptFileError(path, at, "record cut short"))
            return
        _, size, crc = _HEADER.unpack(data[at : at + _HEADER.size].tobytes())
        start = at + _HEADER.size
        if size > left - _HEADER.size or start + size > data.size:
            on_corrupt(CorruptFileError(path, at, "record cut short"))
            return
        if int(crc32c(data, start, start + size)) != crc:
            on_corrupt(CorruptFileError(path, at, "checksum mismatch"))
            return
        fragment = kind & 7
        if (fragment in (_FULL, _FIRST)) != (not parts) or fragment > _LAST:
            on_corrupt(CorruptFileError(path, at, "fragments of a record out of order"))
            return
        if not parts:
            began = at
        parts.append(data[start : start + size].tobytes())
        at = start + size
        if fragment in (_FULL, _LAST):
            record, parts = b"".join(parts), []
            try:
                record = _unpacked(record, kind, zstd)
            except (ValueError, OSError, zstandard.ZstdError, cramjam.DecompressionError) as error:
                on_corrupt(CorruptFileError(path, began, f"record cannot be unpacked: {error}"))
                return
            if record:
                yield record[0], len(record), np.frombuffer(record + _SLACK, np.uint8)
    if parts:
        on_corrupt(CorruptFileError(path, began, "record cut short"))


def _unpacked(record: bytes, kind: int, zstd: zstandard.ZstdDecompressor) -> bytes:
    if kind & _SNAPPY:
        return bytes(cramjam.snappy.decompress_raw(record))
    if kind & _ZSTD:
        return zstd.decompressobj().decompress(record)
    return record
