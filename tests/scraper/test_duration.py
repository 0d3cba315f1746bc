import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.duration import format_duration_ms, parse_duration_ms


@given(st.integers(0, 9 * 10**12))
def test_text_and_back(total_ms):
    assert parse_duration_ms(format_duration_ms(total_ms)) == total_ms


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "empty duration string"),
        ("1", "not a valid duration string"),
        ("1s1m", "not a valid duration string"),
        ("-1s", "not a valid duration string"),
        ("1.5s", "not a valid duration string"),
        ("300y", "duration out of range"),
    ],
)
def test_refused(text, error):
    with pytest.raises(ValueError, match=error):
        parse_duration_ms(text)
