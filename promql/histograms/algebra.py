"""Arithmetic of native histograms over columns: sums, differences, scaling, averages, equality.

From: binary operators, aggregations, functions of windows.   To: new columns, with one `Flag` a
row where something has to be said. A row that has no answer (exponential buckets met custom
ones) is an empty histogram there, so that rows stay aligned; callers leave it out.
Results have floats as counts and no empty buckets.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.addition_kernels import BOUNDS_OWN, Work
from promql.histograms.column_kernels import same_rows
from promql.histograms.columns import as_read, compact
from promql.histograms.fold_kernels import (
    Write,
    add_rows,
    buckets_at_most,
    fold_runs,
)
from promql.histograms.reset_kernels import falls_by_row
from promql.histograms.trim_kernels import trim_rows
from tsdb.interface import HistogramColumns, ResetHint

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    from promql.histograms.addition_kernels import Read

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]


class Flag(enum.IntFlag):
    """What there is to say about one result; the numbers are those of the kernels."""

    INCOMPATIBLE = 1
    """Exponential buckets met custom ones: there is no result."""
    RECONCILED = 2
    """Custom bounds differed; the result has those that all had."""
    COLLISION = 4
    """Some hints said that the counter was reset, others that it was not."""
    NOT_COUNTER = 8
    """A function of counters met a gauge."""
    NOT_GAUGE = 16
    """A function of gauges met something else."""
    RECONCILED_ADDING = 32
    """As RECONCILED, while what came before a reset was added."""


def add(a: HistogramColumns, b: HistogramColumns) -> tuple[HistogramColumns, Flags]:
    """Return a + b row by row, and uint8[H] of `Flag`. The rows of both must be aligned."""
    return _add(a, b, 1.0)


def subtract(a: HistogramColumns, b: HistogramColumns) -> tuple[HistogramColumns, Flags]:
    """Return a - b row by row, and uint8[H] of `Flag`. A difference is a gauge."""
    result, flags = _add(a, b, -1.0)
    result.hint[:] = ResetHint.GAUGE
    return result, flags


def multiply(columns: HistogramColumns, factors: Floats | float) -> HistogramColumns:
    """Return each histogram times its factor; below zero it becomes a gauge.

    Shapes: `factors` float64[H] or one number.
    """
    return compact(_times(columns, factors))


def divide(columns: HistogramColumns, divisors: Floats | float) -> HistogramColumns:
    """Return each histogram by its divisor; below zero it becomes a gauge.

    By zero count, sum and zero bucket become infinite or NaN, and other buckets vanish.
    Shapes: `divisors` float64[H] or one number.
    """
    divisor = np.broadcast_to(np.asarray(divisors, dtype=np.float64), columns.schema.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        quotient = replace(
            columns,
            hint=np.where(divisor < 0, np.int8(ResetHint.GAUGE), columns.hint),
            is_float=np.ones(columns.histogram_count, dtype=np.bool_),
            count=columns.count / divisor,
            sum=columns.sum / divisor,
            zero_count=columns.zero_count / divisor,
            positive_count=_share(columns.positive_start, columns.positive_count, divisor),
            negative_count=_share(columns.negative_start, columns.negative_count, divisor),
        )
    return compact(quotient)


def negate(columns: HistogramColumns) -> HistogramColumns:
    """Return each histogram with the sign of all counts turned: a gauge.

    Empty buckets stay, other than elsewhere: quantiles of negative counts, such as they are, go
    by the outermost bucket listed, and so they are Prometheus'.
    """
    return _times(columns, -1.0)


def equal(a: HistogramColumns, b: HistogramColumns) -> Mask:
    """Tell row by row whether two histograms are equal, as `==` of PromQL has it.

    Layout, counts and sum must agree; a listed bucket of count zero is like one not listed.
    """
    out = np.empty(a.histogram_count, dtype=np.bool_)
    same_rows(as_read(a), as_read(b), out)
    return out


def was_reset(previous: HistogramColumns, current: HistogramColumns) -> Mask:
    """Tell row by row whether a counter was reset between two of its histograms."""
    out = np.empty(current.histogram_count, dtype=np.bool_)
    falls_by_row(as_read(current), as_read(previous), out)
    return out


def trim(columns: HistogramColumns, cuts: Floats | float, *, upper: bool) -> HistogramColumns:
    """Return what each histogram holds below its cut (`upper`, PromQL's `</`), or above it (`>/`).

    A bucket that the cut is inside of is shared out as quantiles interpolate; count and sum
    are then made anew from the buckets. Shapes: `cuts` float64[H] or one number.
    """
    size = columns.histogram_count
    count, total, zero_count = (np.empty(size, dtype=np.float64) for _ in range(3))
    positive_count = columns.positive_count.copy()
    negative_count = columns.negative_count.copy()
    cut = np.broadcast_to(np.asarray(cuts, dtype=np.float64), (size,))
    trim_rows(
        as_read(columns),
        np.ascontiguousarray(cut),
        upper,
        count,
        total,
        zero_count,
        positive_count,
        negative_count,
    )
    return compact(
        replace(
            columns,
            is_float=np.ones(size, dtype=np.bool_),
            count=count,
            sum=total,
            zero_count=zero_count,
            positive_count=positive_count,
            negative_count=negative_count,
        )
    )


def sum_groups(
    columns: HistogramColumns, group_of: Ints, groups: int
) -> tuple[HistogramColumns, Flags]:
    """Return the sum of each group's histograms, taken in the order of rows.

    Shapes: `group_of` int64[H], each below `groups`; the result has `groups` rows, and uint8
    `Flag`s for each: INCOMPATIBLE, RECONCILED, COLLISION. A group without rows has an empty one.
    """
    return _fold(columns, *_runs_of_groups(group_of, groups), average=False)


def average_groups(
    columns: HistogramColumns, group_of: Ints, groups: int
) -> tuple[HistogramColumns, Flags]:
    """Return the average of each group's histograms; otherwise as `sum_groups`."""
    return _fold(columns, *_runs_of_groups(group_of, groups), average=True)


def sum_runs(columns: HistogramColumns, start: Ints, stop: Ints) -> tuple[HistogramColumns, Flags]:
    """Return the sum of rows [start, stop) for each run; runs may overlap.

    Shapes: `start`, `stop` int64[R]; result and flags as for `sum_groups`.
    """
    members = np.arange(columns.histogram_count, dtype=np.int64)
    return _fold(columns, members, start, stop, average=False)


def average_runs(
    columns: HistogramColumns, start: Ints, stop: Ints
) -> tuple[HistogramColumns, Flags]:
    """Return the average of rows [start, stop) for each run; otherwise as `sum_runs`."""
    members = np.arange(columns.histogram_count, dtype=np.int64)
    return _fold(columns, members, start, stop, average=True)


class Room:
    """Where kernels build results: lists large enough for what runs over `source` can yield."""

    def __init__(self, source: Read, members: Ints, start: Ints, stop: Ints) -> None:
        positive = np.empty(start.size, dtype=np.int64)
        negative = np.empty(start.size, dtype=np.int64)
        buckets_at_most(source, members, start, stop, positive, negative)
        self._make(source, positive, negative)

    @classmethod
    def for_pairs(cls, a: Read, b: Read) -> Room:
        """Return room for the sum or difference of two aligned columns."""
        room = cls.__new__(cls)
        room._make(
            a,
            np.diff(a.positive_start) + np.diff(b.positive_start),
            np.diff(a.negative_start) + np.diff(b.negative_start),
        )
        return room

    def _make(self, source: Read, positive: Ints, negative: Ints) -> None:
        rows = positive.size
        self._source_bounds = source.bounds
        longest = int(source.bounds_count.max(initial=0))
        # One list of bounds for each row, should all differ; the pages of what stays unused are
        # never touched.
        bounds = np.empty(source.bounds.size + (rows + 1) * longest, dtype=np.float64)
        bounds[: source.bounds.size] = source.bounds
        self._side = max(int(positive.max(initial=0)), longest + 1)
        self._other_side = int(negative.max(initial=0))
        self._bounds = bounds
        self._longest = longest
        self.work = self.workspace()
        self.out = Write(
            np.empty(rows, dtype=np.int8),
            np.empty(rows, dtype=np.int8),
            np.empty(rows, dtype=np.float64),
            np.empty(rows, dtype=np.float64),
            np.empty(rows, dtype=np.float64),
            np.empty(rows, dtype=np.float64),
            np.zeros(rows + 1, dtype=np.int64),
            np.empty(int(positive.sum()), dtype=np.int32),
            np.empty(int(positive.sum()), dtype=np.float64),
            np.zeros(rows + 1, dtype=np.int64),
            np.empty(int(negative.sum()), dtype=np.int32),
            np.empty(int(negative.sum()), dtype=np.float64),
            np.empty(rows, dtype=np.int64),
            np.empty(rows, dtype=np.int64),
        )
        self.flags = np.zeros(rows, dtype=np.uint8)

    def workspace(self) -> Work:
        """Return lists for one histogram under construction; all share the pool of bounds."""
        state = np.zeros(7, dtype=np.int64)
        state[BOUNDS_OWN] = self._source_bounds.size
        spare = max(self._side, self._other_side)
        return Work(
            np.zeros(7, dtype=np.float64),
            state,
            *_side(self._side),
            *_side(self._other_side),
            *_side(spare),
            self._bounds,
            np.empty(self._longest, dtype=np.float64),
        )

    def columns(self) -> HistogramColumns:
        """Return what has been written, cut to size."""
        out = self.out
        positive, negative = int(out.positive_start[-1]), int(out.negative_start[-1])
        own = int(self.work.state[BOUNDS_OWN])
        untouched = own == self._source_bounds.size
        return HistogramColumns(
            schema=out.schema,
            hint=out.hint,
            is_float=np.ones(out.schema.size, dtype=np.bool_),
            count=out.observations,
            sum=out.sum,
            zero_threshold=out.zero_threshold,
            zero_count=out.zero_count,
            positive_start=out.positive_start,
            positive_index=_cut(out.positive_index, positive),
            positive_count=_cut(out.positive_count, positive),
            negative_start=out.negative_start,
            negative_index=_cut(out.negative_index, negative),
            negative_count=_cut(out.negative_count, negative),
            bounds_start=out.bounds_start,
            bounds_count=out.bounds_count,
            bounds=self._source_bounds if untouched else self._bounds[:own].copy(),
        )


def _add(a: HistogramColumns, b: HistogramColumns, factor: float) -> tuple[HistogramColumns, Flags]:
    read_a, read_b = as_read(a), as_read(b)
    room = Room.for_pairs(read_a, read_b)
    add_rows(read_a, read_b, factor, room.work, room.out, room.flags)
    return room.columns(), room.flags


def _times(columns: HistogramColumns, factors: Floats | float) -> HistogramColumns:
    factor = np.broadcast_to(np.asarray(factors, dtype=np.float64), columns.schema.shape)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return replace(
            columns,
            hint=np.where(factor < 0, np.int8(ResetHint.GAUGE), columns.hint),
            is_float=np.ones(columns.histogram_count, dtype=np.bool_),
            count=columns.count * factor,
            sum=columns.sum * factor,
            zero_count=columns.zero_count * factor,
            positive_count=_spread(columns.positive_start, columns.positive_count, factor),
            negative_count=_spread(columns.negative_start, columns.negative_count, factor),
        )


def _fold(
    columns: HistogramColumns, members: Ints, start: Ints, stop: Ints, *, average: bool
) -> tuple[HistogramColumns, Flags]:
    source = as_read(columns)
    start = np.ascontiguousarray(start, dtype=np.int64)
    stop = np.ascontiguousarray(stop, dtype=np.int64)
    room = Room(source, members, start, stop)
    backup = room.workspace()
    fold_runs(source, members, start, stop, average, room.work, backup, room.out, room.flags)
    return room.columns(), room.flags


def _runs_of_groups(group_of: Ints, groups: int) -> tuple[Ints, Ints, Ints]:
    members = np.argsort(group_of, kind="stable").astype(np.int64)
    ends = np.cumsum(np.bincount(group_of, minlength=groups)).astype(np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]]) if groups else ends
    return members, starts, ends


def _spread(start: Ints, counts: Floats, factor: Floats) -> Floats:
    """Multiply each histogram's buckets by its factor."""
    used = counts[int(start[0]) : int(start[-1])]
    scaled = np.zeros(counts.size, dtype=np.float64)
    scaled[int(start[0]) : int(start[-1])] = used * np.repeat(factor, np.diff(start))
    return scaled


def _share(start: Ints, counts: Floats, divisor: Floats) -> Floats:
    """Divide each histogram's buckets by its divisor; by zero they become zero."""
    used = counts[int(start[0]) : int(start[-1])]
    each = np.repeat(divisor, np.diff(start))
    scaled = np.zeros(counts.size, dtype=np.float64)
    np.divide(used, each, out=scaled[int(start[0]) : int(start[-1])], where=each != 0)
    return scaled


def _side(size: int) -> tuple[npt.NDArray[np.int32], Floats, Floats]:
    return (
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.float64),
        np.empty(size, dtype=np.float64),
    )


def _cut(values: npt.NDArray[Any], used: int) -> npt.NDArray[Any]:
    """Return the used part, without holding on to much more memory than that."""
    return values[:used] if 2 * used >= values.size else values[:used].copy()
