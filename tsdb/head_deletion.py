"""What was deleted from the head: masked in what its slots and pages give, removed from buffers.

From: `maintenance.py` (the delete API) and `replay.py`. To: `head_view.py`, which masks what it
reads, and `append.py`, which takes a deleted sample again.

A deletion is about what the head held at that moment. Late samples and histograms lie in runs that
are replaced without the deleted ones. Samples that came in order stay in slots and pages and are
masked; whatever of a series comes in order later is newer than all it had then, so a range that
ends no later than its newest sample of that moment never hides one that was written afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots

_NEVER_MS: int = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class DeletedSlots:
    """One deletion: slot n lost its samples of slots and pages in [start_ms, end_ms[n]].

    Shapes: `slots` int32[n], rising; `end_ms` int64[n], no later than the newest sample that the
    series had.
    """

    slots: Slots
    start_ms: int
    end_ms: Ints

    @staticmethod
    def of(slots: Slots, newest_ms: Ints, start_ms: int, end_ms: int) -> DeletedSlots:
        """Make one of the slots that may lose something. Shapes: `slots`, `newest_ms` [any]."""
        order = np.argsort(slots, kind="stable")
        order = order[newest_ms[order] >= start_ms]
        return DeletedSlots(slots[order], start_ms, np.minimum(newest_ms[order], end_ms))

    def ends(self, slots: Slots) -> Ints:
        """Return the last deleted time of each slot, the least of all where there is none."""
        if not self.slots.size:
            return np.full(slots.size, _NEVER_MS)
        at = np.minimum(np.searchsorted(self.slots, slots), self.slots.size - 1)
        return np.where(self.slots[at] == slots, self.end_ms[at], _NEVER_MS)

    def covers(self, slots: Slots, times: Ints) -> npt.NDArray[np.bool_]:
        """Say of each (slot, time) whether what slots and pages hold of it is deleted."""
        return (times >= self.start_ms) & (times <= self.ends(slots))

    def where(self, mask: npt.NDArray[np.bool_]) -> DeletedSlots:
        """Return the slots under the mask."""
        return DeletedSlots(self.slots[mask], self.start_ms, self.end_ms[mask])


def any_covers(deleted: Sequence[DeletedSlots], slots: Slots, times: Ints) -> npt.NDArray[np.bool_]:
    """Say of each (slot, time) whether any of the deletions covers it."""
    covered = np.zeros(slots.size, np.bool_)
    for each in deleted:
        covered |= each.covers(slots, times)
    return covered


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Samples left of the rows `rows`, each row's behind the other; runs of times are shared."""

    rows: Ints
    times: Ints
    time_start: Ints
    picks: Ints
    """Positions in the pool of values, int64[samples left]."""
    value_start: Ints
    count: Ints


def mask_rows(
    deleted: Sequence[DeletedSlots],
    slots: Slots,
    times: Ints,
    time_start: Ints,
    value_start: Ints,
    count: Ints,
) -> MaskedRows | None:
    """Return what is left of the rows that lose something, None if no row does.

    Shapes: `slots`, `time_start`, `value_start`, `count` [rows]; `times` is the pool.
    """
    ends = np.stack([each.ends(slots) for each in deleted])
    starts = np.array([each.start_ms for each in deleted])
    has = np.flatnonzero(count)
    first, last = times[time_start[has]], times[time_start[has] + count[has] - 1]
    hit = (ends[:, has] >= first) & (starts[:, None] <= last) & (ends[:, has] >= starts[:, None])
    some = hit.any(axis=0)
    rows = has[some]
    if not rows.size:
        return None
    ends, sizes = np.where(hit[:, some], ends[:, rows], _NEVER_MS), count[rows]
    of_row = np.repeat(np.arange(rows.size), sizes)
    inside = np.arange(of_row.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = times[time_start[rows][of_row] + inside]
    keep = np.ones(at.size, np.bool_)
    for start, end in zip(starts.tolist(), ends, strict=True):
        keep &= (at < start) | (at > end[of_row])
    kept = np.bincount(of_row[keep], minlength=rows.size).astype(np.int64)
    # Rows that shared their times and lose the same go on sharing them.
    keys = np.column_stack([time_start[rows], sizes, ends.T])
    _, leader, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    leads = np.zeros(rows.size, np.bool_)
    leads[leader] = True
    own = np.where(leads, kept, 0)
    return MaskedRows(
        rows,
        at[keep & leads[of_row]],
        (np.cumsum(own) - own)[leader][group.ravel()],
        (value_start[rows][of_row] + inside)[keep],
        np.cumsum(kept) - kept,
        kept,
    )
