"""Rows of `HistogramColumns` taken and put together: ragged pools by NumPy, no loop over rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import HistogramColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


def ragged(start: Ints, count: Ints) -> Ints:
    """Return the positions of runs one after the other: start[0], start[0] + 1, ...

    >>> ragged(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = np.cumsum(count)
    total = int(ends[-1]) if ends.size else 0
    at: Ints = np.arange(total, dtype=np.int64) + np.repeat(start - (ends - count), count)
    return at


def starts_of(count: Ints) -> Ints:
    """Return where runs of these lengths begin and the last one ends, int64[len(count) + 1]."""
    start = np.zeros(count.size + 1, dtype=np.int64)
    np.cumsum(count, out=start[1:])
    return start


def take(columns: HistogramColumns, rows: Ints) -> HistogramColumns:
    """Return the histograms at `rows`, in that order; custom bounds stay shared."""
    positive = np.diff(columns.positive_start)[rows]
    negative = np.diff(columns.negative_start)[rows]
    positive_at = ragged(columns.positive_start[rows], positive)
    negative_at = ragged(columns.negative_start[rows], negative)
    return HistogramColumns(
        schema=columns.schema[rows],
        hint=columns.hint[rows],
        is_float=columns.is_float[rows],
        count=columns.count[rows],
        sum=columns.sum[rows],
        zero_threshold=columns.zero_threshold[rows],
        zero_count=columns.zero_count[rows],
        positive_start=starts_of(positive),
        positive_index=columns.positive_index[positive_at],
        positive_count=columns.positive_count[positive_at],
        negative_start=starts_of(negative),
        negative_index=columns.negative_index[negative_at],
        negative_count=columns.negative_count[negative_at],
        bounds_start=columns.bounds_start[rows],
        bounds_count=columns.bounds_count[rows],
        bounds=columns.bounds,
    )


def concat(parts: Sequence[HistogramColumns]) -> HistogramColumns:
    """Return the histograms of all parts, one after the other. `parts` is not empty."""
    if len(parts) == 1:
        return parts[0]

    def joined(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    plain = ("schema", "hint", "is_float", "count", "sum", "zero_threshold", "zero_count")
    pools = ("positive_index", "positive_count", "negative_index", "negative_count", "bounds")
    columns = {name: joined(name) for name in (*plain, *pools, "bounds_count")}
    bounds_before = starts_of(np.array([part.bounds.size for part in parts], dtype=np.int64))
    return HistogramColumns(
        **columns,  # type: ignore[arg-type] # by name
        positive_start=starts_of(np.concatenate([np.diff(p.positive_start) for p in parts])),
        negative_start=starts_of(np.concatenate([np.diff(p.negative_start) for p in parts])),
        bounds_start=np.concatenate(
            [part.bounds_start + before for part, before in zip(parts, bounds_before, strict=False)]
        ),
    )
