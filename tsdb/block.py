"""A sealed block, memory-mapped and read-only.

From: the directory that `block_writer.py` made. FORMAT.md has the byte tables.
To:   `select.py` (samples and labels of one time range), `compaction.py` (all, in series order).

Opening reads `meta.json`, checks the index against its checksums and parses nothing: the index is
arrays. Reading goes from matchers to rows (`block_rows.py`) to pages (`page_directory.py`) and
straight into the pools of the batch.
Invariant: a batch's pools are its own memory; no view of a map leaves but through label texts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.array_file import ArrayFile
from tsdb.block_meta import META_FILE, BlockMeta
from tsdb.block_rows import BlockRows
from tsdb.block_symbols import BlockSymbols
from tsdb.block_writer import INDEX_FILE, PAGES_FILE
from tsdb.errors import ClosedError, CorruptFileError
from tsdb.histograms.columns import take_series
from tsdb.histograms.reader import HistogramDirectory
from tsdb.interface import LabelColumns, Matcher, SeriesBatch
from tsdb.page_directory import PageDirectory
from tsdb.series_order import column_order, is_strictly_ordered, text_ranks
from tsdb.text_order import order_of, ranges_of
from tsdb.tombstones import (
    DeletedRange,
    Tombstone,
    mask_deleted,
    read_tombstones,
    write_tombstones,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tsdb.interface import Floats, Ints
    from tsdb.page_directory import OnCorrupt, PageSizes, ReadPlan

CHUNK_SAMPLES = 1 << 21
"""Samples in one chunk of `Block.chunks`, about: 16 MB of values."""


def _raise(error: CorruptFileError) -> None:
    raise error


@dataclass(frozen=True, slots=True)
class PlannedRows:
    """Rows of a block of which everything is known but their values.

    Shapes and units as in `SeriesBatch`; `kept` are the places of these rows among all that were
    asked for, of which `samples` says how many each has.
    """

    labels: LabelColumns
    times: Ints
    time_start: Ints
    count: Ints
    directory: PageDirectory
    plan: ReadPlan
    kept: Ints
    samples: Ints

    def tasks(self, out: Floats, out_start: Ints, damaged: list[Ints]) -> list[Callable[[], None]]:
        """Return what writes the values of each row to `out[out_start[row]:]`, in any order.

        What goes into `damaged` could not be read.
        """
        return self.directory.value_tasks(self.plan, out, self.places(out_start), damaged)

    def places(self, out_start: Ints) -> Ints:
        """Return where each page of the plan begins if the rows begin at `out_start`."""
        take = self.plan.take
        of_row = np.cumsum(self.samples) - self.samples
        to = np.zeros(self.samples.size, dtype=np.int64)
        to[self.kept] = out_start
        # Pages come row by row: how far each is into its row.
        place: Ints = np.cumsum(take) - take + (to - of_row)[self.plan.row]
        return place


class Block:
    """One block. Thread-safe: nothing in it changes but its tombstones and whether it is closed."""

    def __init__(
        self,
        path: Path,
        meta: BlockMeta,
        index: ArrayFile,
        directory: PageDirectory,
        tombstones: Sequence[Tombstone],
    ) -> None:
        """Use `open`."""
        self.path = path
        self.meta = meta
        self._index = index
        self._directory = directory
        self._histograms = HistogramDirectory(index, directory) if "hist.row" in index else None
        self.symbols = BlockSymbols(index.array("symbol.offset"), index.array("symbol.bytes"))
        self._rows = BlockRows(index, self.symbols)
        self._delete_lock = threading.Lock()
        self._deleted = tuple((one, self._rows.match(one.matchers)) for one in tombstones)
        self._closed = False

    @staticmethod
    def open(path: Path) -> Block:
        """Open the block in directory `path`, its index checked against its checksums.

        All files are mapped now: the block can be read to the end after its directory is deleted.
        Raises `CorruptFileError`, `OSError`.
        """
        meta = BlockMeta.read(path)
        index = ArrayFile(path / INDEX_FILE)
        index.verify()
        # The meta has no checksum of its own: what can be compared is.
        facts = meta.min_time_ms, meta.max_time_ms, meta.stats.num_samples, meta.stats.num_series
        if tuple(index.array("block.facts").tolist()) != facts or meta.ulid != path.name:
            raise CorruptFileError(path / META_FILE, 0, "is not that of this index and directory")
        return Block(
            path, meta, index, PageDirectory.map(index, path / PAGES_FILE), read_tombstones(path)
        )

    def close(self) -> None:
        """Refuse every further read; maps go when the last batch that uses them goes."""
        self._closed = True

    def let_go(self) -> None:
        """Count no more as memory of this process what was read of its files. Costs no reader much.

        Reading maps them again: a microsecond for 64 kB, while the system has them in memory.
        """
        self._index.let_go()
        self._directory.let_go()

    @property
    def size_bytes(self) -> int:
        """Bytes of its files: index, pages, and what is said of both in the two small ones."""
        return self._index.size_bytes + self._directory.size_bytes + len(self.meta.to_json())

    def page_sizes(self) -> PageSizes:
        """Return how large its pages of floats are, for statistics."""
        return self._directory.sizes()

    def match(self, matchers: Sequence[Matcher]) -> Ints:
        """Return the rows int64[rows] that satisfy all matchers. Raises `BadMatcherError`."""
        self._check_open()
        return self._rows.match(matchers)

    @property
    def has_start_times(self) -> bool:
        """Whether any series of the block has start timestamps."""
        self._check_open()
        return self._rows.has_companions

    def labels(self, rows: Ints) -> LabelColumns:
        """Return the labels of some rows (rising), in the block's symbol space."""
        self._check_open()
        return self._rows.labels(rows)

    def label_names(self, rows: Ints) -> list[str]:
        """Return the names of all labels that some rows (rising) have."""
        self._check_open()
        return self._rows.label_names(rows)

    def label_values(self, name: str, rows: Ints) -> list[str]:
        """Return the values of one label among some rows (rising), once each, in no order."""
        self._check_open()
        return self._rows.label_values(name, rows)

    def label_columns(self, matchers: Sequence[Matcher]) -> LabelColumns:
        """Return the labels of every series that satisfies all matchers."""
        return self.labels(self.match(matchers))

    def count_samples(
        self,
        rows: Ints,
        start_ms: int,
        end_ms: int,
        *,
        on_corrupt: OnCorrupt = _raise,
    ) -> int:
        """Return how many samples `select_rows` would give, tombstones not applied.

        Exact before any value is decoded; at most pages of times are read. A histogram counts as
        many: see `HistogramDirectory.weight`.
        """
        self._check_open()
        count = int(self._directory.plan(rows, start_ms, end_ms, on_corrupt).take.sum())
        if self._histograms is not None:
            plan = self._histograms.plan(rows, start_ms, end_ms, on_corrupt)
            count += self._histograms.weight(plan)
        return count

    def rows_with_samples(
        self, rows: Ints, start_ms: int, end_ms: int, *, on_corrupt: OnCorrupt = _raise
    ) -> Ints:
        """Return those of some rows that have a sample in [start_ms, end_ms].

        At most pages of times are read; tombstones are not applied.
        """
        self._check_open()
        if start_ms <= self.meta.min_time_ms and self.meta.max_time_ms - 1 <= end_ms:
            return rows
        has = np.zeros(rows.size, dtype=np.bool_)
        has[self._directory.plan(rows, start_ms, end_ms, on_corrupt).row] = True
        if self._histograms is not None:
            has[self._histograms.plan(rows, start_ms, end_ms, on_corrupt).row] = True
        return rows[has]

    @property
    def has_histograms(self) -> bool:
        """Whether any series of the block has native histograms, tombstones not applied."""
        return self._histograms is not None

    def holds_histograms(self, rows: Ints) -> bool:
        """Return whether any of some rows has native histograms, tombstones not applied."""
        self._check_open()
        return self._histograms is not None and self._histograms.holds(rows)

    def select_rows(
        self, rows: Ints, start_ms: int, end_ms: int, *, on_corrupt: OnCorrupt = _raise
    ) -> SeriesBatch | None:
        """Return some rows (rising) with their samples in [start_ms, end_ms], None for none.

        The batch is in the block's own symbol space, in series order. `on_corrupt` is called for
        every damaged frame; if it returns, the samples of that frame are left out.
        """
        self._check_open()
        if not self.meta.overlaps(start_ms, end_ms):
            return None
        directory = self._directory
        plan = directory.plan(rows, start_ms, end_ms, on_corrupt)
        values, damaged = directory.decode_values(plan, on_corrupt)
        plan, values = plan.without(damaged, values)
        times, time_start, damaged = directory.decode_times(plan, rows.size, on_corrupt)
        while damaged.size:
            plan, values = plan.without(damaged, values)
            times, time_start, damaged = directory.decode_times(plan, rows.size, on_corrupt)
        count = np.bincount(plan.row, weights=plan.take, minlength=rows.size).astype(np.int64)
        histograms, samples = None, count
        if self._histograms is not None:
            wanted = self._histograms.plan(rows, start_ms, end_ms, on_corrupt)
            histograms = self._histograms.read(wanted, rows.size, on_corrupt)
            if histograms is not None:
                samples = count + histograms.count
        kept = np.flatnonzero(samples)
        if not kept.size:
            return None
        value_start = np.cumsum(count) - count
        batch = SeriesBatch(
            labels=self._rows.labels(rows[kept]),
            times=times,
            time_start=time_start[kept],
            values=values,
            value_start=value_start[kept],
            count=count[kept],
            histograms=None if histograms is None else take_series(histograms, kept),
        )
        return self._mask_deleted(batch, rows[kept]) if self._deleted else batch

    def plan_rows(self, rows: Ints, start_ms: int, end_ms: int) -> PlannedRows | None:
        """Find out all about some rows (rising) in [start_ms, end_ms] but their values.

        Returns None where that is not all: with tombstones, histograms or damaged times.
        """
        self._check_open()
        if self._deleted or (self._histograms is not None and self._histograms.holds(rows)):
            return None
        damage: list[CorruptFileError] = []
        plan = self._directory.plan(rows, start_ms, end_ms, damage.append)
        times, time_start, _ = self._directory.decode_times(plan, rows.size, damage.append)
        if damage:
            return None
        count = np.bincount(plan.row, weights=plan.take, minlength=rows.size).astype(np.int64)
        kept = np.flatnonzero(count)
        return PlannedRows(
            self._rows.labels(rows[kept]),
            times,
            time_start[kept],
            count[kept],
            self._directory,
            plan,
            kept,
            count,
        )

    def select_all(
        self, first: int, stop: int, *, on_corrupt: OnCorrupt | None = None
    ) -> SeriesBatch | None:
        """Return the rows [first, stop) with all their samples, None for none."""
        rows = np.arange(first, stop, dtype=np.int64)
        low, high = self.meta.min_time_ms, self.meta.max_time_ms - 1
        return self.select_rows(rows, low, high, on_corrupt=on_corrupt or _raise)

    def metrics(self) -> list[tuple[str, int, int]]:
        """Return name, first and stop row of every metric, in series order."""
        self._check_open()
        return self._rows.metrics()

    def row_samples(self) -> Ints:
        """Return the number of samples of every row, int64[series]; tombstones not applied."""
        self._check_open()
        samples = self._directory.row_samples()
        return samples if self._histograms is None else samples + self._histograms.row_samples()

    def row_values(self) -> Ints:
        """Return how many numbers the samples of every row are, buckets and all: int64[series]."""
        self._check_open()
        values = self._directory.row_samples()
        return values if self._histograms is None else values + self._histograms.row_values()

    def value_count(self, first: int, stop: int) -> int:
        """Return how many numbers the samples of the rows [first, stop) are, buckets and all."""
        self._check_open()
        values = self._directory.sample_count(first, stop)
        if self._histograms is not None:
            values += self._histograms.value_count(first, stop)
        return values

    @property
    def tombstones(self) -> tuple[Tombstone, ...]:
        """What has been deleted from this block."""
        return tuple(tombstone for tombstone, _ in self._deleted)

    def delete(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> bool:
        """Delete samples in [start_ms, end_ms]: durable and visible to every later read.

        Returns whether any series of the block is concerned. Raises `BadMatcherError`, `OSError`.
        """
        self._check_open()
        start_ms = max(start_ms, self.meta.min_time_ms)
        end_ms = min(end_ms, self.meta.max_time_ms - 1)
        rows = self.match(matchers)
        if start_ms > end_ms or not rows.size:
            return False
        with self._delete_lock:
            added = (Tombstone(tuple(matchers), start_ms, end_ms), rows)
            deleted = (*self._deleted, added)
            write_tombstones(self.path, [tombstone for tombstone, _ in deleted])
            self._deleted = deleted
        return True

    def _mask_deleted(self, batch: SeriesBatch, rows: Ints) -> SeriesBatch | None:
        """Leave out what tombstones delete; `rows` are those of the batch, rising."""
        ranges = []
        for tombstone, hit in self._deleted:
            series = np.flatnonzero(np.isin(rows, hit, assume_unique=True))
            if series.size:
                ranges.append(DeletedRange(series, tombstone.start_ms, tombstone.end_ms))
        return mask_deleted(batch, ranges) if ranges else batch

    def chunks(
        self, *, samples_max: int = CHUNK_SAMPLES, on_corrupt: OnCorrupt = _raise
    ) -> Iterator[SeriesBatch]:
        """Yield all series with all samples, in series order, a bounded number at a time."""
        self._check_open()
        counts = self.row_values()
        ends = np.cumsum(counts)
        first = 0
        while first < counts.size:
            limit = (ends[first - 1] if first else 0) + samples_max
            stop = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
            batch = self.select_all(first, stop, on_corrupt=on_corrupt)
            if batch is not None:
                yield batch
            first = stop

    def verify(self) -> list[CorruptFileError]:
        """Check every checksum and every order invariant; return all that is wrong."""
        self._check_open()
        found: list[CorruptFileError] = []
        try:
            self._index.verify()
            self._verify_order(found)
            samples = 0
            for batch in self.chunks(on_corrupt=found.append):
                samples += batch.sample_count
                if batch.histograms is not None:
                    samples += int(batch.histograms.count.sum())
                self._verify_times(batch, found)
        except CorruptFileError as error:
            return [*found, error]
        if not found and not self._deleted and samples != self.meta.stats.num_samples:
            text = f"{samples} samples, and {self.meta.stats.num_samples} in the meta"
            found.append(CorruptFileError(self.path / META_FILE, 0, text))
        return found

    def _verify_order(self, found: list[CorruptFileError]) -> None:
        index_path = self.path / INDEX_FILE
        everything = np.arange(len(self.symbols), dtype=np.uint32)
        order, repeats = order_of(*ranges_of(self.symbols, everything))
        if (order != everything).any() or repeats.any():
            found.append(CorruptFileError(index_path, 0, "symbols are not sorted"))
            return
        for _, first, stop in self._rows.metrics():
            labels = self._rows.labels(np.arange(first, stop, dtype=np.int64))
            _, ranks = text_ranks(labels.ids, labels.symbols)
            if not is_strictly_ordered(ranks[column_order(labels.names)]) and stop - first > 1:
                found.append(CorruptFileError(index_path, 0, f"rows from {first} are not sorted"))

    def _verify_times(self, batch: SeriesBatch, found: list[CorruptFileError]) -> None:
        runs = np.unique(np.stack([batch.time_start, batch.count], axis=1), axis=0)
        rising = [
            (np.diff(batch.times[start : start + count]) > 0).all()
            for start, count in runs.tolist()
        ]
        if batch.histograms is not None:
            pool, bounds = batch.histograms.times, (batch.histograms.start, batch.histograms.count)
            rising += [
                (np.diff(pool[start : start + count]) > 0).all()
                for start, count in zip(*(each.tolist() for each in bounds), strict=True)
            ]
        if not all(rising):
            found.append(CorruptFileError(self.path / PAGES_FILE, 0, "times do not rise"))

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"block {self.meta.ulid} is closed")
