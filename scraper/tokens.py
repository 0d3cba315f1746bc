"""What both text formats are made of: names, strings, numbers, label lists; and their errors.

From: `text_format.py`, `openmetrics.py`, which read one entry each; `ingest.py`, for the labels of
a series that is new.
Source: the lexical grammars of text 0.0.4 and OpenMetrics 1.0 as Prometheus' parsers apply them;
both are more lenient than their specifications, in different places. Errors are in its words.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from enum import Enum

_WORD = rb"[a-zA-Z_][a-zA-Z0-9_]*"
METRIC = rb"[a-zA-Z_:][a-zA-Z0-9_:]*"
# A newline may stand inside quotes, but not behind a backslash; OpenMetrics values hold none.
STRING = rb'"(?:\\[^\n]|[^\\"])*"'
_LINE_STRING = rb'"(?:\\[^\n]|[^\\"\n])*"'

_BLANKS = re.compile(rb"[ \t]*")
_FLOAT = re.compile(
    rb"[+-]?(?:inf|infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|nan", re.IGNORECASE
)


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


def go_quote(data: bytes) -> str:
    r"""Return bytes as Go prints them with %q; of more than a kilobyte the beginning is shown.

    >>> print(go_quote(b'a"\n\xff'))
    "a\"\n\xff"
    """
    if len(data) > _QUOTED_BYTES_MAX:
        return f'{go_quote(data[:_QUOTED_BYTES_MAX])[:-1]}..."'
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


_QUOTED_BYTES_MAX = 1024
"""A line may be as long as a body: 200 MB of it in a message took a minute and 3 GB."""

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
    return ESCAPED.sub(lambda m: b"\n" if m[1] == b"n" else m[1], text)


ESCAPED = re.compile(rb'\\([\\"n])')


class Reader:
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
        """Return the error of an entry that is wrong up to the current position."""
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


_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


def milliseconds(seconds: float) -> int:
    """Return a time as 64 bits hold it; what they cannot hold is out of every bound anyhow."""
    scaled = seconds * 1000
    return int(scaled) if _INT64_MIN <= scaled < _INT64_MAX else _INT64_MIN


_BRACE_TOKEN = re.compile(rb"(?P<LNAME>%s)|(?P<QSTRING>%s)|[}=,]" % (_WORD, STRING))
_EXEMPLAR_TOKEN = re.compile(rb"(?P<LNAME>%s)|(?P<QSTRING>%s)|[}=,]" % (_WORD, _LINE_STRING))
_VALUES = {False: re.compile(STRING), True: re.compile(_LINE_STRING)}
METRIC_NAME = re.compile(METRIC)
BRACE = re.compile(rb"\{")
_TOKEN_NAMES = {b"}": "BCLOSE", b"=": "EQUAL", b",": "COMMA"}


def _brace_token(reader: Reader, *, exemplar: bool) -> tuple[str, bytes]:
    """Return the name and the text of the next token inside braces."""
    pattern = _EXEMPLAR_TOKEN if exemplar else _BRACE_TOKEN
    reader.blanks()
    match = pattern.match(reader.body, reader.at)
    if match is None:
        return "INVALID", b""
    reader.at = match.end()
    return match.lastgroup or _TOKEN_NAMES[match[0]], match[0]


def read_labels(
    reader: Reader, *, name: bytes | None, exemplar: bool = False
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
        if not is_utf8(value):
            raise ParseError(f"invalid UTF-8 label value: {go_quote(value)}")
        pairs.append((label[1:-1] if label.startswith(b'"') else label, value[1:-1]))
        kind, token = _brace_token(reader, exemplar=exemplar)
        if kind == "COMMA":
            kind, token = _brace_token(reader, exemplar=exemplar)
        elif kind != "BCLOSE" and reader.openmetrics:
            raise reader.error("expected comma or brace close", kind)
    return name, pairs


def _run_to_string_end(reader: Reader) -> None:
    """Move to where a string that is never closed stops being one, for the error's text."""
    if reader.body[reader.at : reader.at + 1] == b'"':
        stop = reader.body.find(b"\n", reader.at) if reader.openmetrics else -1
        reader.at = len(reader.body) if stop < 0 else stop


def is_utf8(text: bytes) -> bool:
    """Say whether bytes are valid UTF-8."""
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
    reader = Reader(text, 0, openmetrics=openmetrics)
    name = reader.take(METRIC_NAME)
    pairs: list[tuple[bytes, bytes]] = []
    if reader.take(BRACE):
        name, pairs = read_labels(reader, name=name)
    try:
        labels = [(unescape(n).decode(), unescape(v).decode()) for n, v in pairs]
        return [("__name__", unescape(name or b"").decode()), *labels]
    except UnicodeDecodeError:
        raise ParseError(f"invalid metric name or label names: {go_quote(text)}") from None


def _plain_labels(text: bytes) -> list[tuple[str, str]] | None:
    """Return the labels of a text of the form nearly all have, None if it might have another."""
    if b"\\" in text or text.startswith(b"{") or not is_utf8(text):
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
