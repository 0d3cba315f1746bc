"""Which format a body has, by its `Content-Type`.

From: `fetch.py`, the header.   To: `ingest.py`, which chooses the reader.
Source: Prometheus 3's rules; the header is read as Go's `mime.ParseMediaType` does, whose words
stand in the error.
"""

from __future__ import annotations

import re
from functools import lru_cache

from scraper.tokens import ParseError, go_quote

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
PROTOBUF = "application/vnd.google.protobuf"
_FALLBACKS = {
    "PrometheusText0.0.4": TEXT,
    "PrometheusText1.0.0": TEXT,
    "OpenMetricsText0.0.1": OPENMETRICS,
    "OpenMetricsText1.0.0": OPENMETRICS,
    "PrometheusProto": PROTOBUF,
}

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z{}]*")
_PARAMETER = re.compile(
    r"\s*;\s*(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z{}]+)\s*=\s*"
    r"(?P<value>[!#$%&'*+\-.^_`|~0-9A-Za-z{}]+|\"(?:[^\"\\\r\n]|\\.)*\")"
)


@lru_cache(maxsize=256)
def media_type(content_type: str, fallback_protocol: str = "") -> str:
    """Return TEXT, OPENMETRICS or PROTOBUF for a `Content-Type`, by the rules of Prometheus 3.

    Raises ParseError if the type is blank, malformed or unknown and there is no fallback.
    """
    fallback = _FALLBACKS.get(fallback_protocol, "")
    if not content_type:
        found, problem = "", "non-compliant scrape target sending blank Content-Type and"
    else:
        found, fault = _parse_media_type(content_type)
        quoted = go_quote(content_type.encode(errors="surrogateescape"))
        if fault:
            if not fallback:
                raise ParseError(
                    f"cannot parse Content-Type {quoted} and no fallback_scrape_protocol for target"
                    f"\nmime: {fault}"
                )
            found = fallback
        problem = f"received unsupported Content-Type {quoted} and"
    if found not in (TEXT, OPENMETRICS, PROTOBUF):
        if not fallback:
            raise ParseError(f"{problem} no fallback_scrape_protocol specified for target")
        found = fallback
    return found


def _parse_media_type(content_type: str) -> tuple[str, str]:
    """Return the type without its parameters, in lower case, and what is wrong with it, or ""."""
    kind, semicolon, rest = content_type.partition(";")
    kind = kind.strip().lower()
    main, after = _token(kind)
    if not main:
        return "", "no media type"
    if after:
        if not after.startswith("/"):
            return "", "expected slash after first token"
        sub, after = _token(after[1:])
        if not sub:
            return "", "expected token after slash"
        if after:
            return "", "unexpected content after media subtype"
    rest = semicolon + rest
    values: dict[str, str] = {}
    while rest.strip() not in ("", ";"):
        match = _PARAMETER.match(rest)
        if match is None:
            return "", "invalid media parameter"
        name, value = match["name"].lower(), match["value"]
        if values.setdefault(name, value) != value:
            return "", "duplicate parameter name"
        rest = rest[match.end() :]
    return kind, ""


def _token(text: str) -> tuple[str, str]:
    """Return the token that a text begins with, "" if none, and what follows it."""
    match = _TOKEN.match(text)
    assert match is not None
    return match[0], text[match.end() :]
