"""Binary and unary operators on scalars and vectors.

From: `evaluate.py`.   Pairing of series is in `vector_matching.py`, the arithmetic in
`arithmetic.py`, `and`/`or`/`unless` in `set_operators.py`; names are decided here: a comparison
that filters keeps the left (under group_right: the right) series as it is, all else drops the name.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from promql.arithmetic import COMPARISON, HISTOGRAM_TRIM, combine
from promql.errors import ExecutionError
from promql.histograms.algebra import negate as turned
from promql.histograms.binary import combine_histograms
from promql.histograms.matrix import HistogramMatrix
from promql.histograms.notes import LastNotes, note_types
from promql.matrix import Matrix, ScalarSteps
from promql.same_labels import merge_same_labels, without_name
from promql.set_operators import combine_sets
from promql.syntax import SET_OPERATORS, Cardinality, VectorMatching
from promql.vector_matching import Points, pair_up, refuse_ambiguous

if TYPE_CHECKING:
    from promql.context import EvalContext
    from promql.histograms.binary import Outcome
    from promql.matrix import Operand
    from promql.syntax import Binary, Unary

_ONE_TO_ONE = VectorMatching()


def evaluate_binary(node: Binary, lhs: Operand, rhs: Operand, ctx: EvalContext) -> Operand:
    """Return `lhs op rhs` for scalars and vectors; types were checked by `check.py`.

    Raises ExecutionError where series match more than once or the result holds one twice.
    """
    ctx.budget.check()
    if isinstance(lhs, Matrix) and isinstance(rhs, Matrix):
        if node.op in SET_OPERATORS:
            return combine_sets(node.op, lhs, rhs, node.matching)
        return _vectors(node, lhs, rhs, ctx)
    if isinstance(lhs, Matrix) and isinstance(rhs, ScalarSteps):
        return _vector_and_scalar(node, lhs, rhs, ctx, scalar_left=False)
    if isinstance(lhs, ScalarSteps) and isinstance(rhs, Matrix):
        return _vector_and_scalar(node, rhs, lhs, ctx, scalar_left=True)
    assert isinstance(lhs, ScalarSteps)
    assert isinstance(rhs, ScalarSteps)
    if node.op in HISTOGRAM_TRIM:
        raise ExecutionError(f'operator "{node.op}" not allowed for Scalar operations')
    values, _ = combine(node.op, lhs.values, rhs.values, return_bool=True)
    return ScalarSteps(values)


def negate(node: Unary, operand: Operand, ctx: EvalContext) -> Operand:
    """Return `-operand` or `+operand`; a vector loses its name by the minus only."""
    if node.op == "+":
        return operand
    if isinstance(operand, ScalarSteps):
        return ScalarSteps(-operand.values)
    assert isinstance(operand, Matrix)
    histograms = operand.histograms
    if histograms is not None:
        columns, row = histograms.distinct()
        histograms = HistogramMatrix(turned(columns), row)
    with np.errstate(invalid="ignore"):
        negative = replace(operand, values=-operand.values, float_time=None, histograms=histograms)
    return without_name(negative, delayed=ctx.delayed_name_removal)


def _vector_and_scalar(
    node: Binary, vector: Matrix, scalar: ScalarSteps, ctx: EvalContext, *, scalar_left: bool
) -> Matrix:
    steps = scalar.values[np.newaxis, :]
    histograms, notes = None, LastNotes(vector.present.shape)
    if vector.histograms is not None:
        points = Points(vector.values, vector.present, vector.histograms)
        other = Points(steps, np.ones_like(steps, dtype=np.bool_))
        left_points, right_points = (other, points) if scalar_left else (points, other)
        there = vector.histograms.present
        histograms = combine_histograms(
            node.op, left_points, right_points, there, node.span, ctx, notes
        ).histograms
    if node.op in HISTOGRAM_TRIM:
        result = replace(_no_floats(node, vector, notes, ctx), histograms=histograms)
        notes.tell()
        return result
    notes.tell()
    left, right = (steps, vector.values) if scalar_left else (vector.values, steps)
    values, holds = combine(node.op, left, right, return_bool=node.return_bool)
    if holds is not None:  # the vector's own value stays, on whichever side it stands
        return Matrix(
            vector.labels,
            vector.values,
            vector.present & holds,
            vector.drop_name,
            histograms=histograms,
        )
    return without_name(
        Matrix(vector.labels, values, vector.present, vector.drop_name, histograms=histograms),
        delayed=ctx.delayed_name_removal,
    )


def _vectors(node: Binary, lhs: Matrix, rhs: Matrix, ctx: EvalContext) -> Matrix:
    matching = node.matching or _ONE_TO_ONE
    swapped = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (rhs, lhs) if swapped else (lhs, rhs)
    compares = node.op in COMPARISON
    pairs = pair_up(many, one, matching, ctx.budget, drop_name=not compares)
    if node.return_bool:
        # Not in pair_up: there an included name may follow, which goes as well.
        if ctx.delayed_name_removal:
            pairs = replace(pairs, drop_name=np.ones_like(pairs.drop_name))
        else:
            pairs = replace(pairs, labels=pairs.labels.drop_name())
    left, right = (pairs.one, pairs.many) if swapped else (pairs.many, pairs.one)
    floats = pairs.present
    outcome, notes = None, LastNotes(pairs.present.shape)
    if left.histograms is not None or right.histograms is not None:
        floats = floats & left.present & right.present
        outcome = combine_histograms(node.op, left, right, pairs.present, node.span, ctx, notes)
    if node.op in HISTOGRAM_TRIM:
        met = Matrix(pairs.labels, pairs.many.values, floats, pairs.drop_name)
        result = _no_floats(node, met, notes, ctx)
        pairs = replace(pairs, present=pairs.present & ~floats)
    else:
        values, holds = combine(node.op, left.values, right.values, return_bool=node.return_bool)
        present = floats if holds is None else floats & holds
        result = Matrix(pairs.labels, np.ascontiguousarray(values), present, pairs.drop_name)
    notes.tell()
    if outcome is not None:
        result = _with_histograms(result, outcome, return_bool=node.return_bool)
        # What an operator has no answer for does not make a match ambiguous.
        pairs = replace(pairs, present=pairs.present & ~outcome.refused)
    refuse_ambiguous(pairs, result.occupied, matching)
    return merge_same_labels(result)


def _with_histograms(floats: Matrix, outcome: Outcome, *, return_bool: bool) -> Matrix:
    """Put what histograms came to beside the floats; with `bool` a comparison yields floats."""
    if not return_bool:
        return replace(floats, histograms=outcome.histograms)
    compared = outcome.holds | outcome.fails
    return replace(
        floats,
        values=np.where(compared, outcome.holds, floats.values),
        present=floats.present | compared,
    )


def _no_floats(node: Binary, vector: Matrix, notes: LastNotes, ctx: EvalContext) -> Matrix:
    """Drop every float, and say so: the trim operators cut histograms only."""
    notes.put(vector.present, partial(note_types, node.op, "float", "float", node.span, ctx))
    absent = np.zeros_like(vector.present)
    return Matrix(vector.labels, vector.values, absent, vector.drop_name)
