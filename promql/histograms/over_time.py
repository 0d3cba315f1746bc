"""Functions that summarise the native histograms of a range: sum, average, first and last.

From: `over_time.py`, beside the floats of the same windows.   To: `algebra.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.algebra import Flag, average_runs, sum_runs
from promql.histograms.chunks import in_chunks
from promql.histograms.matrix import NONE, HistogramMatrix
from promql.histograms.notes import (
    AGGREGATION,
    any_flag,
    note_collision,
    note_mixed_schemas,
    note_reconciled,
)
from promql.histograms.ranges import Ranges, placed_results, refuse_mixed
from promql.places import argument_place

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.syntax import Call

    Mask = npt.NDArray[np.bool_]


def histogram_total(
    node: Call, ranges: Ranges, ctx: EvalContext, *, average: bool
) -> tuple[Mask, HistogramMatrix | None]:
    """Return the sum or average of windows with only histograms.

    The mask [S, T] says which windows hold floats as well and so have no answer at all.
    """
    mixed = refuse_mixed(ranges, node, ctx)
    where = ranges.pure(1)
    if not where.any():
        return mixed, None
    total, flags = in_chunks(
        lambda some, low, high, _: (average_runs if average else sum_runs)(some, low, high),
        ranges.own.columns,
        *ranges.bounds(where),
        ctx,
    )
    span = argument_place(node, 0)
    if any_flag(flags, Flag.COLLISION):
        note_collision(AGGREGATION, span, ctx)
    if any_flag(flags, Flag.RECONCILED):
        note_reconciled(AGGREGATION, span, ctx)
    result, bad = placed_results(total, flags, where)
    for name in ranges.names_at(where, bad):
        note_mixed_schemas(name, span, ctx)
    return mixed, result


def histogram_at_edge(ranges: Ranges, *, last: bool) -> tuple[Mask, HistogramMatrix | None]:
    """Return the last (first) sample of windows where that is a histogram, and where it is."""
    own = ranges.own
    if last:
        wins = ranges.histogram_ms(0) > ranges.float_ms(0)
        offsets = own.stop - 1
    else:
        wins = ranges.first_histogram_ms() < ranges.first_float_ms()
        offsets = own.first
    row = np.where(wins, own.start[:, np.newaxis] + offsets, NONE).astype(np.int32)
    return wins, HistogramMatrix(own.columns, row) if wins.any() else None
