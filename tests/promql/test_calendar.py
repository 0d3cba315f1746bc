import calendar
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.calendar import FUNCTIONS
from promql.syntax import Call
from tests.promql.matrices import by_labels, context, matrix

NAMES = [
    "year",
    "month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fields(value):
    ctx = context(1)
    vector = matrix([({}, [value])], ctx)
    return [by_labels(FUNCTIONS[name](Call(name, ()), [vector], ctx))[()][0] for name in NAMES]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, [1970, 1, 1, 4, 1, 31, 0, 0], id="the epoch was a Thursday"),
        pytest.param(951_782_400, [2000, 2, 29, 2, 60, 29, 0, 0], id="2000 was a leap year"),
        pytest.param(-2_203_891_200, [1900, 3, 1, 4, 60, 31, 0, 0], id="1900 was none"),
        pytest.param(1.9, [1970, 1, 1, 4, 1, 31, 0, 0], id="fractions are cut off"),
        pytest.param(-1.9, [1969, 12, 31, 3, 365, 31, 23, 59], id="towards zero"),
        pytest.param(253_402_300_800, [10000, 1, 1, 6, 1, 31, 0, 0], id="after year 9999"),
        pytest.param(-62_135_596_801, [0, 12, 31, 0, 366, 31, 23, 59], id="before year 1"),
        pytest.param(1e15, [31_690_708, 7, 5, 0, 187, 31, 1, 46], id="far away"),
        pytest.param(
            math.nan, [292_277_026_596, 12, 4, 0, 339, 31, 15, 30], id="NaN, as Go converts it"
        ),
        pytest.param(
            -math.inf, [292_277_026_596, 12, 4, 0, 339, 31, 15, 30], id="infinity likewise"
        ),
    ],
)
def test_dates(value, expected):
    assert fields(value) == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_as_pythons_dates(seconds):
    moment = EPOCH + timedelta(seconds=seconds)
    assert fields(seconds) == [
        moment.year,
        moment.month,
        moment.day,
        moment.isoweekday() % 7,
        moment.timetuple().tm_yday,
        calendar.monthrange(moment.year, moment.month)[1],
        moment.hour,
        moment.minute,
    ]


def test_without_argument_it_is_the_time_of_the_step():
    ctx = context(3)
    result = FUNCTIONS["minute"](Call("minute", ()), [], ctx)
    assert by_labels(result) == {(): [0, 1, 2]}


def test_every_name_is_there():
    assert sorted(FUNCTIONS) == sorted(NAMES)
    assert np.isfinite(fields(0)).all()
