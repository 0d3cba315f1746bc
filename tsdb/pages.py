"""A run of samples to exact bytes and back: the page codec, many pages a call.

From: `block_writer.py`, `histograms/writer.py` (whole windows): pools with start and count.
To:   the same pools, filled by `decode_pages`, for `block.py` and `histograms/reader.py`.
The head seals its slabs in a form of its own (`kernels.py`), that is made while a sample is placed.

A page holds the values, or the times, of one run. Values become integers if a power of ten makes
them so exactly, else their bits are taken as integers; times are integers as they are. Then comes
the cheapest of plain, difference and second difference, and the words are laid out as byte planes
for zstd to shrink, all of them, or without the low bits that it could not. FORMAT.md has the byte
table.
Invariant: what comes back is what went in, bit for bit, for every value and every time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb import page_decode_kernels, page_encode_kernels, page_word_kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsdb.interface import Bytes, Floats, Ints

PAGE_SAMPLES_MAX = 4096
"""A page is at most so long: what is read to get one sample stays small."""

_NO_BYTES = np.empty(0, dtype=np.uint8)
_NO_FLOATS = np.empty(0, dtype=np.float64)


class Layout(enum.IntEnum):
    """How the words of a page are laid out."""

    PLANES = page_word_kernels.LAYOUT_PLANES
    """Byte planes only."""
    SPLIT = page_word_kernels.LAYOUT_SPLIT
    """High bits as byte planes, and low bits that look like noise packed in a second buffer."""


class BadPageError(ValueError):
    """Bytes that cannot be a page: a caller who checked a checksum before has found a bug."""

    def __init__(self, page: int) -> None:
        super().__init__(f"page {page} of the batch is not a page")
        self.page = page


@dataclass(frozen=True, slots=True)
class EncodedPages:
    """Pages one behind the other.

    Shapes: `data`, `noise` uint8[bytes]; `offset`, `noise_offset` int64[P + 1]. Page p is
    `data[offset[p] : offset[p + 1]]`. `noise` is empty unless the layout is SPLIT.
    """

    data: Bytes
    offset: Ints
    noise: Bytes
    noise_offset: Ints

    @property
    def page_count(self) -> int:
        """P."""
        return int(self.offset.size - 1)

    def page(self, index: int) -> bytes:
        """Return the bytes of one page (its packed bits are apart)."""
        return self.data[self.offset[index] : self.offset[index + 1]].tobytes()

    def part(self, first: int, stop: int) -> EncodedPages:
        """Return the pages [first, stop), copied."""
        offset, noise_offset = self.offset[first : stop + 1], self.noise_offset[first : stop + 1]
        return EncodedPages(
            self.data[offset[0] : offset[-1]].copy(),
            offset - offset[0],
            self.noise[noise_offset[0] : noise_offset[-1]].copy(),
            noise_offset - noise_offset[0],
        )

    def choose(self, numbers: Sequence[int]) -> EncodedPages:
        """Return some pages, copied; not for the SPLIT layout."""
        assert not self.noise.size
        chosen = [self.page(number) for number in numbers]
        offset = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum([len(page) for page in chosen], out=offset[1:])
        data = np.frombuffer(b"".join(chosen), dtype=np.uint8)
        return EncodedPages(data, offset, self.noise, np.zeros_like(offset))


def join(first: EncodedPages, second: EncodedPages) -> EncodedPages:
    """Return the pages of both, one behind the other."""
    return EncodedPages(
        np.concatenate([first.data, second.data]),
        np.concatenate([first.offset, first.offset[-1] + second.offset[1:]]),
        np.concatenate([first.noise, second.noise]),
        np.concatenate([first.noise_offset, first.noise_offset[-1] + second.noise_offset[1:]]),
    )


def encode_values(values: Floats, start: Ints, count: Ints, *, layout: Layout) -> EncodedPages:
    """Encode P runs of values, each into one page, in one call.

    Shapes: `values` float64[any]; `start`, `count` int64[P], 1 <= count <= PAGE_SAMPLES_MAX.
    """
    return _encode(values, values.view(np.uint64), start, count, layout, keep_bits=False)


def encode_times(times: Ints, start: Ints, count: Ints, *, layout: Layout) -> EncodedPages:
    """Encode P runs of times, each into one page. Shapes and units as in `encode_values`."""
    return _encode(_NO_FLOATS, times.view(np.uint64), start, count, layout, keep_bits=True)


def decode_values(
    data: Bytes,
    offset: Ints,
    count: Ints,
    out: Floats,
    out_start: Ints,
    *,
    stop: Ints | None = None,
    skip: Ints | None = None,
    take: Ints | None = None,
    noise: Bytes | None = None,
    noise_offset: Ints | None = None,
) -> None:
    """Decode P pages of values, each to `out[out_start[p]:]`, in one call.

    Shapes: `data` uint8[any] (may be a read-only memory map); `out` float64[any]; the rest int64[P]
    each, save that `offset` may be int64[P + 1] and then says where pages end; else `stop` does, or
    every page is trusted to end somewhere in `data`. `count` is the page's number of samples. Of
    each page `take` samples from `skip` on are written; by default all.
    `noise`, `noise_offset`: the second buffer of the SPLIT layout.
    Raises `BadPageError` if some bytes cannot be a page.
    """
    _decode(data, offset, count, out, out_start, stop, skip, take, noise, noise_offset)


def decode_times(
    data: Bytes,
    offset: Ints,
    count: Ints,
    out: Ints,
    out_start: Ints,
    *,
    stop: Ints | None = None,
    skip: Ints | None = None,
    take: Ints | None = None,
    noise: Bytes | None = None,
    noise_offset: Ints | None = None,
) -> None:
    """Decode P pages of times into `out` int64[any]. All else as in `decode_values`."""
    as_floats = out.view(np.float64)
    _decode(data, offset, count, as_floats, out_start, stop, skip, take, noise, noise_offset)


def _encode(
    values: Floats,
    bits: np.ndarray[tuple[int], np.dtype[np.uint64]],
    start: Ints,
    count: Ints,
    layout: Layout,
    *,
    keep_bits: bool,
) -> EncodedPages:
    assert count.size == 0 or (count.min() >= 1 and count.max() <= PAGE_SAMPLES_MAX)
    samples = int(count.sum())
    # Worst case: eight planes, every eighth value an exception of 8 bytes and its index.
    out = np.empty(samples * 10 + count.size * 96, dtype=np.uint8)
    noise = (
        np.empty(samples * 7 + count.size * 8, np.uint8) if layout == Layout.SPLIT else _NO_BYTES
    )
    offset = np.empty(count.size + 1, dtype=np.int64)
    noise_offset = np.empty(count.size + 1, dtype=np.int64)
    page_encode_kernels.encode_pages(
        values, bits, start, count, int(layout), keep_bits, out, offset, noise, noise_offset
    )
    return EncodedPages(
        data=out[: offset[-1]].copy(),
        offset=offset,
        noise=noise[: noise_offset[-1]].copy(),
        noise_offset=noise_offset,
    )


def _decode(
    data: Bytes,
    offset: Ints,
    count: Ints,
    out: Floats,
    out_start: Ints,
    stop: Ints | None,
    skip: Ints | None,
    take: Ints | None,
    noise: Bytes | None,
    noise_offset: Ints | None,
) -> None:
    pages = count.size
    if stop is None:
        stop = offset[1:] if offset.size == pages + 1 else np.full(pages, data.size, np.int64)
    if skip is None:
        skip = np.zeros(pages, dtype=np.int64)
    if take is None:
        take = count - skip
    if noise is None or noise_offset is None:
        noise, noise_offset = _NO_BYTES, np.full(pages, -1, dtype=np.int64)
    out_bits = out.view(np.int64)
    bad = page_decode_kernels.decode_pages(
        data, offset, stop, noise, noise_offset, count, skip, take, out_start, out, out_bits
    )
    if bad >= 0:
        raise BadPageError(bad)
