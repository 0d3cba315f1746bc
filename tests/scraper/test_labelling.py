import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.labelling import normal_float


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0.0"), ("1", "1.0"), ("-1", "-1.0"), ("0.5", "0.5"), ("0.50", "0.5"), ("10", "10.0"),
        ("100000", "100000.0"), ("1000000", "1e+06"), ("1234567", "1.234567e+06"),
        ("1e-05", "1e-05"), ("0.0001", "0.0001"), ("1.5e300", "1.5e+300"), ("+Inf", "+Inf"),
        ("-inf", "-Inf"), ("nan", "NaN"), ("foo", "foo"), ("", ""), ("1_0", "1_0"), ("0x1", "0x1"),
        ("-0", "-0.0"), ("123456.789", "123456.789"),
    ],
)  # fmt: skip
def test_canonical_form(text, expected):
    assert normal_float(text) == expected


@given(st.floats(allow_nan=False))
def test_the_number_stays_and_the_form_is_stable(value):
    text = normal_float(repr(value))
    assert float(text) == value
    assert normal_float(text) == text
