"""Request text -> typed, bounded values; every refusal in Prometheus' words.

From: an aiohttp request.   To: handlers, through `Form`.

Parameters come from the URL and, with POST or PUT, from a form body, which comes first. An empty
parameter is an absent one. Bytes that are no UTF-8 arrive as lone surrogates, so that a query
that has them is refused rather than changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from api.errors import BAD_DATA, ApiError, BadParameterError
from api.times import (
    MAX_TIME,
    MIN_TIME,
    DurationRangeError,
    Instant,
    parse_duration_ns,
    parse_time,
)
from promql.check import selects_something
from promql.errors import ParseError
from promql.parse import parse_selector
from promql.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from tsdb.interface import Matcher

FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART_TYPE = "multipart/form-data"

FORM_BYTES_MAX = 10 << 20
"""Go's own limit on a form body."""

POINTS_MAX = 11_000
"""Steps between start and end of a range query."""

_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_PART_NAME = re.compile(rb'\bname="([^"\r\n]*)"')
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,70})')
_TIME_LIMIT_MS = 2**62
_GO_INT = re.compile(r"[+-]?\d+", re.ASCII)


def decode_pairs(text: str) -> dict[str, list[str]]:
    """Return name -> values of a query string or form body; malformed pairs are passed over.

    >>> decode_pairs("a=1&b=x+y%21&a=%zz&c;d=1&e")
    {'a': ['1'], 'b': ['x y!'], 'e': ['']}
    """
    values: dict[str, list[str]] = {}
    for pair in text.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        name, _, value = pair.partition("=")
        values.setdefault(_unescape(name), []).append(_unescape(value))
    return values


def _unescape(text: str) -> str:
    if "%" not in text and "+" not in text and text.isascii():
        return text
    raw = unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def pair_problem(text: str) -> str:
    """Return what Go says of a query string or form body with malformed pairs, "" for none.

    >>> pair_problem("a=%zz"), pair_problem("a;b"), pair_problem("a=%20&b")
    ('invalid URL escape "%zz"', 'invalid semicolon separator in query', '')
    """
    if ";" in text:
        return "invalid semicolon separator in query"
    bad = _BAD_ESCAPE.search(text)
    if bad is None:
        return ""
    return f"invalid URL escape {quote(text[bad.start() : bad.start() + 3].partition('&')[0])}"


def multipart_values(body: bytes, boundary: bytes) -> dict[str, list[str]]:
    r"""Return name -> values of a multipart form; files and malformed parts are passed over.

    >>> head = b'Content-Disposition: form-data; name="query"'
    >>> multipart_values(b"--b\r\n" + head + b"\r\n\r\nup\r\n--b--\r\n", b"b")
    {'query': ['up']}
    """
    values: dict[str, list[str]] = {}
    for part in body.split(b"--" + boundary)[1:]:
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if blank and name is not None and b"filename=" not in head:
            text = value.removesuffix(b"\r\n").decode("utf-8", "surrogateescape")
            values.setdefault(name[1].decode("utf-8", "surrogateescape"), []).append(text)
    return values


async def read_form(request: web.Request, *, strict: bool = False) -> Form:
    """Return the merged parameters of a request.

    Raises ApiError for a body over the limit and, if `strict`, for malformed pairs.
    """
    _, _, query = request.raw_path.partition("?")
    merged: dict[str, list[str]] = {}
    problem = ""
    if request.method in ("POST", "PUT") and request.content_type in (FORM_TYPE, MULTIPART_TYPE):
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > FORM_BYTES_MAX:
                prefix = "error parsing form values: " if strict else ""
                raise ApiError(BAD_DATA, f"{prefix}http: POST too large")
        if request.content_type == MULTIPART_TYPE:
            boundary = _BOUNDARY.search(request.headers.get("Content-Type", ""))
            merged = multipart_values(bytes(body), boundary[1].encode()) if boundary else {}
        elif body:
            text = body.decode("utf-8", "surrogateescape")
            merged, problem = decode_pairs(text), pair_problem(text) if strict else ""
    for name, values in decode_pairs(query).items():
        merged.setdefault(name, []).extend(values)
    if strict and (problem := problem or pair_problem(query)):
        raise ApiError(BAD_DATA, f"error parsing form values: {problem}")
    return Form(merged)


@dataclass(frozen=True, slots=True)
class Form:
    """All parameters of one request."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return the first value of a parameter, "" if absent."""
        found = self.values.get(name)
        return found[0] if found else ""

    def all(self, name: str) -> Sequence[str]:
        """Return every value of a parameter."""
        return self.values.get(name, ())

    def time(self, name: str, default: Instant | None = None) -> Instant:
        """Return a time that may be absent (if there is a default). Raises BadParameterError."""
        text = self.text(name)
        if default is not None and not text:
            return default
        found = parse_time(text)
        if found is None:
            reason = f"cannot parse {quote(text)} to a valid timestamp"
            if default is not None:
                reason = f"invalid time value for '{name}': {reason}"
            raise BadParameterError(name, reason)
        return found

    def time_range_ms(self) -> tuple[int, int]:
        """Return `start` and `end` in ms for selecting series; absent, they are all of time."""
        start, end = self.time("start", MIN_TIME), self.time("end", MAX_TIME)
        return _bounded(start.storage_ms), _bounded(end.storage_ms)

    def duration_ns(self, name: str) -> int:
        """Return a duration. Raises BadParameterError."""
        try:
            return duration_ns(self.text(name))
        except ValueError as error:
            raise BadParameterError(name, str(error)) from None

    def timeout_s(self) -> float | None:
        """Return the `timeout`, or None if absent. Raises BadParameterError."""
        return self.duration_ns("timeout") / 1e9 if self.text("timeout") else None

    def lookback_ms(self) -> int | None:
        """Return the `lookback_delta`; None means the server's own, and so do 0 and less."""
        text = self.text("lookback_delta")
        if not text:
            return None
        try:
            millis = duration_ns(text) // 1_000_000
        except ValueError as error:
            reason = f"error parsing lookback delta duration: {error}"
            raise ApiError(BAD_DATA, reason) from None
        return millis if millis > 0 else None

    def limit(self) -> int:
        """Return the `limit`, 0 for none. Raises BadParameterError."""
        text = self.text("limit")
        if not text:
            return 0
        number = parse_int(text)
        if number is None:
            reason = f"strconv.Atoi: parsing {quote(text)}: {int_problem(text)}"
            raise BadParameterError("limit", reason)
        if number < 0:
            raise BadParameterError("limit", "limit must be non-negative")
        return number

    def count(self, name: str) -> int | None:
        """Return a number such as /metadata takes, None if absent. Raises ApiError."""
        text = self.text(name)
        if not text:
            return None
        number = parse_int(text)
        if number is None:
            raise ApiError(BAD_DATA, f"{name} must be a number")
        return number


_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_bool(text: str) -> bool:
    """Return a boolean in Go's syntax. Raises ValueError with Go's text."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def parse_int(text: str) -> int | None:
    """Return a decimal integer of 64 bits, or None."""
    if not _GO_INT.fullmatch(text) or len(text) > 20:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def int_problem(text: str) -> str:
    """Return what Go says of a text that `parse_int` does not take."""
    return "value out of range" if _GO_INT.fullmatch(text) else "invalid syntax"


def duration_ns(text: str) -> int:
    """Return a duration in ns. Raises ValueError with the reason."""
    try:
        found = parse_duration_ns(text)
    except DurationRangeError:
        reason = f"cannot parse {quote(text)} to a valid duration. It overflows int64"
        raise ValueError(reason) from None
    if found is None:
        raise ValueError(f"cannot parse {quote(text)} to a valid duration")
    return found


def matcher_sets(texts: Sequence[str]) -> list[tuple[Matcher, ...]]:
    """Return the matchers of `match[]` values. Raises ParseError, ApiError (one matches all)."""
    sets = [selector(text) for text in texts]
    if not all(selects_something(matchers) for matchers in sets):
        raise ApiError(BAD_DATA, "match[] must contain at least one non-empty matcher")
    return sets


def selector(text: str) -> tuple[Matcher, ...]:
    """Return the matchers of one selector. Raises ParseError."""
    if not text:
        raise ParseError("unexpected end of input", text, None)
    return _known_selector(text) if len(text) <= _SELECTOR_KEPT_MAX else parse_selector(text)


@lru_cache(maxsize=1000)
def _known_selector(text: str) -> tuple[Matcher, ...]:
    """Parse a selector once: label browsers ask about the same few, and it takes 0.2 ms."""
    return parse_selector(text)


_SELECTOR_KEPT_MAX = 1000
"""Characters of a selector that is kept."""


def _bounded(time_ms: int) -> int:
    """Keep a time where adding a span to it cannot overflow."""
    return max(-_TIME_LIMIT_MS, min(_TIME_LIMIT_MS, time_ms))
