"""Native histograms for answers: their buckets as arrays for JSON, and one line of text.

From: `api/json_writer.py` through results, `count_values`, messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.float_text import general_text
from promql.histograms.bounds_kernels import exponential_bound
from promql.histograms.columns import as_read, row_of
from promql.histograms.value_kernels import list_buckets
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.histograms.columns import HistogramRow
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class BucketList:
    """The populated buckets of H histograms, each histogram's rising by value.

    Histogram h has those from `start[h]` to `start[h + 1]` (int64[H + 1]). `rule` int8 says which
    bounds belong to the bucket: 0 the upper, 1 the lower, 2 neither, 3 both, as in the HTTP API.
    """

    start: Ints
    rule: Codes
    lower: Floats
    upper: Floats
    count: Floats


def bucket_list(columns: HistogramColumns) -> BucketList:
    """Return the populated buckets as the HTTP API lists them, cut at the zero bucket."""
    most = columns.positive_index.size + columns.negative_index.size + columns.histogram_count
    start = np.zeros(columns.histogram_count + 1, dtype=np.int64)
    rule = np.empty(most, dtype=np.int8)
    lower, upper, count = (np.empty(most, dtype=np.float64) for _ in range(3))
    used = list_buckets(as_read(columns), start, rule, lower, upper, count)
    return BucketList(start, rule[:used], lower[:used], upper[:used], count[:used])


def histogram_text(columns: HistogramColumns, row: int) -> str:
    """Return one histogram as Prometheus prints it in labels and messages.

    >>> from promql.histograms.columns import HistogramRow, from_rows
    >>> one = HistogramRow(count=4, sum=5, zero_count=1, zero_threshold=0.5, positive=((1, 3),))
    >>> histogram_text(from_rows([one]), 0)
    '{count:4, sum:5, [-0.5,0.5]:1, (1,2]:3}'
    """
    one = row_of(columns, row)
    parts = [f"count:{general_text(one.count)}", f"sum:{general_text(one.sum)}"]
    parts += [
        _bucket_text("[", -_bound(one, index), -_bound(one, index - 1), ")", count)
        for index, count in reversed(one.negative)
        if count != 0
    ]
    if one.zero_count != 0:
        parts.append(
            _bucket_text("[", -one.zero_threshold, one.zero_threshold, "]", one.zero_count)
        )
    for index, count in one.positive:
        if count != 0:
            first = one.schema == CUSTOM_BUCKETS_SCHEMA and index == 0
            opening = "[" if first else "("
            parts.append(
                _bucket_text(opening, _bound(one, index - 1), _bound(one, index), "]", count)
            )
    return "{" + ", ".join(parts) + "}"


def _bound(one: HistogramRow, index: int) -> float:
    if one.schema != CUSTOM_BUCKETS_SCHEMA:
        return float(exponential_bound(index, one.schema))
    if index < 0:
        return -math.inf
    return one.bounds[index] if index < len(one.bounds) else math.inf


def _bucket_text(opening: str, lower: float, upper: float, closing: str, count: float) -> str:
    return f"{opening}{general_text(lower)},{general_text(upper)}{closing}:{general_text(count)}"
