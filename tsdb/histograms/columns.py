"""Native histograms as rows of columns: some of them, several lots of them, what one holds.

From: `append.py` (a batch), `buffer.py`, `merge.py`, `tombstones.py`, `block.py`.
To:   the same: everything that moves rows of `interface.HistogramColumns` about.

Bounds of custom buckets are shared: rows that have the same list point at one copy of it, so that
moving rows does not multiply them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.kernels import copy_runs, digest_histograms
from tsdb.interface import HistogramColumns, HistogramRuns
from tsdb.merge_kernels import group_equal_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import Floats, Ints
    from tsdb.label_kernels import Words

_PLAIN = ("schema", "hint", "is_float", "count", "sum", "zero_threshold", "zero_count")
_POOLS = ("positive_index", "positive_count", "negative_index", "negative_count")
_TYPES: dict[str, npt.DTypeLike] = {
    "schema": np.int8,
    "hint": np.int8,
    "is_float": np.bool_,
    "positive_index": np.int32,
    "negative_index": np.int32,
    "positive_start": np.int64,
    "negative_start": np.int64,
    "bounds_start": np.int64,
    "bounds_count": np.int64,
}
_ALL = (*_PLAIN, *_POOLS, "positive_start", "negative_start", "bounds_start", "bounds_count")


def of_columns(columns: HistogramColumns) -> HistogramColumns:
    """Return the same histograms in contiguous arrays of the promised types."""
    arrays = {
        name: np.ascontiguousarray(getattr(columns, name), _TYPES.get(name, np.float64))
        for name in (*_ALL, "bounds")
    }
    return HistogramColumns(**arrays)  # by name


def starts_of(count: Ints) -> Ints:
    """Return where runs of these lengths begin and the last one ends, int64[N + 1].

    >>> starts_of(np.array([2, 3])).tolist()
    [0, 2, 5]
    """
    start = np.zeros(count.size + 1, np.int64)
    np.cumsum(count, out=start[1:])
    return start


def ragged(start: Ints, count: Ints) -> Ints:
    """Return the positions of runs one after the other.

    >>> ragged(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = np.cumsum(count)
    total = int(ends[-1]) if ends.size else 0
    positions: Ints = np.arange(total, dtype=np.int64) + np.repeat(start - (ends - count), count)
    return positions


def take(columns: HistogramColumns, rows: Ints) -> HistogramColumns:
    """Return the histograms at `rows`, in that order, in memory of their own."""
    plain = {name: getattr(columns, name)[rows] for name in _PLAIN}
    positive = np.diff(columns.positive_start)[rows]
    negative = np.diff(columns.negative_start)[rows]
    bounds_start, bounds_count, bounds = _take_bounds(
        columns.bounds_start[rows], columns.bounds_count[rows], columns.bounds
    )
    return HistogramColumns(
        **plain,
        positive_start=starts_of(positive),
        positive_index=_copy_ids(columns.positive_index, columns.positive_start[rows], positive),
        positive_count=_copy_floats(columns.positive_count, columns.positive_start[rows], positive),
        negative_start=starts_of(negative),
        negative_index=_copy_ids(columns.negative_index, columns.negative_start[rows], negative),
        negative_count=_copy_floats(columns.negative_count, columns.negative_start[rows], negative),
        bounds_start=bounds_start,
        bounds_count=bounds_count,
        bounds=bounds,
    )


def _copy_ids(pool: npt.NDArray[np.int32], start: Ints, count: Ints) -> npt.NDArray[np.int32]:
    out = np.empty(int(count.sum()), np.int32)
    copy_runs(pool, start, count, out)
    return out


def _copy_floats(pool: Floats, start: Ints, count: Ints) -> Floats:
    out = np.empty(int(count.sum()), np.float64)
    # As bits: a signalling NaN, which the stale marker is, must not be touched by arithmetic.
    copy_runs(pool.view(np.uint64), start, count, out.view(np.uint64))
    return out


def _take_bounds(start: Ints, count: Ints, bounds: Floats) -> tuple[Ints, Ints, Floats]:
    """Return runs of a pool that holds each list of bounds once."""
    if not count.any():
        return np.zeros(start.size, np.int64), count, np.zeros(0)
    start = np.where(count > 0, start, 0)
    key = start * (int(count.max()) + 1) + count
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    run_start, run_count = start[first], count[first]
    group, leader = np.empty((2, first.size), np.int64)
    found = group_equal_runs(bounds.view(np.int64), run_start, run_count, group, leader)
    leader = leader[:found]
    pool = _copy_floats(bounds, run_start[leader], run_count[leader])
    return starts_of(run_count[leader])[:-1][group[inverse]], count, pool


def concat(parts: Sequence[HistogramColumns]) -> HistogramColumns:
    """Return the histograms of all parts, one after the other. There is one part at least."""
    if len(parts) == 1:
        return parts[0]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*_PLAIN, *_POOLS, "bounds_count", "bounds")
    }
    bounds_at = starts_of(np.array([part.bounds.size for part in parts], np.int64))
    return HistogramColumns(
        **arrays,  # by name
        positive_start=starts_of(np.concatenate([np.diff(p.positive_start) for p in parts])),
        negative_start=starts_of(np.concatenate([np.diff(p.negative_start) for p in parts])),
        bounds_start=np.concatenate(
            [part.bounds_start + at for part, at in zip(parts, bounds_at[:-1], strict=True)]
        ),
    )


def digests(columns: HistogramColumns, keys: Words) -> Words:
    """Return a number for each histogram that says what it holds, uint64[H], hints left out.

    By chance two of different content have the same number with probability 2^-64; `keys`, two
    secret numbers, make sure that nobody chooses them so.
    """
    out = np.empty(columns.histogram_count, np.uint64)
    digest_histograms(
        columns.schema,
        columns.is_float,
        columns.count.view(np.uint64),
        columns.sum.view(np.uint64),
        columns.zero_threshold.view(np.uint64),
        columns.zero_count.view(np.uint64),
        columns.positive_start,
        columns.positive_index,
        columns.positive_count.view(np.uint64),
        columns.negative_start,
        columns.negative_index,
        columns.negative_count.view(np.uint64),
        columns.bounds_start,
        columns.bounds_count,
        columns.bounds.view(np.uint64),
        keys,
        out,
    )
    return out


def weight(count: int, buckets: int) -> int:
    """Return as how many samples histograms count where samples are limited: 16 bytes are one.

    Source: Prometheus, which counts 176 bytes for a histogram and 8 more for each bucket.
    """
    return (176 * count + 8 * buckets) // 16


def size_bytes(columns: HistogramColumns) -> int:
    """Return the memory that the arrays take."""
    return sum(int(getattr(columns, name).nbytes) for name in (*_ALL, "bounds"))


def take_series(runs: HistogramRuns, series: Ints) -> HistogramRuns | None:
    """Return the histograms of some series, None if these have none; columns are shared."""
    count = runs.count[series]
    if not count.any():
        return None
    return HistogramRuns(runs.times, runs.start[series], count, runs.columns)


def keep_rows(runs: HistogramRuns, keep: npt.NDArray[np.bool_]) -> HistogramRuns | None:
    """Return the same series with only some of their histograms, None if none are left.

    Shapes: `keep` bool, one for each histogram of each series in turn, as `ragged` numbers them.
    """
    of_series = np.repeat(np.arange(runs.count.size), runs.count)
    rows = ragged(runs.start, runs.count)[keep]
    if not rows.size:
        return None
    count = np.bincount(of_series[keep], minlength=runs.count.size).astype(np.int64)
    return HistogramRuns(runs.times[rows], starts_of(count)[:-1], count, take(runs.columns, rows))
