"""The warning about a quantile that is none, wherever one is asked for.

From: `aggregate.py`, `histogram.py`.   To: `annotations.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.float_text import general_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.syntax import Span

    Floats = npt.NDArray[np.float64]


def warn_quantile(quantiles: Floats, span: Span, ctx: EvalContext) -> None:
    """Warn once for each distinct quantile of the steps that is not between 0 and 1."""
    _warn(np.unique(quantiles[~((quantiles >= 0) & (quantiles <= 1))]), span, ctx)


def warn_quantile_of_aggregation(quantiles: Floats, span: Span, ctx: EvalContext) -> None:
    """Warn of the largest quantile of all steps if above 1, and of the smallest if below 0.

    Only of NaN if one is. So does Prometheus, where it warns of each step's in functions.
    """
    if not quantiles.size:
        return
    smallest, largest = quantiles.min(), quantiles.max()  # Both are NaN if one is.
    if np.isnan(largest):
        bad = [largest]
    else:
        bad = [largest] * bool(largest > 1) + [smallest] * bool(smallest < 0)
    _warn(np.array(bad), span, ctx)


def _warn(bad: Floats, span: Span, ctx: EvalContext) -> None:
    for value in bad.tolist():
        ctx.annotations.warn(
            f"quantile value should be between 0 and 1, got {general_text(value)}", span
        )
