"""What becomes of samples that come late: stored, repeated, or a contradiction of what is there.

From: `append.py`, for samples that are not the newest of their series. To: the late buffer.
Blocks are not asked: what they have already is merged when it is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.head_view import read_view, take_view
from tsdb.interface import AppendStatus
from tsdb.kernels import LATE, STORED

if TYPE_CHECKING:
    from tsdb.head import Head
    from tsdb.interface import Ints
    from tsdb.kernels import Small
    from tsdb.label_kernels import Words

_SLOT_MASK = 0xFFFFFFFF


def decide_late(head: Head, status: Small, refs: Ints, times: Ints, bits: Words) -> Ints:
    """Turn LATE into what becomes of the sample; return the positions of those to store.

    A late sample may repeat one of this very batch, of the buffers, or of the head. Bits are
    those of a float or the digest of a histogram; the two are never taken for each other, save
    by a chance of 2^-64 under a key that nobody knows.
    """
    late = np.flatnonzero(status == LATE)
    slots = (refs & _SLOT_MASK).astype(np.int32)
    own = np.flatnonzero((status == STORED) & np.isin(slots, slots[late]))
    at = np.concatenate([own, late])
    order = at[np.lexsort((times[at], slots[at]))]
    first = np.ones(order.size, np.bool_)
    first[1:] = (slots[order][1:] != slots[order][:-1]) | (times[order][1:] != times[order][:-1])
    winner = order[first][np.cumsum(first) - 1]
    repeated = ~first
    status[order[repeated]] = _repeat_status(bits[order[repeated]], bits[winner[repeated]])
    late = np.sort(order[first & (status[order] == LATE)])
    for buffer in head.buffers:
        found, there = buffer.find(slots[late], times[late])
        status[late[found]] = _repeat_status(bits[late[found]], there[found])
        late = late[~found]
    maybe = late[times[late] >= max(head.min_time_ms, head.readable_ms)]
    if maybe.size:
        view = take_view(head, np.ascontiguousarray(slots[maybe]))
        own_samples = read_view(head, view, times[maybe], times[maybe], locked=True)
        found = own_samples.count > 0
        old = own_samples.values.view(np.uint64)[own_samples.value_start[found]]
        status[maybe[found]] = _repeat_status(bits[maybe[found]], old)
        late = late[status[late] == LATE]
    status[late] = STORED
    return late


def _repeat_status(bits: Words, first_bits: Words) -> Small:
    """Say of samples whose time is taken whether they repeat the value or contradict it."""
    return np.where(bits == first_bits, AppendStatus.DUPLICATE, AppendStatus.CONFLICT).astype("u1")
