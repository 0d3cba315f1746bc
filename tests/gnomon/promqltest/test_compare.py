import math

import pytest

from gnomon.promqltest.closeness import floats_equal
from gnomon.promqltest.compare import annotations_problem
from gnomon.promqltest.script import Message
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


@pytest.mark.parametrize(
    ("wanted", "texts", "fine"),
    [
        pytest.param(None, ["x"], True, id="not looked at"),
        pytest.param((), [], True, id="none wanted, none there"),
        pytest.param((), ["x"], False, id="none wanted, one there"),
        pytest.param((Message(),), [], False, id="one wanted, none there"),
        pytest.param((Message(),), ["x", "y"], True, id="any"),
        pytest.param((Message(text="x"),), ["x", "y"], False, id="one not explained"),
        pytest.param((Message(text="x"), Message(regex="^y")), ["x", "yes"], True, id="both"),
        pytest.param((Message(text="x"), Message(text="z")), ["x"], False, id="one not seen"),
    ],
)
def test_annotations(wanted, texts, fine):
    assert (annotations_problem("warning", wanted, texts) is None) is fine
