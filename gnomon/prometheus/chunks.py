"""Chunks in segment files to columns of samples, checked.

From: `block.py` (chunks of the index). To: the same, as columns.
Source: Prometheus documentation, chunks disk format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.bit_kernels import check_crcs
from gnomon.prometheus.chunk_kernels import decode_xor, find_chunks
from gnomon.prometheus.histogram_kernels import (
    FLOAT_ENCODING,
    decode_histograms,
    measure_histograms,
)
from gnomon.prometheus.histogram_room import HistogramRoom
from gnomon.prometheus.mapped_file import map_file
from tsdb.errors import CorruptFileError
from tsdb.histograms.columns import starts_of
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, HistogramColumns, Ints

    OnCorrupt = Callable[[CorruptFileError], None]

MAGIC = 0x85BD40DD
XOR, HISTOGRAM = 1, 2
ENCODINGS = (XOR, HISTOGRAM, FLOAT_ENCODING)


@dataclass(frozen=True, slots=True)
class Places:
    """Where C chunks of one segment are. Shapes: int64[C]; see `find_chunks`."""

    start: Ints
    stop: Ints
    encoding: Ints
    samples: Ints

    def where(self, chosen: npt.NDArray[np.bool_] | Ints) -> Places:
        """Return some of them, by a mask or by their numbers."""
        columns = (self.start, self.stop, self.encoding, self.samples)
        return Places(*(column[chosen] for column in columns))


class ChunkData:
    """Bytes with chunks among them, whose places are known; errors name them `path`."""

    def __init__(self, data: Bytes, path: Path = Path()) -> None:
        """Take bytes as they are; what stands around the chunks does not matter."""
        self.data, self.path = data, path

    def floats(self, places: Places) -> tuple[Ints, Floats]:
        """Return the samples of float chunks, one behind the other."""
        total = int(places.samples.sum())
        times, bits = np.empty(total, np.int64), np.empty(total, np.uint64)
        good = np.empty(places.start.size, np.bool_)
        out = np.cumsum(places.samples) - places.samples
        decode_xor(self.data, places.start, places.stop, places.samples, out, times, bits, good)
        self._check(good, places)
        return times, bits.view(np.float64)

    def histograms(self, places: Places) -> tuple[Ints, HistogramColumns]:
        """Return the samples of histogram chunks, one behind the other."""
        chunks, rows = places.start.size, int(places.samples.sum())
        positive, negative, bound = (np.empty(chunks, np.int64) for _ in range(3))
        good = np.empty(chunks, np.bool_)
        measure_histograms(self.data, places.start, places.stop, positive, negative, bound, good)
        self._check(good, places)
        positives = int((positive * places.samples).sum())
        negatives = int((negative * places.samples).sum())
        bounds_start = starts_of(bound)
        into = HistogramRoom.empty(rows, positives, negatives, int(bounds_start[-1]))
        into.bounds_start[:] = np.repeat(bounds_start[:-1], places.samples)
        into.bounds_count[:] = np.repeat(bound, places.samples)
        times = np.empty(rows, np.int64)
        decode_histograms(
            self.data,
            places.start,
            places.stop,
            places.encoding,
            places.samples,
            positive,
            negative,
            np.cumsum(places.samples) - places.samples,
            times,
            into,
            good,
        )
        columns = into.columns(rows, np.repeat(places.encoding == FLOAT_ENCODING, places.samples))
        self._check(good, places)
        # Stale markers have no buckets and no bounds.
        columns.bounds_count[columns.schema != CUSTOM_BUCKETS_SCHEMA] = 0
        return times, columns

    def _check(self, good: npt.NDArray[np.bool_], places: Places) -> None:
        bad = np.flatnonzero(~good)
        if bad.size:
            raise CorruptFileError(self.path, int(places.start[bad[0]]), "chunk does not add up")


class Segment(ChunkData):
    """One chunk file, mapped."""

    def __init__(self, path: Path) -> None:
        """Map the file. Raises `CorruptFileError`, OSError."""
        super().__init__(map_file(path), path)
        if self.data.size < 8 or struct.unpack(">IB", self.data[:5].tobytes()) != (MAGIC, 1):
            raise CorruptFileError(path, 0, "not a chunk file of version 1")

    def find(self, at: Ints, on_corrupt: OnCorrupt | None = None) -> tuple[Ints, Places]:
        """Find and check chunks; return which of them are good, and where these are.

        Raises `CorruptFileError` for the first that is damaged, unless `on_corrupt` takes it: with
        that one error for all that are.
        """
        places = Places(*(np.empty(at.size, np.int64) for _ in range(4)))
        at = np.ascontiguousarray(at)
        find_chunks(self.data, at, places.start, places.stop, places.encoding, places.samples)
        good = np.empty(at.size, np.bool_)
        # The checksum covers the encoding's byte as well.
        check_crcs(self.data, places.start - 1, places.stop, good)
        good &= places.encoding >= 0
        known = good & np.isin(places.encoding, ENCODINGS)
        for bad, reason in ((~good, "damaged chunk"), (good & ~known, "chunk encoding {}")):
            found = np.flatnonzero(bad)
            if not found.size:
                continue
            first = found[np.argmin(at[found])]
            text = reason.format(f"{int(places.encoding[first])} is not known")
            if found.size > 1:
                text += f", and {found.size - 1} more like it behind it"
            error = CorruptFileError(self.path, int(at[first]), text)
            if on_corrupt is None:
                raise error
            on_corrupt(error)
        return np.flatnonzero(known), places.where(known)
