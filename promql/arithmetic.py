"""What the operators do to two floats, for whole arrays, with Go's rules for odd values.

From: `binary.py`.   NumPy's fmod, power and arctan2 are C's, which agree with Go's math package on
every special case (`1 ^ NaN` is 1, `x % Inf` is x). Comparisons with NaN are false, save `!=`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.float_power,
    "atan2": np.arctan2,
}

COMPARISON: dict[str, Callable[[Floats, Floats], Mask]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}

HISTOGRAM_TRIM = frozenset({"</", ">/"})
"""Operators that only histograms have; floats drop out, with an info."""


def combine(
    op: str, left: Floats, right: Floats, *, return_bool: bool
) -> tuple[Floats, Mask | None]:
    """Return the values and, where a comparison filters, which of them stay.

    Shapes: `left` and `right` broadcast. A filtering comparison keeps the left values; with
    `bool` it yields 1 and 0. Absent operands may be garbage, so warnings of NumPy are silenced.
    """
    with np.errstate(all="ignore"):
        if op in ARITHMETIC:
            return ARITHMETIC[op](left, right), None
        holds = COMPARISON[op](left, right)
    if return_bool:
        return holds.astype(np.float64), None
    return np.broadcast_to(left, holds.shape), holds
