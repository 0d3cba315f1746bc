"""Compiled loops over bodies of remote write 1.0 whose series came before.

From: `known_series.py`.
A body is *plain* where each series has its labels first and then at least one sample, and nothing
else is there, as live senders write it. The bytes of all labels of a series together are its text.
What is not plain, or not known, is left to `remote_write_kernels.py`, which also judges: a text is
known only if that found it sound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.receivers.remote_write_kernels import is_plain
from api.wire_reading_kernels import varint
from scraper.cache_kernels import find_entry
from scraper.text_kernels import hash_wide
from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Int32s = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]

SAMPLE_BYTES_MIN = 13
"""A sample with its tag and length."""

_U = np.uint64

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i32r = types.Array(types.int32, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_u64 = types.Array(types.uint64, 1, "C")
_u64r = types.Array(types.uint64, 1, "C", readonly=True)


@helper(types.UniTuple(types.int64, 2)(_u8r, types.int64))  # type: ignore[no-untyped-call]  # Numba leaves it untyped
def _series(data: Bytes, at: Whole) -> tuple[Whole, Whole]:
    """Return where the text of the series at `at` begins and its message ends; -1 if not plain."""
    if data[at] != 10:
        return -1, -1
    at, size = varint(data, at + 1, data.size)
    if at < 0 or size > _U(data.size - at):
        return -1, -1
    return at, at + np.int64(size)


@helper(types.int64(_u8r, types.int64, types.int64))
def _text_stop(data: Bytes, at: Whole, stop: Whole) -> Whole:
    """Return where the labels of a message end and its samples begin, -1 if it is not plain.

    Labels are only passed over: one that is not sound is in no text that is known.
    """
    while at + SAMPLE_BYTES_MIN <= stop and data[at] == 10:
        size: Whole = np.int64(data[at + 1])
        if size < 128:
            at += 2 + size
        elif data[at + 2] < 128:
            at += 3 + (size & 127) + (np.int64(data[at + 2]) << 7)
        else:
            return -1
    return at if at < stop and data[at] == 18 and is_plain(data, at, stop) else -1


@kernel(types.int64(_u8r, _u64r, _i32r, _u64r, _u64r, _i64r, _i64, _i64, _u64))
def read_known(
    data: Bytes,
    keys: Words,
    table: Int32s,
    low: Words,
    high: Words,
    entry_refs: Ints,
    refs: Ints,
    times: Ints,
    value_bits: Words,
) -> Whole:
    """Read a plain body of known series; return its samples, -1 for any other body.

    Shapes: `keys`, `table`, `low`, `high` as in `find_entry`, `entry_refs` int64[entries]; `refs`,
    `times`, `value_bits` have room for a sample in each SAMPLE_BYTES_MIN bytes of `data`.
    """
    at = np.int64(0)
    sample = np.int64(0)
    expected: Whole = np.int64(0)
    while at < data.size:
        start, stop = _series(data, at)
        if start < 0:
            return -1
        at = _text_stop(data, start, stop)
        if at < 0:
            return -1
        a, b = hash_wide(data, start, at, keys)
        # A sender's series mostly come in the order in which they came before.
        if not (low[expected] == a and high[expected] == b):
            expected = find_entry(a, b, table, low, high)
            if expected < 0:
                return -1
        ref = entry_refs[expected]
        expected = expected + 1 if expected + 1 < low.size else 0
        while at < stop:
            if data[at] != 18 or not is_plain(data, at, stop):
                return -1
            end = at + 2 + np.int64(data[at + 1])
            bits = _U(0)
            for i in range(8):
                bits |= _U(data[at + 3 + i]) << _U(8 * i)
            time = _U(0)
            shift = _U(0)
            for i in range(at + 12, end):
                time |= _U(data[i] & np.uint8(0x7F)) << shift
                shift += _U(7)
            refs[sample], times[sample], value_bits[sample] = ref, np.int64(time), bits
            sample += 1
            at = end
    return sample


@kernel(types.int64(_u8r, _u64r, _u64, _u64))
def hash_texts(data: Bytes, keys: Words, low: Words, high: Words) -> Whole:
    """Write the hash of each series' text; return how many there are, -1 if one is not plain.

    Shapes: `low`, `high` uint64[series], of which more than there is room for is -1 as well.
    """
    at = np.int64(0)
    series = np.int64(0)
    while at < data.size:
        start, stop = _series(data, at)
        if start < 0 or series == low.size:
            return -1
        at = _text_stop(data, start, stop)
        if at < 0:
            return -1
        low[series], high[series] = hash_wide(data, start, at, keys)
        series += 1
        # A label behind the samples would be part of the series and not of its text.
        while at < stop:
            if data[at] != 18 or not is_plain(data, at, stop):
                return -1
            at += 2 + np.int64(data[at + 1])
    return series
