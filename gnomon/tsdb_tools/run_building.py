"""Samples of a few series, in any order, to one batch for a block.

From: `prometheus/block.py`, `spool.py`. To: `tsdb/block_writer.py`.
Of several samples of one series at one time the first that came stays, as in Prometheus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.index_kernels import mark_deleted
from tsdb.histograms.columns import starts_of, take
from tsdb.interface import HistogramColumns, HistogramRuns, SeriesBatch

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Floats, Ints, LabelColumns

    Deleted = tuple[Ints, Ints, Ints]
    """Ranges of time to leave out: place of the series, first and last millisecond."""


def build_batch(
    labels: LabelColumns,
    series: Ints,
    times: Ints,
    values: Floats,
    histograms: tuple[Ints, Ints, HistogramColumns] | None = None,
    deleted: Deleted | None = None,
) -> SeriesBatch:
    """Return a batch of the S series of `labels`.

    Shapes: `series` int64[N], the place in `labels` of each sample, `times`, `values` beside it;
    `histograms` likewise. A float counts before a histogram of the same time.
    """
    count = labels.series_count
    order = _settled(series, times)
    if order is not None:
        series, times, values = series[order], times[order], values[order]
    if deleted is not None:
        kept = _kept(series, times, count, deleted)
        series, times, values = series[kept], times[kept], values[kept]
    samples = np.bincount(series, minlength=count).astype(np.int64)
    start = np.cumsum(samples) - samples
    runs = None
    if histograms is not None and histograms[0].size:
        runs = _runs(*histograms, count, deleted, series, times)
    return SeriesBatch(labels, times, start, values, start, samples, runs)


def _settled(series: Ints, times: Ints) -> Ints | None:
    """Return which samples stay, in order of series and time; None for all as they are."""
    later = (np.diff(series) > 0) | ((np.diff(series) == 0) & (np.diff(times) > 0))
    if later.all():
        return None
    order = np.lexsort((times, series))
    by_series, by_time = series[order], times[order]
    first = np.ones(order.size, np.bool_)
    first[1:] = (np.diff(by_series) != 0) | (np.diff(by_time) != 0)
    return order[first].astype(np.int64)


def _kept(series: Ints, times: Ints, count: int, deleted: Deleted) -> npt.NDArray[np.bool_]:
    keep = np.ones(series.size, np.bool_)
    edges = np.searchsorted(series, np.arange(count + 1)).astype(np.int64)
    mark_deleted(times, edges[:-1].copy(), edges[1:].copy(), *deleted, keep)
    return keep


def _runs(
    series: Ints,
    times: Ints,
    columns: HistogramColumns,
    count: int,
    deleted: Deleted | None,
    float_series: Ints,
    float_times: Ints,
) -> HistogramRuns | None:
    order = _settled(series, times)
    if order is None:
        order = np.arange(series.size, dtype=np.int64)
    series, times = series[order], times[order]
    keep = np.ones(series.size, np.bool_)
    if deleted is not None:
        keep &= _kept(series, times, count, deleted)
    both = np.isin(series, float_series)
    if both.any():
        pairs = np.dtype([("series", np.int64), ("time", np.int64)])
        mine, others = np.empty(series.size, pairs), np.empty(float_series.size, pairs)
        mine["series"], mine["time"] = series, times
        others["series"], others["time"] = float_series, float_times
        keep &= ~np.isin(mine, others)
    if not keep.any():
        return None
    series, times, order = series[keep], times[keep], order[keep]
    samples = np.bincount(series, minlength=count).astype(np.int64)
    return HistogramRuns(times, starts_of(samples)[:-1].copy(), samples, take(columns, order))
