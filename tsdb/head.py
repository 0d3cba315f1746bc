"""The newest samples of every series, open for writing.

From: `append.py`, `replay.py`. To: `head_view.py` (reading), `head_cut.py` (cutting windows),
`head_collection.py` (forgetting series), `head_saving.py`.

A series is a slot: a row of every column here. A ref is `generation << 32 | slot`; collecting a
series raises its slot's generation, so that old refs are recognised. The columns are described in
`kernels.py`. Everything here is called under `lock`, unless it says otherwise.
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING

import numpy as np

from tsdb.columns import GrowingColumn
from tsdb.distinct import distinct
from tsdb.errors import CorruptFileError
from tsdb.exemplars import ExemplarRing
from tsdb.head_deletion import DeletedSlots
from tsdb.head_pages import PageStore
from tsdb.histograms.buffer import HistogramBuffer
from tsdb.histograms.seal import seal
from tsdb.kernels import (
    BATCH_MAX,
    BATCH_MIN,
    BLOCKS,
    FREE_BLOCKS,
    FRESH,
    MAX_TIME,
    MIN_TIME,
    NO_TIME,
    PAGES,
    SLAB,
    STATE_SIZE,
    admit,
    place,
    revoke,
)
from tsdb.late import LateBuffer
from tsdb.metadata import MetadataTable
from tsdb.metric_table import SeriesRows
from tsdb.series_index import SeriesIndex
from tsdb.start_times import companions_among
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from pathlib import Path

    from tsdb.histograms.run import HistogramRun
    from tsdb.interface import Ids, Ints
    from tsdb.kernels import Int, Small
    from tsdb.label_kernels import Slots, Words

_log = logging.getLogger(__name__)

NEVER_MS: int = np.iinfo(np.int64).max
"""Later than every sample: the least time of a head that has none."""


class Head:
    """Slots, open samples, sealed pages and the late buffer of one database."""

    def __init__(
        self, *, pages: Path | None, reserve: int, window_ms: int, exemplars_max: int = 0
    ) -> None:
        """Make an empty head. `reserve` slots of address space; 0 for small stores.

        `pages` is the directory for sealed pages, None to keep them in memory. `window_ms` is the
        length of the windows that will be cut. `exemplars_max` are kept.
        """
        self.exemplars = ExemplarRing(exemplars_max)
        self.metadata = MetadataTable()
        symbols = SymbolTable(reserve=reserve)
        self.lock = threading.Lock()
        self.reserve = reserve
        self.window_ms = window_ms
        self.windows: set[int] = set()
        self.pages_dropped = 0
        """Sealed pages that blocks have taken over, about."""
        """Windows, by number, in which slots or pages may have samples: those to be cut."""
        self.symbols_kept = 0
        """How many symbols were in use when symbols nobody used went last."""
        self.symbols = symbols
        self.index = SeriesIndex(reserve=reserve)
        self.rows = SeriesRows(symbols, reserve=reserve)
        self.pages = PageStore(pages)
        self.late = LateBuffer()
        self.frozen_late = LateBuffer()
        self.histograms = HistogramBuffer()
        self.frozen_histograms = HistogramBuffer()
        self.digest_keys: Words = np.array([secrets.randbits(64) | 1 for _ in range(2)], np.uint64)
        self.deleted: tuple[DeletedSlots, ...] = ()
        """What slots and pages hold and nobody shall see; replaced, never changed."""
        self.slot_count = 0
        self.floor_ms: int = NO_TIME
        """Samples older than this are late, whatever their series has: they are in blocks."""
        self.readable_ms: int = NO_TIME
        """Samples of slots and pages older than this are no longer the head's to show."""
        self.series_created = 0
        self.series_removed = 0
        """With the former without those that hold start timestamps: they are nobody's series."""
        self.free_slots: Slots = np.empty(0, np.int32)
        self.resting: list[tuple[float, Slots]] = []
        """Slots of forgotten series and since when (monotonic clock) they rest."""
        self.recent: list[Slots] = []
        """Slots of series that were made since series were forgotten last."""
        self.generation = GrowingColumn(np.int32, reserve=reserve)
        self.newest_time = GrowingColumn(np.int64, reserve=reserve)
        self.newest_bits = GrowingColumn(np.uint64, reserve=reserve)
        self.open_bits = GrowingColumn(np.uint64, width=SLAB, reserve=reserve)
        self.fill = GrowingColumn(np.uint8, reserve=reserve)
        self.block_of = GrowingColumn(np.int32, reserve=reserve)
        self.version = GrowingColumn(np.uint32, reserve=reserve)
        self.page_head = GrowingColumn(np.int64, reserve=reserve)
        self.block_times = GrowingColumn(np.int64, width=SLAB, reserve=reserve)
        self.block_run = GrowingColumn(np.int64, reserve=reserve)
        self.block_facts = [GrowingColumn(np.int32, reserve=reserve) for _ in range(4)]
        self.free_blocks = GrowingColumn(np.int32, reserve=reserve)
        self._scratch = np.empty(SLAB, np.int64)
        self.state = np.zeros(STATE_SIZE, np.int64)
        self.state[FRESH] = -1
        self.state[MIN_TIME], self.state[MAX_TIME] = NEVER_MS, NO_TIME

    @property
    def min_time_ms(self) -> int:
        """Least time of a sample that came in order; `NEVER_MS` if there is none."""
        return int(self.state[MIN_TIME])

    @property
    def max_time_ms(self) -> int:
        """Greatest time of a sample that came in order; `NO_TIME` if there never was one."""
        return int(self.state[MAX_TIME])

    @property
    def newest_ms(self) -> int:
        """Greatest time of a sample, late ones included; `NO_TIME` if there is none."""
        late = (each.max_time_ms for each in self.buffers)
        return max(self.max_time_ms, *(NO_TIME if each is None else each for each in late))

    @property
    def oldest_ms(self) -> int:
        """Least time of a sample, late ones included; `NEVER_MS` if there is none."""
        late = (each.min_time_ms for each in self.buffers)
        return min(self.min_time_ms, *(NEVER_MS if each is None else each for each in late))

    @property
    def buffers(self) -> tuple[LateBuffer | HistogramBuffer, ...]:
        """All that is not in slots and pages: late floats, and histograms."""
        return (self.late, self.frozen_late, self.histograms, self.frozen_histograms)

    @property
    def page_count(self) -> int:
        """Pages sealed since the start."""
        return int(self.state[PAGES])

    @property
    def time_block_count(self) -> int:
        """Time blocks ever made: what sharing did not save."""
        return int(self.state[BLOCKS])

    def refs(self, slots: Slots) -> Ints:
        """Return the refs of slots, -1 where the slot is -1."""
        generation = self.generation.array[slots].astype(np.int64)
        refs = generation << 32 | slots
        refs[slots < 0] = -1
        return refs

    def fresh_slots(self, count: int) -> Slots:
        """Return slots that may be used for `count` new series; nothing is taken yet."""
        free = self.free_slots[:count]
        more = np.arange(self.slot_count, self.slot_count + count - free.size, dtype=np.int32)
        return np.concatenate([free, more])

    def take_slots(self, slots: Slots) -> None:
        """Make slots ready for new series; they came first in `fresh_slots`, or from the log."""
        if not slots.size:
            return
        count = max(self.slot_count, int(slots.max()) + 1)
        reused = min(slots.size, self.free_slots.size)
        appended = slots[reused:]
        next_slots = np.arange(self.slot_count, self.slot_count + appended.size)
        if np.array_equal(self.free_slots[:reused], slots[:reused]) and np.array_equal(
            appended, next_slots
        ):
            self.free_slots = self.free_slots[reused:]
        else:
            skipped = np.arange(self.slot_count, count, dtype=np.int32)
            free = np.concatenate([self.free_slots, skipped])
            self.free_slots = free[~np.isin(free, slots)]
        self.slot_count = count
        for column in self.slot_columns:
            column.ensure(count)
        self._leave_time_blocks(slots)
        self.newest_time.array[slots] = NO_TIME
        self.fill.array[slots] = 0
        self.block_of.array[slots] = -1
        self.version.array[slots] += 1
        self.page_head.array[slots] = -1

    def _leave_time_blocks(self, slots: Slots) -> None:
        """Give back the time blocks that the last owners of these slots still had."""
        held = self.block_of.array[slots[self.fill.array[slots] > 0]]
        if held.size:
            users = self.block_facts[1].array
            np.subtract.at(users, held, 1)
            held = distinct(held)
            unused = held[users[held] == 0]
            free = int(self.state[FREE_BLOCKS])
            self.free_blocks.array[free : free + unused.size] = unused
            self.state[FREE_BLOCKS] += unused.size

    def give_back(self, slots: Slots) -> None:
        """Make slots free that were taken and got no series."""
        self.free_slots = np.concatenate([slots, self.free_slots])

    def discard(self, slots: Slots) -> None:
        """Forget series at once, with their samples. Only a replay may, while nobody reads."""
        self.exemplars.collect(slots, self.rows, self.generation.array[: self.slot_count])
        is_kept = np.ones(self.slot_count, np.bool_)
        is_kept[slots] = False
        kept = self.rows.slots[is_kept[self.rows.slots]]
        self.rows = self.rows.without(kept)
        self.index.keep_only(kept)
        self.generation.array[slots] += 1
        self.free_slots = np.concatenate([self.free_slots, distinct(slots)])
        for buffer in self.buffers:
            buffer.remove(slots)
        self.deleted = tuple(each.where(~np.isin(each.slots, slots)) for each in self.deleted)

    def delete(self, slots: Slots, start_ms: int, end_ms: int) -> None:
        """Delete the samples of some series in [start_ms, end_ms], and no sample that comes later.

        Not while a cut is being written.
        """
        gone = DeletedSlots.of(slots, self.newest_time.array[slots], start_ms, end_ms)
        self.deleted = (*self.deleted, gone)
        for buffer in self.buffers:
            buffer.delete(slots, start_ms, end_ms)

    def add_series(self, slots: Slots, names: Ids, values: Ids, first: Ints) -> None:
        """Enter the labels of series whose slots were taken."""
        self.rows.add(slots, names, values, first)
        self.recent.append(slots)
        self.series_created += slots.size - companions_among(self.rows, slots)

    def admit(
        self, refs: Ints, times: Ints, bits: Words, limits: tuple[int, int, int, int, int]
    ) -> tuple[Small, Ints, tuple[Ints, Words]]:
        """Return statuses, their counts, and what `revoke` needs.

        `limits`: greatest time taken, least time kept, least time taken late, status of what is
        older than that, least time taken in order.
        """
        size = refs.size
        status, counts = np.empty(size, np.uint8), np.zeros(9, np.int64)
        prior_time, prior_bits = np.empty(size, np.int64), np.empty(size, np.uint64)
        time_max, kept, late_floor, refusal, in_order = limits
        floor = max(self.floor_ms, in_order)
        numbers = np.array([self.slot_count, time_max, kept, floor, late_floor, refusal])
        admit(
            refs,
            times,
            bits,
            numbers,
            self.generation.array,
            self.newest_time.array,
            self.newest_bits.array,
            status,
            prior_time,
            prior_bits,
            counts,
        )
        return status, counts, (prior_time, prior_bits)

    def revoke(self, refs: Ints, status: Small, prior: tuple[Ints, Words]) -> None:
        """Take back what `admit` did."""
        revoke(refs, status, *prior, self.newest_time.array, self.newest_bits.array)

    def place(self, refs: Ints, times: Ints, bits: Words, status: Small) -> None:
        """Put the samples that are STORED (and in order) into their slots."""
        if not refs.size:
            return
        state = self.state
        state[BATCH_MIN], state[BATCH_MAX] = NEVER_MS, NO_TIME
        done: Int = 0
        while True:
            open_bits = self.open_bits.array
            fill_of, users, fork, fork_at = (column.array for column in self.block_facts)
            done = place(
                refs,
                times,
                bits,
                status,
                done,
                open_bits.view(np.float64),
                open_bits,
                self.fill.array,
                self.block_of.array,
                self.version.array,
                self.page_head.array,
                self.block_times.array,
                fill_of,
                users,
                fork,
                fork_at,
                self.block_run.array,
                self.free_blocks.array,
                self.pages.staging,
                self._scratch,
                self.state,
            )
            self._note_times(int(state[BATCH_MIN]), int(state[BATCH_MAX]), times)
            self.pages.flush(state, self.max_time_ms)
            if done == refs.size:
                return
            blocks = int(self.state[BLOCKS]) + 1
            if blocks > self.block_times.array.shape[0]:
                for column in (
                    self.block_times,
                    self.block_run,
                    self.free_blocks,
                    *self.block_facts,
                ):
                    column.ensure(blocks)

    def add_histograms(self, run: HistogramRun, in_order: Ints) -> None:
        """Take histograms; `in_order` holds the times of those that are not late."""
        self.histograms.add(run)
        if in_order.size:
            self._note_times(int(in_order.min()), int(in_order.max()), in_order)

    def seal_histograms(self) -> None:
        """Compress histograms where many lie about. Takes the lock for moments; not during a cut.

        If the disk is full they stay as they are.
        """
        with self.lock:
            chosen = self.histograms.settle()
        if not chosen:
            return
        try:
            sealed = seal(chosen, self.pages.directory, self.digest_keys)
        except (OSError, CorruptFileError) as error:
            _log.warning("histograms of the head stay in memory: %s", error)
            return
        with self.lock:
            self.histograms.replace(chosen, sealed)

    def _note_times(self, least: int, greatest: int, times: Ints) -> None:
        """Note that there are samples from `least` to `greatest`, at some of these times."""
        if least > greatest:
            return
        state = self.state
        state[MIN_TIME] = min(int(state[MIN_TIME]), least)
        state[MAX_TIME] = max(int(state[MAX_TIME]), greatest)
        first, last = least // self.window_ms, greatest // self.window_ms
        if first == last:
            self.windows.add(first)
        else:
            self.windows.update(np.unique(times // self.window_ms).tolist())

    def drop_before(self, time_ms: int) -> None:
        """Stop showing samples of slots and pages older than `time_ms`; blocks have them."""
        self.readable_ms = max(self.readable_ms, time_ms)
        self.floor_ms = max(self.floor_ms, time_ms)
        if self.min_time_ms < time_ms:
            newest = self.max_time_ms
            self.state[MIN_TIME] = time_ms if newest >= time_ms else NEVER_MS
        # Whole files of pages go, which do not say how many they held: about their share.
        before, shown = self.pages.size_bytes, self.page_count - self.pages_dropped
        self.pages.drop_before(time_ms)
        if before:
            self.pages_dropped += round(shown * (1 - self.pages.size_bytes / before))
        left = (each.where(each.end_ms >= time_ms) for each in self.deleted)
        self.deleted = tuple(each for each in left if each.slots.size)
        self.windows = {each for each in self.windows if (each + 1) * self.window_ms > time_ms}

    def memory_bytes(self) -> int:
        """Estimate the bytes taken by open samples, buffers and bookkeeping, not by labels."""
        row = 8 * SLAB + 4 + 8 + 8 + 1 + 4 + 4 + 8
        buffers = self.histograms.size_bytes + self.frozen_histograms.size_bytes
        buffers += self.exemplars.size_bytes + 20 * (self.late.count + self.frozen_late.count)
        return row * self.slot_count + (8 * SLAB + 28) * self.time_block_count + buffers

    @property
    def saved_columns(self) -> tuple[GrowingColumn, ...]:
        """What is saved of each slot, beside its open samples."""
        return (self.generation, self.newest_time, self.newest_bits, self.page_head)

    @property
    def slot_columns(self) -> tuple[GrowingColumn, ...]:
        """What there is of each slot."""
        return (*self.saved_columns, self.open_bits, self.fill, self.block_of, self.version)

    def close(self, *, keep_files: bool = False) -> None:
        """Give back files; `keep_files` leaves sealed pages to a head that was saved."""
        self.pages.close(keep_files=keep_files)
