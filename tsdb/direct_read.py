"""Read head and blocks straight into one pool of values, each sample decoded to where it stays.

From: `select.py`, for selections that blocks overlap, or whose values may be read later.
To:   `head_view.py`, `block.py`, `merge.py`, `deferred_read.py`.

What `merge_batches` finds out of decoded parts is known from labels and times alone; where parts do
not overlap, which is the rule, no value has to be decoded, copied and thrown away. All parts of all
selections are decoded by the threads that are free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tsdb.block import PlannedRows
from tsdb.deferred_read import PagedValues
from tsdb.errors import TooManySamplesError
from tsdb.head_view import plan_own
from tsdb.interface import SeriesBatch
from tsdb.large_arrays import large_empty
from tsdb.merge import empty_batch, translate_labels, weave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tsdb.block import Block
    from tsdb.head import Head
    from tsdb.head_view import HeadView, OwnPlan
    from tsdb.interface import Floats, Ints, LabelColumns, Selection
    from tsdb.match_memory import FoundSeries
    from tsdb.merge import SymbolSink, TimedRows
    from tsdb.workers import Workers

DEFERRED_MIN = 1 << 22
"""Samples of a selection from which values are left for later: 32 MB of them."""


def may_be_many(series: int, selection: Selection) -> bool:
    """Say whether so many series may have so many samples that values are left for later.

    Taken for at most one a second: to find out costs 50 us, for a selection of few as well.
    """
    return series * ((selection.end_ms - selection.start_ms) // 1000 + 1) >= DEFERRED_MIN


@dataclass(frozen=True, slots=True)
class Wanted:
    """One selection: its range, its series in the head and its rows in blocks.

    `deferred` says that its values may be left to be read later.
    """

    start_ms: int
    end_ms: int
    in_head: FoundSeries
    in_blocks: tuple[tuple[Block, Ints], ...]
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class _HeadRows:
    """The rows of the head that one selection has samples of; `rows` are their places in `own`."""

    labels: LabelColumns
    times: Ints
    time_start: Ints
    count: Ints
    rows: Ints


class _Arranged(Protocol):
    """Where the samples of some parts go: `merge.Weave`."""

    @property
    def count(self) -> Ints:
        """Samples of each series."""
        ...

    def batch(self, values: Floats, first: int = 0) -> SeriesBatch:
        """Return the result with its values, which begin at `values[first]`."""
        ...

    def places(self) -> list[Ints] | None:
        """Return where the samples of each part's series go, None if not to one place."""
        ...


@dataclass(frozen=True, slots=True)
class _Alone:
    """A single part, which there is nothing to weave with."""

    labels: LabelColumns
    part: TimedRows

    @property
    def count(self) -> Ints:
        return self.part.count

    def batch(self, values: Floats, first: int = 0) -> SeriesBatch:
        part, start = self.part, self._start() + first
        return SeriesBatch(self.labels, part.times, part.time_start, values, start, part.count)

    def places(self) -> list[Ints]:
        return [self._start()]

    def _start(self) -> Ints:
        return np.cumsum(self.count) - self.count


@dataclass(frozen=True, slots=True)
class _Placed:
    """The parts of one selection, and where the values of each go in a pool of its own.

    `rows` of the head's plan end before `stop`; a block's rows begin at the places beside them.
    """

    found: _Arranged
    total: int
    rows: Ints
    stop: Ints
    from_blocks: list[tuple[PlannedRows, Ints]]
    deferred: bool


def read_directly(
    head: Head,
    view: HeadView,
    wanted: Sequence[Wanted],
    start_ms: Ints,
    end_ms: Ints,
    *,
    samples_max: int | None,
    workers: Workers,
) -> list[SeriesBatch] | None:
    """Return a batch for each selection; None where parts overlap or one needs a closer look.

    `view`, `start_ms` and `end_ms` are of the series of all selections, one after the other.
    Raises `TooManySamplesError` before memory is taken.
    """
    own = plan_own(head, view, start_ms, end_ms, samples_max)
    if own is None:
        return None
    symbols = head.rows.symbols
    first = total = 0
    placed: list[_Placed | None] = []
    for one in wanted:
        parts: list[PlannedRows | _HeadRows] = []
        for block, rows in one.in_blocks:
            planned = block.plan_rows(rows, one.start_ms, one.end_ms)
            if planned is None:
                return None
            if planned.count.size:
                parts.append(planned)
        parts += _head_part(own, one.in_head, first)
        first += one.in_head.slots.size
        if not parts:
            placed.append(None)
            continue
        here = _place(parts, symbols, may_defer=one.deferred)
        if here is None:
            return None
        placed.append(here)
        total += here.total
        if samples_max is not None and total > samples_max:
            raise TooManySamplesError(samples_max)
    at_once = [each for each in placed if each is not None and not each.deferred]
    values = _read_now(own, at_once, workers)
    if values is None:
        return None  # whoever reads it again says what it is
    batches = []
    read = 0
    for each in placed:
        if each is None:
            batches.append(empty_batch(symbols))
        elif each.deferred:
            later = PagedValues(
                each.found.count, own, each.rows, each.stop, each.from_blocks, workers
            )
            batches.append(replace(each.found.batch(np.empty(0)), deferred=later))
        else:
            batches.append(each.found.batch(values, read))
            read += each.total
    return batches


def _place(
    parts: Sequence[PlannedRows | _HeadRows], symbols: SymbolSink, *, may_defer: bool
) -> _Placed | None:
    """Find out where the values of some parts go; None if they overlap."""
    found: _Arranged
    if len(parts) == 1:
        found = _Alone(translate_labels(parts[0].labels, symbols), parts[0])
    else:
        found = weave(parts, symbols)
    places = found.places()
    if places is None:
        return None
    total = int(found.count.sum())
    rows, stop = np.empty(0, np.int64), np.empty(0, np.int64)
    from_blocks = []
    for part, place in zip(parts, places, strict=True):
        if isinstance(part, PlannedRows):
            from_blocks.append((part, place))
        else:
            rows, stop = part.rows, place + part.count
    deferred = may_defer and total >= DEFERRED_MIN
    return _Placed(found, total, rows, stop, from_blocks, deferred)


def _read_now(own: OwnPlan, placed: Sequence[_Placed], workers: Workers) -> Floats | None:
    """Return the values of some selections, one after the other; None if some are damaged."""
    values = large_empty(sum(each.total for each in placed), np.float64)
    damaged: list[Ints] = []
    tasks: list[Callable[[], object]] = []
    rows, stops = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    first = 0
    for each in placed:
        for planned, start in each.from_blocks:
            tasks += planned.tasks(values, start + first, damaged)
        rows.append(each.rows)
        stops.append(each.stop + first)
        first += each.total
    chosen, stop = np.concatenate(rows), np.concatenate(stops)
    if chosen.size == np.count_nonzero(own.count):
        # All that there is, which need not be picked: rows without samples go nowhere.
        everywhere = np.zeros(own.count.size, np.int64)
        everywhere[chosen] = stop
        tasks += own.tasks(values, everywhere)
    elif chosen.size:
        tasks += own.some(chosen).tasks(values, stop)
    workers.run(tasks)
    return None if damaged else values


def _head_part(own: OwnPlan, found: FoundSeries, first: int) -> list[_HeadRows]:
    """Return what the head has of a selection whose series begin at row `first`; maybe nothing."""
    count = own.count[first : first + found.slots.size]
    kept = np.flatnonzero(count)
    if not kept.size:
        return []
    labels = found.labels() if kept.size == count.size else found.labels_at(kept)
    rows = first + kept
    return [_HeadRows(labels, own.times, own.time_start[rows], own.count[rows], rows)]
