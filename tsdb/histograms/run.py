"""Native histograms of many series, sorted, in memory as columns.

From: `append.py` (a batch). To: `buffer.py`, which holds many; `seal.py`
makes fewer and smaller ones of them. Both kinds of run answer alike: that is `Run`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tsdb.histograms import columns as histogram_columns
from tsdb.histograms.columns import ragged
from tsdb.interface import HistogramColumns
from tsdb.late_kernels import lower_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words


@dataclass(frozen=True, slots=True)
class FoundHistograms:
    """What a run has of some rows: each histogram's row and time, by row, then time."""

    rows: Ints
    times: Ints
    columns: HistogramColumns


class Run(Protocol):
    """Histograms that never change, none twice."""

    @property
    def slots(self) -> Slots:
        """Slots that have histograms here, rising, maybe repeated."""
        ...

    @property
    def count(self) -> int:
        """How many histograms."""
        ...

    @property
    def min_time_ms(self) -> int:
        """No histogram is earlier."""
        ...

    @property
    def max_time_ms(self) -> int:
        """No histogram is later."""
        ...

    @property
    def size_bytes(self) -> int:
        """Memory that it takes, mapped files apart."""
        ...

    def read(
        self, slots: Slots, start_ms: Ints, end_ms: Ints, before_ms: Ints | None = None
    ) -> FoundHistograms | None:
        """Return the histograms of each row in [start, end], None if there are none at all.

        With `before_ms` also the newest in [before, start), and maybe more of those.
        """
        ...

    def weight_in(self, slots: Slots, start_ms: Ints, end_ms: Ints) -> int:
        """Return as how many samples count what `read` would give, or some more."""
        ...

    def mark(self, slots: Slots, start_ms: Ints, end_ms: Ints, has: npt.NDArray[np.bool_]) -> None:
        """Set `has` bool[rows] where `read` would give something, or deleted histograms."""
        ...

    def find(self, slots: Slots, times: Ints, found: npt.NDArray[np.bool_], digests: Words) -> None:
        """Note which (slot, time) are here, and with which digests."""
        ...

    def windows(self, window_ms: int) -> Iterable[int]:
        """Return the windows, by number, in which there may be histograms."""
        ...

    def before(self, time_ms: int) -> Run | None:
        """Return the histograms before a time, None if there are none."""
        ...

    def since(self, time_ms: int) -> Run | None:
        """Return the histograms from a time on, None if there are none."""
        ...

    def without(self, slots: Slots, start_ms: int, end_ms: int) -> Run | None:
        """Return the run without the histograms of some slots in [start_ms, end_ms]."""
        ...

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything, by names of its own."""
        ...


@dataclass(frozen=True, slots=True)
class HistogramRun:
    """Histograms sorted by slot and time. Shapes: int32[n], int64[n], digests uint64[n]."""

    slots: Slots
    times: Ints
    digests: Words
    columns: HistogramColumns
    min_time_ms: int
    max_time_ms: int

    @staticmethod
    def of(slots: Slots, times: Ints, digests: Words, columns: HistogramColumns) -> HistogramRun:
        """Wrap columns that are sorted already; there is one histogram at least."""
        return HistogramRun(slots, times, digests, columns, int(times.min()), int(times.max()))

    @staticmethod
    def merged(runs: list[HistogramRun]) -> HistogramRun:
        """Return the histograms of several runs in one; no two have one slot and time."""
        slots, times, digests = (
            np.concatenate([getattr(run, name) for run in runs])
            for name in ("slots", "times", "digests")
        )
        order = np.lexsort((times, slots))
        columns = histogram_columns.take(
            histogram_columns.concat([run.columns for run in runs]), order
        )
        return HistogramRun.of(slots[order], times[order], digests[order], columns)

    @property
    def count(self) -> int:
        """How many histograms."""
        return int(self.slots.size)

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return 20 * self.count + histogram_columns.size_bytes(self.columns)

    def where(self, mask: npt.NDArray[np.bool_]) -> HistogramRun | None:
        """Return the histograms under the mask, None if there are none."""
        rows = np.flatnonzero(mask)
        if rows.size == self.count:
            return self
        if not rows.size:
            return None
        columns = histogram_columns.take(self.columns, rows)
        return HistogramRun.of(self.slots[rows], self.times[rows], self.digests[rows], columns)

    def read(
        self, slots: Slots, start_ms: Ints, end_ms: Ints, before_ms: Ints | None = None
    ) -> FoundHistograms | None:
        """Return the histograms of each row in [start, end], None if there are none at all.

        With `before_ms` also the newest in [before, start).
        """
        low, size = self._bounds(slots, start_ms, end_ms)
        if before_ms is not None:
            last = np.maximum(low - 1, 0)
            more = (low > 0) & (self.slots[last] == slots) & (self.times[last] >= before_ms)
            low, size = low - more, size + more
        if not size.any():
            return None
        at = ragged(low, size)
        rows = np.repeat(np.arange(slots.size, dtype=np.int64), size)
        return FoundHistograms(rows, self.times[at], histogram_columns.take(self.columns, at))

    def weight_in(self, slots: Slots, start_ms: Ints, end_ms: Ints) -> int:
        """Return as how many samples count what `read` would give."""
        low, size = self._bounds(slots, start_ms, end_ms)
        starts = (self.columns.positive_start, self.columns.negative_start)
        buckets = sum(int((start[low + size] - start[low]).sum()) for start in starts)
        return histogram_columns.weight(int(size.sum()), buckets)

    def mark(self, slots: Slots, start_ms: Ints, end_ms: Ints, has: npt.NDArray[np.bool_]) -> None:
        """Set `has` bool[rows] where `read` would give something."""
        has |= self._bounds(slots, start_ms, end_ms)[1] > 0

    def _bounds(self, slots: Slots, start_ms: Ints, end_ms: Ints) -> tuple[Ints, Ints]:
        """Return where each row's histograms begin, and how many there are."""
        low, high = np.empty((2, slots.size), np.int64)
        lower_bounds(self.slots, self.times, slots, start_ms, low)
        # Times are far below the greatest int64, so + 1 does not wrap where anything is found.
        past = np.minimum(end_ms, np.iinfo(np.int64).max - 1) + 1
        lower_bounds(self.slots, self.times, slots, past, high)
        return low, np.maximum(high - low, 0)

    def find(self, slots: Slots, times: Ints, found: npt.NDArray[np.bool_], digests: Words) -> None:
        """Note which (slot, time) are here, and with which digests."""
        at = np.empty(slots.size, np.int64)
        lower_bounds(self.slots, self.times, slots, times, at)
        inside = np.minimum(at, self.count - 1)
        here = (self.slots[inside] == slots) & (self.times[inside] == times) & (at < self.count)
        found |= here
        digests[here] = self.digests[inside[here]]

    def windows(self, window_ms: int) -> Iterable[int]:
        """Return the windows, by number, in which there are histograms."""
        numbers: list[int] = np.unique(self.times // window_ms).tolist()
        return numbers

    def before(self, time_ms: int) -> HistogramRun | None:
        """Return the histograms before a time, None if there are none."""
        return self if self.max_time_ms < time_ms else self.where(self.times < time_ms)

    def since(self, time_ms: int) -> HistogramRun | None:
        """Return the histograms from a time on, None if there are none."""
        return self if self.min_time_ms >= time_ms else self.where(self.times >= time_ms)

    def without(self, slots: Slots, start_ms: int, end_ms: int) -> HistogramRun | None:
        """Return the run without the histograms of some slots in [start_ms, end_ms]."""
        inside = (self.times >= start_ms) & (self.times <= end_ms)
        return self.where(~(inside & np.isin(self.slots, slots)))

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything, for `saved`."""
        return {name: pick(self) for name, pick in _SAVED.items()}

    @staticmethod
    def saved(arrays: dict[str, npt.NDArray[Any]]) -> HistogramRun:
        """Return the run that `save` returned."""
        parts = {name: array.copy() for name, array in arrays.items()}
        slots, times, digests = (parts.pop(name) for name in ("slots", "times", "digests"))
        return HistogramRun.of(slots, times, digests, HistogramColumns(**parts))


_SAVED: dict[str, Callable[[HistogramRun], npt.NDArray[Any]]] = {
    **{name: attrgetter(name) for name in ("slots", "times", "digests")},
    **{each.name: attrgetter(f"columns.{each.name}") for each in fields(HistogramColumns)},
}
