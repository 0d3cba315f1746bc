"""Native histograms with fewer buckets: the limits of a job on their number and fineness.

From: `protobuf.py`.   To: the same.
Source: Prometheus' `native_histogram_bucket_limit` and `native_histogram_min_bucket_factor`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scraper.tokens import ParseError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import HistogramColumns

    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]
    Floats = npt.NDArray[np.float64]

SCHEMA_MIN, SCHEMA_MAX = -4, 8


class BucketLimitError(ParseError):
    """A histogram has too many buckets even at the lowest resolution."""


def schema_of_factor(factor: float) -> int:
    """Return the finest schema whose buckets grow by `factor` at least; 8 for a factor up to 1.

    >>> [schema_of_factor(factor) for factor in (0, 1.1, 2, 4)]
    [8, 2, 0, -1]
    """
    if factor <= 1:
        return SCHEMA_MAX
    return min(max(math.floor(-math.log2(math.log2(factor))), SCHEMA_MIN), SCHEMA_MAX)


def limit_buckets(
    found: HistogramColumns, *, buckets_max: int, schema_max: int
) -> HistogramColumns:
    """Return the histograms, halved in resolution until they keep to both limits (0: no limit).

    Raises BucketLimitError for one that has more than `buckets_max` however coarse it is.
    """
    found = _reduce(found, np.maximum(found.schema.astype(np.int64) - schema_max, 0))
    while buckets_max:
        count = np.diff(found.positive_start) + np.diff(found.negative_start)
        over = count > buckets_max
        if not over.any():
            break
        if (over & (found.schema <= SCHEMA_MIN)).any():
            raise BucketLimitError("histogram bucket limit exceeded")
        found = _reduce(found, over.astype(np.int64))
    return found


def _reduce(found: HistogramColumns, halvings: Ints) -> HistogramColumns:
    """Return the histograms with their schemas lowered by so much each: int64[H]."""
    if not halvings.any():
        return found
    positive = _merge(found.positive_start, found.positive_index, found.positive_count, halvings)
    negative = _merge(found.negative_start, found.negative_index, found.negative_count, halvings)
    return replace(
        found,
        schema=(found.schema - halvings).astype(np.int8),
        positive_start=positive[0],
        positive_index=positive[1],
        positive_count=positive[2],
        negative_start=negative[0],
        negative_index=negative[1],
        negative_count=negative[2],
    )


def _merge(
    start: Ints, index: Int32s, count: Floats, halvings: Ints
) -> tuple[Ints, Int32s, Floats]:
    """Return one side with the buckets that fall into one coarser bucket added up."""
    if not index.size:
        return start, index, count
    row = np.repeat(np.arange(halvings.size), np.diff(start))
    coarse = ((index - 1) >> halvings[row]) + 1
    first = np.ones(index.size, np.bool_)
    first[1:] = (coarse[1:] != coarse[:-1]) | (row[1:] != row[:-1])
    kept = np.flatnonzero(first)
    starts = np.zeros_like(start)
    np.cumsum(np.bincount(row[kept], minlength=halvings.size), out=starts[1:])
    return starts, coarse[kept].astype(np.int32), np.add.reduceat(count, kept)
