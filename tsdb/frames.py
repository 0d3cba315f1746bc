"""Neighbouring pages to one compressed, checksummed frame and back.

From: `block_writer.py`, pages of neighbouring rows; `pages.py` made their bytes.
To:   the file `pages` of a block, from which `block.py` unpacks one frame at a time.

A frame is about 64 KB of page bytes under zstd, behind it the packed low bits that zstd could not
shrink. It names its own lengths and checksum, so that damage to one costs that one.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import zstandard

from tsdb import pages
from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from pathlib import Path

    from tsdb.interface import Bytes, Ints
    from tsdb.pages import EncodedPages

FRAME_BYTES = 64 * 1024
"""Page bytes in a frame, about: what is unpacked to get one page."""
FRAME_PAGES_MAX = 4096
LEVEL, MATCH_BYTES_MIN = 3, 6
"""zstd's settings: on real scrapes level 19 gains 3 % for fifty times the work, and shorter matches
in what is noise cost more than they save. See benchmarks/block_size.py."""

_HEADER = np.dtype(
    [
        ("crc", "<u4"),
        ("pages", "<u4"),
        ("plain", "<u4"),
        ("stored", "<u4"),
        ("noise", "<u4"),
        ("flags", "<u4"),
    ]
)
HEADER_BYTES = _HEADER.itemsize
_COMPRESSED = 1
_HAS_NOISE = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """An unpacked frame: arguments for `pages.decode_values`.

    Shapes: `data`, `noise` uint8[any]; `offset` int64[P + 1], `noise_offset` int64[P].
    """

    data: Bytes
    offset: Ints
    noise: Bytes
    noise_offset: Ints


def cut(encoded: EncodedPages) -> list[tuple[int, int]]:
    """Return the page ranges that make frames of about `FRAME_BYTES` each.

    Greedy: a frame ends with the page that fills it.
    """
    ranges: list[tuple[int, int]] = []
    sizes = encoded.offset + encoded.noise_offset
    first = 0
    while first < encoded.page_count:
        stop = int(np.searchsorted(sizes, sizes[first] + FRAME_BYTES, side="left"))
        stop = max(first + 1, min(stop, first + FRAME_PAGES_MAX, encoded.page_count))
        ranges.append((first, stop))
        first = stop
    return ranges


class FrameWriter:
    """Writes pages to a file as frames, each in the layout that comes out smaller.

    Noise is best kept out of zstd's way; but in pages that look like noise one by one zstd may find
    that neighbours moved alike, and only trying tells.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Write from where `file` stands."""
        self._file = file
        self._compressor = compressor()
        self._waiting: tuple[EncodedPages, EncodedPages] | None = None
        self.first_page = [0]
        """The first page of each frame, and the number of all pages."""
        self.offset: list[int] = []
        """Where each frame begins in the file."""

    def add(self, planes: EncodedPages, split: EncodedPages) -> None:
        """Take the same pages in both layouts; what does not fill a frame waits for more."""
        if self._waiting is not None:
            planes, split = (
                pages.join(*both) for both in zip(self._waiting, (planes, split), strict=True)
            )
        ranges = cut(planes)
        for first, stop in ranges[:-1]:
            self._write(planes, split, first, stop)
        if ranges:
            first, stop = ranges[-1]
            self._waiting = planes.part(first, stop), split.part(first, stop)

    def finish(self) -> None:
        """Write what waits."""
        if self._waiting is not None:
            planes, split = self._waiting
            self._waiting = None
            self._write(planes, split, 0, planes.page_count)

    def _write(self, planes: EncodedPages, split: EncodedPages, first: int, stop: int) -> None:
        frame = pack(planes, first, stop, self._compressor)
        if split.noise_offset[stop] > split.noise_offset[first]:
            frame = min(frame, pack(split, first, stop, self._compressor), key=len)
        self.first_page.append(self.first_page[-1] + stop - first)
        self.offset.append(self._file.tell())
        self._file.write(frame)


def pack(
    encoded: EncodedPages, first: int, stop: int, compressor: zstandard.ZstdCompressor
) -> bytes:
    """Return the pages `first` to `stop` as one frame, ready to be written."""
    offset, noise_offset = encoded.offset[first : stop + 1], encoded.noise_offset[first : stop + 1]
    noise = encoded.noise[noise_offset[0] : noise_offset[-1]].tobytes()
    sizes = [np.diff(offset)] + ([np.diff(noise_offset)] if noise else [])
    # Lengths as two byte planes: the high one is nearly constant.
    lengths = b"".join(
        np.ascontiguousarray(size.astype("<u2").view(np.uint8).reshape(-1, 2).T).tobytes()
        for size in sizes
    )
    plain = lengths + encoded.data[offset[0] : offset[-1]].tobytes()
    stored = compressor.compress(plain)
    compressed = len(stored) < len(plain)
    if not compressed:
        stored = plain
    header = np.zeros(1, dtype=_HEADER)
    header["pages"], header["plain"], header["stored"] = stop - first, len(plain), len(stored)
    header["noise"] = len(noise)
    header["flags"] = _COMPRESSED * compressed | _HAS_NOISE * bool(noise)
    body = stored + noise
    header["crc"] = zlib.crc32(body, zlib.crc32(header.tobytes()[4:]))
    return header.tobytes() + body


def unpack(
    path: Path, file: memoryview, at: int, decompressor: zstandard.ZstdDecompressor
) -> Frame:
    """Return the frame at byte `at` of a mapped file, checked.

    Raises `CorruptFileError` with `path` if its checksum does not match or it is cut off.
    """
    if at + HEADER_BYTES > len(file):
        raise CorruptFileError(path, at, "frame is cut off")
    crc, page_count, plain_bytes, stored_bytes, noise_bytes, flags = np.frombuffer(
        file, _HEADER, 1, offset=at
    ).tolist()[0]
    stop = at + HEADER_BYTES + stored_bytes + noise_bytes
    if stop > len(file) or zlib.crc32(file[at + 4 : stop]) != crc:
        raise CorruptFileError(path, at, "frame checksum mismatch")
    stored = file[at + HEADER_BYTES : at + HEADER_BYTES + stored_bytes]
    if flags & _COMPRESSED:
        try:
            plain = np.frombuffer(decompressor.decompress(stored, plain_bytes), dtype=np.uint8)
        except zstandard.ZstdError as error:
            raise CorruptFileError(path, at, f"frame does not decompress: {error}") from error
    else:
        plain = np.frombuffer(stored, dtype=np.uint8)
    columns = 2 if flags & _HAS_NOISE else 1
    table_bytes = 2 * columns * page_count
    if plain.size != plain_bytes or table_bytes > plain_bytes:
        raise CorruptFileError(path, at, "frame is shorter than its page table")
    table = plain[:table_bytes].reshape(columns, 2, page_count).astype(np.int64)
    lengths = table[:, 0] | (table[:, 1] << 8)
    offset = np.empty(page_count + 1, dtype=np.int64)
    offset[0] = table_bytes
    np.cumsum(lengths[0], out=offset[1:])
    offset[1:] += table_bytes
    noise = np.frombuffer(file, np.uint8, noise_bytes, offset=stop - noise_bytes)
    if flags & _HAS_NOISE:
        noise_offset = np.cumsum(lengths[1]) - lengths[1]
    else:
        noise_offset = np.full(page_count, -1, dtype=np.int64)
    if offset[-1] != plain_bytes:
        raise CorruptFileError(path, at, "frame's page table does not add up")
    return Frame(plain, offset, noise, noise_offset)


def compressor() -> zstandard.ZstdCompressor:
    """Return a compressor as frames want it: without a checksum of its own."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=FRAME_BYTES, min_match=MATCH_BYTES_MIN, write_checksum=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters)
