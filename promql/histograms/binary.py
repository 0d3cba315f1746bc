"""Binary operators where at least one side is a native histogram.

From: `binary.py`, with the points of both sides already paired.   To: `algebra.py`.
What an operator cannot do with the kinds it meets is left out of the result, with an info; that
floats meet floats is no business of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from promql.arithmetic import HISTOGRAM_TRIM
from promql.histograms.algebra import Flag, add, divide, equal, multiply, subtract, trim
from promql.histograms.columns import take
from promql.histograms.matrix import HistogramMatrix, combined
from promql.histograms.notes import (
    ADDITION,
    SUBTRACTION,
    any_flag,
    note_collision,
    note_layout,
    note_reconciled,
    note_types,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histograms.notes import LastNotes
    from promql.syntax import Span
    from promql.vector_matching import Points
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

_BOTH = frozenset({"+", "-", "==", "!="})
_BY_FLOAT = frozenset({"*", "/"}) | HISTOGRAM_TRIM


@dataclass(frozen=True, slots=True)
class Outcome:
    """What histograms came to: `holds` and `fails` [P, T] where two were compared.

    `refused` [P, T]: the operator has no answer for what meets there, whatever the values.
    """

    histograms: HistogramMatrix | None
    holds: Mask
    fails: Mask
    refused: Mask


def combine_histograms(
    op: str,
    left: Points,
    right: Points,
    present: Mask,
    span: Span,
    ctx: EvalContext,
    notes: LastNotes,
) -> Outcome:
    """Return `left op right` wherever at least one of the two is a histogram.

    What there is to tell goes to `notes`, told by the caller.
    Shapes: `present` [P, T] says where both are there; the sides' own arrays broadcast to it. A
    comparison yields the left histograms where it holds.
    """
    left_h, right_h = _kinds(left, present), _kinds(right, present)
    both = left_h & right_h
    with_float, float_with = left_h & ~right_h, right_h & ~left_h
    nowhere = np.zeros_like(present)
    holds, fails, refused = nowhere, nowhere, nowhere
    result: HistogramMatrix | None = None
    if both.any():
        if op in ("+", "-"):
            result = _sum(op, left, right, both, span, ctx, notes)
            refused = both if result is None else both & ~result.present
        elif op in _BOTH:
            assert left.histograms is not None
            same = np.zeros_like(present)
            same[both] = equal(_at(left, both), _at(right, both))
            holds, fails = both & (same == (op == "==")), both & (same != (op == "=="))
            result = left.histograms.narrowed(holds)
        else:
            refused = both
            notes.put(both, partial(note_types, op, "histogram", "histogram", span, ctx))
    if with_float.any():
        if op in _BY_FLOAT:
            result = combined(result, _by_float(op, left, right, with_float))
        else:
            refused = refused | with_float
            notes.put(with_float, partial(note_types, op, "histogram", "float", span, ctx))
    if float_with.any():
        if op == "*":
            result = combined(result, _by_float(op, right, left, float_with))
        else:
            refused = refused | float_with
            notes.put(float_with, partial(note_types, op, "float", "histogram", span, ctx))
    return Outcome(result, holds, fails, refused)


def _kinds(side: Points, present: Mask) -> Mask:
    """Return where a side has a histogram, among the points that count."""
    if side.histograms is None:
        return np.zeros_like(present)
    return side.histograms.present & present


def _at(side: Points, where: Mask) -> HistogramColumns:
    """Return a side's histograms at some points, row by row."""
    histograms = side.histograms
    assert histograms is not None
    return take(histograms.columns, histograms.row[where].astype(np.int64))


def _sum(
    op: str,
    left: Points,
    right: Points,
    both: Mask,
    span: Span,
    ctx: EvalContext,
    notes: LastNotes,
) -> HistogramMatrix | None:
    operate, operation = (add, ADDITION) if op == "+" else (subtract, SUBTRACTION)
    columns, flags = operate(_at(left, both), _at(right, both))
    for flag, note in (
        (Flag.COLLISION, partial(note_collision, operation, span, ctx)),
        (Flag.RECONCILED, partial(note_reconciled, operation, span, ctx)),
        (Flag.INCOMPATIBLE, partial(note_layout, op, span, ctx)),
    ):
        if any_flag(flags, flag):
            notes.put(_spread((flags & flag) != 0, both), note)
    result = HistogramMatrix.placed(columns, both)
    bad = (flags & Flag.INCOMPATIBLE) != 0
    return result.narrowed(_spread(~bad, both)) if bad.any() else result


def _spread(of_pairs: Mask, both: Mask) -> Mask:
    """Return bool[P, T] of what is known where both sides are histograms, row by row."""
    spread = np.zeros_like(both)
    spread[both] = of_pairs
    return spread


def _by_float(op: str, histograms: Points, floats: Points, where: Mask) -> HistogramMatrix:
    factors = np.broadcast_to(floats.values, where.shape)[where]
    columns = _at(histograms, where)
    if op in HISTOGRAM_TRIM:
        return HistogramMatrix.placed(trim(columns, factors, upper=op == "</"), where)
    calculate = multiply if op == "*" else divide
    return HistogramMatrix.placed(calculate(columns, factors), where)
