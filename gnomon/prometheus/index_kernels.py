"""Compiled reading of Prometheus' index (version 2), and what sets samples of one series in order.

From: `index.py`, the memory-mapped file. To: label and chunk columns.
Source: Prometheus documentation, index disk format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from gnomon.prometheus.bit_kernels import BYTES_IN, INTS, INTS_IN, crc32c, uvarint_at, varint_at
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Ids = npt.NDArray[np.uint32]
    Mask = npt.NDArray[np.bool_]
    Whole = Any

_COUNTS = types.UniTuple(types.int64, 4)  # type: ignore[no-untyped-call]  # Numba has no types
_IDS = types.Array(types.uint32, 1, "C")
_BOOLS = types.Array(types.bool_, 1, "C")


@kernel(types.int64(BYTES_IN, types.int64, types.int64, INTS, INTS))
def read_symbols(data: Bytes, at: Whole, end: Whole, start: Ints, stop: Ints) -> Whole:
    """Find the texts of the symbol table from byte `at` on; return where they end, -1 if beyond."""
    for n in range(start.size):
        if at >= end:
            return np.int64(-1)
        length, at = uvarint_at(data, at)
        if at < 0 or length > np.uint64(end) or at + np.int64(length) > end:
            return np.int64(-1)
        start[n] = at
        at += np.int64(length)
        stop[n] = at
    return at


@kernel(
    _COUNTS(
        BYTES_IN,
        types.int64,
        types.int64,
        types.int64,
        types.boolean,
        INTS,
        INTS,
        _IDS,
        _IDS,
        INTS,
        INTS,
        INTS,
        INTS,
    ),
)
def read_entries(
    data: Bytes,
    at: Whole,
    end: Whole,
    symbols: Whole,
    fill: bool,
    refs: Ints,
    label_first: Ints,
    names: Ids,
    values: Ids,
    chunk_first: Ints,
    chunk_min: Ints,
    chunk_max: Ints,
    chunk_ref: Ints,
) -> tuple[Whole, Whole, Whole, Whole]:
    """Read the series section [at, end): how many series, labels and chunks; and where it is bad.

    The last number is -1, or the byte at which an entry is damaged. With `fill` the columns are
    written: `refs` int64[S], the entry's byte / 16; `label_first`, `chunk_first` int64[S + 1];
    `names`, `values` uint32[L], numbers of symbols; chunks int64[C], times inclusive.
    """
    series, labels, chunks = np.int64(0), np.int64(0), np.int64(0)
    good = np.int64(-1)
    while True:
        at = (at + 15) // 16 * 16
        if at >= end:
            break
        entry = at
        length, at = uvarint_at(data, at)
        stop = at + np.int64(length)
        if at < 0 or length == np.uint64(0) or length > np.uint64(end) or stop + 4 > end:
            return series, labels, chunks, entry
        stored = np.uint32(0)
        for k in range(4):
            stored = (stored << np.uint32(8)) | np.uint32(data[stop + k])
        if not fill and crc32c(data, at, stop) != stored:
            return series, labels, chunks, entry
        if fill:
            refs[series] = entry // 16
            label_first[series], chunk_first[series] = labels, chunks
        count, at = uvarint_at(data, at)
        for _ in range(np.int64(count)):
            if at < 0 or at >= stop:
                return series, labels, chunks, entry
            name, at = uvarint_at(data, at)
            if at < 0 or at >= stop:
                return series, labels, chunks, entry
            value, at = uvarint_at(data, at)
            if name >= np.uint64(symbols) or value >= np.uint64(symbols):
                return series, labels, chunks, entry
            if fill:
                names[labels], values[labels] = name, value
            labels += 1
        if at < 0 or at >= stop:
            return series, labels, chunks, entry
        count, at = uvarint_at(data, at)
        last, ref = np.int64(0), np.int64(0)
        for k in range(np.int64(count)):
            if at < 0 or at >= stop:
                return series, labels, chunks, entry
            if k == 0:
                low, at = varint_at(data, at)
            else:
                step, at = uvarint_at(data, at)
                low = last + np.int64(step)
            if at < 0 or at >= stop:
                return series, labels, chunks, entry
            step, at = uvarint_at(data, at)
            last = low + np.int64(step)
            if at < 0 or at >= stop:
                return series, labels, chunks, entry
            if k == 0:
                step, at = uvarint_at(data, at)
                ref = np.int64(step)
            else:
                change, at = varint_at(data, at)
                ref += change
            if fill:
                chunk_min[chunks], chunk_max[chunks], chunk_ref[chunks] = low, last, ref
            chunks += 1
        if at != stop:
            return series, labels, chunks, entry
        series += 1
        at = stop + 4
    if fill:
        label_first[series], chunk_first[series] = labels, chunks
    return series, labels, chunks, good


@kernel(
    types.void(INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, INTS_IN, _BOOLS),
)
def mark_deleted(
    times: Ints, start: Ints, stop: Ints, series: Ints, low: Ints, high: Ints, keep: Mask
) -> None:
    """Clear `keep` for the times of a series in [low, high]: one range for each of R `series`.

    Shapes: `times` int64 and `keep` bool, rising within start[s] to stop[s] (int64[S]); the ranges
    int64[R].
    """
    for r in range(series.size):
        s = series[r]
        first, last = start[s], stop[s]
        while first < last:
            middle = (first + last) // 2
            if times[middle] < low[r]:
                first = middle + 1
            else:
                last = middle
        while first < stop[s] and times[first] <= high[r]:
            keep[first] = False
            first += 1
