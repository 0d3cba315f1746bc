"""The one NaN that means "gone".

Prometheus marks a series that ended with a NaN of these bits; every other NaN is a value.
Source: Prometheus documentation, staleness; `model/value` constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

STALE_BITS = 0x7FF0_0000_0000_0002
"""Bits of the stale marker."""

NORMAL_NAN_BITS = 0x7FF8_0000_0000_0001
"""Bits that Prometheus stores for an ordinary NaN read from text."""

STALE_NAN: np.float64 = np.uint64(STALE_BITS).view(np.float64)
NORMAL_NAN: np.float64 = np.uint64(NORMAL_NAN_BITS).view(np.float64)


def is_stale(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return a mask of the stale markers in `values`, of the same shape.

    >>> is_stale(np.array([1.0, np.nan, STALE_NAN])).tolist()
    [False, False, True]
    """
    mask: npt.NDArray[np.bool_] = np.ascontiguousarray(values).view(np.uint64) == STALE_BITS
    return mask
