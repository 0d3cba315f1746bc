"""Functions of histograms: quantiles and fractions of classic buckets and of native histograms.

From: `functions.py`.   Classic histograms are rows with an `le` label (`buckets.py`); native ones
are points of their own kind (`histograms/functions.py`). One vector may hold both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.buckets import BucketGroups, bucket_groups
from promql.errors import ExecutionError
from promql.float_text import openmetrics_text
from promql.histogram_kernels import fractions_of_buckets, quantiles_of_buckets
from promql.histograms.functions import (
    SUMMARIES,
    native_fractions,
    native_quantiles,
    separate,
    summarised,
)
from promql.label_names import is_label_name
from promql.matrix import Matrix, ScalarSteps, StringValue, stack
from promql.places import argument_place
from promql.quantiles import warn_quantile
from promql.quoting import quote
from promql.same_labels import merge_same_labels, without_name
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call, Span

    Floats = npt.NDArray[np.float64]
    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]


def _histogram_quantile(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    quantile, vector = args
    assert isinstance(quantile, ScalarSteps)
    assert isinstance(vector, Matrix)
    warn_quantile(quantile.values, argument_place(node, 0), ctx)
    span = argument_place(node, 1)
    groups = bucket_groups(vector, span, ctx)
    classic, native = separate(vector, groups, span, ctx)
    result = _quantiles(classic, groups, quantile.values, span, ctx)
    result = _joined(result, native_quantiles(native, quantile.values, span, ctx))
    return without_name(result, delayed=ctx.delayed_name_removal)


def _joined(classic: Matrix, native: Matrix) -> Matrix:
    """Return the results of both kinds; a series may be one kind first and the other later."""
    if native.series_count == 0:
        return classic
    return merge_same_labels(stack((classic, native)))


def _quantiles(
    vector: Matrix, groups: BucketGroups, quantiles: Floats, span: Span, ctx: EvalContext
) -> Matrix:
    """Return one quantile of each histogram, names still on."""
    count = groups.start.size - 1
    ctx.budget.check()
    values = np.zeros((count, vector.values.shape[1]), dtype=np.float64)
    present = np.zeros(values.shape, dtype=np.bool_)
    forced = np.zeros(count, dtype=np.bool_)
    quantiles_of_buckets(
        vector.values,
        vector.present,
        groups.order,
        groups.start,
        groups.bounds,
        quantiles,
        values,
        present,
        forced,
    )
    names = groups.labels.symbols.texts(np.unique(groups.labels.column(METRIC_NAME)[forced]))
    for name in names:
        ctx.annotations.info(
            "input to histogram_quantile needed to be fixed for monotonicity (see"
            " https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
            f" for metric name {quote(name)}",
            span,
        )
    return Matrix(groups.labels, values, present, groups.drop_name)


def _histogram_quantiles(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Return several quantiles of each histogram, told apart by a label that holds them."""
    vector, label, *quantiles = args
    assert isinstance(vector, Matrix)
    assert isinstance(label, StringValue)
    if not is_label_name(label.text):
        raise ExecutionError(f"invalid label name {quote(label.text)}")
    span = argument_place(node, 0)
    groups = bucket_groups(vector, span, ctx)
    classic, native = separate(vector, groups, span, ctx)
    parts: list[Matrix] = []
    for index, quantile in enumerate(quantiles, 2):
        assert isinstance(quantile, ScalarSteps)
        warn_quantile(quantile.values, argument_place(node, index), ctx)
        result = _quantiles(classic, groups, quantile.values, span, ctx)
        result = _joined(result, native_quantiles(native, quantile.values, span, ctx))
        parts += _labelled(result, label.text, quantile.values, ctx)
    ctx.budget.reserve(sum(part.values.size for part in parts))
    named = merge_same_labels(stack(parts))
    return without_name(named, delayed=ctx.delayed_name_removal)


def _labelled(result: Matrix, label: str, quantiles: Floats, ctx: EvalContext) -> list[Matrix]:
    """Put the quantile into a label; one that changes from step to step makes several series."""
    bits = quantiles.view(np.uint64)
    parts = []
    for distinct in np.unique(bits):
        text = openmetrics_text(float(distinct.view(np.float64)))
        symbol = np.full(result.series_count, ctx.symbols.intern(text), dtype=np.uint32)
        here = result.present & (bits == distinct)
        labels = result.labels.with_column(label, symbol)
        parts.append(Matrix(labels, result.values, here, result.drop_name))
    return parts


def _histogram_fraction(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    lower, upper, vector = args
    assert isinstance(lower, ScalarSteps)
    assert isinstance(upper, ScalarSteps)
    assert isinstance(vector, Matrix)
    span = argument_place(node, 2)
    groups = bucket_groups(vector, span, ctx)
    classic, native = separate(vector, groups, span, ctx)
    values = np.zeros((groups.start.size - 1, vector.values.shape[1]), dtype=np.float64)
    present = np.zeros(values.shape, dtype=np.bool_)
    fractions_of_buckets(
        classic.values,
        classic.present,
        groups.order,
        groups.start,
        groups.bounds,
        lower.values,
        upper.values,
        values,
        present,
    )
    result = Matrix(groups.labels, values, present, groups.drop_name)
    result = _joined(result, native_fractions(native, lower.values, upper.values, span, ctx))
    return without_name(result, delayed=ctx.delayed_name_removal)


def _summary(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    (vector,) = args
    assert isinstance(vector, Matrix)
    return without_name(summarised(vector, SUMMARIES[node.func]), delayed=ctx.delayed_name_removal)


FUNCTIONS: dict[str, Implementation] = {
    **dict.fromkeys(SUMMARIES, _summary),
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
    "histogram_quantiles": _histogram_quantiles,
}
"""Implementation by function name."""
