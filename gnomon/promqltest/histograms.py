"""Histograms of a script -> columns, as they are stored and compared.

From: `values.py` (the notation).   To: `runner.py`, `compare.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.promqltest.closeness import floats_equal
from gnomon.promqltest.values import Histogram, HistogramPoint, NotationError
from promql.histograms.algebra import add, subtract
from promql.histograms.columns import HistogramRow, from_rows, row_of
from tsdb.interface import ResetHint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnomon.promqltest.values import Point

_HINTS = {
    "": ResetHint.UNKNOWN,
    "unknown": ResetHint.UNKNOWN,
    "reset": ResetHint.RESET,
    "not_reset": ResetHint.NOT_RESET,
    "gauge": ResetHint.GAUGE,
}


def row_as_written(histogram: Histogram) -> HistogramRow:
    """Return one histogram of a script, every bucket as it stands, empty ones too."""
    return HistogramRow(
        schema=histogram.schema,
        count=histogram.count,
        sum=histogram.sum,
        zero_threshold=histogram.zero_threshold,
        zero_count=histogram.zero_count,
        positive=tuple(enumerate(histogram.buckets, histogram.offset)),
        negative=tuple(enumerate(histogram.negative_buckets, histogram.negative_offset)),
        bounds=histogram.custom_values,
        hint=_HINTS[histogram.counter_reset_hint],
    )


def rows_of(points: Sequence[HistogramPoint]) -> list[HistogramRow]:
    """Return the histograms of a series, each repetition added to the one before it.

    Raises NotationError where what is added has not the resolution that the sum would need.
    """
    rows: list[HistogramRow] = []
    for point in points:
        if point.step is None or point.repeats == 0:
            rows.append(row_as_written(point.base))
            continue
        if rows[-1].schema > point.step.schema:
            raise NotationError(
                f"cannot add {point.step.text}: the histogram before has a finer schema"
            )
        before, step = from_rows(rows[-1:]), from_rows([row_as_written(point.step)])
        added, _ = (add if point.sign > 0 else subtract)(before, step)
        rows.append(row_of(added, 0))
    return rows


@dataclass(frozen=True, slots=True)
class Wanted:
    """An expected histogram; its reset hint counts only where the script writes one."""

    row: HistogramRow
    with_hint: bool

    def __str__(self) -> str:
        return show(self.row, with_hint=self.with_hint)


def wanted_points(points: Sequence[Point]) -> list[float | Wanted | None]:
    """Return the points of an expectation, histograms worked out. Raises NotationError."""
    rows = iter(rows_of([point for point in points if isinstance(point, HistogramPoint)]))
    return [
        Wanted(next(rows), with_hint="counter_reset_hint" in point.base.written)
        if isinstance(point, HistogramPoint)
        else point
        for point in points
    ]


def show(row: HistogramRow, *, with_hint: bool = True) -> str:
    """Return a histogram in the notation of scripts, roughly: for messages."""
    parts = [f"schema:{row.schema} count:{row.count!r} sum:{row.sum!r}"]
    if row.zero_count or row.zero_threshold:
        parts.append(f"z_bucket:{row.zero_count!r} z_bucket_w:{row.zero_threshold!r}")
    for name, side in (("buckets", row.positive), ("n_buckets", row.negative)):
        if side:
            parts.append(f"{name}:" + "[" + " ".join(f"{i}={count!r}" for i, count in side) + "]")
    if row.bounds:
        parts.append(f"custom_values:{list(row.bounds)}")
    if with_hint:
        parts.append(f"counter_reset_hint:{row.hint.name.lower()}")
    return "{{" + " ".join(parts) + "}}"


def histograms_equal(wanted: Wanted, found: HistogramRow) -> bool:
    """Say whether a histogram counts as the expected one; empty buckets are like none."""
    row = wanted.row
    return (
        row.schema == found.schema
        and row.zero_threshold == found.zero_threshold
        and row.bounds == found.bounds
        and floats_equal(row.count, found.count)
        and floats_equal(row.sum, found.sum)
        and floats_equal(row.zero_count, found.zero_count)
        and _buckets_equal(row.positive, found.positive)
        and _buckets_equal(row.negative, found.negative)
        and (not wanted.with_hint or row.hint == found.hint)
    )


def _buckets_equal(wanted: Sequence[tuple[int, float]], found: Sequence[tuple[int, float]]) -> bool:
    mine = [pair for pair in wanted if pair[1] != 0]
    others = [pair for pair in found if pair[1] != 0]
    return len(mine) == len(others) and all(
        i == j and floats_equal(x, y) for (i, x), (j, y) in zip(mine, others, strict=True)
    )
