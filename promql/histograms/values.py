"""Numbers out of native histograms: quantiles, fractions, averages, deviations, per row.

From: the `histogram_*` functions.   To: float64[H], and uint8[H] flags where something has to be
said. Count and sum need no function: they are columns.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

from promql.histograms.columns import as_read
from promql.histograms.value_kernels import fractions, quantiles, variances

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import HistogramColumns

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.uint8]


class NanFlag(enum.IntFlag):
    """What NaN observations did; they are in the count and in the sum, but in no bucket."""

    RESULT = 1
    """quantile(): the rank is among them, so the result is NaN.
    fraction(): there are some, and they are between no two values."""
    SKEW = 2
    """quantile(): the result is higher than that of the other observations."""


def quantile(columns: HistogramColumns, quantiles_: Floats | float) -> tuple[Floats, Flags]:
    """Return one quantile of each histogram, and uint8[H] of `NanFlag`.

    Interpolated exponentially, but linearly in the zero bucket and in custom buckets. Below zero
    it is -Inf, above one +Inf, without observations NaN. With only positive (negative) buckets
    beside it the zero bucket begins (ends) at zero.
    Shapes: `quantiles_` float64[H] or one number.
    """
    out = np.empty(columns.histogram_count, dtype=np.float64)
    flags = np.empty(columns.histogram_count, dtype=np.uint8)
    quantiles(as_read(columns), _each(columns, quantiles_), out, flags)
    return out, flags


def fraction(
    columns: HistogramColumns, *, lower: Floats | float, upper: Floats | float
) -> tuple[Floats, Flags]:
    """Return which share of all observations lies between `lower` and `upper`, and `NanFlag`s.

    Shapes: `lower`, `upper` float64[H] or one number each.
    """
    out = np.empty(columns.histogram_count, dtype=np.float64)
    flags = np.empty(columns.histogram_count, dtype=np.uint8)
    fractions(as_read(columns), _each(columns, lower), _each(columns, upper), out, flags)
    return out, flags


def average(columns: HistogramColumns) -> Floats:
    """Return sum by count; NaN for an empty histogram."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return columns.sum / columns.count


def variance(columns: HistogramColumns) -> Floats:
    """Return the estimated variance of the observations."""
    out = np.empty(columns.histogram_count, dtype=np.float64)
    variances(as_read(columns), out)
    return out


def deviation(columns: HistogramColumns) -> Floats:
    """Return the estimated standard deviation of the observations."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(variance(columns))


def _each(columns: HistogramColumns, values: Floats | float) -> Floats:
    shape = (columns.histogram_count,)
    return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
