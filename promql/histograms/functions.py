"""Functions of native histograms: one number for each histogram of a vector.

From: `histogram.py`, which has the functions by name and knows classic histograms.   To:
`values.py`. A histogram that several points show is looked at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.notes import (
    names_of,
    note_classic_and_native,
    note_excluded_nans,
    note_nan_result,
    note_nan_skew,
)
from promql.histograms.values import NanFlag, average, deviation, fraction, quantile, variance
from promql.matrix_kernels import any_present

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.buckets import BucketGroups
    from promql.context import EvalContext
    from promql.histograms.matrix import HistogramMatrix
    from promql.matrix import Matrix
    from promql.syntax import Span
    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.uint8]


def _count(columns: HistogramColumns) -> Floats:
    return columns.count


def _sum(columns: HistogramColumns) -> Floats:
    return columns.sum


SUMMARIES: dict[str, Callable[[HistogramColumns], Floats]] = {
    "histogram_avg": average,
    "histogram_count": _count,
    "histogram_stddev": deviation,
    "histogram_stdvar": variance,
    "histogram_sum": _sum,
}
"""By function: one number of each histogram."""


def summarised(vector: Matrix, summary: Callable[[HistogramColumns], Floats]) -> Matrix:
    """Return a number for each point that is a histogram; floats are passed over."""
    native = _only_native(vector)
    histograms = native.histograms
    if histograms is None:
        return native
    columns, row = histograms.distinct()
    return _floats(native, summary(columns)[row])


def separate(
    vector: Matrix, groups: BucketGroups, span: Span, ctx: EvalContext
) -> tuple[Matrix, Matrix]:
    """Return the classic buckets of a vector (all its rows) and its native histograms.

    Where one series is both at one step it is neither, with a warning.
    """
    native = _only_native(vector)
    if native.histograms is None:
        return vector, native
    count = groups.start.size - 1
    group_of = np.full(vector.series_count, count, dtype=np.int64)
    group_of[groups.order] = np.repeat(np.arange(count), np.diff(groups.start))
    classic = np.zeros((count + 1, vector.values.shape[1]), dtype=np.bool_)
    any_present(vector.present, group_of, classic)
    classic[count] = False  # rows that are no buckets
    both, first = groups.labels.concat(native.labels.drop(("le",))).group()
    group_at = np.full(first.size, count, dtype=np.int64)
    group_at[both[:count]] = np.arange(count)
    matched = group_at[both[count:]]
    mixed = classic[matched] & native.histograms.present
    if not mixed.any():
        return vector.only_floats(), native
    for name in names_of(native.labels, np.asarray(mixed.any(axis=1))):
        note_classic_and_native(name, span, ctx)
    dropped = np.zeros_like(classic)
    series, step = np.nonzero(mixed)
    dropped[matched[series], step] = True
    return vector.only_floats().narrowed(~dropped[group_of]), native.narrowed(~mixed)


def native_quantiles(native: Matrix, quantiles: Floats, span: Span, ctx: EvalContext) -> Matrix:
    """Return the quantile of each step, float64[T], of each histogram, names still on."""
    if native.histograms is None:
        return native
    values, flags = _by_step(native.histograms, lambda columns, q: quantile(columns, q), quantiles)
    _note_nans(native, flags, span, ctx)
    return _floats(native, values)


def native_fractions(
    native: Matrix, lower: Floats, upper: Floats, span: Span, ctx: EvalContext
) -> Matrix:
    """Return the share between the bounds of each step, float64[T], names still on."""
    if native.histograms is None:
        return native
    values, flags = _by_step(
        native.histograms,
        lambda columns, low, high: fraction(columns, lower=low, upper=high),
        lower,
        upper,
    )
    for name in names_of(native.labels, np.asarray((flags & NanFlag.RESULT != 0).any(axis=1))):
        note_excluded_nans(name, span, ctx)
    return _floats(native, values)


def _only_native(vector: Matrix) -> Matrix:
    """Return only the rows that have histograms, and of them only these."""
    histograms = vector.histograms
    if histograms is None:
        return vector.take(np.zeros(0, dtype=np.int64))
    rows = np.flatnonzero(histograms.present.any(axis=1))
    return vector.take(rows).only_histograms(histograms.take(rows))


def _floats(native: Matrix, values: Floats) -> Matrix:
    """Return the rows with a float in place of each histogram."""
    assert native.histograms is not None
    return replace(
        native,
        values=np.ascontiguousarray(values),
        present=native.histograms.present,
        histograms=None,
    )


def _by_step(
    histograms: HistogramMatrix,
    function: Callable[..., tuple[Floats, Flags]],
    *parameters: Floats,
) -> tuple[Floats, Flags]:
    """Return values and flags [S, T]: the function at each point, with the step's parameters."""
    shape = histograms.row.shape
    if all((parameter == parameter[:1]).all() for parameter in parameters):
        columns, row = histograms.distinct()
        values, flags = function(columns, *(float(parameter[0]) for parameter in parameters))
        return values[row], np.where(row >= 0, flags[row], np.uint8(0))
    columns, where = histograms.shown()
    at_points = [np.broadcast_to(parameter, shape)[where] for parameter in parameters]
    found, found_flags = function(columns, *at_points)
    out, out_flags = np.zeros(shape), np.zeros(shape, dtype=np.uint8)
    out[where], out_flags[where] = found, found_flags
    return out, out_flags


def _note_nans(native: Matrix, flags: Flags, span: Span, ctx: EvalContext) -> None:
    for flag, note in ((NanFlag.RESULT, note_nan_result), (NanFlag.SKEW, note_nan_skew)):
        for name in names_of(native.labels, np.asarray((flags & flag != 0).any(axis=1))):
            note(name, span, ctx)
