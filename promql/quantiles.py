"""The warning about a quantile that is none, wherever one is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.float_text import general_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.syntax import Span


def warn_quantile(quantiles: npt.NDArray[np.float64], span: Span, ctx: EvalContext) -> None:
    """Warn once for each distinct quantile of the steps that is not between 0 and 1."""
    bad = np.unique(quantiles[~((quantiles >= 0) & (quantiles <= 1))])
    for value in bad.tolist():
        ctx.annotations.warn(
            f"quantile value should be between 0 and 1, got {general_text(value)}", span
        )
