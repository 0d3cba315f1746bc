"""Which metrics, labels and label pairs have the most series: a picture of the head.

From: `metric_table.py`. To: `/api/v1/status/tsdb`, through `database.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.head import NEVER_MS
from tsdb.kernels import NO_TIME
from tsdb.start_times import COMPANION_LABEL, is_companion_name

if TYPE_CHECKING:
    from tsdb.head import Head
    from tsdb.interface import Ids, Ints
    from tsdb.metric_table import SeriesRows
    from tsdb.symbols import SymbolTable

Counted = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Cardinality:
    """Lists are (name, value), largest first. Times in ms, 0 while the head is empty."""

    series_count: int
    label_pair_count: int
    chunk_count: int
    min_time_ms: int
    max_time_ms: int
    series_by_metric: Counted
    values_by_label: Counted
    memory_by_label: Counted
    series_by_label_pair: Counted


def count_cardinality(rows: SeriesRows, head: Head, limit: int) -> Cardinality:
    """Count over all series of the head; a second for a million series."""
    symbols = rows.symbols
    slots = rows.slots
    metrics, metric_series = rows.metrics()
    companion = symbols.find(COMPANION_LABEL)
    if companion is not None:
        # What holds start timestamps is no series of anybody's.
        column = np.empty(slots.size, np.uint32)
        rows.fill(companion, slots, column)
        slots = slots[column == 0]
        shown = np.array([not is_companion_name(each) for each in symbols.texts(metrics)], np.bool_)
        metrics, metric_series = metrics[shown], metric_series[shown]
    names, values, series = rows.label_pairs(slots)
    labels, first = np.unique(names, return_index=True)
    bounds = np.append(first, names.size)
    distinct = np.diff(bounds)
    sizes = symbols.lengths(values) * series
    memory = np.add.reduceat(sizes, first) if names.size else np.zeros(0, np.int64)
    top = _largest(series, limit)
    pairs = tuple(
        (f"{symbols.text(int(names[at]))}={symbols.text(int(values[at]))}", int(series[at]))
        for at in top
    )
    low, high = head.min_time_ms, head.newest_ms
    return Cardinality(
        series_count=slots.size,
        label_pair_count=int(names.size),
        chunk_count=head.page_count + slots.size,
        min_time_ms=0 if low == NEVER_MS else low,
        max_time_ms=0 if high == NO_TIME else high,
        series_by_metric=_named(symbols, metrics, metric_series.astype(np.int64), limit),
        values_by_label=_named(symbols, labels, distinct, limit),
        memory_by_label=_named(symbols, labels, memory, limit),
        series_by_label_pair=pairs,
    )


def _largest(counts: Ints, limit: int) -> list[int]:
    """Return the places of the largest counts, largest first."""
    largest: list[int] = np.argsort(-counts, kind="stable")[:limit].tolist()
    return largest


def _named(symbols: SymbolTable, ids: Ids, counts: Ints, limit: int) -> Counted:
    return tuple((symbols.text(int(ids[at])), int(counts[at])) for at in _largest(counts, limit))
