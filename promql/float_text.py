"""Floats as Go's strconv writes them: shortest digits that read back to the same value.

One place for everything that prints a float: `count_values`, messages, printed queries, JSON.
"""

from __future__ import annotations

import math

import numpy as np


def _special(value: float) -> str | None:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return None


def fixed_text(value: float) -> str:
    """Return Go's format 'f' with precision -1: no exponent, however large or small.

    >>> [fixed_text(v) for v in (1e21, 1e-07, -0.0, 2.50, math.inf)]
    ['1000000000000000000000', '0.0000001', '-0', '2.5', '+Inf']
    """
    return _special(value) or np.format_float_positional(value, trim="-")


def general_text(value: float) -> str:
    """Return Go's format 'g' with precision -1, which is also what `%v` and `%g` print.

    >>> [general_text(v) for v in (1e20, 123456.0, 1234567.0, 0.0001, 0.00001, math.nan)]
    ['1e+20', '123456', '1.234567e+06', '0.0001', '1e-05', 'NaN']
    """
    special = _special(value)
    if special is not None:
        return special
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    scientific = np.format_float_scientific(value, trim="-", exp_digits=2)
    # Shortest digits count as precision 6 when Go decides whether to write an exponent.
    if -4 <= int(scientific.rpartition("e")[2]) < 6:
        return np.format_float_positional(value, trim="-")
    return scientific


def sample_text(value: float) -> str:
    """Return a float as the HTTP API writes sample values: 'f', or 'e' where that grows long.

    >>> [sample_text(v) for v in (1e21, 1e20, 1e-06, 1e-07, 0.0)]
    ['1e+21', '100000000000000000000', '0.000001', '1e-07', '0']
    """
    special = _special(value)
    if special is not None:
        return special
    magnitude = abs(value)
    if magnitude != 0 and (magnitude < 1e-6 or magnitude >= 1e21):
        return np.format_float_scientific(value, trim="-", exp_digits=2)
    return np.format_float_positional(value, trim="-")


def openmetrics_text(value: float) -> str:
    """Return a float as OpenMetrics writes label values: never without a point or an exponent.

    >>> [openmetrics_text(v) for v in (1.0, 0.25, 1e20, math.nan)]
    ['1.0', '0.25', '1e+20', 'NaN']
    """
    text = general_text(value)
    return text if _special(value) or "." in text or "e" in text else f"{text}.0"
