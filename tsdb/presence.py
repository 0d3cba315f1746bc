"""Which series have a sample in a range: what `/api/v1/series` asks, of the head.

From: `select.py`, with slots. To: `head_view.py` and the runs of late samples and histograms.

No value is decoded, and of pages only those that a bound of the range cuts are looked into. Blocks
answer for themselves, `block.Block.rows_with_samples`. Deletions inside a range are not looked at,
so a series may be named whose samples there are all deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.head_view import find_pages, take_view
from tsdb.late import late_rows
from tsdb.read_kernels import changed_rows, open_bounds

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.head import Head
    from tsdb.head_view import HeadView
    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots

    Mask = npt.NDArray[np.bool_]


def slots_with_samples(head: Head, slots: Slots, start_ms: int, end_ms: int) -> Slots:
    """Return those of the head's series that have a sample in [start_ms, end_ms]."""
    with head.lock:
        view = take_view(head, slots)
    start, end = np.full(slots.size, start_ms), np.full(slots.size, end_ms)
    own_start = np.maximum(start, view.readable_ms)
    has = _has_own(head, view, own_start, end)
    # What was written to meanwhile, a few at most, is looked at again.
    changed = np.empty(slots.size, np.int64)
    changed = changed[: changed_rows(slots, head.version.array, view.version, changed)]
    if changed.size:
        with head.lock:
            again = take_view(head, np.ascontiguousarray(slots[changed]))
            has[changed] = _has_own(head, again, own_start[changed], end[changed])
    late = late_rows(view.late_runs, slots, start, end)
    if late is not None:
        has |= np.diff(late.first) > 0
    for run in view.histogram_runs:
        run.mark(slots, start, end, has)
    return slots[has]


def _has_own(head: Head, view: HeadView, start: Ints, end: Ints) -> Mask:
    """Say which rows have a float in slots or pages."""
    size = view.slots.size
    low, high = np.empty(size, np.uint8), np.empty(size, np.uint8)
    open_bounds(view.fill, view.block_of, head.block_times.array, start, end, low, high)
    count, sign = np.zeros(size, np.int64), np.zeros((size, 2), np.uint64)
    find_pages(view, start, end, count, sign)
    has: Mask = (high > low) | (count > 0)
    return has
