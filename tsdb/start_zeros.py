"""Zero samples where counting began: what a start timestamp becomes if it is shown as a sample.

From: `append.py`, with the feature `created-timestamp-zero-ingestion`. To: one more sample before
the first one that counts from a start.
Source: Prometheus' behaviour, as of its documentation of that feature.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.columns import take
from tsdb.interface import ResetHint
from tsdb.kernels import NO_TIME

if TYPE_CHECKING:
    from tsdb.head import Head
    from tsdb.interface import HistogramColumns, Ints

_SLOT_MASK = 0xFFFFFFFF


def zero_places(head: Head, refs: Ints, times: Ints, starts: Ints, *, age_ms: int) -> Ints:
    """Return the samples of a batch before which a zero belongs, rising. Under the head's lock.

    That is where a sample began to count after all samples that its series has, and before its own
    time: so once for each reset. What began more than `age_ms` before the newest sample of all, or
    before what is in blocks already, is passed over.
    """
    floor = head.floor_ms
    if head.max_time_ms != NO_TIME:
        floor = max(floor, head.max_time_ms - age_ms)
    inside = (starts != 0) & (starts < times) & (starts >= floor)
    inside &= (refs >= 0) & ((refs & _SLOT_MASK) < head.slot_count)
    at: Ints = np.flatnonzero(inside)
    if not at.size:
        return at
    slots = refs[at] & _SLOT_MASK
    live = head.generation.array[slots] == refs[at] >> 32
    at = at[live & (starts[at] > head.newest_time.array[slots])]
    if not at.size:
        return at
    chosen: Ints = at[starts[at] > _newest_before(refs, times, at)]
    return chosen


def _newest_before(refs: Ints, times: Ints, at: Ints) -> Ints:
    """Return the newest time that the series of each of some samples has before it in the batch."""
    own = np.flatnonzero(np.isin(refs, refs[at]))
    own = own[np.argsort(refs[own], kind="stable")]
    distinct, rank = np.unique(times[own], return_inverse=True)
    new_series = np.ones(own.size, np.bool_)
    new_series[1:] = refs[own[1:]] != refs[own[:-1]]
    # Ranks rise from series to series, so that one running maximum serves all.
    base = np.cumsum(new_series) * distinct.size
    running = np.maximum.accumulate(rank + base)
    before = np.full(own.size, NO_TIME, np.int64)
    follows = np.flatnonzero(~new_series)
    before[follows] = distinct[running[follows - 1] - base[follows]]
    newest = np.full(refs.size, NO_TIME, np.int64)
    newest[own] = before
    return newest[at]


def places_after(at: Ints, count: int) -> Ints:
    """Return where each of `count` samples is once there is one more before each of `at`."""
    everyone = np.arange(count)
    return everyone + np.searchsorted(at, everyone, side="right")


def zero_histograms(columns: HistogramColumns, rows: Ints) -> HistogramColumns:
    """Return empty histograms of the layouts of some rows; each is a reset by its nature."""
    like = take(columns, rows)
    zeros, none = np.zeros(rows.size), np.zeros(rows.size + 1, np.int64)
    return replace(
        like,
        hint=np.full(rows.size, ResetHint.RESET, np.int8),
        count=zeros,
        sum=zeros,
        zero_count=zeros,
        positive_start=none,
        positive_index=np.empty(0, np.int32),
        positive_count=np.empty(0),
        negative_start=none,
        negative_index=np.empty(0, np.int32),
        negative_count=np.empty(0),
    )
