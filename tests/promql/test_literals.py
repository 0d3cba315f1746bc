import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.literals import (
    code_point,
    format_duration,
    is_utf8,
    parse_duration,
    parse_number,
    quote_character,
    scan_number,
    unquote,
)
from promql.quoting import quote


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("12", 12, id="decimal"),
        pytest.param("1.5e3", 1500, id="exponent"),
        pytest.param(".5", 0.5, id="nothing before the point"),
        pytest.param("1.e5", 100_000, id="nothing after the point"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("010", 8, id="a leading zero is octal"),
        pytest.param("08", 8, id="what is not octal is decimal after all"),
        pytest.param("1_000", 1000, id="underscores"),
        pytest.param("0x_ff", 255, id="an underscore after the prefix"),
        pytest.param("9223372036854775807", 2.0**63, id="the largest integer"),
        pytest.param("99999999999999999999", 1e20, id="beyond integers"),
        pytest.param("iNf", math.inf, id="infinity in any case"),
        pytest.param("1e-400", 0.0, id="too small is zero"),
    ],
)
def test_number(text, value):
    assert parse_number(text) == value


def test_not_a_number():
    assert math.isnan(parse_number("nAn"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("0x", "invalid syntax", id="no digits"),
        pytest.param("1__0", "invalid syntax", id="two underscores"),
        pytest.param("0x1_", "invalid syntax", id="an underscore at the end"),
        pytest.param("1e400", "value out of range", id="too large"),
    ],
)
def test_bad_number(text, reason):
    with pytest.raises(ValueError, match=f'^error parsing number: .* parsing "{text}": {reason}$'):
        parse_number(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        pytest.param("0", 0, id="zero needs no unit"),
        pytest.param("5ms", 5, id="milliseconds"),
        pytest.param("1y2w3d4h5m6s7ms", 33_019_506_007, id="all units"),
        pytest.param("292y", 292 * 31_536_000_000, id="nearly the longest"),
    ],
)
def test_duration(text, milliseconds):
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "empty duration string", id="nothing"),
        pytest.param("5", 'not a valid duration string: "5"', id="no unit"),
        pytest.param("5m1h", 'not a valid duration string: "5m1h"', id="small before large"),
        pytest.param("5m5m", 'not a valid duration string: "5m5m"', id="a unit twice"),
        pytest.param("1.5m", 'unknown unit "." in duration "1.5m"', id="a fraction"),
        pytest.param("5hs", 'unknown unit "hs" in duration "5hs"', id="no such unit"),
        pytest.param("300y", "duration out of range", id="too long"),
        pytest.param(f"{'9' * 5000}s", "not a valid duration string", id="thousands of digits"),
    ],
)
def test_bad_duration(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the text is compared below
        parse_duration(text)
    assert str(caught.value).startswith(message)


@given(st.integers(0, (1 << 63) // 1_000_000))
def test_a_duration_survives_printing(milliseconds):
    assert parse_duration(format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        pytest.param(0, "0s", id="zero"),
        pytest.param(604_800_000, "1w", id="a week"),
        pytest.param(8 * 86_400_000, "8d", id="weeks only if nothing is left"),
        pytest.param(366 * 86_400_000, "366d", id="years only if nothing is left"),
        pytest.param(-90_001, "-1m30s1ms", id="before zero"),
    ],
)
def test_printed_duration(milliseconds, text):
    assert format_duration(milliseconds) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(r'"a\"b"', 'a"b', id="the quote itself"),
        pytest.param(r"'\''", "'", id="the other quote"),
        pytest.param(r'"\a\b\f\n\r\t\v\\"', "\a\b\f\n\r\t\v\\", id="letters"),
        pytest.param(r'"\x41\101\u00e9\U0001F600"', "AAé😀", id="numbers"),
        pytest.param(r'"\xc3\xa9"', "é", id="bytes may make a character"),
        pytest.param(r'"\xc5z"', "\udcc5z", id="bytes that make none are kept"),
        pytest.param("`\\n\n`", "\\n\n", id="raw"),
    ],
)
def test_unquote(text, value):
    assert unquote(text) == value


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_a_string_survives_printing(value):
    # Characters that are no text at all (other lone surrogates) cannot come from a query.
    value = value.encode("utf-8", "replace" if not _from_bytes(value) else "surrogateescape")
    text = value.decode("utf-8", "surrogateescape")
    assert unquote(quote(text)) == text


def _from_bytes(value):
    return all(not "\ud800" <= c <= "\udfff" or "\udc80" <= c <= "\udcff" for c in value)


def test_characters_in_messages():
    assert [quote_character(c) for c in ("a", "'", '"', "\n", "\u00a0", "")] == [
        "'a'",
        r"'\''",
        "'\"'",
        r"'\n'",
        r"'\u00a0'",
        "'\ufffd'",
    ]
    assert [code_point(c) for c in ("c", "\n")] == ["U+0063 'c'", "U+000A"]


def test_utf8():
    assert is_utf8("é😀")
    assert not is_utf8("a\udcc5")


@pytest.mark.parametrize(
    ("text", "good", "stop"),
    [
        pytest.param("12.5+", True, 4, id="a decimal"),
        pytest.param("1e+5", True, 4, id="an exponent with its sign"),
        pytest.param("1e", False, 2, id="an exponent without digits"),
        pytest.param("1e_", False, 3, id="an exponent of an underscore"),
        pytest.param("1ee", False, 3, id="two exponents"),
        pytest.param("1.2.3", False, 4, id="two points"),
        pytest.param("1._", False, 3, id="an underscore after the point"),
        pytest.param("1_", False, 2, id="an underscore at the end"),
        pytest.param("1_e", False, 3, id="an underscore before the exponent"),
        pytest.param("0x1.", False, 4, id="a point in a hexadecimal"),
        pytest.param("0x_1f", True, 5, id="an underscore after the prefix"),
        pytest.param("5m", False, 1, id="a unit"),
        pytest.param("0xFE", False, 4, id="a hexadecimal that seems to end in an exponent"),
        pytest.param("0xFE ", True, 4, id="but not where something follows"),
    ],
)
def test_where_a_number_ends(text, good, stop):
    assert scan_number(text, 0) == (good, stop)
