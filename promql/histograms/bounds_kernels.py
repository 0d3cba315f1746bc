"""Bounds of exponential buckets, and the few scalar steps that all of histogram arithmetic shares.

From: the other `native_*_kernels.py`.   Bounds show in answers, digit for digit, so powers and
logarithms of two are made as Prometheus makes them rather than as the C library does.
Plain Python twins are in the tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_TWO = types.UniTuple(types.float64, 2)  # type: ignore[no-untyped-call]


def _power_of_two(exponent: float) -> float:
    """Return 2 to the power of a number, to the last digit as Go's math.Exp2 has it.

    Its square root of two, for one, is a unit of the last place below the nearest float.
    Method: 2^k times e^r, with the rational approximation of e^r that is W. J. Cody's and W.
    Waite's, as in the FreeBSD mathematical library.
    """
    if math.isnan(exponent):
        return math.nan
    if exponent >= 1024.0:
        return math.inf
    if exponent < -1075.0:
        return 0.0
    whole = int(exponent + 0.5) if exponent > 0 else int(exponent - 0.5)
    rest = exponent - whole
    high = rest * 6.93147180369123816490e-01
    low = -rest * 1.90821492927058770002e-10
    r = high - low
    t = r * r
    series = 6.61375632143793436117e-05 + t * (
        -1.65339022054652515390e-06 + t * 4.13813679705723846039e-08
    )
    c = r - t * (1.66666666666666657415e-01 + t * (-2.77777777770155933842e-03 + t * series))
    return math.ldexp(1.0 - ((low - (r * c) / (2.0 - c)) - high), whole)


power_of_two = helper(types.float64(types.float64), error_model="numpy")(_power_of_two)


@helper(types.float64(types.float64), error_model="numpy")
def binary_logarithm(value: float) -> float:
    """Return the logarithm to base two, exact for powers of two, as Go's math.Log2 has it."""
    fraction, exponent = math.frexp(value)
    if fraction == 0.5:
        return float(exponent - 1)
    return math.log(fraction) * (1.0 / 0.693147180559945309417232121458176568) + exponent


def _bounds_of_one_octave() -> Floats:
    """Return the 256 bounds of schema 8 in [0.5, 1).

    Coarser schemas use every second, fourth, ... of them: each schema takes its even ones from
    the schema before and multiplies for the odd ones.
    """
    bounds = [0.5]
    for schema in range(1, 9):
        # Plain Python: a kernel that is called while modules load has Numba set itself up.
        factor = _power_of_two(_power_of_two(float(-schema)))
        finer: list[float] = []
        for bound in bounds:
            finer += (bound, bound * factor)
        bounds = finer
    return np.array(bounds)


_OCTAVE = _bounds_of_one_octave()
_LARGEST = 1.7976931348623157e308
_LOWEST = -1100
_POWERS = np.array([math.ldexp(1.0, exponent) for exponent in range(_LOWEST, 1024)])
"""Powers of two from 2^-1100, which is 0, to 2^1023: a product is faster than ldexp by far."""


@kernel(types.float64(types.int64, types.int64), error_model="numpy")
def exponential_bound(index: int, schema: int) -> float:
    """Return the upper bound of the bucket `index`, which is the lower one of the next.

    The bound that would be 2^1024 is the largest float, later ones are infinite.
    """
    if schema <= 0:
        fraction = 0.5
        exponent = (index << -schema) + 1
    else:
        fraction = _OCTAVE[(index & ((1 << schema) - 1)) << (8 - schema)]
        exponent = (index >> schema) + 1
    if exponent > 1024:
        return _LARGEST if exponent == 1025 and fraction == 0.5 else math.inf
    if exponent > 0:
        return float(2.0 * fraction * _POWERS[exponent - 1 - _LOWEST])
    return float(fraction * _POWERS[max(exponent, _LOWEST) - _LOWEST])


@helper(_TWO(types.float64, types.float64, types.float64), error_model="numpy")
def compensated(value: float, total: float, lost: float) -> tuple[float, float]:
    """Add `value` to `total`, what rounding takes to `lost` (Neumaier); return both."""
    new = total + value
    if math.isinf(new):
        return new, 0.0
    if abs(total) >= abs(value):
        return new, lost + ((total - new) + value)
    return new, lost + ((value - new) + total)
