"""Prometheus' index file, version 2: symbols, label sets, and where the chunks of each series are.

From: `block.py`. To: columns; nothing is made per series.
Source: Prometheus documentation, index disk format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.bit_kernels import crc32c
from gnomon.prometheus.index_kernels import read_entries, read_symbols
from gnomon.prometheus.mapped_file import map_file
from gnomon.tsdb_tools.series_table import SeriesTable
from tsdb.errors import CorruptFileError
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from pathlib import Path

    from tsdb.interface import Bytes, Ints

MAGIC = 0xBAAAD700
_TOC = struct.Struct(">6QI")
_HEADER_BYTES = 5
_SMALLEST_BYTES = _HEADER_BYTES + _TOC.size


@dataclass(frozen=True, slots=True)
class Index:
    """All of an index that an import needs.

    Shapes: `refs` int64[S], what tombstones call the series; the chunks of series s are
    chunk_first[s] to chunk_first[s + 1] of `chunk_min`, `chunk_max` (ms, inclusive) and `chunk_ref`
    (segment << 32 | byte), int64[C].
    """

    series: SeriesTable
    refs: Ints
    chunk_first: Ints
    chunk_min: Ints
    chunk_max: Ints
    chunk_ref: Ints


def read_index(path: Path) -> Index:
    """Read and check an index. Raises `CorruptFileError`, OSError."""
    data = map_file(path)
    if data.size < _SMALLEST_BYTES:
        raise CorruptFileError(path, 0, "too short for an index")
    magic, version = struct.unpack_from(">IB", data[:_HEADER_BYTES].tobytes())
    if magic != MAGIC:
        raise CorruptFileError(path, 0, "not an index of Prometheus")
    if version != 2:
        raise CorruptFileError(path, 4, f"index version {version}; only version 2 can be read")
    toc_at = data.size - _TOC.size
    toc = data[toc_at:].tobytes()
    symbols_at, series_at, *others, crc = _TOC.unpack(toc)
    if int(crc32c(data, toc_at, data.size - 4)) != crc:
        raise CorruptFileError(path, toc_at, "checksum mismatch in the table of contents")
    symbols, ids = _symbols(path, data, symbols_at)
    # Sections that are missing have the place 0.
    end = min([at for at in others if at > series_at], default=toc_at)
    return _entries(path, data, series_at, end, symbols, ids)


def _symbols(path: Path, data: Bytes, at: int) -> tuple[SymbolTable, Ints]:
    """Return a table of the index's texts, and the id of each of its symbols."""
    if not _HEADER_BYTES <= at <= data.size - 12:
        raise CorruptFileError(path, at, "symbols lie outside of the file")
    length, count = struct.unpack(">II", data[at : at + 8].tobytes())
    end = at + 4 + length
    if end + 4 > data.size:
        raise CorruptFileError(path, at, "symbols are cut off")
    if int(crc32c(data, at + 4, end)) != struct.unpack(">I", data[end : end + 4].tobytes())[0]:
        raise CorruptFileError(path, at, "checksum mismatch in the symbols")
    if count > length:
        raise CorruptFileError(path, at, f"{count} symbols in {length} bytes")
    start, stop = np.empty(count, np.int64), np.empty(count, np.int64)
    if read_symbols(data, at + 8, end, start, stop) < 0:
        raise CorruptFileError(path, at, "symbols do not add up")
    symbols = SymbolTable()
    return symbols, symbols.intern_ranges(data, start, stop).astype(np.int64)


def _entries(path: Path, data: Bytes, at: int, end: int, symbols: SymbolTable, ids: Ints) -> Index:
    none, no_ids = np.empty(0, np.int64), np.empty(0, np.uint32)
    series, labels, chunks, bad = read_entries(
        data, at, end, ids.size, False, none, none, no_ids, no_ids, none, none, none, none
    )
    if bad >= 0:
        raise CorruptFileError(path, int(bad), "damaged entry of a series")
    refs, chunk_min, chunk_max, chunk_ref = (
        np.empty(size, np.int64) for size in (series, chunks, chunks, chunks)
    )
    label_first, chunk_first = np.zeros(series + 1, np.int64), np.zeros(series + 1, np.int64)
    names, values = np.empty(labels, np.uint32), np.empty(labels, np.uint32)
    read_entries(
        data,
        at,
        end,
        ids.size,
        True,
        refs,
        label_first,
        names,
        values,
        chunk_first,
        chunk_min,
        chunk_max,
        chunk_ref,
    )
    own = ids.astype(np.uint32)
    table = SeriesTable(label_first, own[names], own[values], symbols)
    return Index(table, refs, chunk_first, chunk_min, chunk_max, chunk_ref)
