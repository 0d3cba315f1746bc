"""Times and durations as a Prometheus 3.5.3 took them."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.times import (
    MAX_TIME,
    MIN_TIME,
    DurationRangeError,
    Instant,
    format_rfc3339,
    parse_duration_ns,
    parse_float,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "query_ms"),
    [
        pytest.param("1435781451.781", 1435781451781, id="float seconds"),
        pytest.param("1.2346", 1235, id="rounded to milliseconds"),
        pytest.param("-1.2346", -1235, id="below zero too"),
        pytest.param("1e9", 10**12, id="an exponent"),
        pytest.param("+5", 5000, id="a plus"),
        pytest.param("1_0", 10_000, id="Go's underscore"),
        pytest.param("0x1p4", 16_000, id="Go's hexadecimal float"),
        pytest.param("NaN", -9223372036854, id="not a number is the beginning of time"),
        pytest.param("Inf", -9223372036854, id="and so is infinity"),
        pytest.param("1e20", 0, id="what does not fit wraps"),
        pytest.param("9223372036854775", 192, id="so does the year 292 million"),
        pytest.param("2026-01-02T03:04:05Z", 1767323045000, id="RFC 3339"),
        pytest.param("2026-01-02T03:04:05.678Z", 1767323045678, id="with a fraction"),
        pytest.param("2026-01-02T03:04:05,6789123456Z", 1767323045678, id="a comma, ten digits"),
        pytest.param("2026-01-02T03:04:05+02:00", 1767315845000, id="with an offset"),
        pytest.param("2026-01-02T3:04:05-00:30", 1767324845000, id="an hour of one digit"),
    ],
)
def test_times_are_taken(text, query_ms):
    assert parse_time(text).query_ms == query_ms


@pytest.mark.parametrize(
    "text",
    [
        "", "abc", "0x10", " 1", "1 ", "1__0", "_1", "1e400", "1,5", "now", "2026-01-02",
        "2026-01-02T03:04:05", "2026-01-02t03:04:05z", "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T03:60:05Z",
        "10000-01-01T00:00:00Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05+25:00",
        "2026-01-02T03:04:05+02:60", "١", "infinit",
    ],
)  # fmt: skip
def test_other_texts_are_no_times(text):
    assert parse_time(text) is None


def test_the_ends_of_time_are_taken_as_clients_write_them():
    assert parse_time("-292273086-05-16T16:47:06Z") == MIN_TIME
    assert parse_time("292277025-08-18T07:12:54.999999999Z") == MAX_TIME
    assert MIN_TIME.before(MAX_TIME)
    assert MAX_TIME.since_ns(MIN_TIME) == 2**63 - 1
    assert MIN_TIME.storage_ms < -(2**62)
    assert MAX_TIME.storage_ms > 2**62


def test_the_year_zero_exists():
    assert parse_time("0000-03-01T00:00:00Z").seconds == -62_162_035_200


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)))
def test_rfc3339_equals_datetime(moment):
    moment = moment.replace(tzinfo=dt.UTC)
    parsed = parse_time(moment.isoformat(timespec="microseconds").replace("+00:00", "Z"))
    exact = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    assert parsed == Instant.of(exact // 1_000_000, exact % 1_000_000 * 1000)


@given(st.floats(-1e11, 1e11))
def test_float_seconds_are_rounded_to_milliseconds(seconds):
    parsed = parse_time(repr(seconds))
    assert abs(parsed.storage_ms - seconds * 1000) <= 1


@given(st.text(max_size=30))
def test_no_text_breaks_the_parsers(text):
    parsed = parse_time(text)
    assert parsed is None or abs(parsed.query_ms) < 2**63 / 10**6 + 1
    assert parse_float(text) is None or isinstance(parse_float(text), float)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        pytest.param("5", 5 * 10**9, id="seconds"),
        pytest.param("0.5", 5 * 10**8, id="half a second"),
        pytest.param("1m30s", 90 * 10**9, id="minutes and seconds"),
        pytest.param("1ms", 10**6, id="milliseconds"),
        pytest.param("1y1w1d1h1m1s1ms", 32_230_861_001 * 10**6, id="every unit"),
        pytest.param("NaN", -(2**63), id="not a number is negative"),
        pytest.param("0s", 0, id="none"),
        pytest.param("1.5s", None, id="no fractions with units"),
        pytest.param("1h1h", None, id="no unit twice"),
        pytest.param("1s1m", None, id="no units out of order"),
        pytest.param("", None, id="nothing"),
        pytest.param("-1m", None, id="no sign"),
        pytest.param("300y", None, id="more than 292 years"),
    ],
)
def test_durations(text, nanos):
    assert parse_duration_ns(text) == nanos


@pytest.mark.parametrize("text", ["Inf", "-Inf", "1e20"])
def test_durations_beyond_64_bits_are_an_error_of_their_own(text):
    with pytest.raises(DurationRangeError):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (1795465610.5, "2026-11-23T20:26:50.5Z"),
        (1795465610, "2026-11-23T20:26:50Z"),
    ],
)
def test_times_are_printed_as_go_does(seconds, text):
    assert format_rfc3339(seconds) == text


def test_infinity_and_not_a_number_are_numbers():
    assert math.isinf(parse_float("+Infinity"))
    assert math.isnan(parse_float("nan"))
    assert parse_float("-nan") is None
