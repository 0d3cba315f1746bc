"""The newest samples of every series, open for writing.

From: `append.py`, `replay.py`. To: `head_view.py` (reading), `database.py` (cutting windows).

A series is a slot: a row of every column here. A ref is `generation << 32 | slot`; collecting a
series raises its slot's generation, so that old refs are recognised. The columns are described in
`kernels.py`. Everything here is called under `lock`, unless it says otherwise.
"""

from __future__ import annotations

import logging
import secrets
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.columns import GrowingColumn
from tsdb.distinct import distinct
from tsdb.errors import CorruptFileError
from tsdb.exemplars import ExemplarRing
from tsdb.head_deletion import DeletedSlots
from tsdb.head_pages import PageStore
from tsdb.head_slots import CopiedSlots, TimeBlocks
from tsdb.histogram_buffer import HistogramBuffer
from tsdb.histogram_run import HistogramRun
from tsdb.histogram_seal import restored, seal
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
    STAGED,
    STATE_SIZE,
    admit,
    place,
    revoke,
)
from tsdb.late import LateBuffer
from tsdb.metadata import MetadataTable
from tsdb.metric_table import SeriesRows
from tsdb.series_index import SeriesIndex
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.head_slots import OpenSamples
    from tsdb.interface import Ids, Ints
    from tsdb.kernels import Int, Small
    from tsdb.label_kernels import Slots, Words

_log = logging.getLogger(__name__)

_SYMBOLS_MIN = 100_000
"""Symbol tables of fewer texts are left alone."""
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
        self._reserve = reserve
        self._window_ms = window_ms
        self.windows: set[int] = set()
        """Windows, by number, in which slots or pages may have samples: those to be cut."""
        self._symbols_kept = _SYMBOLS_MIN
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
        self._free: Slots = np.empty(0, np.int32)
        self._resting: Slots = np.empty(0, np.int32)
        self._recent: list[Slots] = []
        self.generation = GrowingColumn(np.int32, reserve=reserve)
        self.newest_time = GrowingColumn(np.int64, reserve=reserve)
        self.newest_bits = GrowingColumn(np.uint64, reserve=reserve)
        self.open_bits = GrowingColumn(np.uint64, width=SLAB, reserve=reserve)
        self.fill = GrowingColumn(np.uint8, reserve=reserve)
        self.block_of = GrowingColumn(np.int32, reserve=reserve)
        self.version = GrowingColumn(np.uint32, reserve=reserve)
        self.page_head = GrowingColumn(np.int64, reserve=reserve)
        self.block_times = GrowingColumn(np.int64, width=SLAB, reserve=reserve)
        self._block_run = GrowingColumn(np.int64, reserve=reserve)
        self._block_facts = [GrowingColumn(np.int32, reserve=reserve) for _ in range(4)]
        self._free_blocks = GrowingColumn(np.int32, reserve=reserve)
        self._scratch = np.empty(SLAB, np.int64)
        self._state = np.zeros(STATE_SIZE, np.int64)
        self._state[FRESH] = -1
        self._state[MIN_TIME], self._state[MAX_TIME] = NEVER_MS, NO_TIME

    @property
    def min_time_ms(self) -> int:
        """Least time of a sample that came in order; `NEVER_MS` if there is none."""
        return int(self._state[MIN_TIME])

    @property
    def max_time_ms(self) -> int:
        """Greatest time of a sample that came in order; `NO_TIME` if there never was one."""
        return int(self._state[MAX_TIME])

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
        return int(self._state[PAGES])

    @property
    def time_block_count(self) -> int:
        """Time blocks ever made: what sharing did not save."""
        return int(self._state[BLOCKS])

    def refs(self, slots: Slots) -> Ints:
        """Return the refs of slots, -1 where the slot is -1."""
        generation = self.generation.array[slots].astype(np.int64)
        refs = generation << 32 | slots
        refs[slots < 0] = -1
        return refs

    def fresh_slots(self, count: int) -> Slots:
        """Return slots that may be used for `count` new series; nothing is taken yet."""
        free = self._free[:count]
        more = np.arange(self.slot_count, self.slot_count + count - free.size, dtype=np.int32)
        return np.concatenate([free, more])

    def take_slots(self, slots: Slots) -> None:
        """Make slots ready for new series; they came first in `fresh_slots`, or from the log."""
        if not slots.size:
            return
        count = max(self.slot_count, int(slots.max()) + 1)
        reused = min(slots.size, self._free.size)
        appended = slots[reused:]
        next_slots = np.arange(self.slot_count, self.slot_count + appended.size)
        if np.array_equal(self._free[:reused], slots[:reused]) and np.array_equal(
            appended, next_slots
        ):
            self._free = self._free[reused:]
        else:
            skipped = np.arange(self.slot_count, count, dtype=np.int32)
            free = np.concatenate([self._free, skipped])
            self._free = free[~np.isin(free, slots)]
        self.slot_count = count
        for column in self._slot_columns:
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
            users = self._block_facts[1].array
            np.subtract.at(users, held, 1)
            held = distinct(held)
            unused = held[users[held] == 0]
            free = int(self._state[FREE_BLOCKS])
            self._free_blocks.array[free : free + unused.size] = unused
            self._state[FREE_BLOCKS] += unused.size

    def give_back(self, slots: Slots) -> None:
        """Make slots free that were taken and got no series."""
        self._free = np.concatenate([slots, self._free])

    def discard(self, slots: Slots) -> None:
        """Forget series at once, with their samples. Only a replay may, nobody reads then."""
        self.exemplars.collect(slots, self.rows, self.generation.array[: self.slot_count])
        is_kept = np.ones(self.slot_count, np.bool_)
        is_kept[slots] = False
        kept = self.rows.slots[is_kept[self.rows.slots]]
        self.rows = self.rows.without(kept)
        self.index.keep_only(kept)
        self.generation.array[slots] += 1
        self._free = np.concatenate([self._free, distinct(slots)])
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
        self._recent.append(slots)
        self.series_created += slots.size

    def admit(
        self, refs: Ints, times: Ints, bits: Words, limits: tuple[int, int, int, int]
    ) -> tuple[Small, Ints, tuple[Ints, Words]]:
        """Return statuses, their counts, and what `revoke` needs.

        `limits`: greatest time taken, least time kept, least time taken late, status of what is
        older than that.
        """
        size = refs.size
        status, counts = np.empty(size, np.uint8), np.zeros(9, np.int64)
        prior_time, prior_bits = np.empty(size, np.int64), np.empty(size, np.uint64)
        time_max, kept, late_floor, refusal = limits
        numbers = np.array([self.slot_count, time_max, kept, self.floor_ms, late_floor, refusal])
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
        state = self._state
        state[BATCH_MIN], state[BATCH_MAX] = NEVER_MS, NO_TIME
        done: Int = 0
        while True:
            open_bits = self.open_bits.array
            fill_of, users, fork, fork_at = (column.array for column in self._block_facts)
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
                self._block_run.array,
                self._free_blocks.array,
                self.pages.staging,
                self._scratch,
                self._state,
            )
            self._note_times(int(state[BATCH_MIN]), int(state[BATCH_MAX]), times)
            self.pages.flush(state, self.max_time_ms)
            if done == refs.size:
                return
            blocks = int(self._state[BLOCKS]) + 1
            if blocks > self.block_times.array.shape[0]:
                for column in (
                    self.block_times,
                    self._block_run,
                    self._free_blocks,
                    *self._block_facts,
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
        state = self._state
        state[MIN_TIME] = min(int(state[MIN_TIME]), least)
        state[MAX_TIME] = max(int(state[MAX_TIME]), greatest)
        first, last = least // self._window_ms, greatest // self._window_ms
        if first == last:
            self.windows.add(first)
        else:
            self.windows.update(np.unique(times // self._window_ms).tolist())

    def drop_before(self, time_ms: int) -> None:
        """Stop showing samples of slots and pages older than `time_ms`; blocks have them."""
        self.readable_ms = max(self.readable_ms, time_ms)
        self.floor_ms = max(self.floor_ms, time_ms)
        if self.min_time_ms < time_ms:
            newest = self.max_time_ms
            self._state[MIN_TIME] = time_ms if newest >= time_ms else NEVER_MS
        self.pages.drop_before(time_ms)
        left = (each.where(each.end_ms >= time_ms) for each in self.deleted)
        self.deleted = tuple(each for each in left if each.slots.size)
        self.windows = {each for each in self.windows if (each + 1) * self._window_ms > time_ms}

    def rows_to_keep(self, time_ms: int) -> SeriesRows | None:
        """Return the rows that `collect` would leave now, None if that is all of them.

        Called without the lock: copying a million rows takes some tenths of a second.
        """
        with self.lock:
            rows = self.rows
            slots = rows.slots
            keep = self._needed(time_ms)[slots]
        return None if keep.all() else rows.without(slots[keep])

    def collect(self, time_ms: int, rebuilt: SeriesRows | None = None) -> int:
        """Forget the series that have no sample at or after `time_ms`; return how many.

        `rebuilt` are the rows to keep as they were a moment ago; what came or came back since then
        is added, and what of them is no longer needed stays until the next call.
        Those made since the last call stay: who resolved them may be about to append.
        Their slots rest until the next call before they are used again, so that a reader that
        found them before this call does not see somebody else's samples.
        """
        self._free = np.concatenate([self._free, self._resting])
        self._resting = np.empty(0, np.int32)
        slots = self.rows.slots
        needed = self._needed(time_ms)
        self._recent = []
        if rebuilt is not None:
            there = np.zeros(self.slot_count, np.bool_)
            there[rebuilt.slots] = True
            self.rows.copy_into(rebuilt, slots[needed[slots] & ~there[slots]])
            needed |= there
        keep = needed[slots]
        gone = slots[~keep]
        if gone.size:
            kept = slots[keep]
            self.exemplars.collect(gone, self.rows, self.generation.array[: self.slot_count])
            self.rows = self.rows.without(kept) if rebuilt is None else rebuilt
            self.index.keep_only(kept)
            self.generation.array[gone] += 1
            self._resting = gone.copy()
            self.series_removed += gone.size
        return int(gone.size)

    def _needed(self, time_ms: int) -> npt.NDArray[np.bool_]:
        """Say of each slot whether its series has a sample at or after a time, or is new."""
        needed: npt.NDArray[np.bool_] = self.newest_time.array[: self.slot_count] >= time_ms
        for some in (*(each.slots() for each in self.buffers), *self._recent):
            needed[some] = True
        return needed

    def compact_symbols(self) -> int:
        """Rebuild the symbol table if most of it is unused; return how many texts went.

        Readers that are at it keep the old table: it goes with the rows that they took.
        """
        if len(self.symbols) < 2 * self._symbols_kept:
            return 0
        used = self.rows.used_symbols()
        before = len(self.symbols)
        self._symbols_kept = max(_SYMBOLS_MIN, used.size)
        if 2 * used.size > before:
            self._symbols_kept = before
            return 0
        symbols = SymbolTable(reserve=self._reserve)
        place = np.zeros(before, np.uint32)
        place[used] = symbols.intern_ranges(*self.symbols.ranges(used))
        self.rows = self.rows.without(self.rows.slots, symbols=symbols, place=place)
        self.symbols = symbols
        return before - len(symbols)

    def memory_bytes(self) -> int:
        """Estimate the bytes taken by open samples, buffers and bookkeeping, not by labels."""
        row = 8 * SLAB + 4 + 8 + 8 + 1 + 4 + 4 + 8
        buffers = self.histograms.size_bytes + self.frozen_histograms.size_bytes
        buffers += self.exemplars.size_bytes + 20 * (self.late.count + self.frozen_late.count)
        return row * self.slot_count + (8 * SLAB + 28) * self.time_block_count + buffers

    def save_series(self) -> dict[str, Any]:
        """Return which series there are now, and what goes with them; part one of a saved head.

        The caller holds the lock, and no cut happens before `save_rest`. What is returned does not
        change, though series may come.
        """
        return {
            "head.window_ms": self._window_ms,
            "head.slot_count": self.slot_count,
            "head.symbols_kept": self._symbols_kept,
            "head.digest_keys": self.digest_keys,
            **self.symbols.save(),
            **self.index.save(self.slot_count),
            **self.rows.save(),
            **self.exemplars.save(),
            **self.metadata.save(),
        }

    def copy_slots(self, first: int, stop: int) -> tuple[CopiedSlots, list[npt.NDArray[Any]]]:
        """Return a copy of some slots' open samples and other columns; part two, for all slots.

        The caller holds the lock.
        """
        rows = slice(first, stop)
        copied = CopiedSlots.of(rows, self.fill, self.block_of, self.open_bits, self.block_times)
        return copied, [column.array[rows].copy() for column in self._saved_columns]

    def save_rest(self) -> dict[str, Any]:
        """Return what else there is, after all slots were copied; the caller holds the lock.

        Sealed pages and buffers hold all that slots have had: what came since the slots were
        copied may be in it or not.
        """
        assert not self._state[STAGED]
        return {
            "head.windows": sorted(self.windows),
            "head.floor_ms": self.floor_ms,
            "head.readable_ms": self.readable_ms,
            "head.state": self._state.copy(),
            "head.deleted": [each.start_ms for each in self.deleted],
            **{f"deleted.{n}.slots": each.slots for n, each in enumerate(self.deleted)},
            **{f"deleted.{n}.end": each.end_ms for n, each in enumerate(self.deleted)},
            **self.pages.save(),
            **self.late.save(),
            **self.histograms.save(),
        }

    def restore(
        self,
        saved: Mapping[str, Any],
        slots: Iterator[tuple[int, OpenSamples, list[npt.NDArray[Any]]]],
    ) -> bool:
        """Become the head that was saved; False, and nothing has changed, if that cannot be.

        `slots` yields first slot, open samples and other columns, as they were copied.
        """
        if saved["head.window_ms"] != self._window_ms:
            return False
        if not self.pages.restore(saved, saved["head.state"]):
            return False
        self.windows = set(saved["head.windows"])
        self.floor_ms = max(self.floor_ms, saved["head.floor_ms"])
        self.readable_ms = saved["head.readable_ms"]
        self._symbols_kept = saved["head.symbols_kept"]
        self.digest_keys = saved["head.digest_keys"].copy()
        self.symbols.restore(saved)
        self.rows.restore(saved)
        self.index.restore(saved, self.rows.slots)
        self._state[:] = saved["head.state"]
        self._restore_slots(saved["head.slot_count"], slots)
        self.deleted = tuple(
            DeletedSlots(
                saved[f"deleted.{n}.slots"].copy(), start, saved[f"deleted.{n}.end"].copy()
            )
            for n, start in enumerate(saved["head.deleted"])
        )
        self.late.restore(saved)
        self.histograms = restored(saved)
        self._repair_buffers()
        self.metadata.restore(saved)
        self.exemplars.restore(saved, self.generation.array[: self.slot_count])
        self.series_created = len(self.rows)
        return True

    def _restore_slots(
        self, count: int, slots: Iterator[tuple[int, OpenSamples, list[npt.NDArray[Any]]]]
    ) -> None:
        self.slot_count = count
        for column in self._slot_columns:
            column.ensure(count)
        blocks = TimeBlocks()
        for first, samples, columns in slots:
            rows = slice(first, first + samples.fill.size)
            for column, part in zip(self._saved_columns, columns, strict=True):
                column.array[rows] = part
            self.fill.array[rows] = samples.fill
            self.block_of.array[rows] = blocks.enter(samples)
            samples.restore(self.open_bits.array[rows])
        times, fill, users = blocks.columns()
        none = np.full(fill.size, -1, np.int32)
        self.block_times.restore(times)
        self._block_run.restore(none.astype(np.int64))
        self._free_blocks.ensure(fill.size)
        for column, rows_of in zip(self._block_facts, (fill, users, none, none), strict=True):
            column.restore(rows_of)
        self._state[BLOCKS], self._state[FREE_BLOCKS], self._state[FRESH] = fill.size, 0, -1
        is_member = np.zeros(count, np.bool_)
        is_member[self.rows.slots] = True
        self._free = np.flatnonzero(~is_member).astype(np.int32)

    def _repair_buffers(self) -> None:
        """Bring saved buffers to what was saved before them: slots, and before those, series.

        The log has it again: what belongs to later series comes with these, and a histogram that
        is here already is told by its slot's newest time.
        """
        is_free = np.ones(self.slot_count, np.bool_)
        is_free[self.rows.slots] = False
        for buffer in self.buffers:
            slots = buffer.slots()
            later = slots >= self.slot_count
            later[~later] = is_free[slots[~later]]
            if later.any():
                buffer.remove(slots[later])
        newest_time, newest_bits = self.newest_time.array, self.newest_bits.array
        for run in self.histograms.runs:
            if isinstance(run, HistogramRun):  # nothing is sealed while a head is saved
                last = np.flatnonzero(np.append(run.slots[1:] != run.slots[:-1], True))
                last = last[run.times[last] > newest_time[run.slots[last]]]
                newest_time[run.slots[last]] = run.times[last]
                newest_bits[run.slots[last]] = run.digests[last]

    @property
    def _saved_columns(self) -> tuple[GrowingColumn, ...]:
        """What is saved of each slot, beside its open samples."""
        return (self.generation, self.newest_time, self.newest_bits, self.page_head)

    @property
    def _slot_columns(self) -> tuple[GrowingColumn, ...]:
        return (*self._saved_columns, self.open_bits, self.fill, self.block_of, self.version)

    def close(self, *, keep_files: bool = False) -> None:
        """Give back files; `keep_files` leaves sealed pages to a head that was saved."""
        self.pages.close(keep_files=keep_files)
