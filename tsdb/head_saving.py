"""What of the head is saved, in three parts while writers go on, and the head made of it again.

From: `head_snapshot.py`, which has the file.   To: `head.py` and what it is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.head_deletion import DeletedSlots
from tsdb.head_slots import CopiedSlots, TimeBlocks
from tsdb.histograms.run import HistogramRun
from tsdb.histograms.seal import restored
from tsdb.kernels import BLOCKS, FREE_BLOCKS, FRESH, STAGED
from tsdb.start_times import companion_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from tsdb.head import Head
    from tsdb.head_slots import OpenSamples


def save_series(head: Head) -> dict[str, Any]:
    """Return which series there are now, and what goes with them; part one of a saved head.

    The caller holds the lock, and no cut happens before `save_rest`. What is returned does not
    change, though series may come.
    """
    return {
        "head.window_ms": head.window_ms,
        "head.slot_count": head.slot_count,
        "head.symbols_kept": head.symbols_kept,
        "head.digest_keys": head.digest_keys,
        **head.symbols.save(),
        **head.index.save(head.slot_count),
        **head.rows.save(),
        **head.exemplars.save(),
        **head.metadata.save(),
    }


def copy_slots(head: Head, first: int, stop: int) -> tuple[CopiedSlots, list[npt.NDArray[Any]]]:
    """Return a copy of some slots' open samples and other columns; part two, for all slots.

    The caller holds the lock.
    """
    rows = slice(first, stop)
    copied = CopiedSlots.of(rows, head.fill, head.block_of, head.open_bits, head.block_times)
    return copied, [column.array[rows].copy() for column in head.saved_columns]


def save_rest(head: Head) -> dict[str, Any]:
    """Return what else there is, after all slots were copied; the caller holds the lock.

    Sealed pages and buffers hold all that slots have had: what came since the slots were
    copied may be in it or not.
    """
    assert not head.state[STAGED]
    return {
        "head.windows": sorted(head.windows),
        "head.floor_ms": head.floor_ms,
        "head.readable_ms": head.readable_ms,
        "head.state": head.state.copy(),
        "head.deleted": [each.start_ms for each in head.deleted],
        **{f"deleted.{n}.slots": each.slots for n, each in enumerate(head.deleted)},
        **{f"deleted.{n}.end": each.end_ms for n, each in enumerate(head.deleted)},
        **head.pages.save(),
        **head.late.save(),
        **head.histograms.save(),
    }


def restore(
    head: Head,
    saved: Mapping[str, Any],
    slots: Iterator[tuple[int, OpenSamples, list[npt.NDArray[Any]]]],
) -> bool:
    """Make an empty head the one that was saved; False, and nothing has changed, if it cannot be.

    `slots` yields first slot, open samples and other columns, as they were copied.
    """
    if saved["head.window_ms"] != head.window_ms:
        return False
    if not head.pages.restore(saved, saved["head.state"]):
        return False
    head.windows = set(saved["head.windows"])
    head.floor_ms = max(head.floor_ms, saved["head.floor_ms"])
    head.readable_ms = saved["head.readable_ms"]
    head.symbols_kept = saved["head.symbols_kept"]
    head.digest_keys = saved["head.digest_keys"].copy()
    head.symbols.restore(saved)
    head.rows.restore(saved)
    head.index.restore(saved, head.rows.slots)
    head.state[:] = saved["head.state"]
    _restore_slots(head, saved["head.slot_count"], slots)
    head.deleted = tuple(
        DeletedSlots(saved[f"deleted.{n}.slots"].copy(), start, saved[f"deleted.{n}.end"].copy())
        for n, start in enumerate(saved["head.deleted"])
    )
    head.late.restore(saved)
    head.histograms = restored(saved)
    _repair_buffers(head)
    head.metadata.restore(saved)
    head.exemplars.restore(saved, head.generation.array[: head.slot_count])
    head.series_created = len(head.rows) - companion_count(head.rows)
    return True


def _restore_slots(
    head: Head, count: int, slots: Iterator[tuple[int, OpenSamples, list[npt.NDArray[Any]]]]
) -> None:
    head.slot_count = count
    for column in head.slot_columns:
        column.ensure(count)
    blocks = TimeBlocks()
    for first, samples, columns in slots:
        rows = slice(first, first + samples.fill.size)
        for column, part in zip(head.saved_columns, columns, strict=True):
            column.array[rows] = part
        head.fill.array[rows] = samples.fill
        head.block_of.array[rows] = blocks.enter(samples)
        samples.restore(head.open_bits.array[rows])
    times, fill, users = blocks.columns()
    none = np.full(fill.size, -1, np.int32)
    head.block_times.restore(times)
    head.block_run.restore(none.astype(np.int64))
    head.free_blocks.ensure(fill.size)
    for column, rows_of in zip(head.block_facts, (fill, users, none, none), strict=True):
        column.restore(rows_of)
    head.state[BLOCKS], head.state[FREE_BLOCKS], head.state[FRESH] = fill.size, 0, -1
    is_member = np.zeros(count, np.bool_)
    is_member[head.rows.slots] = True
    head.free_slots = np.flatnonzero(~is_member).astype(np.int32)


def _repair_buffers(head: Head) -> None:
    """Bring saved buffers to what was saved before them: slots, and before those, series.

    The log has it again: what belongs to later series comes with these, and a histogram that
    is here already is told by its slot's newest time.
    """
    is_free = np.ones(head.slot_count, np.bool_)
    is_free[head.rows.slots] = False
    for buffer in head.buffers:
        slots = buffer.slots()
        later = slots >= head.slot_count
        later[~later] = is_free[slots[~later]]
        if later.any():
            buffer.remove(slots[later])
    newest_time, newest_bits = head.newest_time.array, head.newest_bits.array
    for run in head.histograms.runs:
        if isinstance(run, HistogramRun):  # nothing is sealed while a head is saved
            last = np.flatnonzero(np.append(run.slots[1:] != run.slots[:-1], True))
            last = last[run.times[last] > newest_time[run.slots[last]]]
            newest_time[run.slots[last]] = run.times[last]
            newest_bits[run.slots[last]] = run.digests[last]
