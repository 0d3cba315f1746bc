"""Values that are read when a query comes to them, some series at a time.

From: `direct_read.py`, which has found out all but the values.   To: `interface.DeferredValues`.

What a query makes of many samples is mostly far smaller than they are. Pages are never changed, and
what was open is a copy already: so whenever they are read, the values are those of one moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.errors import ReadAgainError
from tsdb.large_arrays import large_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tsdb.block import PlannedRows
    from tsdb.head_view import OwnPlan
    from tsdb.interface import Floats, Ints
    from tsdb.workers import Workers


class PagedValues:
    """Implements `interface.DeferredValues` over pages of head and blocks."""

    def __init__(
        self,
        count: Ints,
        own: OwnPlan,
        rows: Ints,
        stop: Ints,
        from_blocks: Sequence[tuple[PlannedRows, Ints]],
        workers: Workers,
    ) -> None:
        """Take the places of all values, as if all were in one pool, series after series.

        Shapes: `count` int64[S]; `rows` are those of `own` that are concerned, which end before
        `stop`; each block's rows begin at the places beside them.
        """
        self._bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(count)))
        self._own, self._rows, self._stop = own, rows, stop
        self._blocks = [(planned, planned.places(start)) for planned, start in from_blocks]
        self._workers = workers

    def read(self, low: int, high: int) -> Floats:
        """Return the values of the series [low, high); see `interface.DeferredValues`."""
        first, stop = int(self._bounds[low]), int(self._bounds[high])
        values = large_empty(stop - first, np.float64)
        damaged: list[Ints] = []
        tasks: list[Callable[[], object]] = []
        for planned, place in self._blocks:
            here = (place >= first) & (place < stop)
            some = planned.plan.where(here)
            tasks += planned.directory.value_tasks(some, values, place[here] - first, damaged)
        mine = np.flatnonzero((self._stop > first) & (self._stop <= stop))
        if mine.size:
            tasks += self._own.some(self._rows[mine]).tasks(values, self._stop[mine] - first)
        self._workers.run(tasks)
        if damaged:
            raise ReadAgainError("values that were left to be read later are damaged")
        return values
