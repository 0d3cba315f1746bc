"""A batch of native histograms as the payload of a record of the log, and back.

From: `wal.py`, which compresses and frames it. Back: through `replay.py`. FORMAT.md has the table.

Numbers that neighbours repeat are written as differences, and all columns as byte planes: zstd then
makes about a tenth of them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.columns import starts_of
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, HistogramColumns

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Floats, Ints

_HEADER = struct.Struct("<IIIIII")
"""Histograms, positive and negative buckets, bounds, flags, zero."""
_INTEGERS = 1
"""Flag: all counts are integers, and written as such."""


def histogram_payload(refs: Ints, times: Ints, columns: HistogramColumns) -> bytes:
    """Return the payload of one batch; `columns` is compact, as `take` makes it."""
    counts = (columns.count, columns.zero_count, columns.positive_count, columns.negative_count)
    integers = all(_are_integers(each) for each in counts)
    count, zero_count, positive, negative = (
        each.astype(np.int64) if integers else each for each in counts
    )
    flags = columns.hint.astype(np.uint8) & np.uint8(3) | columns.is_float.astype(np.uint8) << 2
    return b"".join(
        (
            _HEADER.pack(
                refs.size,
                columns.positive_index.size,
                columns.negative_index.size,
                columns.bounds.size,
                _INTEGERS * integers,
                0,
            ),
            _planes(_differences(times)),
            _planes(_differences(refs)),
            columns.schema.tobytes(),
            flags.tobytes(),
            _planes(count),
            _planes(columns.sum),
            _planes(columns.zero_threshold),
            _planes(zero_count),
            _planes(np.diff(columns.positive_start).astype(np.uint32)),
            _planes(np.diff(columns.negative_start).astype(np.uint32)),
            _planes(columns.bounds_start.astype(np.uint32)),
            _planes(columns.bounds_count.astype(np.uint32)),
            _planes(_differences(columns.positive_index)),
            _planes(positive),
            _planes(_differences(columns.negative_index)),
            _planes(negative),
            _planes(columns.bounds),
        )
    )


def read_histograms(payload: bytes) -> tuple[Ints, Ints, HistogramColumns]:
    """Return refs, times and histograms of a record. Raises ValueError if it cannot be right."""
    if len(payload) < _HEADER.size:
        raise ValueError("histogram record too short")
    size, positives, negatives, bounds, flags, _ = _HEADER.unpack_from(payload)
    wanted = _HEADER.size + 66 * size + 12 * (positives + negatives) + 8 * bounds
    if size == 0 or wanted != len(payload):
        raise ValueError("histogram record of the wrong size")
    at = _HEADER.size

    def read(dtype: str, count: int) -> npt.NDArray[np.generic]:
        nonlocal at
        width = np.dtype(dtype).itemsize
        stored = np.frombuffer(payload, np.uint8, count * width, at).reshape(width, count)
        at += count * width
        return np.ascontiguousarray(stored.T).view(dtype).ravel()

    def read_counts(count: int) -> Floats:
        if flags & _INTEGERS:
            return read("<i8", count).astype(np.float64)
        return read("<f8", count).astype(np.float64, copy=False)

    times = np.cumsum(read("<i8", size), dtype=np.int64)
    refs = np.cumsum(read("<i8", size), dtype=np.int64)
    schema, facts = read("i1", size).astype(np.int8), read("u1", size).astype(np.uint8)
    count = read_counts(size)
    total, zero_threshold = read("<f8", size), read("<f8", size)
    zero_count = read_counts(size)
    positive_size, negative_size, bounds_start, bounds_count = (
        read("<u4", size).astype(np.int64) for _ in range(4)
    )
    positive_index = np.cumsum(read("<u4", positives), dtype=np.uint32).view(np.int32)
    positive_count = read_counts(positives)
    negative_index = np.cumsum(read("<u4", negatives), dtype=np.uint32).view(np.int32)
    negative_count = read_counts(negatives)
    pool = read("<f8", bounds)
    if positive_size.sum() != positives or negative_size.sum() != negatives:
        raise ValueError("histogram record does not add up")
    if (bounds_start + bounds_count).max() > bounds:
        raise ValueError("bounds of a histogram record lie outside of it")
    if (bounds_count[schema != CUSTOM_BUCKETS_SCHEMA] > 0).any():
        raise ValueError("bounds of a histogram record that has none by its schema")
    return (
        refs,
        times,
        HistogramColumns(
            schema,
            (facts & np.uint8(3)).astype(np.int8),
            (facts & np.uint8(4)) > 0,
            count,
            total.astype(np.float64, copy=False),
            zero_threshold.astype(np.float64, copy=False),
            zero_count,
            starts_of(positive_size),
            positive_index,
            positive_count,
            starts_of(negative_size),
            negative_index,
            negative_count,
            bounds_start,
            bounds_count,
            pool.astype(np.float64, copy=False),
        ),
    )


def _planes(array: npt.NDArray[np.generic]) -> bytes:
    """Return the lowest bytes of all elements, then the next ones."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(array.size, array.itemsize).T.tobytes()


def _differences(array: npt.NDArray[np.integer]) -> npt.NDArray[np.unsignedinteger]:
    """Return each number less the one before, modulo its width."""
    words = array.view(f"u{array.itemsize}")
    out = words.copy()
    out[1:] -= words[:-1]
    return out


def _are_integers(values: Floats) -> bool:
    """Return whether all are integers that int64 gives back bit for bit."""
    small = np.abs(values) < 2.0**62
    if not small.all():
        return False
    back = values.astype(np.int64).astype(np.float64)
    return bool((back.view(np.uint64) == values.view(np.uint64)).all())
