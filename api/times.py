"""Times and durations as request parameters spell them, with Prometheus' limits and overflow.

From: `params.py`.   To: handlers, as `Instant` or nanoseconds.
Python's datetime ends at the year 9999 and microseconds; clients send more, so all is integers.
Source: Prometheus' HTTP API documentation; Go's `time` and `strconv`; answers of 3.5.3.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
NANOS = 1_000_000_000

_UNIX_TO_YEAR_ONE = 62_135_596_800
"""Seconds from year 1 to 1970: Go compares times on that scale, and there it wraps."""

_FLOAT = re.compile(
    r"[+-]?(?:(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?"
    r"|0[xX][\da-fA-F_]+(?:\.[\da-fA-F_]*)?[pP][+-]?\d+|(?:inf(?:inity)?))|nan",
    re.IGNORECASE | re.ASCII,
)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
_UNIT_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)


def _wrap(number: int) -> int:
    """Return the number as a signed 64-bit integer overflows."""
    return (number + 2**63) % 2**64 - 2**63


def _to_int64(number: float) -> int:
    """Return a float cut to an integer, as amd64 does: what does not fit is the least integer."""
    return int(number) if -(2.0**63) <= number < 2.0**63 else INT64_MIN


def _divide(number: int, by: int) -> int:
    """Divide towards zero."""
    return number // by if number >= 0 else -(-number // by)


@dataclass(frozen=True, slots=True)
class Instant:
    """A time as Go holds it: seconds since 1970 (64 bits, wrapping), nanoseconds [0, 1e9)."""

    seconds: int
    nanos: int

    @staticmethod
    def of(seconds: int, nanos: int) -> Instant:
        """Return the time of any seconds and nanoseconds, carried over as needed."""
        carry, rest = divmod(nanos, NANOS)
        return Instant(_wrap(seconds + carry), rest)

    @property
    def query_ms(self) -> int:
        """Milliseconds for evaluation: by way of 64-bit nanoseconds, wrapping beyond 2262."""
        return _divide(_wrap(self.seconds * NANOS + self.nanos), 1_000_000)

    @property
    def storage_ms(self) -> int:
        """Milliseconds for selecting series."""
        return _wrap(self.seconds * 1000 + self.nanos // 1_000_000)

    @property
    def _order(self) -> tuple[int, int]:
        return (_wrap(self.seconds + _UNIX_TO_YEAR_ONE), self.nanos)

    def before(self, other: Instant) -> bool:
        """Say whether this is the earlier one."""
        return self._order < other._order

    def since_ns(self, other: Instant) -> int:
        """Return the nanoseconds from `other` to this, held within 64 bits."""
        mine, theirs = self._order, other._order
        span = (mine[0] - theirs[0]) * NANOS + mine[1] - theirs[1]
        return min(max(span, INT64_MIN), INT64_MAX)


MIN_TIME = Instant(_divide(INT64_MIN, 1000) + 62_135_596_801, 0)
MAX_TIME = Instant(_divide(INT64_MAX, 1000) - 62_135_596_801, 999_999_999)
"""The ends of time, what a missing start or end means."""

_ENDS = {
    "-292273086-05-16T16:47:06Z": MIN_TIME,
    "292277025-08-18T07:12:54.999999999Z": MAX_TIME,
}
"""How client_golang writes them."""


def parse_float(text: str) -> float | None:
    """Return a number in Go's syntax, or None. Out of range is None, as `inf` written is not.

    >>> parse_float("1e3"), parse_float("1_0"), parse_float("0x10"), parse_float(" 1")
    (1000.0, 10.0, None, None)
    """
    if not _FLOAT.fullmatch(text):
        return None
    if "_" in text:
        if not re.fullmatch(r"[^_]*(?:[\da-fA-FxX]_[\da-fA-F][^_]*)*", text):
            return None
        text = text.replace("_", "")
    if "x" in text or "X" in text:
        try:
            return float.fromhex(text)
        except OverflowError:
            return None
    number = float(text)
    return None if math.isinf(number) and "i" not in text.lower() else number


def parse_time(text: str) -> Instant | None:
    """Return the time of float seconds or RFC 3339 with any fraction, or None.

    >>> parse_time("1.2346").storage_ms, parse_time("1970-01-01T01:00:00.5+01:00").storage_ms
    (1235, 500)
    """
    number = parse_float(text)
    if number is not None:
        if math.isfinite(number):
            fraction, whole = math.modf(number)
        else:
            fraction, whole = math.nan, number
        if math.isnan(fraction):
            nanos = INT64_MIN
        else:
            # Go rounds halves away from zero.
            thousandths = math.copysign(math.floor(abs(fraction * 1000) + 0.5), fraction)
            nanos = int(thousandths / 1000 * NANOS)
        return Instant.of(_to_int64(whole), nanos)
    return _ENDS.get(text) or _parse_rfc3339(text)


def _parse_rfc3339(text: str) -> Instant | None:
    found = _RFC3339.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, zone_hour, zone_minute = found.groups()[6:]
    if hour > 23 or minute > 59 or second > 59 or int(zone_hour or 0) > 24:
        return None
    if int(zone_minute or 0) > 59:
        return None
    try:
        # The year 0 exists for Go; shift it by one cycle of 400 years for Python.
        days = dt.date(year or 400, month, day).toordinal() - (0 if year else 146_097)
    except ValueError:
        return None
    offset = int(zone_hour or 0) * 3600 + int(zone_minute or 0) * 60
    seconds = (days - 719_163) * 86_400 + hour * 3600 + minute * 60 + second
    seconds -= -offset if sign == "-" else offset
    return Instant.of(seconds, int(((fraction or "") + "000000000")[:9]))


class DurationRangeError(ValueError):
    """A number that is no 64-bit count of nanoseconds."""


def parse_duration_ns(text: str) -> int | None:
    """Return the nanoseconds of float seconds or `1h30m`, or None. Raises DurationRangeError.

    >>> parse_duration_ns("1.5"), parse_duration_ns("1m30s"), parse_duration_ns("1s1m")
    (1500000000, 90000000000, None)
    """
    number = parse_float(text)
    if number is not None:
        nanos = number * 1e9
        if nanos > 2.0**63 or nanos < -(2.0**63):
            raise DurationRangeError(text)
        return _to_int64(nanos)
    found = _DURATION.fullmatch(text)
    if not found or not text:
        return None
    parts = zip(found.groups(), _UNIT_MS, strict=True)
    millis = sum(int(count) * unit for count, unit in parts if count and len(count) < 20)
    return millis * 1_000_000 if millis * 1_000_000 <= INT64_MAX else None


def format_rfc3339(seconds: float) -> str:
    """Return a time as Go's RFC3339Nano prints it in UTC; 0 is Go's zero time.

    >>> format_rfc3339(1.5), format_rfc3339(0)
    ('1970-01-01T00:00:01.5Z', '0001-01-01T00:00:00Z')
    """
    if not seconds:
        return "0001-01-01T00:00:00Z"
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
