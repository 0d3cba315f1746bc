import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.units import (
    DURATION_MS_MAX,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("0", 0),
        ("0s", 0),
        ("324ms", 324),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("4d1h7m", 349_620_000),
        ("3w2d", 1_987_200_000),
        ("1y2w", 32_745_600_000),
        ("10y", 315_360_000_000),
    ],
)
def test_parse_duration(text, expected_ms):
    assert parse_duration(text) == expected_ms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty duration string"),
        ("1", 'not a valid duration string: "1"'),
        ("-1h", 'not a valid duration string: "-1h"'),
        ("1.5h", 'not a valid duration string: "1.5h"'),
        ("1m1h", 'not a valid duration string: "1m1h"'),
        ("1m1m", 'not a valid duration string: "1m1m"'),
        ("1x", 'unknown unit "x" in duration "1x"'),
        ("294y", "duration out of range"),
    ],
)
def test_bad_durations(text, message):
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(") + "$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [
        (0, "0s"),
        (324, "324ms"),
        (5_400_000, "1h30m"),
        (7_776_000_000, "90d"),
        (604_800_000, "1w"),
        (31_536_000_000, "1y"),
        (60_000, "1m"),
    ],
)
def test_format_duration(duration_ms, expected):
    assert format_duration(duration_ms) == expected


@given(st.integers(0, DURATION_MS_MAX))
def test_a_printed_duration_reads_back(duration_ms):
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@pytest.mark.parametrize(
    ("text", "expected_bytes"),
    [("0", 0), ("512MB", 512 * 1024**2), ("1KiB512B", 1536), ("1.5GB", 1536 * 1024**2)],
)
def test_parse_size(text, expected_bytes):
    assert parse_size(text) == expected_bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [("100", "units: unknown unit  in 100"), ("1XB", "units: unknown unit XB in 1XB")],
)
def test_bad_sizes(text, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_size(text)


@given(st.integers(0, 2**62))
def test_a_printed_size_reads_back(size_bytes):
    assert parse_size(format_size(size_bytes)) == size_bytes
