"""Compiled loops of remote read: columns of samples to protobuf `TimeSeries`.

From: `remote_read.py`.   Source: remote read specification, message `TimeSeries`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.label_pair_kernels import labels_size, put_labels
from api.wire_writing_kernels import put_varint, put_word, varint_size
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Locals = npt.NDArray[np.int32]
    Words = npt.NDArray[np.uint64]

_U = np.uint64

_u8 = types.Array(types.uint8, 1, "C")
_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_u64r = types.Array(types.uint64, 1, "C", readonly=True)
_i32r2 = types.Array(types.int32, 2, "C", readonly=True)


@kernel(types.void(_i32r2, _i64r, _i64r, _i64r, _i64r, _i64r, _i64))
def series_sizes(
    texts_of: Locals,
    name_at: Ints,
    text_at: Ints,
    times: Ints,
    time_start: Ints,
    count: Ints,
    sizes: Ints,
) -> None:
    """Write the length of each series' TimeSeries message into `sizes` int64[S].

    Shapes: `texts_of` int32[L, S], index into `text_at` or -1; `name_at`, `text_at` the starts of
    the encoded fields `name` and `value` of a Label; the rest as in `SeriesBatch`.
    """
    for series in range(count.size):
        size = labels_size(texts_of, series, name_at, text_at)
        for i in range(time_start[series], time_start[series] + count[series]):
            size += 12 + varint_size(_U(times[i]))
        sizes[series] = size


@kernel(
    types.int64(_i32r2, _u8r, _i64r, _u8r, _i64r, _i64r, _i64r, _u64r, _i64r, _i64r, _i64r, _u8),
)
def write_series(
    texts_of: Locals,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
    times: Ints,
    time_start: Ints,
    bits: Words,
    value_start: Ints,
    count: Ints,
    sizes: Ints,
    out: Bytes,
) -> Whole:
    """Write each series as field 1 of a QueryResult; return the length.

    Shapes: as in `series_sizes`, `sizes` being its result; `bits` are the values' bits. `out`
    holds them all with SLACK_BYTES behind.
    """
    at: Whole = 0
    for series in range(count.size):
        out[at] = 10
        at = put_varint(out, at + 1, _U(sizes[series]))
        at = put_labels(out, at, texts_of, series, names, name_at, texts, text_at)
        for i in range(count[series]):
            time = _U(times[time_start[series] + i])
            value = bits[value_start[series] + i]
            out[at] = 18
            out[at + 1] = np.uint8(10 + varint_size(time))
            out[at + 2] = 9
            put_word(out, at + 3, value)
            out[at + 11] = 16
            at = put_varint(out, at + 12, time)
    return at
