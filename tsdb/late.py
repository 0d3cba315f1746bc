"""Samples that came after newer ones of their series.

From: `append.py`. To: `head_view.py` (merged on read), `database.py` (into blocks).

The buffer is a tuple of sorted runs that never change; adding a batch makes a run of it and merges
runs of like size, as a log-structured tree does. So a reader takes the tuple and needs no lock.
20 bytes a sample.
Invariant: runs are sorted by (slot, time), and no (slot, time) is in two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.late_kernels import lower_bounds, merge_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words


@dataclass(frozen=True, slots=True)
class LateRun:
    """Samples sorted by slot and time. Shapes: int32[n], int64[n], bits of float64 uint64[n]."""

    slots: Slots
    times: Ints
    bits: Words

    @property
    def count(self) -> int:
        """How many samples."""
        return int(self.slots.size)

    def where(self, mask: npt.NDArray[np.bool_]) -> LateRun:
        """Return the samples under the mask."""
        return LateRun(self.slots[mask], self.times[mask], self.bits[mask])


@dataclass(frozen=True, slots=True)
class LateRows:
    """Late samples of chosen rows: row r has those from `first[r]` to `first[r + 1]`, by time."""

    first: Ints
    times: Ints
    bits: Words


class LateBuffer:
    """A set of late samples. Changes under the head's lock; `runs` may be read without."""

    def __init__(self, runs: tuple[LateRun, ...] = ()) -> None:
        self.runs = runs

    @property
    def count(self) -> int:
        """How many samples."""
        return sum(run.count for run in self.runs)

    @property
    def min_time_ms(self) -> int | None:
        """Least time, None if empty."""
        return min((int(run.times.min()) for run in self.runs), default=None)

    @property
    def max_time_ms(self) -> int | None:
        """Greatest time, None if empty."""
        return max((int(run.times.max()) for run in self.runs), default=None)

    def slots(self) -> Slots:
        """Return all slots that have samples here, with repetitions."""
        return np.concatenate([np.empty(0, np.int32), *(run.slots for run in self.runs)])

    def find(self, slots: Slots, times: Ints) -> tuple[npt.NDArray[np.bool_], Words]:
        """Say which (slot, time) are here, and with which bits."""
        found, bits = np.zeros(slots.size, np.bool_), np.zeros(slots.size, np.uint64)
        at = np.empty(slots.size, np.int64)
        for run in self.runs:
            lower_bounds(run.slots, run.times, slots, times, at)
            inside = np.minimum(at, run.count - 1)
            here = (run.slots[inside] == slots) & (run.times[inside] == times) & (at < run.count)
            found |= here
            bits[here] = run.bits[inside[here]]
        return found, bits

    def add(self, run: LateRun) -> None:
        """Add samples that are not here yet, sorted."""
        if not run.count:
            return
        runs = [*self.runs, run]
        while len(runs) > 1 and runs[-2].count <= 2 * runs[-1].count:
            newer, older = runs.pop(), runs.pop()
            runs.append(_merge(older, newer))
        self.runs = tuple(runs)

    def remove(self, slots: Slots) -> None:
        """Forget the samples of some slots."""
        kept = LateBuffer()
        for run in self.runs:
            kept.add(run.where(~np.isin(run.slots, slots)))
        self.runs = kept.runs

    def delete(self, slots: Slots, start_ms: int, end_ms: int) -> None:
        """Forget the samples of some slots in [start_ms, end_ms]."""
        kept = LateBuffer()
        for run in self.runs:
            inside = (run.times >= start_ms) & (run.times <= end_ms)
            kept.add(run.where(~(inside & np.isin(run.slots, slots))))
        self.runs = kept.runs

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`."""
        saved: dict[str, Any] = {"late.runs": len(self.runs)}
        for number, run in enumerate(self.runs):
            saved[f"late.{number}.slots"] = run.slots
            saved[f"late.{number}.times"] = run.times
            saved[f"late.{number}.bits"] = run.bits
        return saved

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become the buffer that was saved."""
        self.runs = tuple(
            LateRun(*(saved[f"late.{number}.{name}"].copy() for name in ("slots", "times", "bits")))
            for number in range(saved["late.runs"])
        )

    def split(self, time_ms: int) -> tuple[LateRun, LateBuffer]:
        """Return what is older than `time_ms` as one run, and a buffer of the rest."""
        older = _EMPTY
        rest = LateBuffer()
        for run in self.runs:
            before = run.times < time_ms
            older = _merge(older, run.where(before))
            rest.add(run.where(~before))
        return older, rest


_EMPTY = LateRun(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint64))


def sorted_run(slots: Slots, times: Ints, bits: Words) -> LateRun:
    """Sort samples into a run; of equal (slot, time) the first stays."""
    order = np.lexsort((times, slots))
    slots, times, bits = slots[order], times[order], bits[order]
    first = np.ones(slots.size, np.bool_)
    first[1:] = (slots[1:] != slots[:-1]) | (times[1:] != times[:-1])
    return LateRun(slots, times, bits).where(first)


def late_rows(
    runs: tuple[LateRun, ...], slots: Slots, start_ms: Ints, end_ms: Ints
) -> LateRows | None:
    """Return the samples of each row in [start, end], None if there are none at all.

    Shapes: `slots`, `start_ms`, `end_ms` [rows]. Where runs hold the same time the first wins.
    """
    rows, times, bits = [], [], []
    for run in runs:
        low, high = np.empty((2, slots.size), np.int64)
        lower_bounds(run.slots, run.times, slots, start_ms, low)
        # Times are far below the greatest int64, so + 1 does not wrap where anything is found.
        past = np.minimum(end_ms, np.iinfo(np.int64).max - 1) + 1
        lower_bounds(run.slots, run.times, slots, past, high)
        size = np.maximum(high - low, 0)
        total = int(size.sum())
        if not total:
            continue
        stop = np.cumsum(size)
        at = np.arange(total) + np.repeat(low - (stop - size), size)
        rows.append(np.repeat(np.arange(slots.size, dtype=np.int32), size))
        times.append(run.times[at])
        bits.append(run.bits[at])
    if not rows:
        return None
    run = sorted_run(np.concatenate(rows), np.concatenate(times), np.concatenate(bits))
    first = np.searchsorted(run.slots, np.arange(slots.size + 1)).astype(np.int64)
    return LateRows(first, run.times, run.bits)


def _merge(left: LateRun, right: LateRun) -> LateRun:
    size = left.count + right.count
    slots, times, bits = np.empty(size, np.int32), np.empty(size, np.int64), np.empty(size, "u8")
    merge_runs(
        left.slots, left.times, left.bits, right.slots, right.times, right.bits, slots, times, bits
    )
    return LateRun(slots, times, bits)
