"""Calendar functions: year() to minute() of times in seconds, UTC, whole matrices at once.

From: `functions.py`.   Days become dates by counting in eras of 400 years (146 097 days). Any
int64 second is a date, as in Go; what is no int64 (NaN, infinities) becomes the smallest one, as
Go's conversion makes it on amd64, and Go's years wrap around there: hence the unsigned seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.conversions import time_steps, vector_of
from promql.elementwise import map_values
from promql.matrix import Matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]

_ERA_DAYS = 146_097
_DAY_S = 86_400
_FIRST_YEAR = -292_277_022_399
"""The year whose first second is 0 for Go; it is 1 in its era of 400."""
_EPOCH_S = 9_223_372_028_715_321_600
"""The Unix epoch in seconds of that count."""


def _seconds(values: Floats) -> npt.NDArray[np.uint64]:
    """Return seconds since the start of `_FIRST_YEAR`."""
    fits = (values >= -(2.0**63)) & (values < 2.0**63)
    whole = np.where(fits, values, -(2.0**63)).astype(np.int64)
    return whole.view(np.uint64) + np.uint64(_EPOCH_S)


def _days(values: Floats) -> Ints:
    return (_seconds(values) // np.uint64(_DAY_S)).astype(np.int64)


def _date(values: Floats) -> tuple[Ints, Ints, Ints]:
    """Return year, month 1..12 and day 1..31.

    Years are taken to begin in March, so that the leap day comes last; 306 days before the
    first year's January began such a year, the first of an era.
    """
    era, day = np.divmod(_days(values) + 306, _ERA_DAYS)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year + year // 4 - year // 100)
    march_month = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * march_month + 2) // 5 + 1
    month = np.where(march_month < 10, march_month + 3, march_month - 9)
    return _FIRST_YEAR - 1 + era * 400 + year + (month <= 2), month, day_of_month


def _is_leap(year: Ints) -> npt.NDArray[np.bool_]:
    leap: npt.NDArray[np.bool_] = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return leap


_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_DAYS_BEFORE = np.cumsum(_MONTH_DAYS) - _MONTH_DAYS


def year_of(values: Floats) -> Ints:
    """Return the year."""
    return _date(values)[0]


def month_of(values: Floats) -> Ints:
    """Return the month, 1 to 12."""
    return _date(values)[1]


def day_of_month(values: Floats) -> Ints:
    """Return the day of the month, from 1."""
    return _date(values)[2]


def day_of_year(values: Floats) -> Ints:
    """Return the day of the year, from 1."""
    year, month, day = _date(values)
    days: Ints = _DAYS_BEFORE[month] + day + ((month > 2) & _is_leap(year))
    return days


def days_in_month(values: Floats) -> Ints:
    """Return how many days the month has."""
    year, month, _ = _date(values)
    days: Ints = _MONTH_DAYS[month] + ((month == 2) & _is_leap(year))
    return days


def day_of_week(values: Floats) -> Ints:
    """Return the day of the week, 0 for Sunday. The first day of every era is a Monday."""
    return (_days(values) + 1) % 7


def hour_of(values: Floats) -> Ints:
    """Return the hour, 0 to 23."""
    return (_seconds(values) % np.uint64(_DAY_S) // np.uint64(3600)).astype(np.int64)


def minute_of(values: Floats) -> Ints:
    """Return the minute, 0 to 59."""
    return (_seconds(values) % np.uint64(3600) // np.uint64(60)).astype(np.int64)


def _dated(function: Callable[[Floats], Ints]) -> Implementation:
    def implementation(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
        vector = args[0] if args else vector_of(time_steps(ctx), ctx)
        assert isinstance(vector, Matrix)
        return map_values(vector, lambda values: function(values).astype(np.float64), ctx)

    return implementation


FUNCTIONS: dict[str, Implementation] = {
    "year": _dated(year_of),
    "month": _dated(month_of),
    "day_of_month": _dated(day_of_month),
    "day_of_year": _dated(day_of_year),
    "days_in_month": _dated(days_in_month),
    "day_of_week": _dated(day_of_week),
    "hour": _dated(hour_of),
    "minute": _dated(minute_of),
}
"""Implementation by function name."""
