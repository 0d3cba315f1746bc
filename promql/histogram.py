"""Functions of histograms: quantiles and fractions of classic buckets.

From: `functions.py`.   Classic histograms are rows with an `le` label (`buckets.py`). Native
histograms are not stored yet, so the functions that read only those find nothing among floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.buckets import BucketGroups, bucket_groups
from promql.errors import ExecutionError
from promql.float_text import openmetrics_text
from promql.histogram_kernels import fractions_of_buckets, quantiles_of_buckets
from promql.label_names import is_label_name
from promql.matrix import Matrix, ScalarSteps, StringValue
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
    warn_quantile(quantile.values, node.args[0].span, ctx)
    groups = bucket_groups(vector, node.args[1].span, ctx)
    result = _quantiles(vector, groups, quantile.values, node.args[1].span, ctx)
    return without_name(result, delayed=ctx.delayed_name_removal)


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
    span = node.args[0].span
    groups = bucket_groups(vector, span, ctx)
    parts: list[Matrix] = []
    for argument, quantile in zip(node.args[2:], quantiles, strict=True):
        assert isinstance(quantile, ScalarSteps)
        warn_quantile(quantile.values, argument.span, ctx)
        result = _quantiles(vector, groups, quantile.values, span, ctx)
        parts += _labelled(result, label.text, quantile.values, ctx)
    ctx.budget.reserve(sum(part.values.size for part in parts))
    labels = parts[0].labels
    for part in parts[1:]:
        labels = labels.concat(part.labels)
    together = Matrix(
        labels,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.drop_name for part in parts]),
    )
    named = merge_same_labels(together)
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
    groups = bucket_groups(vector, node.args[2].span, ctx)
    values = np.zeros((groups.start.size - 1, vector.values.shape[1]), dtype=np.float64)
    present = np.zeros(values.shape, dtype=np.bool_)
    fractions_of_buckets(
        vector.values,
        vector.present,
        groups.order,
        groups.start,
        groups.bounds,
        lower.values,
        upper.values,
        values,
        present,
    )
    return without_name(
        Matrix(groups.labels, values, present, groups.drop_name),
        delayed=ctx.delayed_name_removal,
    )


def _of_native(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    """Pass over floats, which is all there is: only native histograms have an answer."""
    (vector,) = args
    assert isinstance(vector, Matrix)
    nothing = np.zeros(0, dtype=np.int64)
    steps = vector.values.shape[1]
    return Matrix(
        vector.labels.take(nothing),
        np.zeros((0, steps), dtype=np.float64),
        np.zeros((0, steps), dtype=np.bool_),
        np.zeros(0, dtype=np.bool_),
    )


FUNCTIONS: dict[str, Implementation] = {
    "histogram_avg": _of_native,
    "histogram_count": _of_native,
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
    "histogram_quantiles": _histogram_quantiles,
    "histogram_stddev": _of_native,
    "histogram_stdvar": _of_native,
    "histogram_sum": _of_native,
}
"""Implementation by function name."""
