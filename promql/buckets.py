"""Classic histograms in a vector: rows with an `le` label, gathered into groups of buckets.

From: `histogram.py`.   To: `histogram_kernels.py`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.quoting import quote
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.labels import SeriesLabels
    from promql.matrix import Matrix
    from promql.syntax import Span

    Ids = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

BUCKET_LABEL = "le"
_HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F_]*\.?[0-9a-fA-F_]*[pP][+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class BucketGroups:
    """The histograms of a vector.

    Shapes: `order` int64[buckets] holds rows of the vector group by group and in a group by
    bound, NaN last; group g is `order[start[g] : start[g + 1]]`; `bounds` float64[S] of all rows;
    `labels` and `drop_name` of the G groups, without `le`.
    """

    order: Ints
    start: Ints
    bounds: Floats
    labels: SeriesLabels
    drop_name: Mask


def bucket_groups(vector: Matrix, span: Span, ctx: EvalContext) -> BucketGroups:
    """Gather the histograms; a row whose `le` is no number is left out with a warning."""
    column = vector.labels.column(BUCKET_LABEL)
    distinct, inverse = np.unique(column, return_inverse=True)
    texts = vector.labels.symbols.texts(distinct)
    parsed = [parse_bound(text) for text in texts]
    good = np.array([bound is not None for bound in parsed], dtype=np.bool_)[inverse]
    bounds = np.array([math.nan if b is None else b for b in parsed], dtype=np.float64)[inverse]
    _warn_malformed(vector, ~good & vector.present.any(axis=1), span, ctx)

    rows = np.flatnonzero(good)
    labels = vector.labels.take(rows).drop((BUCKET_LABEL,))
    group_of, first = labels.group()
    by_bound = np.lexsort((bounds[rows], group_of))  # NaN sorts last
    start = np.zeros(first.size + 1, dtype=np.int64)
    np.cumsum(np.bincount(group_of, minlength=first.size), out=start[1:])
    return BucketGroups(
        rows[by_bound].astype(np.int64, copy=False),
        start,
        bounds,
        labels.take(first),
        vector.drop_name[rows[first]],
    )


def _warn_malformed(vector: Matrix, bad: Mask, span: Span, ctx: EvalContext) -> None:
    if not bad.any():
        return
    pairs = vector.labels.take(bad).keep((METRIC_NAME, BUCKET_LABEL))
    _, first = pairs.group()
    for row in first.tolist():
        labels = pairs.row(row)
        ctx.annotations.warn(
            f'bucket label "le" is missing or has a malformed value of'
            f" {quote(labels.get(BUCKET_LABEL, ''))}"
            f" for metric name {quote(labels.get(METRIC_NAME, ''))}",
            span,
        )


def parse_bound(text: str) -> float | None:
    """Read a bound as Go's ParseFloat does, or return None where that fails.

    >>> [parse_bound(t) for t in ("+Inf", "0.5", "1_0", "0x1p4", "", " 1", "1e400", "0x10")]
    [inf, 0.5, 10.0, 16.0, None, None, None, None]
    """
    if not text.isascii() or text != text.strip():
        return None
    try:
        if _HEXADECIMAL.fullmatch(text):
            return float.fromhex(text.replace("_", ""))
        bound = float(text)
    except (ValueError, OverflowError):
        return None
    if math.isinf(bound) and "inf" not in text.lower():
        return None  # out of range, which Go calls an error
    if math.isnan(bound) and text[0] in "+-":
        return None
    return bound
