"""Which form of exposition a client is given, and how names are spelled in it.

From: `federate.py`.   Source: Prometheus' expfmt, content negotiation and escaping schemes;
OpenMetrics 1.0. Like every other server, Prometheus' own /federate has no OpenMetrics: ours has it
for who likes it best.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_LEGACY = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PROTO = "application/vnd.google.protobuf"
_OPENMETRICS = "application/openmetrics-text"
_MESSAGE = "io.prometheus.client.MetricFamily"

ALLOW, UNDERSCORES, DOTS, VALUES = "allow-utf-8", "underscores", "dots", "values"


class Syntax(enum.Enum):
    """What is between the names."""

    TEXT = enum.auto()
    OPENMETRICS = enum.auto()
    PROTOBUF = enum.auto()


@dataclass(frozen=True, slots=True)
class Form:
    """A form of exposition; `escaping` is one of Prometheus' schemes."""

    syntax: Syntax
    escaping: str = UNDERSCORES

    @property
    def content_type(self) -> str:
        """Return the Content-Type that names it."""
        match self.syntax:
            case Syntax.TEXT:
                start = "text/plain; version=0.0.4; charset=utf-8"
            case Syntax.OPENMETRICS:
                start = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"
            case Syntax.PROTOBUF:
                start = f"{_PROTO}; proto={_MESSAGE}; encoding=delimited"
        return f"{start}; escaping={self.escaping}"

    def name(self, name: str) -> str:
        """Return a name as this form spells it, unquoted."""
        return escape_name(name, self.escaping)


def negotiate(accept: str) -> Form:
    """Return the form that an Accept header likes best; text where it knows none of ours.

    >>> negotiate("application/openmetrics-text;version=1.0.0,text/plain;q=0.5").syntax.name
    'OPENMETRICS'
    >>> negotiate("text/html, text/plain;version=0.0.4;escaping=allow-utf-8").escaping
    'allow-utf-8'
    """
    offers = []
    for number, clause in enumerate(accept.split(",")):
        kind, *rest = (part.strip() for part in clause.split(";"))
        parameters = dict(part.partition("=")[::2] for part in rest)
        try:
            liking = float(parameters.pop("q", "1"))
        except ValueError:
            liking = 0.0
        syntax = _syntax(kind, parameters)
        if syntax is not None and liking > 0:
            escaping = parameters.get("escaping", UNDERSCORES)
            known = escaping if escaping in (ALLOW, DOTS, VALUES) else UNDERSCORES
            offers.append((-liking, number, Form(syntax, known)))
    return min(offers, key=lambda offer: offer[:2])[2] if offers else Form(Syntax.TEXT)


def _syntax(kind: str, parameters: dict[str, str]) -> Syntax | None:
    version = parameters.get("version", "")
    if kind == _PROTO:
        asked = parameters.get("proto"), parameters.get("encoding")
        return Syntax.PROTOBUF if asked == (_MESSAGE, "delimited") else None
    if kind == _OPENMETRICS:
        return Syntax.OPENMETRICS if version in ("", "0.0.1", "1.0.0") else None
    if kind in ("text/plain", "text/*", "*/*"):
        return Syntax.TEXT
    return None


def escape_name(name: str, scheme: str) -> str:
    """Return a name as readers of the old alphabet can take it, by one of the schemes.

    >>> [escape_name(name, UNDERSCORES) for name in ("http.status", "up", "0a")]
    ['http_status', 'up', '_a']
    >>> [escape_name("a_b.c", scheme) for scheme in (ALLOW, DOTS, VALUES)]
    ['a_b.c', 'a__b_dot_c', 'U__a__b_2e_c']
    """
    if scheme == ALLOW or (scheme != DOTS and legacy(name)):
        return name
    if scheme == UNDERSCORES:
        return "".join(char if _allowed(char, place) else "_" for place, char in enumerate(name))
    if scheme == DOTS:
        return "".join(
            {"_": "__", ".": "_dot_"}.get(char) or (char if _allowed(char, place) else "__")
            for place, char in enumerate(name)
        )
    return "U__" + "".join(
        "__" if char == "_" else char if _allowed(char, 1) else f"_{ord(char):x}_" for char in name
    )


def legacy(name: str) -> bool:
    """Whether a name needs neither quotes nor escapes."""
    return _LEGACY.fullmatch(name) is not None


def _allowed(char: str, place: int) -> bool:
    return char.isascii() and (char.isalpha() or char in "_:" or (char.isdigit() and place > 0))
