"""Named arrays in one checksummed file, read through a memory map without parsing.

From: `block_writer.py`, which hands over the arrays of a block's index.
To:   `block.py`, which gets them back as views of the map.

A fixed header, the arrays, each at a multiple of 8 bytes, and a table with an entry for each.
FORMAT.md has the byte table. The header's checksum is checked on opening; those of the arrays when
the caller asks, since that reads the whole file.
"""

from __future__ import annotations

import mmap
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from tsdb.errors import CorruptFileError
from tsdb.free_memory import let_go

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

MAGIC = b"GNMARRAY"
VERSION = 1
_HEADER = np.dtype(
    [("magic", "S8"), ("version", "<u4"), ("count", "<u4"), ("crc", "<u4"), ("table", "<u4")]
)
_ENTRY = np.dtype(
    [
        ("name", "S24"),
        ("kind", "S8"),
        ("offset", "<u8"),
        ("bytes", "<u8"),
        ("crc", "<u4"),
        ("", "<u4"),
    ]
)
_KINDS = {kind: np.dtype(kind) for kind in ("<u1", "<u2", "<u4", "<u8", "<i8", "<f8")}

_RESIDENT_BYTES = 16 << 20
"""What a check of a file has mapped at most."""


def narrow(array: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """Return the same numbers in the narrowest unsigned type that holds them.

    >>> narrow(np.array([1, 300], dtype=np.uint64)).dtype
    dtype('uint16')
    """
    largest = int(array.max()) if array.size else 0
    return array.astype(np.min_scalar_type(largest))


@dataclass(frozen=True, slots=True)
class Parts:
    """An array of one dimension that is made piece by piece as it is written."""

    dtype: np.dtype[Any]
    parts: Iterable[Array]


def in_narrowest(
    parts: Iterable[npt.NDArray[np.unsignedinteger]], largest: int | None = None
) -> Parts:
    """Return the numbers of all parts in the narrowest unsigned type that holds them.

    `largest` is the largest of them, where the caller knows; else the parts are gone through twice.
    """
    if largest is None:
        largest = max((int(part.max()) for part in parts if part.size), default=0)
    dtype = np.min_scalar_type(largest)
    return Parts(dtype, (part.astype(dtype, copy=False) for part in parts))


class ArrayWriter:
    """Writes an array file one array at a time, so that they need not be in memory together.

    The table comes last and the header is completed when everything else is there: a file that
    was not finished does not open. To be used in a `with` statement.
    """

    def __init__(self, path: Path) -> None:
        """Create the file, or empty it. Raises OSError."""
        self._file = path.open("wb")
        self._file.write(bytes(_HEADER.itemsize))
        self._entries: list[tuple[bytes, bytes, int, int, int, int]] = []
        self.size_bytes = _HEADER.itemsize

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, array: Array | Parts) -> None:
        """Write one array of one dimension. Raises OSError."""
        whole = array if isinstance(array, Parts) else Parts(array.dtype, (array,))
        # numpy spells byte arrays |u1; in the file every kind names its byte order.
        kind = "<" + whole.dtype.str[1:]
        assert kind in _KINDS
        size = crc = 0
        for part in whole.parts:
            assert part.ndim == 1
            assert part.dtype == whole.dtype
            body = np.ascontiguousarray(part).view(np.uint8).data
            crc = zlib.crc32(body, crc)
            self._file.write(body)
            size += len(body)
        self._entries.append((name.encode(), kind.encode(), self.size_bytes, size, crc, 0))
        padding = -size % 8
        self._file.write(bytes(padding))
        self.size_bytes += size + padding

    def finish(self, *, sync: bool = True) -> int:
        """Write table and header, fsync; return the size of the file in bytes. Raises OSError."""
        table = np.array(self._entries, dtype=_ENTRY).tobytes()
        header = np.zeros(1, dtype=_HEADER)
        header["magic"], header["version"], header["count"] = MAGIC, VERSION, len(self._entries)
        header["crc"], header["table"] = zlib.crc32(table), self.size_bytes // 8
        self._file.write(table)
        self._file.seek(0)
        self._file.write(header.tobytes())
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())
        return self.size_bytes + len(table)


def write_arrays(path: Path, arrays: Iterable[tuple[str, Array | Parts]]) -> int:
    """Write and fsync the file, one-dimensional arrays by name; return its size in bytes.

    Each array is let go before the next one is asked for.
    """
    with ArrayWriter(path) as out:
        for name, array in arrays:
            out.add(name, array)
        return out.finish()


class Arrays(Protocol):
    """Named arrays, wherever they lie."""

    path: Path

    def __contains__(self, name: str) -> bool: ...

    def array(self, name: str) -> Array:
        """Return one array. Raises `CorruptFileError` if it is missing."""
        ...


class ArraysInMemory:
    """Named arrays that are in memory; `path` is what errors name."""

    def __init__(self, path: Path, arrays: Mapping[str, Array]) -> None:
        self.path = path
        self._arrays = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def array(self, name: str) -> Array:
        """Return one array. Raises `CorruptFileError` if it is missing."""
        if name not in self._arrays:
            raise CorruptFileError(self.path, 0, f"array {name!r} is missing")
        return self._arrays[name]


class ArrayFile:
    """An array file, memory-mapped. The arrays are read-only views that keep the map alive."""

    def __init__(self, path: Path) -> None:
        """Map the file and check its header. Raises `CorruptFileError`, `OSError`."""
        self.path = path
        with path.open("rb") as file:
            self.size_bytes = os.fstat(file.fileno()).st_size
            if self.size_bytes < _HEADER.itemsize:
                raise CorruptFileError(path, 0, "too short for its header")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = np.frombuffer(self._map, _HEADER, 1)[0]
        if header["magic"] != MAGIC or header["version"] != VERSION:
            raise CorruptFileError(path, 0, "not an array file of version 1")
        count = int(header["count"])
        offset = max(8 * int(header["table"]), _HEADER.itemsize)
        if offset + count * _ENTRY.itemsize > self.size_bytes:
            raise CorruptFileError(path, 12, "too short for its table")
        table = np.frombuffer(self._map, _ENTRY, count, offset=offset)
        if zlib.crc32(table.tobytes()) != header["crc"]:
            raise CorruptFileError(path, offset, "checksum mismatch in the table")
        self._entries = {
            name.decode(): (kind.decode(), offset, size, crc)
            for name, kind, offset, size, crc, _ in table.tolist()
        }

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def array(self, name: str) -> Array:
        """Return one array. Raises `CorruptFileError` if the file does not hold it."""
        entry = self._entries.get(name)
        if entry is None:
            raise CorruptFileError(self.path, 0, f"array {name!r} is missing")
        kind, offset, size, _ = entry
        if kind not in _KINDS or offset + size > self.size_bytes:
            raise CorruptFileError(self.path, offset, f"array {name!r} is cut off")
        dtype = _KINDS[kind]
        return np.frombuffer(self._map, dtype, size // dtype.itemsize, offset=offset)

    def verify(self) -> None:
        """Check every array against its checksum; nothing stays mapped. Raises `CorruptFileError`.

        A hundred blocks that are opened would have a gigabyte in memory else, unasked.
        """
        whole = memoryview(self._map)
        looked_at = 0
        for name, (_, offset, size, crc) in self._entries.items():
            if offset + size > self.size_bytes or zlib.crc32(whole[offset : offset + size]) != crc:
                raise CorruptFileError(self.path, offset, f"checksum mismatch in array {name!r}")
            looked_at += size
            if looked_at > _RESIDENT_BYTES:
                looked_at = 0
                self.let_go()
        self.let_go()

    def let_go(self) -> None:
        """Count no more as memory of this process what was read; it is read again if needed."""
        let_go(self._map)
