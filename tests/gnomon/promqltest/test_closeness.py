import math

import pytest

from gnomon.promqltest.closeness import floats_equal
from tsdb.staleness import STALE_NAN

STALE = float(STALE_NAN)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        pytest.param(1.0, 1.0, True, id="the same"),
        pytest.param(1.0, 1.0 + 1e-6, True, id="a millionth of the sum is within"),
        pytest.param(1.0, 1.0 + 1e-5, False, id="a hundred thousandth is not"),
        pytest.param(0.0, 1e-300, False, id="near zero is not zero"),
        pytest.param(0.0, -0.0, True, id="the zeros are equal"),
        pytest.param(math.nan, math.nan, True, id="two NaNs"),
        pytest.param(math.nan, 1.0, False, id="NaN and a number"),
        pytest.param(STALE, math.nan, False, id="stale is not NaN"),
        pytest.param(STALE, STALE, True, id="stale is stale"),
        pytest.param(math.inf, math.inf, True, id="infinities"),
        pytest.param(math.inf, -math.inf, False, id="infinities of two signs"),
        pytest.param(math.inf, 1e308, False, id="infinity and a large number"),
    ],
)
def test_floats_equal(a, b, equal):
    assert floats_equal(a, b) is equal
    assert floats_equal(b, a) is equal
