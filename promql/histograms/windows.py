"""Functions of windows of native histograms: change over a run, resets, changes, last two.

From: the functions of range vectors (`rate`, `irate`, `resets`, ...), with runs of consecutive
rows, one for each point of the answer, oldest histogram first, all of one series. Extrapolation
is theirs: they know times. Flags and empty rows as in `algebra.py`; sums and averages
of windows are there as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import Flag, Room
from promql.histograms.column_kernels import count_changes
from promql.histograms.columns import as_read
from promql.histograms.reset_kernels import count_resets, falls_in_runs
from promql.histograms.window_kernels import change_in_runs, change_of_pairs
from tsdb.interface import ResetHint

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.int8]
    Flags = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]


def change_over_runs(
    columns: HistogramColumns,
    start: Ints,
    stop: Ints,
    *,
    is_counter: bool,
    known_resets: Mask | None = None,
) -> tuple[HistogramColumns, Flags]:
    """Return last minus first of each run, resets undone if these are counters: a gauge.

    This is the raw part of rate and increase (counters) and of delta (gauges). Runs of fewer than
    two histograms have an empty row. `known_resets` bool[H] marks rows that follow a reset for
    another reason than their counts, such as a start time.
    Shapes: `start`, `stop` int64[R]; the flags, uint8[R], may be INCOMPATIBLE, RECONCILED,
    RECONCILED_ADDING, NOT_COUNTER, NOT_GAUGE.
    """
    source = as_read(columns)
    start, stop = _ints(start), _ints(stop)
    resets = _resets(columns, start, stop, known_resets, look=is_counter)
    members = np.arange(columns.histogram_count, dtype=np.int64)
    room = Room(source, members, start, stop)
    change_in_runs(source, start, stop, is_counter, resets, room.work, room.out, room.flags)
    return room.columns(), room.flags


def change_of_last_two(
    columns: HistogramColumns,
    before: Ints,
    after: Ints,
    *,
    is_counter: bool,
    known_resets: Mask | None = None,
) -> tuple[HistogramColumns, Flags]:
    """Return row `after` minus row `before` for each pair: the raw part of irate and idelta.

    For counters a reset leaves row `after` as it is. Shapes: `before`, `after` int64[R]; flags and
    `known_resets` as for `change_over_runs`.
    """
    before, after = _ints(before), _ints(after)
    hint = columns.hint
    if is_counter and known_resets is not None:
        hint = np.where(known_resets, np.int8(ResetHint.RESET), columns.hint)
    source = as_read(replace(columns, hint=hint))
    members = np.column_stack([before, after]).ravel()
    start = np.arange(0, members.size, 2, dtype=np.int64)
    room = Room(source, members, start, start + 2)
    change_of_pairs(source, before, after, is_counter, room.work, room.out, room.flags)
    if is_counter and hint is not columns.hint:
        gauge = columns.hint == ResetHint.GAUGE
        room.flags[gauge[before] | gauge[after]] |= np.uint8(Flag.NOT_COUNTER)
    return room.columns(), room.flags


def resets_in_runs(
    columns: HistogramColumns, start: Ints, stop: Ints, *, known_resets: Mask | None = None
) -> Floats:
    """Return how many counter resets there are inside each run."""
    start, stop = _ints(start), _ints(stop)
    resets = _resets(columns, start, stop, known_resets, look=True)
    out = np.empty(start.size, dtype=np.float64)
    count_resets(start, stop, resets, out)
    return out


def changes_in_runs(columns: HistogramColumns, start: Ints, stop: Ints) -> Floats:
    """Return how many histograms of each run differ from the one before."""
    out = np.empty(start.size, dtype=np.float64)
    count_changes(as_read(columns), _ints(start), _ints(stop), out)
    return out


def _resets(
    columns: HistogramColumns, start: Ints, stop: Ints, known: Mask | None, *, look: bool
) -> Codes:
    resets = np.full(columns.histogram_count, -1, dtype=np.int8)
    if known is not None:
        resets[known] = 1
    if look:
        falls_in_runs(as_read(columns), start, stop, resets)
    return resets


def _ints(values: Ints) -> Ints:
    return np.ascontiguousarray(values, dtype=np.int64)
