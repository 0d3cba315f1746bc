import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.float_text import fixed_text, general_text, openmetrics_text, sample_text

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "fixed", "general", "sample"),
    [
        pytest.param(0.0, "0", "0", "0", id="zero"),
        pytest.param(-0.0, "-0", "-0", "-0", id="negative zero keeps its sign"),
        pytest.param(5.0, "5", "5", "5", id="integers have no point"),
        pytest.param(0.1, "0.1", "0.1", "0.1", id="shortest digits"),
        pytest.param(1e5, "100000", "100000", "100000", id="five zeros need no exponent"),
        pytest.param(1e6, "1000000", "1e+06", "1000000", id="six zeros do, in the general form"),
        pytest.param(1e21, "1" + "0" * 21, "1e+21", "1e+21", id="from 1e21 on samples do too"),
        pytest.param(1e-5, "0.00001", "1e-05", "0.00001", id="exponents have two digits"),
        pytest.param(1e-7, "0.0000001", "1e-07", "1e-07", id="below 1e-6 samples have one"),
        pytest.param(1e300, "1" + "0" * 300, "1e+300", "1e+300", id="three digits where needed"),
        pytest.param(math.inf, "+Inf", "+Inf", "+Inf", id="infinity has a sign"),
        pytest.param(-math.inf, "-Inf", "-Inf", "-Inf", id="also the negative one"),
        pytest.param(math.nan, "NaN", "NaN", "NaN", id="not a number"),
    ],
)
def test_as_go_prints(value, fixed, general, sample):
    assert (fixed_text(value), general_text(value), sample_text(value)) == (fixed, general, sample)


@given(FINITE)
def test_every_form_reads_back_to_the_same_value(value):
    for form in (fixed_text, general_text, sample_text, openmetrics_text):
        assert math.copysign(1, float(form(value))) == math.copysign(1, value)
        assert float(form(value)) == value


@given(FINITE)
def test_the_fixed_form_has_no_exponent(value):
    assert "e" not in fixed_text(value)


@given(FINITE)
def test_openmetrics_always_shows_that_it_is_a_float(value):
    assert set(openmetrics_text(value)) & set(".e")
