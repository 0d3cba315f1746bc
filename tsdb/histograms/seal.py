"""Native histograms of the head, compressed as those of blocks are: a twentieth of the memory.

From: `buffer.py`, whose runs of columns have grown large. To: the same.

A sealed run is written by the block's `writer.py` to a file without a name, so it costs
page cache and is gone with its last reader; its rows are slots. Deleting and cutting do not rewrite
it: they narrow what is shown of it.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.array_file import ArraysInMemory
from tsdb.distinct import distinct
from tsdb.histograms.buffer import HistogramBuffer, read_histograms
from tsdb.histograms.columns import concat, take
from tsdb.histograms.columns import digests as digests_of
from tsdb.histograms.reader import HistogramDirectory
from tsdb.histograms.run import FoundHistograms, HistogramRun
from tsdb.histograms.writer import HistogramWriter
from tsdb.page_directory import PageDirectory
from tsdb.time_dictionary import TimeDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import BinaryIO

    import numpy.typing as npt

    from tsdb.errors import CorruptFileError
    from tsdb.histograms.run import Run
    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words

_PIECE_VALUES = 1 << 21
_PAGE_SAMPLES = 1024
_RANGES_MAX = 8
_PATH = Path("head/histograms")
"""What an error names: the file has no name."""
_ALWAYS = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class SealedRun:
    """A sealed run, or what is left of it: the part in [min_time_ms, max_time_ms], less `deleted`.

    Shapes: `slots` int32[rows], rising; `keys` are those of the digests.
    """

    slots: Slots
    arrays: dict[str, npt.NDArray[Any]]
    pages: memoryview
    directory: HistogramDirectory
    keys: Words
    min_time_ms: int
    max_time_ms: int
    count: int
    deleted: tuple[tuple[Slots, int, int], ...] = ()

    @staticmethod
    def of(
        slots: Slots, arrays: dict[str, npt.NDArray[Any]], pages: memoryview, keys: Words
    ) -> SealedRun:
        """Open what `seal` wrote."""
        index = ArraysInMemory(_PATH, arrays)
        directory = HistogramDirectory(index, PageDirectory(index, _PATH, pages))
        return SealedRun(
            slots,
            arrays,
            pages,
            directory,
            keys,
            int(arrays["slice.min"].min()),
            int(arrays["slice.max"].max()),
            int(directory.row_samples().sum()),
        )

    @property
    def size_bytes(self) -> int:
        """Memory that it takes, the file apart."""
        return self.slots.nbytes + sum(int(array.nbytes) for array in self.arrays.values())

    def _rows(self, slots: Slots) -> tuple[Ints, Ints]:
        """Return which of the slots are here, and their rows."""
        row = np.minimum(np.searchsorted(self.slots, slots), self.slots.size - 1)
        here = np.flatnonzero(self.slots[row] == slots)
        return here, row[here]

    def _ranges(self, start: Ints, end: Ints) -> Iterable[tuple[npt.NDArray[np.bool_], int, int]]:
        """Yield rows that have one range, and the range: few, for a directory takes one at once."""
        start, end = np.maximum(start, self.min_time_ms), np.minimum(end, self.max_time_ms)
        some = start <= end
        if not some.any():
            return
        both = np.stack([start[some], end[some]])
        if (both == both[:, :1]).all():
            yield some, int(both[0, 0]), int(both[1, 0])
            return
        pairs = np.unique(both, axis=1)
        if pairs.shape[1] > _RANGES_MAX:
            # Too much is read, and what is too much is left out afterwards.
            yield some, int(both[0].min()), int(both[1].max())
            return
        for low, high in pairs.T.tolist():
            yield (start == low) & (end == high), low, high

    def read(
        self, slots: Slots, start_ms: Ints, end_ms: Ints, before_ms: Ints | None = None
    ) -> FoundHistograms | None:
        """Return the histograms of each row in [start, end], None if there are none at all.

        With `before_ms` also those in [before, start).
        """
        if before_ms is not None:
            start_ms = before_ms
        here, rows = self._rows(slots)
        parts: list[FoundHistograms] = []
        for some, low, high in self._ranges(start_ms[here], end_ms[here]):
            chosen = np.flatnonzero(some)
            plan = self.directory.plan(rows[chosen], low, high, _raise)
            runs = self.directory.read(plan, chosen.size, _raise)
            if runs is not None:
                of_row = here[chosen][np.repeat(np.arange(chosen.size), runs.count)]
                parts.append(FoundHistograms(of_row, runs.times, runs.columns))
        if not parts:
            return None
        found = parts[0] if len(parts) == 1 else _joined(parts)
        keep = (found.times >= start_ms[found.rows]) & (found.times <= end_ms[found.rows])
        for gone, start, end in self.deleted:
            inside = (found.times >= start) & (found.times <= end)
            keep &= ~(inside & np.isin(slots[found.rows], gone))
        if keep.all():
            return found
        at = np.flatnonzero(keep)
        if not at.size:
            return None
        return FoundHistograms(found.rows[at], found.times[at], take(found.columns, at))

    def weight_in(self, slots: Slots, start_ms: Ints, end_ms: Ints) -> int:
        """Return as how many samples count what `read` would give, or some more."""
        here, rows = self._rows(slots)
        return sum(
            self.directory.weight(self.directory.plan(rows[some], low, high, _raise))
            for some, low, high in self._ranges(start_ms[here], end_ms[here])
        )

    def mark(self, slots: Slots, start_ms: Ints, end_ms: Ints, has: npt.NDArray[np.bool_]) -> None:
        """Set `has` bool[rows] where `read` would give something, or deleted histograms."""
        here, rows = self._rows(slots)
        for some, low, high in self._ranges(start_ms[here], end_ms[here]):
            chosen = np.flatnonzero(some)
            plan = self.directory.plan(rows[chosen], low, high, _raise)
            has[here[chosen[plan.row]]] = True

    def find(self, slots: Slots, times: Ints, found: npt.NDArray[np.bool_], digests: Words) -> None:
        """Note which (slot, time) are here, and with which digests."""
        inside = np.flatnonzero((times >= self.min_time_ms) & (times <= self.max_time_ms))
        if not inside.size:
            return
        some, few = distinct(slots[inside]), times[inside]
        bounds = (np.full(some.size, bound) for bound in (few.min(), few.max()))
        near = self.read(some, *bounds)
        if near is not None:
            whose = some[near.rows]
            run = HistogramRun.of(
                whose, near.times, digests_of(near.columns, self.keys), near.columns
            )
            run.find(slots, times, found, digests)

    def windows(self, window_ms: int) -> Iterable[int]:
        """Return the windows, by number, in which there may be histograms."""
        return range(self.min_time_ms // window_ms, self.max_time_ms // window_ms + 1)

    def before(self, time_ms: int) -> SealedRun | None:
        """Return the histograms before a time, None if there are none."""
        if self.max_time_ms < time_ms:
            return self
        return self._narrowed(self.min_time_ms, time_ms - 1)

    def since(self, time_ms: int) -> SealedRun | None:
        """Return the histograms from a time on, None if there are none."""
        if self.min_time_ms >= time_ms:
            return self
        return self._narrowed(time_ms, self.max_time_ms)

    def _narrowed(self, low: int, high: int) -> SealedRun | None:
        if low > high:
            return None
        rows = np.arange(self.slots.size)
        take_of = self.directory.plan(rows, low, high, _raise).take
        count = int(take_of.sum())
        if not count:
            return None
        return replace(self, min_time_ms=low, max_time_ms=high, count=count)

    def without(self, slots: Slots, start_ms: int, end_ms: int) -> SealedRun | None:
        """Return the run without the histograms of some slots in [start_ms, end_ms]."""
        gone = np.intersect1d(self.slots, slots).astype(np.int32)
        if not gone.size or start_ms > self.max_time_ms or end_ms < self.min_time_ms:
            return self
        if gone.size == self.slots.size and (start_ms, end_ms) == _ALWAYS:
            return None
        return replace(self, deleted=(*self.deleted, (gone, start_ms, end_ms)))

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything, for `saved`."""
        facts = np.array([self.min_time_ms, self.max_time_ms, self.count], np.int64)
        gone = {
            f"deleted.{number}.{name}": part
            for number, (slots, start, end) in enumerate(self.deleted)
            for name, part in (("slots", slots), ("range", np.array([start, end], np.int64)))
        }
        return {
            "facts": facts,
            "slots": self.slots,
            "keys": self.keys,
            "pages": np.frombuffer(self.pages, np.uint8),
            **{f"index.{name}": array for name, array in self.arrays.items()},
            **gone,
        }

    @staticmethod
    def saved(arrays: dict[str, npt.NDArray[Any]]) -> SealedRun:
        """Return the run that `save` returned; it goes on using the arrays."""
        index = {
            name.removeprefix("index."): np.array(array)
            for name, array in arrays.items()
            if name.startswith("index.")
        }
        pages = memoryview(np.ascontiguousarray(arrays["pages"]).data)
        run = SealedRun.of(np.array(arrays["slots"]), index, pages, np.array(arrays["keys"]))
        low, high, count = arrays["facts"].tolist()
        deleted: list[tuple[Slots, int, int]] = []
        while (slots := arrays.get(f"deleted.{len(deleted)}.slots")) is not None:
            start, end = arrays[f"deleted.{len(deleted)}.range"].tolist()
            deleted.append((np.array(slots), start, end))
        return replace(run, min_time_ms=low, max_time_ms=high, count=count, deleted=tuple(deleted))


def seal(runs: tuple[Run, ...], directory: Path | None, keys: Words) -> SealedRun | None:
    """Return all histograms of `runs` as one sealed run, None if nothing is left of them.

    The file is made in `directory`; None: in memory. Raises OSError.
    """
    slots = distinct(np.concatenate([run.slots for run in runs]))
    values = sum(_values(run) for run in runs)
    step = max(1, int(_PIECE_VALUES * slots.size // max(values, 1)))
    file: BinaryIO = io.BytesIO() if directory is None else tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 # closed below
    with file:
        times = TimeDictionary(file)
        writer = HistogramWriter(file, times, _PAGE_SAMPLES)
        for first in range(0, slots.size, step):
            some = slots[first : first + step]
            start, end = (np.full(some.size, bound) for bound in _ALWAYS)
            writer.add(read_histograms(runs, some, start, end), np.arange(some.size))
        if not writer.sample_count:
            return None
        writer.finish()
        times.finish()
        arrays = {**times.arrays(), **writer.arrays()}
        file.flush()
        if isinstance(file, io.BytesIO):
            pages = memoryview(file.getvalue())
        else:
            pages = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return SealedRun.of(slots, arrays, pages, keys)


def restored(saved: Mapping[str, Any]) -> HistogramBuffer:
    """Return the buffer that `HistogramBuffer.save` returned."""
    runs: list[Run] = []
    for number, (kind, *names) in enumerate(saved["histograms.runs"]):
        arrays = {name: saved[f"histograms.{number}.{name}"] for name in names}
        sealed = kind == SealedRun.__name__
        runs.append(SealedRun.saved(arrays) if sealed else HistogramRun.saved(arrays))
    return HistogramBuffer(tuple(runs))


def _values(run: Run) -> int:
    """Estimate how many numbers the histograms of a run are."""
    if isinstance(run, SealedRun):
        return int(run.directory.row_values().sum())
    return run.size_bytes // 8


def _joined(parts: list[FoundHistograms]) -> FoundHistograms:
    """Return what was found for rows of several ranges, by row, then time."""
    rows = np.concatenate([part.rows for part in parts])
    times = np.concatenate([part.times for part in parts])
    order = np.lexsort((times, rows))
    columns = take(concat([part.columns for part in parts]), order)
    return FoundHistograms(rows[order], times[order], columns)


def _raise(error: CorruptFileError) -> None:
    raise error
