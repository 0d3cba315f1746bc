"""The open samples of neighbouring slots, as a saved head has them.

From: `head.py`, which copies some thousand slots at a time under its lock and lets writers go on.
To: `head_snapshot.py`, and back.

Only what is filled of a slab is kept. Time blocks are numbered anew among the slots that were
copied together: a block may have moved on, or be used for others, before the next slots are copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.distinct import distinct
from tsdb.kernels import SLAB

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.columns import GrowingColumn
    from tsdb.interface import Ints
    from tsdb.kernels import Small
    from tsdb.label_kernels import Slots, Words

    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OpenSamples:
    """What slots hold that is not sealed yet.

    Shapes: `fill`, `block` (-1: none) [slots]; `bits` [fill.sum()]; `times` int64[blocks, SLAB].
    """

    fill: Small
    block: Slots
    bits: Words
    times: Ints

    @staticmethod
    def of(copied: CopiedSlots, members: Mask) -> OpenSamples:
        """Keep what was copied of the slots that are `members`."""
        fill = np.where(members, copied.fill, 0).astype(np.uint8)
        filled = np.arange(SLAB) < fill[:, np.newaxis]
        block = np.full(fill.size, -1, np.int32)
        has = fill > 0
        block[has] = np.searchsorted(copied.blocks, copied.block_of[has])
        return OpenSamples(fill, block, copied.slabs[filled], copied.times)

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name."""
        return {"fill": self.fill, "block": self.block, "bits": self.bits, "times": self.times}

    def restore(self, slabs: npt.NDArray[np.uint64]) -> None:
        """Put the values into the slots' slabs: uint64[slots, SLAB]."""
        slabs[np.arange(SLAB) < self.fill[:, np.newaxis]] = self.bits


@dataclass(frozen=True, slots=True)
class CopiedSlots:
    """Slots as they were at one moment: all of each, and the time blocks that any of them uses."""

    fill: Small
    block_of: Slots
    slabs: npt.NDArray[np.uint64]
    blocks: Slots
    times: Ints

    @staticmethod
    def of(
        rows: slice,
        fill: GrowingColumn,
        block_of: GrowingColumn,
        open_bits: GrowingColumn,
        block_times: GrowingColumn,
    ) -> CopiedSlots:
        """Copy some slots. The caller holds the head's lock."""
        filled = fill.array[rows].copy()
        owned = block_of.array[rows].copy()
        blocks = distinct(owned[filled > 0])
        return CopiedSlots(
            filled, owned, open_bits.array[rows].copy(), blocks, block_times.array[blocks]
        )


class TimeBlocks:
    """The time blocks of a head that comes back; blocks with the same times become one."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._times: list[Ints] = []
        self._fill: list[int] = []
        self._users: list[int] = []

    def enter(self, open_samples: OpenSamples) -> Slots:
        """Take the blocks of some slots; return the number of each slot's block, -1 for none."""
        has = open_samples.block >= 0
        block, fill = open_samples.block[has], open_samples.fill[has]
        count = open_samples.times.shape[0]
        fills = np.zeros(count, np.int64)
        np.maximum.at(fills, block, fill)
        users = np.bincount(block, minlength=count)
        numbers = np.empty(count, np.int32)
        for at in range(count):
            times = open_samples.times[at]
            key = times[: fills[at]].tobytes()
            number = self._number.setdefault(key, len(self._times))
            if number == len(self._times):
                self._times.append(times)
                self._fill.append(int(fills[at]))
                self._users.append(0)
            self._users[number] += int(users[at])
            numbers[at] = number
        numbered = np.full(has.size, -1, np.int32)
        numbered[has] = numbers[block]
        return numbered

    def columns(self) -> tuple[Ints, Slots, Slots]:
        """Return times int64[blocks, SLAB], how many of them are in use, and users, of each."""
        times = np.array(self._times, np.int64).reshape(-1, SLAB)
        return times, np.array(self._fill, np.int32), np.array(self._users, np.int32)
