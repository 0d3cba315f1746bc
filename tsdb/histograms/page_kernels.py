"""Compiled loops between rows of histograms and the columns that pages hold.

From: `writer.py` and `reader.py`, which own every array here.

A *stretch* is a run of histograms of one series that have one layout: same schema, hint, kind of
counts, zero threshold, bounds, and buckets. It is 3 + P + N columns, each a run of values: count,
sum, count of zeros, the P positive buckets, the N negative ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Floats, Ids, Ints
    from tsdb.label_kernels import Slots, Words

    Int = int | np.integer[Any]
    Small = npt.NDArray[np.int8]
    Mask = npt.NDArray[np.bool_]

PLAIN_COLUMNS = 3
"""Columns of a stretch before those of its buckets."""
_EXACT = 9007199254740992.0

_i8, _i32, _i64, _u32, _u64, _f64, _bool = (
    types.int8,
    types.int32,
    types.int64,
    types.uint32,
    types.uint64,
    types.float64,
    types.boolean,
)


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@helper(_bool(_in(_i64), _in(_i32), _i64, _i64))
def _same_list(start: Ints, index: Slots, a: Int, b: Int) -> bool:
    size = start[a + 1] - start[a]
    if start[b + 1] - start[b] != size:
        return False
    j = 0
    while j < size and index[start[a] + j] == index[start[b] + j]:
        j += 1
    return bool(j == size)


@kernel(
    types.void(
        _in(_i8), _in(_i8), _in(_bool), _in(_u64), _in(_i64), _in(_i32), _in(_i64), _in(_i32),
        _in(_i64), _in(_i64), _in(_u64), _in(_i64), _bool[::1],
    ),
)  # fmt: skip
def mark_layout_changes(
    schema: Small,
    hint: Small,
    is_float: Mask,
    zero_threshold: Words,
    positive_start: Ints,
    positive_index: Slots,
    negative_start: Ints,
    negative_index: Slots,
    bounds_start: Ints,
    bounds_count: Ints,
    bounds: Words,
    rows: Ints,
    changed: Mask,
) -> None:
    """Say of each of `rows` whether its layout is another than that of the one before it.

    Shapes: those of `HistogramColumns`, floats as their bits; `rows`, `changed` [N].
    """
    for n in range(rows.size):
        if n == 0:
            changed[n] = True
            continue
        a, b = rows[n - 1], rows[n]
        same = (
            schema[a] == schema[b]
            and hint[a] == hint[b]
            and is_float[a] == is_float[b]
            and zero_threshold[a] == zero_threshold[b]
            and bounds_count[a] == bounds_count[b]
            and _same_list(positive_start, positive_index, a, b)
            and _same_list(negative_start, negative_index, a, b)
        )
        if same and bounds_start[a] != bounds_start[b]:
            for j in range(bounds_count[a]):
                if bounds[bounds_start[a] + j] != bounds[bounds_start[b] + j]:
                    same = False
                    break
        changed[n] = not same


@kernel(
    types.void(
        _in(_i8), _in(_i8), _in(_bool), _in(_u64), _in(_i64), _in(_i32), _in(_i64), _in(_i32),
        _in(_i64), _in(_i64), _in(_u64), _in(_i64), _in(_i64), _i64[::1],
    ),
)  # fmt: skip
def write_layouts(
    schema: Small,
    hint: Small,
    is_float: Mask,
    zero_threshold: Words,
    positive_start: Ints,
    positive_index: Slots,
    negative_start: Ints,
    negative_index: Slots,
    bounds_start: Ints,
    bounds_count: Ints,
    bounds: Words,
    rows: Ints,
    first: Ints,
    out: Ints,
) -> None:
    """Write the layout of each of `rows` as numbers to `out` from `first[n]` on.

    Numbers: schema, hint and kind; zero threshold; how many positive buckets; their indices; those
    of the negative ones; bounds. What is behind the first three takes the rest: 3 + P + N + bounds.
    """
    for n in range(rows.size):
        h, at = rows[n], first[n]
        out[at] = np.int64(schema[h]) * 16 + np.int64(hint[h]) * 2 + np.int64(is_float[h])
        out[at + 1] = np.int64(zero_threshold[h])
        out[at + 2] = positive_start[h + 1] - positive_start[h]
        at += 3
        for j in range(positive_start[h], positive_start[h + 1]):
            out[at] = positive_index[j]
            at += 1
        for j in range(negative_start[h], negative_start[h + 1]):
            out[at] = negative_index[j]
            at += 1
        for j in range(bounds_start[h], bounds_start[h] + bounds_count[h]):
            out[at] = np.int64(bounds[j])
            at += 1


@helper(_bool(_f64))
def _is_exact(value: float) -> bool:
    """Return whether a count is an integer that can be added to others without rounding."""
    # An addition never gives -0.0 back; `copysign` sees what a comparison does not.
    return abs(value) < _EXACT and np.floor(value) == value and np.copysign(1.0, value) > 0.0


@kernel(
    types.void(
        _in(_f64), _in(_u64), _in(_f64), _in(_i64), _in(_f64), _in(_i64), _in(_f64),
        _in(_i64), _in(_i64), _in(_i64), _f64[::1], _u64[::1], _bool[::1],
    ),
)  # fmt: skip
def to_columns(
    count: Floats,
    total: Words,
    zero_count: Floats,
    positive_start: Ints,
    positive_count: Floats,
    negative_start: Ints,
    negative_count: Floats,
    first: Ints,
    size: Ints,
    place: Ints,
    out: Floats,
    out_bits: Words,
    summed: Mask,
) -> None:
    """Write the columns of stretches of the histograms `first[s]` to `first[s] + size[s]`.

    Those of stretch s go to `out` from `place[s]` on, one column behind the other; `out` and
    `out_bits` are the same memory. Where all counts are integers that add up without rounding, the
    column of counts holds what the buckets do not explain, mostly 0, and `summed[s]` says so.
    """
    for s in range(first.size):
        n = size[s]
        exact = True
        for k in range(n):
            h = first[s] + k
            exact = exact and _is_exact(count[h]) and _is_exact(zero_count[h])
            rest = zero_count[h]
            for j in range(positive_start[h], positive_start[h + 1]):
                exact = exact and _is_exact(positive_count[j])
                rest += positive_count[j]
            for j in range(negative_start[h], negative_start[h + 1]):
                exact = exact and _is_exact(negative_count[j])
                rest += negative_count[j]
            exact = exact and rest < _EXACT
            if not exact:
                break
        summed[s] = exact
        for k in range(n):
            h = first[s] + k
            at = place[s] + k
            explained = 0.0
            if exact:
                explained = zero_count[h]
            out[at + 2 * n] = zero_count[h]
            out_bits[at + n] = total[h]
            at += 3 * n
            for j in range(positive_start[h], positive_start[h + 1]):
                out[at] = positive_count[j]
                at += n
                if exact:
                    explained += positive_count[j]
            for j in range(negative_start[h], negative_start[h + 1]):
                out[at] = negative_count[j]
                at += n
                if exact:
                    explained += negative_count[j]
            out[place[s] + k] = count[h] - explained if exact else count[h]


@kernel(
    types.void(
        _in(_f64), _in(_u64), _in(_i64), _in(_i64), _in(_i64), _in(_bool),
        _in(_u32), _in(_u32), _in(_u32), _in(_u32),
        _f64[::1], _u64[::1], _f64[::1],
        _in(_i64), _i32[::1], _f64[::1], _in(_i64), _i32[::1], _f64[::1],
    ),
)  # fmt: skip
def from_columns(
    pool: Floats,
    pool_bits: Words,
    place: Ints,
    size: Ints,
    layout: Ints,
    summed: Mask,
    layout_positive: Ids,
    layout_negative: Ids,
    span_index: Ids,
    span_length: Ids,
    count: Floats,
    total: Words,
    zero_count: Floats,
    positive_start: Ints,
    positive_index: Slots,
    positive_count: Floats,
    negative_start: Ints,
    negative_index: Slots,
    negative_count: Floats,
) -> None:
    """Undo `to_columns`, for stretches that follow each other in the result.

    The spans of layout l are those from `layout_positive[l]` on, the negative ones from
    `layout_negative[l]` to `layout_positive[l + 1]`; `positive_start` and `negative_start` say
    where the buckets of each histogram go.
    """
    h = 0
    for s in range(place.size):
        n = size[s]
        positive_first = np.int64(layout_positive[layout[s]])
        negative_first = np.int64(layout_negative[layout[s]])
        negative_stop = np.int64(layout_positive[layout[s] + 1])
        for k in range(n):
            at = place[s] + k
            total[h] = pool_bits[at + n]
            zero_count[h] = pool[at + 2 * n]
            explained = zero_count[h]
            at += 3 * n
            to = positive_start[h]
            for span in range(positive_first, negative_first):
                index = np.int64(np.int32(span_index[span]))
                for j in range(np.int64(span_length[span])):
                    positive_index[to] = index + j
                    positive_count[to] = pool[at]
                    explained += pool[at]
                    at += n
                    to += 1
            to = negative_start[h]
            for span in range(negative_first, negative_stop):
                index = np.int64(np.int32(span_index[span]))
                for j in range(np.int64(span_length[span])):
                    negative_index[to] = index + j
                    negative_count[to] = pool[at]
                    explained += pool[at]
                    at += n
                    to += 1
            count[h] = pool[place[s] + k] + explained if summed[s] else pool[place[s] + k]
            h += 1
