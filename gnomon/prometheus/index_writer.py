"""Prometheus' index file, version 2, written: symbols, series, postings, table of contents.

From: `exporting.py`: series in Prometheus' order with the places of their chunks.
Source: Prometheus documentation, index disk format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.bit_kernels import crc32c
from gnomon.prometheus.index import MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    Chunk = tuple[int, int, int]
    """First and last millisecond, and ref: file number << 32 | byte."""


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """One series: its labels by name in the order of bytes, and its chunks by time."""

    labels: tuple[tuple[str, str], ...]
    chunks: tuple[Chunk, ...]


def write_index(path: Path, entries: Sequence[SeriesEntry]) -> None:
    """Write the index of series that come in order of their labels. Raises OSError."""
    texts = sorted({text for entry in entries for pair in entry.labels for text in pair})
    encoded = sorted({text.encode() for text in texts} | {b""})
    number = {text.decode(): at for at, text in enumerate(encoded)}
    with path.open("wb") as file:
        file.write(struct.pack(">IB", MAGIC, 2))
        symbols_at = file.tell()
        content = struct.pack(">I", len(encoded)) + b"".join(
            _uvarint(len(text)) + text for text in encoded
        )
        _put_section(file, content)
        series_at = file.tell()
        refs = _put_series(file, entries, number)
        postings = _put_postings(file, entries, refs)
        table_at = file.tell()
        table = struct.pack(">I", len(postings)) + b"".join(
            b"\x02" + _text(name) + _text(value) + _uvarint(at)
            for (name, value), at in postings.items()
        )
        _put_section(file, table)
        first_postings = min(postings.values(), default=table_at)
        # Label indices, which nobody reads any more, are left out: an empty table stands for them.
        label_table_at = file.tell()
        _put_section(file, struct.pack(">I", 0))
        toc = struct.pack(
            ">6Q", symbols_at, series_at, first_postings, label_table_at, first_postings, table_at
        )
        file.write(toc + struct.pack(">I", _crc(toc)))


def _put_series(
    file: BinaryIO, entries: Iterable[SeriesEntry], number: dict[str, int]
) -> list[int]:
    refs = []
    for entry in entries:
        file.write(bytes(-file.tell() % 16))
        refs.append(file.tell() // 16)
        parts = [_uvarint(len(entry.labels))]
        parts += [_uvarint(number[text]) for pair in entry.labels for text in pair]
        parts.append(_uvarint(len(entry.chunks)))
        last = last_ref = 0
        for at, (low, high, ref) in enumerate(entry.chunks):
            if at == 0:
                parts += [_varint(low), _uvarint(high - low), _uvarint(ref)]
            else:
                parts += [_uvarint(low - last), _uvarint(high - low), _varint(ref - last_ref)]
            last, last_ref = high, ref
        body = b"".join(parts)
        file.write(_uvarint(len(body)) + body + struct.pack(">I", _crc(body)))
    return refs


def _put_postings(
    file: BinaryIO, entries: Iterable[SeriesEntry], refs: list[int]
) -> dict[tuple[str, str], int]:
    """Write which series have each label; return where, by name and value, in order of bytes."""
    lists: dict[tuple[str, str], list[int]] = {("", ""): refs}
    for entry, ref in zip(entries, refs, strict=True):
        for pair in entry.labels:
            lists.setdefault(pair, []).append(ref)
    places = {}
    for pair in sorted(lists, key=lambda pair: (pair[0].encode(), pair[1].encode())):
        file.write(bytes(-file.tell() % 4))
        places[pair] = file.tell()
        held = lists[pair]
        _put_section(file, struct.pack(f">{len(held) + 1}I", len(held), *held))
    return places


def _put_section(file: BinaryIO, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + content + struct.pack(">I", _crc(content)))


def _crc(content: bytes) -> int:
    return int(crc32c(np.frombuffer(content, np.uint8), 0, len(content)))


def _text(text: str) -> bytes:
    return _uvarint(len(text.encode())) + text.encode()


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(value: int) -> bytes:
    return _uvarint((value << 1) ^ (value >> 63))
