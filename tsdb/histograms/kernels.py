"""Compiled loops over native histograms: what one holds as a number, runs of a pool copied.

From: `columns.py`, which owns every array here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel
from tsdb.label_kernels import fold

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words

_i8, _i32, _i64, _u64, _bool = types.int8, types.int32, types.int64, types.uint64, types.boolean


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@kernel(
    types.void(
        _in(_i8), _in(_bool), _in(_u64), _in(_u64), _in(_u64), _in(_u64),
        _in(_i64), _in(_i32), _in(_u64), _in(_i64), _in(_i32), _in(_u64),
        _in(_i64), _in(_i64), _in(_u64), _in(_u64), _u64[::1],
    ),
)  # fmt: skip
def digest_histograms(
    schema: npt.NDArray[np.int8],
    is_float: npt.NDArray[np.bool_],
    count: Words,
    total: Words,
    zero_threshold: Words,
    zero_count: Words,
    positive_start: Ints,
    positive_index: Slots,
    positive_count: Words,
    negative_start: Ints,
    negative_index: Slots,
    negative_count: Words,
    bounds_start: Ints,
    bounds_count: Ints,
    bounds: Words,
    keys: Words,
    out: Words,
) -> None:
    """Write a keyed number for each histogram: equal content, equal number; the hint apart.

    Shapes: those of `HistogramColumns`, floats as their bits; `keys` uint64[2]; `out` uint64[H].
    Buckets with a count of 0 are content: a list with them is another list.
    """
    spread, mixer = keys[0], keys[1]
    for h in range(schema.size):
        word = np.uint64(np.int64(schema[h])) << np.uint64(1) | np.uint64(is_float[h])
        mixed = fold(word ^ spread, mixer)
        mixed = fold(mixed ^ count[h], mixer)
        mixed = fold(mixed ^ total[h], mixer)
        mixed = fold(mixed ^ zero_threshold[h], mixer)
        mixed = fold(mixed ^ zero_count[h], mixer)
        first, stop = positive_start[h], positive_start[h + 1]
        mixed = fold(mixed ^ np.uint64(stop - first), mixer)
        for j in range(first, stop):
            index = np.uint64(np.int64(positive_index[j]))
            mixed = fold(fold(mixed ^ index, spread) ^ positive_count[j], mixer)
        first, stop = negative_start[h], negative_start[h + 1]
        mixed = fold(mixed ^ np.uint64(stop - first), mixer)
        for j in range(first, stop):
            index = np.uint64(np.int64(negative_index[j]))
            mixed = fold(fold(mixed ^ index, spread) ^ negative_count[j], mixer)
        mixed = fold(mixed ^ np.uint64(bounds_count[h]), mixer)
        for j in range(bounds_start[h], bounds_start[h] + bounds_count[h]):
            mixed = fold(mixed ^ bounds[j], mixer)
        out[h] = fold(mixed ^ spread, mixer)


@kernel(
    [
        types.void(_in(_i32), _in(_i64), _in(_i64), _i32[::1]),
        types.void(_in(_u64), _in(_i64), _in(_i64), _u64[::1]),
    ],
)
def copy_runs(
    pool: npt.NDArray[np.generic], start: Ints, count: Ints, out: npt.NDArray[np.generic]
) -> None:
    """Copy `pool[start[r] : start[r] + count[r]]` for each r to `out`, one behind the other."""
    to = 0
    for r in range(start.size):
        for j in range(start[r], start[r] + count[r]):
            out[to] = pool[j]
            to += 1
