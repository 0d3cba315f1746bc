"""One entry of OpenMetrics 1.0 text, by the letter of Prometheus' grammar for it.

From: `exposition.py`, for the entries that its kernel leaves alone, and for errors.
To:   `exposition.py`.
"""

from __future__ import annotations

import math
import re

from scraper.metadata import FAMILY_NAME, parse_metadata
from scraper.tokens import (
    BRACE,
    METRIC_NAME,
    Entry,
    EntryKind,
    ParseError,
    Reader,
    milliseconds,
    parse_float,
    read_labels,
)

_META = re.compile(rb"# (HELP|TYPE|UNIT) ")
_END = re.compile(rb"# EOF\n?")
_VALUE = re.compile(rb" [^ \n]+")
_EXEMPLAR = re.compile(rb" # \{")
_WORDS = (b"# HELP ", b"# TYPE ", b"# UNIT ", b"# EOF")
_NO_END = "data does not end with # EOF"


def read_openmetrics(body: bytes, at: int) -> Entry:
    """Read the entry at `at`; a body ends by `# EOF`, and nothing may follow. Raises ParseError."""
    reader = Reader(body, at, openmetrics=True)
    if reader.at >= len(body):
        raise ParseError(_NO_END)
    if body[reader.at] == 35:
        return _read_comment(reader)
    name = reader.take(METRIC_NAME)
    start = reader.token
    if name is None and body[reader.at] != 123:
        raise reader.error("expected a valid start token")
    stop = reader.at
    if reader.take(BRACE):
        name, _ = read_labels(reader, name=name)
        stop = reader.at
    if name is None:
        raise reader.here("metric name not set")
    value = _float(reader, "metric")
    time_ms: int | None = None
    exemplar: tuple[int, int] | None = None
    if reader.take(_EXEMPLAR):
        exemplar = _exemplar(reader)
    elif body[reader.at : reader.at + 1] != b"\n":
        token = reader.take(_VALUE)
        if token is None:
            if body.startswith(b" \n", reader.at):
                # Prometheus takes the sample, and then stumbles over the end of its line.
                reader.begin = reader.token = reader.at = reader.at + 1
                reader.at += 1
                error = reader.error("expected a valid start token", "LINEBREAK")
                raise ParseError(str(error), 1)
            raise _line_error(reader, "expected timestamp or # symbol")
        time_ms = _time(reader, token, "timestamp")
        if reader.take(_EXEMPLAR):
            exemplar = _exemplar(reader)
    if body[reader.at : reader.at + 1] != b"\n":
        raise _line_error(reader, "expected next entry after timestamp")
    return Entry(EntryKind.SERIES, reader.at + 1, start, stop, value, time_ms, exemplar)


def _line_error(reader: Reader, reason: str) -> ParseError:
    """Return the error of a line that goes on, or of a body that stops, where it should end."""
    body = reader.body
    reader.token = reader.at
    if reader.at >= len(body):
        return ParseError(_NO_END)
    kind = "INVALID"
    if body.startswith(b" # ", reader.at):
        reader.at += 3
    elif token := _VALUE.match(body, reader.at):
        kind, reader.at = "TIMESTAMP", token.end()
    elif body.startswith(b" ", reader.at):
        reader.at += 1
    return reader.error(reason, kind)


def _float(reader: Reader, after: str) -> float:
    token = reader.take(_VALUE)
    if token is None:
        reader.at += reader.body.startswith(b" ", reader.at)
        raise reader.error(f"expected value after {after}")
    try:
        return parse_float(token[1:])
    except ParseError as e:
        raise reader.here(str(e)) from None


def _time(reader: Reader, token: bytes, what: str) -> int:
    try:
        seconds = parse_float(token[1:])
    except ParseError as e:
        raise reader.here(str(e)) from None
    if not math.isfinite(seconds):
        text = "NaN" if math.isnan(seconds) else "+Inf" if seconds > 0 else "-Inf"
        raise ParseError(f"invalid {what} {text}")
    return milliseconds(seconds)


def _exemplar(reader: Reader) -> tuple[int, int]:
    """Read an exemplar after its opening brace; return its span."""
    start = reader.at - 1
    read_labels(reader, name=None, exemplar=True)
    _float(reader, "exemplar labels")
    if reader.body[reader.at : reader.at + 1] != b"\n":
        token = reader.take(_VALUE)
        if token is None:
            raise _line_error(reader, "expected timestamp or comment")
        _time(reader, token, "exemplar timestamp")
        if reader.body[reader.at : reader.at + 1] != b"\n":
            raise _line_error(reader, "expected next entry after exemplar timestamp")
    return start, reader.at


def _common(body: bytes, at: int, word: bytes) -> int:
    """Return how much of `word` stands at `at`."""
    length = 0
    while length < len(word) and body[at + length : at + length + 1] == word[length : length + 1]:
        length += 1
    return length


def _read_comment(reader: Reader) -> Entry:
    body, start = reader.body, reader.at
    end = _END.match(body, start)
    if end is not None:
        if end.end() < len(body):
            raise ParseError("unexpected data after # EOF")
        return Entry(EntryKind.END, len(body))
    match = _META.match(body, start)
    if match is None:
        reader.at = start + max(_common(body, start, word) for word in _WORDS)
        raise reader.error("expected a valid start token")
    reader.at = reader.token = match.end()
    name = FAMILY_NAME.match(body, reader.at)
    if name is None:
        raise reader.error(f"expected metric name after {match[1].decode()}")
    stop = body.find(b"\n", name.end())
    if stop < 0 or body[name.end()] != 32:
        raise ParseError(f"expected text in {match[1].decode()}")
    parse_metadata(body[start:stop], openmetrics=True)
    return Entry(EntryKind.METADATA, stop + 1, start, stop)
