"""Native histograms of the head, open for writing.

From: `append.py`. To: `select.py` (merged on read), `head_cut.py` (into blocks).

As late samples do (`late.py`), histograms lie in a tuple of sorted runs that never change; adding
a batch makes a run of it and merges runs of like size. So a reader takes the tuple and needs no
lock, a late histogram is like any other, and there is no Python object per sample. Slabs of open
samples, as floats have them, would have to be ragged, and every reader would have to lock them.
Invariant: runs are sorted by (slot, time), and no (slot, time) is in two of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb import histogram_columns
from tsdb.histogram_columns import ragged, starts_of
from tsdb.interface import HistogramColumns, HistogramRuns
from tsdb.late_kernels import lower_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words

_MERGED_ROWS_MAX = 1 << 15
"""Runs of more histograms are not merged any further while somebody waits for an append."""


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
    def sorted(
        slots: Slots, times: Ints, digests: Words, columns: HistogramColumns
    ) -> HistogramRun:
        """Sort histograms, of which no two have one slot and time."""
        order = np.lexsort((times, slots))
        return HistogramRun.of(
            slots[order], times[order], digests[order], histogram_columns.take(columns, order)
        )

    @property
    def count(self) -> int:
        """How many histograms."""
        return int(self.slots.size)

    def where(self, mask: npt.NDArray[np.bool_]) -> HistogramRun | None:
        """Return the histograms under the mask, None if there are none."""
        rows = np.flatnonzero(mask)
        if rows.size == self.count:
            return self
        if not rows.size:
            return None
        columns = histogram_columns.take(self.columns, rows)
        return HistogramRun.of(self.slots[rows], self.times[rows], self.digests[rows], columns)


class HistogramBuffer:
    """A set of histograms. Changes under the head's lock; `runs` may be read without."""

    def __init__(self, runs: tuple[HistogramRun, ...] = ()) -> None:
        self.runs = runs

    @property
    def count(self) -> int:
        """How many histograms."""
        return sum(run.count for run in self.runs)

    @property
    def min_time_ms(self) -> int | None:
        """Least time, None if empty."""
        return min((run.min_time_ms for run in self.runs), default=None)

    @property
    def max_time_ms(self) -> int | None:
        """Greatest time, None if empty."""
        return max((run.max_time_ms for run in self.runs), default=None)

    @property
    def size_bytes(self) -> int:
        """Bytes of all columns."""
        return sum(20 * run.count + histogram_columns.size_bytes(run.columns) for run in self.runs)

    def slots(self) -> Slots:
        """Return all slots that have histograms here, with repetitions."""
        return np.concatenate([np.empty(0, np.int32), *(run.slots for run in self.runs)])

    def find(self, slots: Slots, times: Ints) -> tuple[npt.NDArray[np.bool_], Words]:
        """Say which (slot, time) are here, and with which digests."""
        found, digests = np.zeros(slots.size, np.bool_), np.zeros(slots.size, np.uint64)
        at = np.empty(slots.size, np.int64)
        for run in self.runs:
            lower_bounds(run.slots, run.times, slots, times, at)
            inside = np.minimum(at, run.count - 1)
            here = (run.slots[inside] == slots) & (run.times[inside] == times) & (at < run.count)
            found |= here
            digests[here] = run.digests[inside[here]]
        return found, digests

    def add(self, run: HistogramRun | None) -> None:
        """Add histograms that are not here yet."""
        if run is None:
            return
        runs = [*self.runs, run]
        while len(runs) > 1 and runs[-2].count <= min(2 * runs[-1].count, _MERGED_ROWS_MAX):
            newer, older = runs.pop(), runs.pop()
            runs.append(_merge([older, newer]))
        self.runs = tuple(runs)

    def remove(self, slots: Slots) -> None:
        """Forget the histograms of some slots."""
        kept = HistogramBuffer()
        for run in self.runs:
            kept.add(run.where(~np.isin(run.slots, slots)))
        self.runs = kept.runs

    def delete(self, slots: Slots, start_ms: int, end_ms: int) -> None:
        """Forget the histograms of some slots in [start_ms, end_ms]."""
        kept = HistogramBuffer()
        for run in self.runs:
            inside = (run.times >= start_ms) & (run.times <= end_ms)
            kept.add(run.where(~(inside & np.isin(run.slots, slots))))
        self.runs = kept.runs

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`: of all runs together, and how much is of each."""
        saved: dict[str, Any] = {"histograms.runs": len(self.runs)}
        for name, pick in _SAVED.items():
            parts = [pick(run) for run in self.runs]
            saved[f"histograms.{name}.sizes"] = [part.size for part in parts]
            if parts:
                saved[f"histograms.{name}"] = np.concatenate(parts)
        return saved

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become the buffer that was saved."""
        runs: list[HistogramRun] = []
        stops = {name: 0 for name in _SAVED}
        for number in range(saved["histograms.runs"]):
            parts = {}
            for name in _SAVED:
                start = stops[name]
                stops[name] += saved[f"histograms.{name}.sizes"][number]
                parts[name] = saved[f"histograms.{name}"][start : stops[name]].copy()
            slots, times, digests = (parts.pop(name) for name in ("slots", "times", "digests"))
            runs.append(HistogramRun.of(slots, times, digests, HistogramColumns(**parts)))
        self.runs = tuple(runs)

    def split(self, time_ms: int) -> tuple[HistogramBuffer, HistogramBuffer]:
        """Return a buffer of what is older than `time_ms`, and one of the rest."""
        older, rest = HistogramBuffer(), HistogramBuffer()
        for run in self.runs:
            if run.max_time_ms < time_ms:
                older.runs += (run,)
            elif run.min_time_ms >= time_ms:
                rest.runs += (run,)
            else:
                before = run.times < time_ms
                older.add(run.where(before))
                rest.add(run.where(~before))
        return older, rest


_SAVED: dict[str, Callable[[HistogramRun], npt.NDArray[Any]]] = {
    **{name: attrgetter(name) for name in ("slots", "times", "digests")},
    **{each.name: attrgetter(f"columns.{each.name}") for each in fields(HistogramColumns)},
}


def _merge(runs: list[HistogramRun]) -> HistogramRun:
    return HistogramRun.sorted(
        np.concatenate([run.slots for run in runs]),
        np.concatenate([run.times for run in runs]),
        np.concatenate([run.digests for run in runs]),
        histogram_columns.concat([run.columns for run in runs]),
    )


def read_histograms(
    runs: tuple[HistogramRun, ...], slots: Slots, start_ms: Ints, end_ms: Ints
) -> HistogramRuns | None:
    """Return the histograms of each row in [start, end], None if there are none at all.

    Shapes: `slots`, `start_ms`, `end_ms` [rows]; slots may come several times.
    """
    rows, times, chosen = [], [], []
    for run in runs:
        low, size = _bounds(run, slots, start_ms, end_ms)
        if not size.any():
            continue
        at = ragged(low, size)
        rows.append(np.repeat(np.arange(slots.size, dtype=np.int64), size))
        times.append(run.times[at])
        chosen.append(histogram_columns.take(run.columns, at))
    if not rows:
        return None
    count = np.bincount(np.concatenate(rows), minlength=slots.size).astype(np.int64)
    all_times, columns = np.concatenate(times), histogram_columns.concat(chosen)
    if len(rows) > 1:
        order = np.lexsort((all_times, np.concatenate(rows)))
        all_times, columns = all_times[order], histogram_columns.take(columns, order)
    return HistogramRuns(all_times, starts_of(count)[:-1], count, columns)


def count_histograms(
    runs: tuple[HistogramRun, ...], slots: Slots, start_ms: Ints, end_ms: Ints
) -> int:
    """Return how many histograms `read_histograms` would give."""
    return sum(int(_bounds(run, slots, start_ms, end_ms)[1].sum()) for run in runs)


def _bounds(run: HistogramRun, slots: Slots, start_ms: Ints, end_ms: Ints) -> tuple[Ints, Ints]:
    """Return where each row's histograms begin in a run, and how many there are."""
    low, high = np.empty((2, slots.size), np.int64)
    lower_bounds(run.slots, run.times, slots, start_ms, low)
    # Times are far below the greatest int64, so + 1 does not wrap where anything is found.
    past = np.minimum(end_ms, np.iinfo(np.int64).max - 1) + 1
    lower_bounds(run.slots, run.times, slots, past, high)
    return low, np.maximum(high - low, 0)
