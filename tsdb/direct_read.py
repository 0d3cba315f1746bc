"""Read head and blocks straight into one pool of values, each sample decoded to where it stays.

From: `select.py`, for selections that blocks overlap.   To: `head_view.py`, `block.py`, `merge.py`.

What `merge_batches` finds out of decoded parts is known from labels and times alone; where parts do
not overlap, which is the rule, no value has to be decoded, copied and thrown away. All parts of all
selections are decoded by the threads that are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.block import PlannedRows
from tsdb.errors import TooManySamplesError
from tsdb.head_view import plan_own
from tsdb.large_arrays import large_empty
from tsdb.merge import empty_batch, weave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tsdb.block import Block
    from tsdb.head import Head
    from tsdb.head_view import HeadView, OwnPlan
    from tsdb.interface import Ints, LabelColumns, SeriesBatch
    from tsdb.match_memory import FoundSeries
    from tsdb.merge import Weave
    from tsdb.workers import Workers


@dataclass(frozen=True, slots=True)
class Wanted:
    """One selection: its range, its series in the head and its rows in blocks."""

    start_ms: int
    end_ms: int
    in_head: FoundSeries
    in_blocks: tuple[tuple[Block, Ints], ...]


@dataclass(frozen=True, slots=True)
class _HeadRows:
    """The rows of the head that one selection has samples of; `rows` are their places in `own`."""

    labels: LabelColumns
    times: Ints
    time_start: Ints
    count: Ints
    rows: Ints


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
    first = 0
    total = 0
    stop = np.zeros(own.count.size, dtype=np.int64)
    woven: list[tuple[Weave, int] | None] = []
    from_blocks: list[tuple[PlannedRows, Ints]] = []
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
            woven.append(None)
            continue
        found = weave(parts, symbols)
        places = found.places()
        if places is None:
            return None
        for part, place in zip(parts, places, strict=True):
            if isinstance(part, PlannedRows):
                from_blocks.append((part, place + total))
            else:
                stop[part.rows] = place + total + part.count
        woven.append((found, total))
        total += int(found.count.sum())
        if samples_max is not None and total > samples_max:
            raise TooManySamplesError(samples_max)
    values = large_empty(total, np.float64)
    damaged: list[Ints] = []
    tasks: list[Callable[[], object]] = []
    for planned, start in from_blocks:
        tasks += planned.tasks(values, start, damaged)
    tasks += own.tasks(values, stop)
    workers.run(tasks)
    if damaged:
        return None  # whoever reads it again says what it is
    return [
        empty_batch(symbols) if each is None else each[0].batch(values, each[1]) for each in woven
    ]


def _head_part(own: OwnPlan, found: FoundSeries, first: int) -> list[_HeadRows]:
    """Return what the head has of a selection whose series begin at row `first`; maybe nothing."""
    count = own.count[first : first + found.slots.size]
    kept = np.flatnonzero(count)
    if not kept.size:
        return []
    labels = found.labels() if kept.size == count.size else found.labels_at(kept)
    rows = first + kept
    return [_HeadRows(labels, own.times, own.time_start[rows], own.count[rows], rows)]
