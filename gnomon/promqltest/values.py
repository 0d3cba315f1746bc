"""The notation of series in test scripts: `metric{a="b"} 0+10x5 _ stale {{sum:1}}`.

From: `script.py`, a line at a time.   To: `runner.py` (loads) and `compare.py` (expectations).
Source: Prometheus documentation, unit testing for rules, series notation; the corpus README.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.units import parse_duration
from tsdb.interface import METRIC_NAME
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class NotationError(ValueError):
    """A line is not in the notation; the text says what was found where."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """One native histogram as written: fields by key, numbers already read.

    `written` holds the keys that stand in the text; a missing key means its default.
    """

    text: str
    schema: int = 0
    sum: float = 0.0
    count: float = 0.0
    zero_count: float = 0.0
    zero_threshold: float = 0.0
    offset: int = 0
    buckets: tuple[float, ...] = ()
    negative_offset: int = 0
    negative_buckets: tuple[float, ...] = ()
    custom_values: tuple[float, ...] = ()
    counter_reset_hint: str = ""
    written: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """`base`, and `step` added (or taken away, where `sign` is -1) `repeats` times."""

    base: Histogram
    step: Histogram | None = None
    sign: int = 1
    repeats: int = 0


Point = float | HistogramPoint | None
"""One place of a series: a float, a histogram, or nothing (`_`)."""

_NUMBER = (
    r"(?:inf(?:inity)?|nan"
    r"|(?:[0-9]+(?:y|w|d|h|ms|m|s))+"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)"
)
_FLOATS = re.compile(
    rf"([+-]?{_NUMBER})(?:([+-])({_NUMBER}))?(?:x([0-9]+))?", re.IGNORECASE | re.ASCII
)
_HISTOGRAMS = re.compile(r"(\{\{.*?\}\})(?:([+-])(\{\{.*?\}\}))?(?:x([0-9]+))?")
_BLANKS = re.compile(r"_(?:x([0-9]+))?")
_HISTOGRAM_FIELD = re.compile(r"\s*([a-z_]+):(\[[^\]]*\]|[^\s\[\]]+)\s*")
_IDENTIFIER = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SPACE = re.compile(r"[ \t]*")
_DURATION = r"(?:0|(?:[0-9]+(?:ms|[ywdhms]))+)"
_START_OFFSETS = re.compile(rf"([+-]?{_DURATION})(?:([+-])({_DURATION}))?(?:x([0-9]+))?")


def number(text: str) -> float:
    """Return a number: decimal, `Inf`, `NaN` (any case), or a duration in seconds.

    >>> number("-1e3"), number("1h30m"), number("+Inf")
    (-1000.0, 5400.0, inf)
    """
    try:
        return float(text)
    except ValueError:
        sign = -1.0 if text.startswith("-") else 1.0
        try:
            return sign * parse_duration(text.lstrip("+-")) / 1000.0
        except ValueError as error:
            raise NotationError(f"not a number: {text!r} ({error})") from error


def points(text: str) -> list[Point]:
    """Read a list of values.

    >>> points("1+2x2 _ 7")
    [1.0, 3.0, 5.0, None, 7.0]
    """
    out: list[Point] = []
    at = _skip(text, 0)
    while at < len(text):
        item, at = _item(text, at)
        out += item
        after = _skip(text, at)
        if after == at and at < len(text):
            raise NotationError(f"unexpected {text[at:]!r} after a value")
        at = after
    return out


def _skip(text: str, at: int) -> int:
    blank = _SPACE.match(text, at)
    assert blank is not None
    return blank.end()


def _item(text: str, at: int) -> tuple[list[Point], int]:
    if text.startswith("{{", at):
        match = _HISTOGRAMS.match(text, at)
        if match is None:
            raise NotationError(f"histogram not closed: {text[at:]!r}")
        return list(_histogram_run(match)), match.end()
    if text.startswith("stale", at):
        return [float(STALE_NAN)], at + len("stale")
    match = _BLANKS.match(text, at)
    if match is not None:
        return [None] * (int(match[1]) if match[1] else 1), match.end()
    match = _FLOATS.match(text, at)
    if match is None:
        raise NotationError(f"not a value: {text[at:]!r}")
    return list(_float_run(match)), match.end()


def _float_run(match: re.Match[str]) -> Iterator[float]:
    value = number(match[1])
    if match[3] is not None and match[4] is None:
        raise NotationError(f"a step without a repetition: {match[0]!r}")
    step = 0.0 if match[3] is None else number(match[3])
    yield value
    for _ in range(int(match[4] or 0)):
        if match[2] == "+":
            value += step
        elif match[2] == "-":
            value -= step
        yield value


def _histogram_run(match: re.Match[str]) -> Iterator[HistogramPoint]:
    base = histogram(match[1])
    if match[3] is not None and match[4] is None:
        raise NotationError(f"a step without a repetition: {match[0]!r}")
    step = None if match[3] is None else histogram(match[3])
    for repeats in range(int(match[4] or 0) + 1):
        if step is None:
            yield HistogramPoint(base)
        else:
            yield HistogramPoint(base, step, -1 if match[2] == "-" else 1, repeats)


_HISTOGRAM_KEYS = {
    "schema": "schema",
    "sum": "sum",
    "count": "count",
    "z_bucket": "zero_count",
    "z_bucket_w": "zero_threshold",
    "offset": "offset",
    "buckets": "buckets",
    "n_offset": "negative_offset",
    "n_buckets": "negative_buckets",
    "custom_values": "custom_values",
    "counter_reset_hint": "counter_reset_hint",
}
_RESET_HINTS = ("unknown", "reset", "not_reset", "gauge")


def histogram(text: str) -> Histogram:
    """Read one native histogram.

    >>> histogram("{{schema:1 sum:2.5 buckets:[1 2]}}").buckets
    (1.0, 2.0)
    """
    fields: dict[str, int | float | str | tuple[float, ...]] = {}
    written: set[str] = set()
    inner = text[2:-2]
    at = 0
    while at < len(inner.rstrip()):
        match = _HISTOGRAM_FIELD.match(inner, at)
        if match is None or match[1] not in _HISTOGRAM_KEYS:
            raise NotationError(f"not a histogram field: {inner[at:]!r} in {text!r}")
        key, value = match.groups()
        if key in written:
            raise NotationError(f"duplicate key {key!r} in {text!r}")
        written.add(key)
        fields[_HISTOGRAM_KEYS[key]] = _histogram_value(key, value)
        at = match.end()
    return Histogram(text=text, written=frozenset(written), **fields)  # type: ignore[arg-type] # by key


def _histogram_value(key: str, value: str) -> int | float | str | tuple[float, ...]:
    if value.startswith("["):
        return tuple(number(part) for part in value[1:-1].split())
    if key == "counter_reset_hint":
        if value not in _RESET_HINTS:
            raise NotationError(f"not a counter reset hint: {value!r}")
        return value
    if key in ("schema", "offset", "n_offset"):
        return int(value)
    return number(value)


def series(text: str) -> tuple[dict[str, str], str]:
    """Split a line into its labels and the rest behind them.

    >>> series('up{job="a"} 1 2')
    ({'__name__': 'up', 'job': 'a'}, ' 1 2')
    """
    labels: dict[str, str] = {}
    at = 0
    name = _IDENTIFIER.match(text)
    if name is not None:
        labels[METRIC_NAME] = name[0]
        at = name.end()
    after = _skip(text, at)
    if text.startswith("{", after) and not text.startswith("{{", after):
        at = _labels(text, after + 1, labels)
    elif name is None:
        raise NotationError(f"no series at {text!r}")
    return {name: value for name, value in labels.items() if value}, text[at:]


def _labels(text: str, at: int, labels: dict[str, str]) -> int:
    while True:
        at = _skip(text, at)
        if text.startswith("}", at):
            return at + 1
        if text[at : at + 1] in ('"', "'", "`"):
            name, at = quoted(text, at)
            at = _skip(text, at)
            if not text.startswith("=", at):
                labels[METRIC_NAME] = name
                at = _comma(text, at)
                continue
        else:
            match = _LABEL_NAME.match(text, at)
            if match is None:
                raise NotationError(f"not a label name: {text[at:]!r}")
            name, at = match[0], _skip(text, match.end())
        if not text.startswith("=", at):
            raise NotationError(f"no '=' after label {name!r} in {text!r}")
        value, at = quoted(text, _skip(text, at + 1))
        labels[name] = value
        at = _comma(text, at)


def _comma(text: str, at: int) -> int:
    at = _skip(text, at)
    if text.startswith(",", at):
        return at + 1
    if text.startswith("}", at):
        return at
    raise NotationError(f"neither ',' nor '}}' at {text[at:]!r}")


_ESCAPES = {
    "a": 7,
    "b": 8,
    "f": 12,
    "n": 10,
    "r": 13,
    "t": 9,
    "v": 11,
    "\\": 92,
    "'": 39,
    '"': 34,
}
_WIDE_ESCAPES = {"x": 2, "u": 4, "U": 8}


def quoted(text: str, at: int) -> tuple[str, int]:
    r"""Read a PromQL string at `at`; returns its content and the place behind it.

    >>> quoted(r'"a\tb" rest', 0)
    ('a\tb', 6)
    """
    quote = text[at : at + 1]
    if quote not in ('"', "'", "`") or quote == "":
        raise NotationError(f"no string at {text[at:]!r}")
    if quote == "`":
        stop = text.find("`", at + 1)
        if stop < 0:
            raise NotationError(f"string not closed: {text[at:]!r}")
        return text[at + 1 : stop], stop + 1
    out = bytearray()
    at += 1
    while at < len(text):
        char = text[at]
        if char == quote:
            return out.decode(errors="surrogateescape"), at + 1
        if char != "\\":
            out += char.encode()
            at += 1
            continue
        at = _escape(text, at + 1, out)
    raise NotationError(f"string not closed: {text!r}")


def _escape(text: str, at: int, out: bytearray) -> int:
    kind = text[at : at + 1]
    if kind in _ESCAPES:
        out.append(_ESCAPES[kind])
        return at + 1
    try:
        if kind in _WIDE_ESCAPES:
            stop = at + 1 + _WIDE_ESCAPES[kind]
            code = int(text[at + 1 : stop], 16)
            out += bytes([code]) if kind == "x" else chr(code).encode()
            return stop
        out.append(int(text[at : at + 3], 8))
    except (ValueError, OverflowError) as error:
        raise NotationError(f"not an escape: {text[at - 1 :]!r}") from error
    return at + 3


def start_offsets(text: str) -> list[int | None]:
    """Read the items of an `@st` line: offsets in milliseconds from each sample's own time.

    >>> start_offsets("_ -30s-1mx2")
    [None, -30000, -90000, -150000]
    """
    out: list[int | None] = []
    for item in text.split():
        blank = _BLANKS.fullmatch(item)
        if blank is not None:
            out += [None] * (int(blank[1]) if blank[1] else 1)
            continue
        match = _START_OFFSETS.fullmatch(item)
        if match is None or (match[3] is not None and match[4] is None):
            raise NotationError(f"not a start offset: {item!r}")
        value = _signed_duration(match[1])
        step = 0 if match[3] is None else parse_duration(match[3])
        step = -step if match[2] == "-" else step
        out += [value + step * k for k in range(int(match[4] or 0) + 1)]
    return out


def _signed_duration(text: str) -> int:
    duration_ms = parse_duration(text.lstrip("+-"))
    return -duration_ms if text.startswith("-") else duration_ms


def render_labels(labels: Mapping[str, str]) -> str:
    """Return labels for a message, the name in front.

    >>> render_labels({"__name__": "up", "b": "2", "a": "1"})
    'up{a="1", b="2"}'
    """
    inner = ", ".join(f'{n}="{v}"' for n, v in sorted(labels.items()) if n != METRIC_NAME)
    return f"{labels.get(METRIC_NAME, '')}{{{inner}}}"
