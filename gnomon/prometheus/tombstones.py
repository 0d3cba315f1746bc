"""What has been deleted from a block of Prometheus: its file `tombstones`.

From: `block.py`. To: the same, as ranges of series refs.
Source: Prometheus documentation, tombstones disk format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.bit_kernels import SLACK_BYTES, crc32c
from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from pathlib import Path

    from tsdb.interface import Ints

MAGIC = 0x0130BA30
TOMBSTONES_FILE = "tombstones"
_HEADER_BYTES = 5


def read_tombstones(directory: Path) -> tuple[Ints, Ints, Ints]:
    """Return refs, first and last millisecond of all ranges; none without a file.

    Raises `CorruptFileError`, OSError.
    """
    path = directory / TOMBSTONES_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return tuple(np.empty(0, np.int64) for _ in range(3))  # type: ignore[return-value]  # 3
    if not content:
        return tuple(np.empty(0, np.int64) for _ in range(3))  # type: ignore[return-value]  # 3
    if len(content) < _HEADER_BYTES + 4 or content[:_HEADER_BYTES] != _header():
        raise CorruptFileError(path, 0, "not tombstones of version 1")
    data = np.frombuffer(content + bytes(SLACK_BYTES), np.uint8)
    stop = len(content) - 4
    stored = int.from_bytes(content[stop:], "big")
    # Older versions took the checksum of the body alone, newer ones of the version's byte as well.
    if stored not in {int(crc32c(data, start, stop)) for start in (_HEADER_BYTES, 4)}:
        raise CorruptFileError(path, 0, "checksum mismatch")
    ranges: list[tuple[int, int, int]] = []
    at = _HEADER_BYTES
    while at < stop:
        ref, at = uvarint(content, at)
        low, at = varint(content, at)
        high, at = varint(content, at)
        ranges.append((ref, low, high))
    table = np.array(ranges, np.int64).reshape(-1, 3)
    return table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()


def _header() -> bytes:
    return MAGIC.to_bytes(4, "big") + b"\x01"


def uvarint(content: bytes, at: int) -> tuple[int, int]:
    """Return the varint at byte `at` and where it ends. Raises IndexError at the end."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the signed varint at byte `at` and where it ends. Raises IndexError at the end."""
    value, at = uvarint(content, at)
    return (value >> 1) ^ -(value & 1), at
