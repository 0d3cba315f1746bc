"""Native histograms as columns: pick rows, join, build from plain rows and back.

The shape is `tsdb.interface.HistogramColumns`. Everything here leaves counts as they are;
`algebra.py` calculates with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.addition_kernels import Read
from promql.histograms.column_kernels import gather_buckets, keep_populated
from tsdb.interface import HistogramColumns, ResetHint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Indexes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class HistogramRow:
    """One histogram by itself: for parsers, messages and tests, never for loops over data.

    `positive` and `negative` are (index, count) pairs, indexes rising; `bounds` is empty unless
    the schema is that of custom buckets.
    """

    schema: int = 0
    count: float = 0.0
    sum: float = 0.0
    zero_threshold: float = 0.0
    zero_count: float = 0.0
    positive: tuple[tuple[int, float], ...] = ()
    negative: tuple[tuple[int, float], ...] = ()
    bounds: tuple[float, ...] = ()
    hint: ResetHint = ResetHint.UNKNOWN
    is_float: bool = True


def from_rows(rows: Sequence[HistogramRow]) -> HistogramColumns:
    """Build columns from plain rows.

    >>> columns = from_rows([HistogramRow(count=3, positive=((0, 1), (2, 2)))])
    >>> columns.histogram_count, columns.positive_index.tolist()
    (1, [0, 2])
    """
    bounds_start, bounds_count, bounds = _shared_bounds([row.bounds for row in rows])
    return HistogramColumns(
        schema=np.array([row.schema for row in rows], dtype=np.int8),
        hint=np.array([row.hint for row in rows], dtype=np.int8),
        is_float=np.array([row.is_float for row in rows], dtype=np.bool_),
        count=np.array([row.count for row in rows], dtype=np.float64),
        sum=np.array([row.sum for row in rows], dtype=np.float64),
        zero_threshold=np.array([row.zero_threshold for row in rows], dtype=np.float64),
        zero_count=np.array([row.zero_count for row in rows], dtype=np.float64),
        positive_start=_starts([len(row.positive) for row in rows]),
        positive_index=np.array([i for row in rows for i, _ in row.positive], dtype=np.int32),
        positive_count=np.array([c for row in rows for _, c in row.positive], dtype=np.float64),
        negative_start=_starts([len(row.negative) for row in rows]),
        negative_index=np.array([i for row in rows for i, _ in row.negative], dtype=np.int32),
        negative_count=np.array([c for row in rows for _, c in row.negative], dtype=np.float64),
        bounds_start=bounds_start,
        bounds_count=bounds_count,
        bounds=bounds,
    )


def row_of(columns: HistogramColumns, row: int) -> HistogramRow:
    """Return one histogram by itself; the inverse of `from_rows`."""
    return HistogramRow(
        schema=int(columns.schema[row]),
        count=float(columns.count[row]),
        sum=float(columns.sum[row]),
        zero_threshold=float(columns.zero_threshold[row]),
        zero_count=float(columns.zero_count[row]),
        positive=_pairs(
            columns.positive_start, columns.positive_index, columns.positive_count, row
        ),
        negative=_pairs(
            columns.negative_start, columns.negative_index, columns.negative_count, row
        ),
        bounds=tuple(
            columns.bounds[columns.bounds_start[row] :][: columns.bounds_count[row]].tolist()
        ),
        hint=ResetHint(int(columns.hint[row])),
        is_float=bool(columns.is_float[row]),
    )


def take(columns: HistogramColumns, rows: Ints) -> HistogramColumns:
    """Return the histograms at `rows` (int64, any order, may repeat); bounds stay shared."""
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    positive = _take_side(
        columns.positive_start, columns.positive_index, columns.positive_count, rows
    )
    negative = _take_side(
        columns.negative_start, columns.negative_index, columns.negative_count, rows
    )
    return HistogramColumns(
        schema=columns.schema[rows],
        hint=columns.hint[rows],
        is_float=columns.is_float[rows],
        count=columns.count[rows],
        sum=columns.sum[rows],
        zero_threshold=columns.zero_threshold[rows],
        zero_count=columns.zero_count[rows],
        positive_start=positive[0],
        positive_index=positive[1],
        positive_count=positive[2],
        negative_start=negative[0],
        negative_index=negative[1],
        negative_count=negative[2],
        bounds_start=columns.bounds_start[rows],
        bounds_count=columns.bounds_count[rows],
        bounds=columns.bounds,
    )


def concat(parts: Sequence[HistogramColumns]) -> HistogramColumns:
    """Return all histograms of the parts, one after the other; no part gives no histogram."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return from_rows([])
    offsets = np.cumsum([0] + [part.bounds.size for part in parts])
    return HistogramColumns(
        schema=np.concatenate([part.schema for part in parts]),
        hint=np.concatenate([part.hint for part in parts]),
        is_float=np.concatenate([part.is_float for part in parts]),
        count=np.concatenate([part.count for part in parts]),
        sum=np.concatenate([part.sum for part in parts]),
        zero_threshold=np.concatenate([part.zero_threshold for part in parts]),
        zero_count=np.concatenate([part.zero_count for part in parts]),
        positive_start=_joined_starts([part.positive_start for part in parts]),
        positive_index=np.concatenate(
            [_used(part.positive_start, part.positive_index) for part in parts]
        ),
        positive_count=np.concatenate(
            [_used(part.positive_start, part.positive_count) for part in parts]
        ),
        negative_start=_joined_starts([part.negative_start for part in parts]),
        negative_index=np.concatenate(
            [_used(part.negative_start, part.negative_index) for part in parts]
        ),
        negative_count=np.concatenate(
            [_used(part.negative_start, part.negative_count) for part in parts]
        ),
        bounds_start=np.concatenate(
            [
                part.bounds_start + offset
                for part, offset in zip(parts, offsets[:-1].tolist(), strict=True)
            ]
        ),
        bounds_count=np.concatenate([part.bounds_count for part in parts]),
        bounds=np.concatenate([part.bounds for part in parts]),
    )


def compact(columns: HistogramColumns) -> HistogramColumns:
    """Return the same histograms without buckets of count zero."""
    positive = _populated(columns.positive_start, columns.positive_index, columns.positive_count)
    negative = _populated(columns.negative_start, columns.negative_index, columns.negative_count)
    return HistogramColumns(
        schema=columns.schema,
        hint=columns.hint,
        is_float=columns.is_float,
        count=columns.count,
        sum=columns.sum,
        zero_threshold=columns.zero_threshold,
        zero_count=columns.zero_count,
        positive_start=positive[0],
        positive_index=positive[1],
        positive_count=positive[2],
        negative_start=negative[0],
        negative_index=negative[1],
        negative_count=negative[2],
        bounds_start=columns.bounds_start,
        bounds_count=columns.bounds_count,
        bounds=columns.bounds,
    )


def as_read(columns: HistogramColumns) -> Read:
    """Return the arrays as kernels take them: read-only views, none copied but odd ones."""
    return Read(
        _read_only(columns.schema),
        _read_only(columns.hint),
        _read_only(columns.count),
        _read_only(columns.sum),
        _read_only(columns.zero_threshold),
        _read_only(columns.zero_count),
        _read_only(columns.positive_start),
        _read_only(columns.positive_index),
        _read_only(columns.positive_count),
        _read_only(columns.negative_start),
        _read_only(columns.negative_index),
        _read_only(columns.negative_count),
        _read_only(columns.bounds_start),
        _read_only(columns.bounds_count),
        _read_only(columns.bounds),
    )


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not (array.flags.c_contiguous and array.flags.aligned):
        array = array.copy()
    view = array.view()
    view.flags.writeable = False
    return view


def _starts(counts: Sequence[int]) -> Ints:
    starts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(np.array(counts, dtype=np.int64), out=starts[1:])
    return starts


def _shared_bounds(bounds: Sequence[tuple[float, ...]]) -> tuple[Ints, Ints, Floats]:
    """Lay lists of bounds out, equal ones once."""
    place: dict[tuple[float, ...], int] = {(): 0}
    pool: list[float] = []
    for one in bounds:
        if one not in place:
            place[one] = len(pool)
            pool += one
    return (
        np.array([place[one] for one in bounds], dtype=np.int64),
        np.array([len(one) for one in bounds], dtype=np.int64),
        np.array(pool, dtype=np.float64),
    )


def _pairs(start: Ints, index: Indexes, count: Floats, row: int) -> tuple[tuple[int, float], ...]:
    here = slice(int(start[row]), int(start[row + 1]))
    return tuple(zip(index[here].tolist(), count[here].tolist(), strict=True))


def _take_side(
    start: Ints, index: Indexes, count: Floats, rows: Ints
) -> tuple[Ints, Indexes, Floats]:
    new_start = np.zeros(rows.size + 1, dtype=np.int64)
    np.cumsum(start[rows + 1] - start[rows], out=new_start[1:])
    new_index = np.empty(int(new_start[-1]), dtype=np.int32)
    new_count = np.empty(int(new_start[-1]), dtype=np.float64)
    gather_buckets(start, index, count, rows, new_start, new_index, new_count)
    return new_start, new_index, new_count


def _populated(start: Ints, index: Indexes, count: Floats) -> tuple[Ints, Indexes, Floats]:
    new_start = np.zeros(start.size, dtype=np.int64)
    size = int(start[-1] - start[0])
    new_index = np.empty(size, dtype=np.int32)
    new_count = np.empty(size, dtype=np.float64)
    used = keep_populated(start, index, count, new_start, new_index, new_count)
    return new_start, new_index[:used], new_count[:used]


def _joined_starts(starts: Sequence[Ints]) -> Ints:
    joined = np.zeros(sum(start.size - 1 for start in starts) + 1, dtype=np.int64)
    np.cumsum(np.concatenate([np.diff(start) for start in starts]), out=joined[1:])
    return joined


def _used(start: Ints, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values[int(start[0]) : int(start[-1])]
