"""Native histograms of the head, open for writing.

From: `append.py`. To: `select.py` (merged on read), `head_cut.py` (into blocks).

As late samples do (`late.py`), histograms lie in a tuple of sorted runs that never change; adding
a batch makes a run of it and merges runs of like size. So a reader takes the tuple and needs no
lock, a late histogram is like any other, and there is no Python object per sample. Slabs of open
samples, as floats have them, would have to be ragged, and every reader would have to lock them.
What has grown large is sealed by maintenance (`seal.py`), beside readers and writers.
Invariant: runs are sorted by (slot, time), and no (slot, time) is in two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.histograms import columns as histogram_columns
from tsdb.histograms.columns import starts_of
from tsdb.histograms.run import HistogramRun, Run
from tsdb.interface import HistogramRuns

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words

_MERGED_ROWS_MAX = 1 << 15
"""Runs of more histograms are not merged any further while somebody waits for an append."""
SEAL_BYTES = 64 << 20
"""Columns that lie about before they are sealed."""


class HistogramBuffer:
    """A set of histograms. Changes under the head's lock; `runs` may be read without."""

    def __init__(self, runs: tuple[Run, ...] = ()) -> None:
        self._settled = runs
        self._open: tuple[HistogramRun, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs: those that stay as they are, then those that are merged as more come."""
        return (*self._settled, *self._open)

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
        """Bytes of memory."""
        return sum(run.size_bytes for run in self.runs)

    def slots(self) -> Slots:
        """Return all slots that have histograms here, with repetitions."""
        return np.concatenate([np.empty(0, np.int32), *(run.slots for run in self.runs)])

    def find(self, slots: Slots, times: Ints) -> tuple[npt.NDArray[np.bool_], Words]:
        """Say which (slot, time) are here, and with which digests."""
        found, digests = np.zeros(slots.size, np.bool_), np.zeros(slots.size, np.uint64)
        for run in self.runs:
            run.find(slots, times, found, digests)
        return found, digests

    def add(self, run: HistogramRun) -> None:
        """Add histograms that are not here yet."""
        runs = [*self._open, run]
        while len(runs) > 1 and runs[-2].count <= min(2 * runs[-1].count, _MERGED_ROWS_MAX):
            newer, older = runs.pop(), runs.pop()
            runs.append(HistogramRun.merged([older, newer]))
        self._open = tuple(runs)

    def add_back(self, other: HistogramBuffer) -> None:
        """Add what `split` took away."""
        self._settled += other.runs

    def remove(self, slots: Slots) -> None:
        """Forget the histograms of some slots."""
        self.delete(slots, np.iinfo(np.int64).min, np.iinfo(np.int64).max)

    def delete(self, slots: Slots, start_ms: int, end_ms: int) -> None:
        """Forget the histograms of some slots in [start_ms, end_ms]."""
        self._settle(run.without(slots, start_ms, end_ms) for run in self.runs)

    def split(self, time_ms: int) -> tuple[HistogramBuffer, HistogramBuffer]:
        """Return a buffer of what is older than `time_ms`, and one of the rest."""
        older, rest = HistogramBuffer(), HistogramBuffer()
        older._settle(run.before(time_ms) for run in self.runs)
        rest._settle(run.since(time_ms) for run in self.runs)
        return older, rest

    def _settle(self, runs: Iterable[Run | None]) -> None:
        self._settled = tuple(run for run in runs if run is not None)
        self._open = ()

    def settle(self) -> tuple[Run, ...]:
        """Return the runs that shall become one sealed run, none if there is too little.

        They stay here, unmerged, until `replace` takes them. All columns are among them, and the
        newest sealed runs that have no more histograms than what comes together already: so one
        is sealed again only when it at least doubles.
        """
        raw = [run for run in self.runs if isinstance(run, HistogramRun)]
        if sum(run.size_bytes for run in raw) < SEAL_BYTES:
            return ()
        sealed = [run for run in self._settled if not isinstance(run, HistogramRun)]
        self._settled, self._open = (*sealed, *raw), ()
        chosen: list[Run] = list(raw)
        count = sum(run.count for run in raw)
        while sealed and sealed[-1].count <= count:
            chosen.append(sealed.pop())
            count += chosen[-1].count
        return tuple(chosen)

    def replace(self, old: tuple[Run, ...], new: Run | None) -> None:
        """Have one run instead of those that `settle` returned."""
        gone = {id(run) for run in old}
        kept = [run for run in self._settled if id(run) not in gone]
        self._settled = (*kept, *(() if new is None else (new,)))

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`."""
        saved: dict[str, Any] = {"histograms.runs": []}
        for number, run in enumerate(self.runs):
            arrays = run.save()
            saved["histograms.runs"].append([type(run).__name__, *arrays])
            for name, array in arrays.items():
                saved[f"histograms.{number}.{name}"] = array
        return saved


def read_histograms(
    runs: tuple[Run, ...],
    slots: Slots,
    start_ms: Ints,
    end_ms: Ints,
    before_ms: Ints | None = None,
) -> HistogramRuns | None:
    """Return the histograms of each row in [start, end], None if there are none at all.

    With `before_ms` also the newest of each row in [before, start), and maybe more of those.
    Shapes: `slots`, `start_ms`, `end_ms`, `before_ms` [rows]; slots may come several times.
    """
    read = (run.read(slots, start_ms, end_ms, before_ms) for run in runs)
    parts = [part for part in read if part is not None]
    if not parts:
        return None
    rows = np.concatenate([part.rows for part in parts])
    times = np.concatenate([part.times for part in parts])
    columns = histogram_columns.concat([part.columns for part in parts])
    if len(parts) > 1:
        order = np.lexsort((times, rows))
        times, columns = times[order], histogram_columns.take(columns, order)
    count = np.bincount(rows, minlength=slots.size).astype(np.int64)
    return HistogramRuns(times, starts_of(count)[:-1], count, columns)


def weigh_histograms(runs: tuple[Run, ...], slots: Slots, start_ms: Ints, end_ms: Ints) -> int:
    """Return as how many samples count what `read_histograms` would give, or some more."""
    return sum(run.weight_in(slots, start_ms, end_ms) for run in runs)
