"""What becomes of each sample of a batch, before it is logged; then its place, or the way back.

From: `append.py`, between taking the head's lock and giving it back.   To: `head.py`, `late.py`.

Deciding takes room in the slabs already, so what could not be logged has to be revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.head_deletion import any_covers
from tsdb.interface import AppendStatus
from tsdb.kernels import LATE
from tsdb.late import sorted_run
from tsdb.late_decisions import decide_late

if TYPE_CHECKING:
    from tsdb.companions import StartBatch
    from tsdb.head import Head
    from tsdb.interface import Ints
    from tsdb.kernels import Small
    from tsdb.label_kernels import Words

_SLOT_MASK = 0xFFFFFFFF


@dataclass(slots=True)
class Decided:
    """N samples that were looked at: what becomes of each, which are late, and the way back.

    Shapes: `refs`, `times` int64[N], `bits` uint64[N] (of floats, or digests of histograms);
    `status` uint8[N], numbers of `AppendStatus`; `counts` how often each of these occurs.
    Made for each batch, so not frozen: that would double the 1 us of making it.
    """

    refs: Ints
    times: Ints
    bits: Words
    status: Small
    counts: Ints
    in_order: Small
    """As `status`, but LATE for what is stored out of order: what slots are not to take."""
    late: Ints | None
    """Positions of what is stored out of order."""
    prior: tuple[Ints, Words]


def decide(
    head: Head, refs: Ints, times: Ints, bits: Words, limits: tuple[int, int, int, int, int]
) -> Decided:
    """Decide about a batch. The caller holds the head's lock.

    `limits`, in milliseconds: what is later than the first is too far ahead, what is older than
    the second out of bounds, and late samples older than the third get the fourth, a status; what
    is older than the fifth counts as late even if its series has nothing newer.
    """
    status, counts, prior = _admit(head, refs, times, bits, limits)
    in_order, late = status, None
    if counts[LATE]:
        in_order = status.copy()
        late = decide_late(head, status, refs, times, bits)
        counts = np.bincount(status, minlength=counts.size)
    return Decided(refs, times, bits, status, counts, in_order, late, prior)


def decide_starts(
    head: Head, starts: StartBatch, own: Decided, limits: tuple[int, int, int, int, int]
) -> Decided:
    """Decide about the start timestamps of those samples that are stored, or were before.

    The latter, as a request that is sent again may have failed between the two.
    """
    taken = own.status[starts.at] <= AppendStatus.DUPLICATE
    times = own.times[starts.at[taken]]
    return decide(head, starts.refs[taken], times, starts.bits[taken], limits)


def revoke(head: Head, decided: Decided) -> None:
    """Undo a decision, as if it had never been taken: the log could not be written."""
    head.revoke(decided.refs, decided.in_order, decided.prior)


def place(head: Head, decided: Decided) -> None:
    """Make floats readable: those in order in slabs, late ones in the late buffer."""
    refs, times, bits, late = decided.refs, decided.times, decided.bits, decided.late
    head.place(refs, times, bits, decided.in_order)
    if late is not None:
        slots = (refs[late] & _SLOT_MASK).astype(np.int32)
        head.late.add(sorted_run(slots, times[late], bits[late]))


def _admit(
    head: Head, refs: Ints, times: Ints, bits: Words, limits: tuple[int, int, int, int, int]
) -> tuple[Small, Ints, tuple[Ints, Words]]:
    """Decide as the head does, but that a sample which was deleted may be written again."""
    status, counts, prior = head.admit(refs, times, bits, limits)
    if head.deleted and (counts[AppendStatus.DUPLICATE] or counts[AppendStatus.CONFLICT]):
        repeats = np.flatnonzero(
            (status == AppendStatus.DUPLICATE) | (status == AppendStatus.CONFLICT)
        )
        slots = (refs[repeats] & _SLOT_MASK).astype(np.int32)
        status[repeats[any_covers(head.deleted, slots, times[repeats])]] = LATE
        counts = np.bincount(status, minlength=counts.size)
    return status, counts, prior
