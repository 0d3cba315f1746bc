"""One entry of the text format 0.0.4, by the letter of Prometheus' grammar for it.

From: `exposition.py`, for the entries that its kernel leaves alone, and for errors.
To:   `exposition.py`.
One difference is meant: blanks before a name are not made part of it, as Prometheus 3.5 does.
"""

from __future__ import annotations

import re

from scraper.metadata import FAMILY_NAME, parse_metadata
from scraper.tokens import (
    BRACE,
    METRIC_NAME,
    Entry,
    EntryKind,
    ParseError,
    Reader,
    go_quote,
    parse_float,
    read_labels,
)

_META = re.compile(rb"#[ \t]+(HELP|TYPE)[ \t]+")
_VALUE = re.compile(rb"[^{ \t\n]+")
_TIME = re.compile(rb"[0-9]+")


def read_text(body: bytes, at: int) -> Entry:
    """Read the entry at `at` of a body that ends in a newline. Raises ParseError."""
    reader = Reader(body, at, openmetrics=False)
    while True:
        reader.blanks()
        if reader.at >= len(body) or body[reader.at] == 0:
            return Entry(EntryKind.END, len(body))
        if body[reader.at] != 10:
            break
        reader.at += 1
        reader.begin = reader.at
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
    token = reader.take(_VALUE)
    if token is None:
        raise reader.error("expected value after metric")
    try:
        value = parse_float(token)
    except ParseError as e:
        raise reader.here(str(e)) from None
    time_ms = None
    number = reader.take(_TIME)
    if number is not None:
        time_ms = int(number)
        if time_ms >= 1 << 63:
            quoted = go_quote(number)
            raise reader.here(f"strconv.ParseInt: parsing {quoted}: value out of range")
    reader.blanks()
    if body[reader.at : reader.at + 1] != b"\n":
        what = "timestamp or new record" if number is None else "next entry after timestamp"
        raise reader.error(f"expected {what}")
    return Entry(EntryKind.SERIES, reader.at + 1, start, stop, value, time_ms)


def _read_comment(reader: Reader) -> Entry:
    body, start = reader.body, reader.at
    match = _META.match(body, start)
    if match is None:
        stop = body.find(b"\n", start)
        if b"\0" in body[start:stop] and body[start + 1 : start + 2] not in (b" ", b"\t"):
            return Entry(EntryKind.END, len(body))  # as at the start of a line, but not after "# "
        return Entry(EntryKind.COMMENT, len(body) if stop < 0 else stop + 1, start, stop)
    reader.at = reader.token = match.end()
    name = FAMILY_NAME.match(body, reader.at)
    if name is None:
        raise reader.error(f"expected metric name after {match[1].decode()}")
    stop = body.find(b"\n", name.end())
    stop = len(body) if stop < 0 else stop
    parse_metadata(body[start:stop], openmetrics=False)
    return Entry(EntryKind.METADATA, stop + 1, start, stop)
