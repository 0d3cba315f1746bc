"""Start timestamps beside samples: since when each sample counts.

From: batches of `stored_batches.py`. To: `dump.py`, `parquet.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tsdb.interface import Ints, SeriesBatch


def starts_of(batch: SeriesBatch, series: int) -> Ints:
    """Return the start of each float of one series in ms, 0 where none is known: int64[count]."""
    count = int(batch.count[series])
    result = np.zeros(count, np.int64)
    if batch.start_times is None or not count:
        return result
    first, stop = batch.start_times.first[series : series + 2].tolist()
    if first == stop:
        return result
    at = int(batch.time_start[series])
    times, having = batch.times[at : at + count], batch.start_times.times[first:stop]
    place = np.minimum(np.searchsorted(having, times), having.size - 1)
    known = having[place] == times
    result[known] = batch.start_times.starts[first:stop][place[known]]
    return result


def changes_of(batch: SeriesBatch, series: int) -> list[tuple[int, int]]:
    """Return time and start, in ms, of each sample that has another start than the one before."""
    starts = starts_of(batch, series)
    before = np.concatenate([np.zeros(1, np.int64), starts])[:-1]
    changed = np.flatnonzero((starts != before) & (starts != 0))
    times = batch.times[int(batch.time_start[series]) + changed]
    return list(zip(times.tolist(), starts[changed].tolist(), strict=True))
