"""When two floats of a script and of an answer count as the same.

From: `compare.py`, `histograms.py`.   Source: the corpus README (1e-6 of the smaller magnitude).
"""

from __future__ import annotations

import math
import sys

from tsdb.staleness import STALE_NAN

RELATIVE_MAX = 1e-6
SMALLEST_NORMAL = sys.float_info.min

_STALE_BYTES = STALE_NAN.tobytes()


def floats_equal(a: float, b: float) -> bool:
    """Say whether two floats count as the same.

    >>> floats_equal(1.0, 1.0 + 1e-9), floats_equal(1.0, 1.00001), floats_equal(math.nan, math.nan)
    (True, False, True)
    """
    a_stale, b_stale = _is_stale(a), _is_stale(b)
    if a_stale or b_stale:
        return a_stale and b_stale
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return True
    total = abs(a) + abs(b)
    difference = abs(a - b)
    if a == 0 or b == 0 or total < SMALLEST_NORMAL:
        return difference < RELATIVE_MAX * SMALLEST_NORMAL
    return difference / min(total, sys.float_info.max) < RELATIVE_MAX


def _is_stale(value: float) -> bool:
    return math.isnan(value) and _bytes(value) == _STALE_BYTES


def _bytes(value: float) -> bytes:
    return type(STALE_NAN)(value).tobytes()
