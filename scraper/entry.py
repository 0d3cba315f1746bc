"""One entry of an exposition, read by the letter of its format; refusals in Prometheus' words.

From: `exposition.py`, for the entries that its kernel leaves alone, and for errors.
To:   `exposition.py` (entries), `ingest.py` (labels of a series that is new).
Source: the lexical grammars of text 0.0.4 and OpenMetrics 1.0 as Prometheus' parsers apply them;
both are more lenient than their specifications, in different places. One difference is meant:
blanks before a name are not made part of it, as Prometheus 3.5 does.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from enum import Enum

_WORD = rb"[a-zA-Z_][a-zA-Z0-9_]*"
_METRIC = rb"[a-zA-Z_:][a-zA-Z0-9_:]*"
# A newline may stand inside quotes, but not behind a backslash; OpenMetrics values hold none.
_STRING = rb'"(?:\\[^\n]|[^\\"])*"'
_LINE_STRING = rb'"(?:\\[^\n]|[^\\"\n])*"'

_BLANKS = re.compile(rb"[ \t]*")
_FLOAT = re.compile(
    rb"[+-]?(?:inf|infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|nan", re.IGNORECASE
)
_TYPES = {
    False: (b"counter", b"gauge", b"histogram", b"summary", b"untyped"),
    True: (
        b"counter",
        b"gauge",
        b"histogram",
        b"gaugehistogram",
        b"summary",
        b"info",
        b"stateset",
        b"unknown",
    ),
}


class ParseError(ValueError):
    """The exposition is refused; `samples` were read before, `kept` of them by relabelling."""

    def __init__(self, reason: str, samples: int = 0, kept: int | None = None) -> None:
        super().__init__(reason)
        self.samples = samples
        self.kept = samples if kept is None else kept


class EntryKind(Enum):
    """What an entry is."""

    SERIES = "series"
    METADATA = "metadata"
    COMMENT = "comment"
    END = "end"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry and where the next begins. Spans are positions in the body.

    SERIES: `start`, `stop` span the series' text, `value`, `time_ms`, and `exemplar` (the span
    from its brace to its end) if it has one. METADATA: `start`, `stop` span the line.
    """

    kind: EntryKind
    next: int
    start: int = 0
    stop: int = 0
    value: float = 0.0
    time_ms: int | None = None
    exemplar: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class MetadataLine:
    """`# TYPE` and its kin: `kind` is "HELP", "TYPE" or "UNIT", the text is unescaped."""

    kind: str
    family: str
    text: str


def go_quote(data: bytes) -> str:
    r"""Return bytes as Go prints them with %q.

    >>> print(go_quote(b'a"\n\xff'))
    "a\"\n\xff"
    """
    out = []
    for char in data.decode(errors="surrogateescape"):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif char in '"\\':
            out.append("\\" + char)
        elif char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


_ESCAPES = {
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def parse_float(text: bytes) -> float:
    """Return a number as Go's ParseFloat reads it. Raises ParseError without context.

    Hexadecimal floats and underscores are refused, as in every exposition format.
    """
    if any(c in text for c in b"pP_"):
        raise ParseError("unsupported character in float")
    if not _FLOAT.fullmatch(text):
        raise ParseError(f"strconv.ParseFloat: parsing {go_quote(text)}: invalid syntax")
    value = float(text)
    if math.isinf(value) and b"n" not in text.lower():
        raise ParseError(f"strconv.ParseFloat: parsing {go_quote(text)}: value out of range")
    return value


def unescape(text: bytes) -> bytes:
    """Undo the three escapes of label values; any other backslash stands for itself."""
    if b"\\" not in text:
        return text
    return _ESCAPED.sub(lambda m: b"\n" if m[1] == b"n" else m[1], text)


_ESCAPED = re.compile(rb'\\([\\"n])')
_HELP_ESCAPED = re.compile(rb"\\([\\n])")


class _Reader:
    """A position in a body, and the tokens of one of the two formats."""

    def __init__(self, body: bytes, at: int, *, openmetrics: bool) -> None:
        self.body, self.begin, self.at, self.openmetrics = body, at, at, openmetrics
        self.token = at

    def error(self, reason: str, token: str = "INVALID", *, start: int | None = None) -> ParseError:
        """Return the error of an unexpected token at the current position."""
        start = self.token if start is None else start
        stop = min(len(self.body), self.at + 1)
        return ParseError(
            f"{reason}, got {go_quote(self.body[start:stop])} ({go_quote(token.encode())}) "
            f"while parsing: {go_quote(self.body[self.begin : stop])}"
        )

    def here(self, reason: str) -> ParseError:
        return ParseError(f"{reason} while parsing: {go_quote(self.body[self.begin : self.at])}")

    def blanks(self) -> None:
        """Skip blanks where the format allows them between tokens: text does, everywhere."""
        if not self.openmetrics:
            self.at = _BLANKS.match(self.body, self.at).end()  # type: ignore[union-attr]
        self.token = self.at

    def take(self, pattern: re.Pattern[bytes]) -> bytes | None:
        """Return the next token if it matches, and stand behind it."""
        self.blanks()
        match = pattern.match(self.body, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[0]


_BRACE_TOKEN = re.compile(rb"(?P<LNAME>%s)|(?P<QSTRING>%s)|[}=,]" % (_WORD, _STRING))
_EXEMPLAR_TOKEN = re.compile(rb"(?P<LNAME>%s)|(?P<QSTRING>%s)|[}=,]" % (_WORD, _LINE_STRING))
_VALUES = {False: re.compile(_STRING), True: re.compile(_LINE_STRING)}
_NAME = re.compile(_METRIC)
_OPEN = re.compile(rb"\{")
_TOKEN_NAMES = {b"}": "BCLOSE", b"=": "EQUAL", b",": "COMMA"}


def _brace_token(reader: _Reader, *, exemplar: bool) -> tuple[str, bytes]:
    """Return the name and the text of the next token inside braces."""
    pattern = _EXEMPLAR_TOKEN if exemplar else _BRACE_TOKEN
    reader.blanks()
    match = pattern.match(reader.body, reader.at)
    if match is None:
        return "INVALID", b""
    reader.at = match.end()
    return match.lastgroup or _TOKEN_NAMES[match[0]], match[0]


def _read_labels(
    reader: _Reader, *, name: bytes | None, exemplar: bool = False
) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    """Read a label list after its opening brace; return the metric name and the raw pairs."""
    pairs: list[tuple[bytes, bytes]] = []
    kind, token = _brace_token(reader, exemplar=exemplar)
    while kind != "BCLOSE":
        if kind not in ("LNAME", "QSTRING"):
            raise reader.error("expected label name", kind)
        label = token
        kind, token = _brace_token(reader, exemplar=exemplar)
        if kind in ("COMMA", "BCLOSE"):
            if exemplar:
                raise reader.error("expected label name", kind)
            if name is not None:
                raise reader.here("metric name already set")
            if not label.startswith(b'"'):
                raise reader.error("expected equal", kind)
            name = label[1:-1]
            if kind == "COMMA":
                kind, token = _brace_token(reader, exemplar=exemplar)
            continue
        if kind != "EQUAL":
            raise reader.error("expected equal", kind)
        value = reader.take(_VALUES[reader.openmetrics])
        if value is None:
            _run_to_string_end(reader)
            raise reader.error("expected label value", start=reader.token)
        if not _is_utf8(value):
            raise ParseError(f"invalid UTF-8 label value: {go_quote(value)}")
        pairs.append((label[1:-1] if label.startswith(b'"') else label, value[1:-1]))
        kind, token = _brace_token(reader, exemplar=exemplar)
        if kind == "COMMA":
            kind, token = _brace_token(reader, exemplar=exemplar)
        elif kind != "BCLOSE" and reader.openmetrics:
            raise reader.error("expected comma or brace close", kind)
    return name, pairs


def _run_to_string_end(reader: _Reader) -> None:
    """Move to where a string that is never closed stops being one, for the error's text."""
    if reader.body[reader.at : reader.at + 1] == b'"':
        stop = reader.body.find(b"\n", reader.at) if reader.openmetrics else -1
        reader.at = len(reader.body) if stop < 0 else stop


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def series_labels(text: bytes, *, openmetrics: bool) -> list[tuple[str, str]]:
    """Return the labels of a series' text, in their order, the metric name first, unescaped.

    Values may be empty and names may come twice; both are the caller's to judge. Raises
    ParseError if the text is no series or a name is not UTF-8.
    """
    quick = _plain_labels(text)
    if quick is not None:
        return quick
    reader = _Reader(text, 0, openmetrics=openmetrics)
    name = reader.take(_NAME)
    pairs: list[tuple[bytes, bytes]] = []
    if reader.take(_OPEN):
        name, pairs = _read_labels(reader, name=name)
    try:
        labels = [(unescape(n).decode(), unescape(v).decode()) for n, v in pairs]
        return [("__name__", unescape(name or b"").decode()), *labels]
    except UnicodeDecodeError:
        raise ParseError(f"invalid metric name or label names: {go_quote(text)}") from None


def _plain_labels(text: bytes) -> list[tuple[str, str]] | None:
    """Return the labels of a text of the form nearly all have, None if it might have another."""
    if b"\\" in text or text.startswith(b"{") or not _is_utf8(text):
        return None
    name, brace, rest = text.decode().partition("{")
    named = ("__name__", name.rstrip(" \t"))
    if not brace:
        return [named]
    pairs = _PLAIN_PAIR.findall(rest)
    # If the parts do not make up the whole, something else stands between them.
    length = sum(map(len, itertools.chain.from_iterable(pairs))) + 4 * len(pairs)
    return [named, *pairs] if rest.endswith('"}') and length == len(rest) else None


_PLAIN_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"]*)"[,}]')


def read_entry(body: bytes, at: int, *, openmetrics: bool) -> Entry:
    """Read the entry at `at`. Raises ParseError, with Prometheus' text.

    `body` of the text format ends in a newline. At its end the kind is END; OpenMetrics bodies
    end by `# EOF` instead, and nothing may follow that.
    """
    reader = _Reader(body, at, openmetrics=openmetrics)
    if openmetrics:
        return _read_openmetrics(reader)
    return _read_text(reader)


# ------------------------------------------------------------------------------- text 0.0.4


_TEXT_META = re.compile(rb"#[ \t]+(HELP|TYPE)[ \t]+")
_META_NAME = re.compile(rb"%s|%s" % (_METRIC, _STRING))
_TEXT_VALUE = re.compile(rb"[^{ \t\n]+")
_TEXT_TIME = re.compile(rb"[0-9]+")


def _read_text(reader: _Reader) -> Entry:
    body = reader.body
    while True:
        reader.blanks()
        if reader.at >= len(body) or body[reader.at] == 0:
            return Entry(EntryKind.END, len(body))
        if body[reader.at] != 10:
            break
        reader.at += 1
        reader.begin = reader.at
    if body[reader.at] == 35:
        return _read_text_comment(reader)
    name = reader.take(_NAME)
    start = reader.token
    if name is None and body[reader.at] != 123:
        raise reader.error("expected a valid start token")
    stop = reader.at
    if reader.take(_OPEN):
        name, _ = _read_labels(reader, name=name)
        stop = reader.at
    if name is None:
        raise reader.here("metric name not set")
    token = reader.take(_TEXT_VALUE)
    if token is None:
        raise reader.error("expected value after metric")
    try:
        value = parse_float(token)
    except ParseError as e:
        raise reader.here(str(e)) from None
    time_ms = None
    number = reader.take(_TEXT_TIME)
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


def _read_text_comment(reader: _Reader) -> Entry:
    body, start = reader.body, reader.at
    match = _TEXT_META.match(body, start)
    if match is None:
        stop = body.find(b"\n", start)
        if b"\0" in body[start:stop] and body[start + 1 : start + 2] not in (b" ", b"\t"):
            return Entry(EntryKind.END, len(body))  # as at the start of a line, but not after "# "
        return Entry(EntryKind.COMMENT, len(body) if stop < 0 else stop + 1, start, stop)
    reader.at = reader.token = match.end()
    name = _META_NAME.match(body, reader.at)
    if name is None:
        raise reader.error(f"expected metric name after {match[1].decode()}")
    stop = body.find(b"\n", name.end())
    stop = len(body) if stop < 0 else stop
    parse_metadata(body[start:stop], openmetrics=False)
    return Entry(EntryKind.METADATA, stop + 1, start, stop)


# ----------------------------------------------------------------------------- OpenMetrics 1.0


_OM_META = re.compile(rb"# (HELP|TYPE|UNIT) ")
_OM_END = re.compile(rb"# EOF\n?")
_OM_VALUE = re.compile(rb" [^ \n]+")
_OM_EXEMPLAR = re.compile(rb" # \{")
_OM_WORDS = (b"# HELP ", b"# TYPE ", b"# UNIT ", b"# EOF")
_NO_END = "data does not end with # EOF"


def _read_openmetrics(reader: _Reader) -> Entry:
    body = reader.body
    if reader.at >= len(body):
        raise ParseError(_NO_END)
    if body[reader.at] == 35:
        return _read_openmetrics_comment(reader)
    name = reader.take(_NAME)
    start = reader.token
    if name is None and body[reader.at] != 123:
        raise reader.error("expected a valid start token")
    stop = reader.at
    if reader.take(_OPEN):
        name, _ = _read_labels(reader, name=name)
        stop = reader.at
    if name is None:
        raise reader.here("metric name not set")
    value = _openmetrics_float(reader, "metric")
    time_ms: int | None = None
    exemplar: tuple[int, int] | None = None
    if reader.take(_OM_EXEMPLAR):
        exemplar = _openmetrics_exemplar(reader)
    elif body[reader.at : reader.at + 1] != b"\n":
        token = reader.take(_OM_VALUE)
        if token is None:
            if body.startswith(b" \n", reader.at):
                # Prometheus takes the sample, and then stumbles over the end of its line.
                reader.begin = reader.token = reader.at = reader.at + 1
                reader.at += 1
                error = reader.error("expected a valid start token", "LINEBREAK")
                raise ParseError(str(error), 1)
            raise _openmetrics_end(reader, "expected timestamp or # symbol")
        time_ms = _openmetrics_time(reader, token, "timestamp")
        if reader.take(_OM_EXEMPLAR):
            exemplar = _openmetrics_exemplar(reader)
    if body[reader.at : reader.at + 1] != b"\n":
        raise _openmetrics_end(reader, "expected next entry after timestamp")
    return Entry(EntryKind.SERIES, reader.at + 1, start, stop, value, time_ms, exemplar)


def _openmetrics_end(reader: _Reader, reason: str) -> ParseError:
    """Return the error of a line that goes on, or of a body that stops, where it should end."""
    body = reader.body
    reader.token = reader.at
    if reader.at >= len(body):
        return ParseError(_NO_END)
    kind = "INVALID"
    if body.startswith(b" # ", reader.at):
        reader.at += 3
    elif token := _OM_VALUE.match(body, reader.at):
        kind, reader.at = "TIMESTAMP", token.end()
    elif body.startswith(b" ", reader.at):
        reader.at += 1
    return reader.error(reason, kind)


def _openmetrics_float(reader: _Reader, after: str) -> float:
    token = reader.take(_OM_VALUE)
    if token is None:
        reader.at += reader.body.startswith(b" ", reader.at)
        raise reader.error(f"expected value after {after}")
    try:
        return parse_float(token[1:])
    except ParseError as e:
        raise reader.here(str(e)) from None


def _openmetrics_time(reader: _Reader, token: bytes, what: str) -> int:
    try:
        seconds = parse_float(token[1:])
    except ParseError as e:
        raise reader.here(str(e)) from None
    if not math.isfinite(seconds):
        text = "NaN" if math.isnan(seconds) else "+Inf" if seconds > 0 else "-Inf"
        raise ParseError(f"invalid {what} {text}")
    # Clamped: what does not fit into 64 bits is out of every bound anyhow.
    return max(-(1 << 63), min((1 << 63) - 1, int(seconds * 1000)))


def _openmetrics_exemplar(reader: _Reader) -> tuple[int, int]:
    """Read an exemplar after its opening brace; return its span."""
    start = reader.at - 1
    _read_labels(reader, name=None, exemplar=True)
    _openmetrics_float(reader, "exemplar labels")
    if reader.body[reader.at : reader.at + 1] != b"\n":
        token = reader.take(_OM_VALUE)
        if token is None:
            raise _openmetrics_end(reader, "expected timestamp or comment")
        _openmetrics_time(reader, token, "exemplar timestamp")
        if reader.body[reader.at : reader.at + 1] != b"\n":
            raise _openmetrics_end(reader, "expected next entry after exemplar timestamp")
    return start, reader.at


def _common(body: bytes, at: int, word: bytes) -> int:
    """Return how much of `word` stands at `at`."""
    length = 0
    while length < len(word) and body[at + length : at + length + 1] == word[length : length + 1]:
        length += 1
    return length


def _read_openmetrics_comment(reader: _Reader) -> Entry:
    body, start = reader.body, reader.at
    end = _OM_END.match(body, start)
    if end is not None:
        if end.end() < len(body):
            raise ParseError("unexpected data after # EOF")
        return Entry(EntryKind.END, len(body))
    match = _OM_META.match(body, start)
    if match is None:
        reader.at = start + max(_common(body, start, word) for word in _OM_WORDS)
        raise reader.error("expected a valid start token")
    reader.at = reader.token = match.end()
    name = _META_NAME.match(body, reader.at)
    if name is None:
        raise reader.error(f"expected metric name after {match[1].decode()}")
    stop = body.find(b"\n", name.end())
    if stop < 0 or body[name.end()] != 32:
        raise ParseError(f"expected text in {match[1].decode()}")
    parse_metadata(body[start:stop], openmetrics=True)
    return Entry(EntryKind.METADATA, stop + 1, start, stop)


# --------------------------------------------------------------------------------- metadata


_META_LINE = {
    False: re.compile(rb"#[ \t]+(HELP|TYPE)[ \t]+(%s|%s)(.*)" % (_METRIC, _STRING), re.DOTALL),
    True: re.compile(rb"# (HELP|TYPE|UNIT) (%s|%s) (.*)" % (_METRIC, _STRING), re.DOTALL),
}


def parse_metadata(line: bytes, *, openmetrics: bool) -> MetadataLine:
    """Return what a metadata line says. Raises ParseError if it says nothing valid."""
    match = _META_LINE[openmetrics].fullmatch(line)
    if match is None:
        raise ParseError("expected text in " + line[2:6].decode(errors="replace"))
    kind, name, text = match.groups()
    if not openmetrics:
        # One blank ends the name; if only blanks follow, there is no text.
        text = b"" if not text.strip(b" \t") else text[1:]
    if name.startswith(b'"'):
        name = name[1:-1]
    if kind == b"TYPE":
        if text not in _TYPES[openmetrics]:
            raise ParseError(f"invalid metric type {go_quote(text)}")
        text = b"unknown" if text == b"untyped" else text
    elif kind == b"HELP":
        if not _is_utf8(text):
            raise ParseError(f"help text {go_quote(text)} is not a valid utf8 string")
        pattern = _ESCAPED if openmetrics else _HELP_ESCAPED
        text = pattern.sub(lambda m: b"\n" if m[1] == b"n" else m[1], text)
    elif text and not name.endswith(b"_" + text):
        raise ParseError(f"unit {go_quote(text)} not a suffix of metric {go_quote(name)}")
    return MetadataLine(kind.decode(), name.decode(errors="replace"), text.decode(errors="replace"))
