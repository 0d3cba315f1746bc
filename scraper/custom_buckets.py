"""Buckets, counts and sums of classic histograms become native ones with custom buckets.

From: `classic.py`, which knows what belongs together.   To: the same. Columns only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, HistogramColumns, ResetHint

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

BUCKET, COUNT, SUM = 1, 2, 3
"""What a sample is of a classic histogram."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of G histograms. Shapes: P parts each but for `first` and `base`, [G].

    `tried`: the samples that were parts of anything, whether it came to a histogram or not.
    """

    tried: Ints
    samples: Ints
    group: Ints
    first: Ints
    base: Ints
    part: npt.NDArray[np.uint8]
    bound: Floats
    value: Floats

    def only(self, whole: Mask) -> Parts:
        """Return those of some groups, numbered anew."""
        if whole.all():
            return self
        kept = whole[self.group]
        number = np.cumsum(whole) - 1
        return replace(
            self,
            samples=self.samples[kept],
            group=number[self.group[kept]],
            first=self.first[whole],
            base=self.base[whole],
            part=self.part[kept],
            bound=self.bound[kept],
            value=self.value[kept],
        )


def histograms_of(groups: Parts) -> tuple[HistogramColumns | None, Mask]:
    """Return the histograms of the groups that are whole, and which these are: bool[G]."""
    if not groups.first.size:
        return None, np.ones(0, np.bool_)
    with np.errstate(invalid="ignore"):  # of infinite counts, which are refused
        return _histograms(groups)


def _histograms(groups: Parts) -> tuple[HistogramColumns, Mask]:
    size = groups.first.size
    group, bound, below = _buckets(groups)
    count, total = np.full(size, np.nan), np.zeros(size)
    is_count, is_sum = groups.part == COUNT, groups.part == SUM
    count[groups.group[is_count]] = groups.value[is_count]
    total[groups.group[is_sum]] = groups.value[is_sum]
    told = np.zeros(size, np.bool_)
    told[groups.group[is_count]] = True
    buckets = np.bincount(group, minlength=size)
    ends = np.cumsum(buckets)
    some = buckets > 0
    highest = np.zeros(size)
    highest[some] = below[ends[some] - 1]
    count[~told] = highest[~told]
    infinite = np.zeros(size, np.bool_)
    infinite[some] = bound[ends[some] - 1] == np.inf
    # The last bucket has all there is, said or not.
    good = np.where(infinite, highest == count, highest <= count) & (count >= 0)
    starts = ends - buckets
    amount = below.copy()
    amount[1:] -= below[:-1]
    amount[starts[some]] = below[starts[some]]
    bad = np.zeros(size, np.bool_)
    bad[group[~((amount >= 0) & (below >= 0))]] = True
    good &= ~bad
    rest = count - highest
    fractional = np.zeros(size, np.bool_)
    fractional[group[below != np.floor(below)]] = True
    fractional |= count != np.floor(count)
    return _columns(good, group, bound, amount, count, total, rest, infinite, fractional), good


def _buckets(groups: Parts) -> tuple[Ints, Floats, Floats]:
    """Return group, bound and cumulative count of each bucket, in order; a bound counts once."""
    at = np.flatnonzero(groups.part == BUCKET)
    group, bound = groups.group[at], groups.bound[at]
    order = np.lexsort((at, bound, group))
    group, bound, below = group[order], bound[order], groups.value[at][order]
    new = np.ones(at.size, np.bool_)
    new[1:] = (group[1:] != group[:-1]) | (bound[1:] != bound[:-1])
    return group[new], bound[new], below[new]


def _columns(
    good: Mask,
    group: Ints,
    bound: Floats,
    amount: Floats,
    count: Floats,
    total: Floats,
    rest: Floats,
    infinite: Mask,
    fractional: Mask,
) -> HistogramColumns:
    """Return the good ones as columns; an infinite bucket that was not exposed has the rest."""
    kept = good[group]
    group, bound, amount = (np.cumsum(good) - 1)[group[kept]], bound[kept], amount[kept]
    size = int(np.count_nonzero(good))
    index = np.arange(group.size) - np.searchsorted(group, group)
    finite = bound != np.inf
    bounds_count = np.bincount(group[finite], minlength=size)
    rest = np.where(infinite, 0.0, rest)[good]
    more = np.flatnonzero(rest)
    group, index = np.concatenate((group, more)), np.concatenate((index, bounds_count[more]))
    amount = np.concatenate((amount, rest[more]))
    filled = np.flatnonzero(amount)
    filled = filled[np.lexsort((index[filled], group[filled]))]
    start, none = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int64)
    np.cumsum(np.bincount(group[filled], minlength=size), out=start[1:])
    zeros = np.zeros(size)
    return HistogramColumns(
        schema=np.full(size, CUSTOM_BUCKETS_SCHEMA, np.int8),
        hint=np.full(size, ResetHint.UNKNOWN, np.int8),
        is_float=fractional[good],
        count=count[good],
        sum=total[good],
        zero_threshold=zeros,
        zero_count=zeros,
        positive_start=start,
        positive_index=index[filled].astype(np.int32),
        positive_count=amount[filled],
        negative_start=none,
        negative_index=np.empty(0, np.int32),
        negative_count=np.empty(0),
        bounds_start=np.cumsum(bounds_count) - bounds_count,
        bounds_count=bounds_count.astype(np.int64),
        bounds=bound[finite],
    )
