"""A `.test` file to commands, each with the line it stands on.

From: text.   To: `runner.py`.
A command begins with `clear`, `load` or `eval` and ends at the first empty line; a line that
starts with `#` counts as empty. Source: the corpus README, after Prometheus' own scripts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gnomon.promqltest.values import (
    NotationError,
    Point,
    number,
    points,
    quoted,
    series,
    start_offsets,
)
from gnomon.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping


class ScriptError(ValueError):
    """A line that is no command, or that a command does not understand."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


@dataclass(frozen=True, slots=True)
class Clear:
    """Throw the store away."""

    line: int


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One series of a load or an expectation; point i stands at start + i * step."""

    line: int
    labels: Mapping[str, str]
    points: tuple[Point, ...]
    start_offsets_ms: tuple[int | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Store series; `with_nhcb`: classic histograms also become native ones."""

    line: int
    interval_ms: int
    series: tuple[SeriesLine, ...]
    with_nhcb: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What an error or annotation must say: a text, a regular expression, or anything."""

    text: str | None = None
    regex: str | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """All that an eval says of its result. `scalar` and `string` exclude series.

    `warn` and `info` are None where the script does not look at them, empty for "none at all".
    """

    fail: Message | None = None
    warn: tuple[Message, ...] | None = None
    info: tuple[Message, ...] | None = None
    ordered: bool = False
    string: str | None = None
    scalar: float | None = None
    range_vector: tuple[int, int, int] | None = None
    series: tuple[SeriesLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Eval:
    """Evaluate one expression and compare. An instant has `start_ms == end_ms`, `step_ms` 0."""

    line: int
    expr: str
    start_ms: int
    end_ms: int
    step_ms: int
    expectation: Expectation

    @property
    def instant(self) -> bool:
        """Whether this is an instant query."""
        return self.step_ms == 0


Command = Clear | Load | Eval

_LOAD = re.compile(r"(load(?:_with_nhcb)?)\s+(\S+)$", re.IGNORECASE)
_INSTANT = re.compile(r"eval(?:_(fail|warn|info|ordered))?\s+instant\s+at\s+(\S+)\s+(.+)$", re.I)
_RANGE = re.compile(
    r"eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$", re.I
)
_EXPECT = re.compile(r"expect\s+([a-z_]+)(?:\s+(msg|regex):(.*))?$")
_EXPECT_STRING = re.compile(r"expect\s+string\s+(.*)$")
_EXPECT_RANGE = re.compile(r"expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)$")
_FAIL_LINE = re.compile(r"expected_fail_(message|regexp)\s+(.*)$")
_START_LINE = re.compile(r"(.*?)@st\s+(.*)$")


def parse(text: str) -> list[Command]:
    """Return the commands of a script in their order; raises ScriptError."""
    lines = [line.strip() for line in text.split("\n")]
    lines = ["" if line.startswith("#") else line for line in lines]
    commands: list[Command] = []
    at = 0
    while at < len(lines):
        word = lines[at].split(None, 1)[0].lower() if lines[at] else ""
        try:
            if word == "":
                at += 1
            elif word == "clear":
                commands.append(Clear(at + 1))
                at += 1
            elif word.startswith("load"):
                command, at = _load(lines, at)
                commands.append(command)
            elif word.startswith("eval"):
                command, at = _eval(lines, at)
                commands.append(command)
            else:
                raise ScriptError(at + 1, f"not a command: {lines[at]!r}")
        except (NotationError, ValueError) as error:
            if isinstance(error, ScriptError):
                raise
            raise ScriptError(at + 1, str(error)) from error
    return commands


def _load(lines: list[str], at: int) -> tuple[Command, int]:
    head = _LOAD.match(lines[at])
    if head is None:
        raise ScriptError(at + 1, f"not a load: {lines[at]!r}")
    first = at
    loaded: list[SeriesLine] = []
    offsets: tuple[int | None, ...] | None = None
    at += 1
    while at < len(lines) and lines[at]:
        start = _START_LINE.match(lines[at])
        if start is not None:
            offsets = tuple(start_offsets(start[2]))
        else:
            line = _series_line(lines, at)
            if offsets is not None and len(offsets) != len(line.points):
                raise ScriptError(at + 1, "start timestamps and values differ in number")
            loaded.append(replace(line, start_offsets_ms=offsets))
            offsets = None
        at += 1
    command = Load(
        line=first + 1,
        interval_ms=parse_duration(head[2]),
        series=tuple(loaded),
        with_nhcb=head[1].lower() == "load_with_nhcb",
    )
    return command, at


def _series_line(lines: list[str], at: int) -> SeriesLine:
    try:
        labels, rest = series(lines[at])
        return SeriesLine(at + 1, labels, tuple(points(rest)))
    except NotationError as error:
        raise ScriptError(at + 1, str(error)) from error


def _eval(lines: list[str], at: int) -> tuple[Command, int]:
    instant, ranged = _INSTANT.match(lines[at]), _RANGE.match(lines[at])
    if instant is not None:
        old_style, start, expr = instant.groups()
        start_ms = end_ms = parse_duration(start)
        step_ms = 0
    elif ranged is not None:
        old_style, start, end, step, expr = ranged.groups()
        start_ms, end_ms, step_ms = map(parse_duration, (start, end, step))
    else:
        raise ScriptError(at + 1, f"not an eval: {lines[at]!r}")
    reader = _ExpectationReader(instant=instant is not None, old_style=(old_style or "").lower())
    line = at + 1
    at += 1
    while at < len(lines) and lines[at] and not reader.ended:
        reader.take(lines, at)
        at += 1
    return Eval(line, expr.strip(), start_ms, end_ms, step_ms, reader.expectation()), at


class _ExpectationReader:
    """Collects the lines below an eval; `ended` once a line closes the command."""

    def __init__(self, *, instant: bool, old_style: str) -> None:
        self.ended = False
        self._instant = instant
        self._fail = Message() if old_style == "fail" else None
        self._annotations: dict[str, list[Message]] = {}
        self._none_of: set[str] = set()
        if old_style in ("warn", "info"):
            self._annotations[old_style] = [Message()]
        self._ordered = old_style == "ordered"
        self._string: str | None = None
        self._scalar: float | None = None
        self._range_vector: tuple[int, int, int] | None = None
        self._series: list[SeriesLine] = []

    def take(self, lines: list[str], at: int) -> None:
        """Read one line."""
        text = lines[at]
        old = _FAIL_LINE.match(text)
        if old is not None and self._fail is not None:
            kind, content = old.groups()
            self._fail = Message(text=content) if kind == "message" else Message(regex=content)
            self.ended = True
        elif text.split(" ", 1)[0] == "expect":
            self._expect(text, at + 1)
        else:
            scalar = _bare_number(text)
            if scalar is None:
                self._series.append(_series_line(lines, at))
            else:
                self._scalar, self.ended = scalar, True

    def _expect(self, text: str, line: int) -> None:
        string, ranged = _EXPECT_STRING.match(text), _EXPECT_RANGE.match(text)
        if string is not None:
            self._string, _ = quoted(string[1], 0)
            return
        if ranged is not None:
            start, end, step = map(parse_duration, ranged.groups())
            self._range_vector = (start, end, step)
            return
        match = _EXPECT.match(text)
        if match is None:
            raise ScriptError(line, f"not an expectation: {text!r}")
        what, kind, content = match.groups()
        message = Message(
            text=content.strip() if kind == "msg" else None,
            regex=content.strip() if kind == "regex" else None,
        )
        if what == "fail":
            if self._fail is not None:
                raise ScriptError(line, "only one `expect fail` for each eval")
            self._fail = message
        elif what in ("warn", "info"):
            self._annotations.setdefault(what, []).append(message)
        elif what in ("no_warn", "no_info"):
            self._none_of.add(what.removeprefix("no_"))
        elif what == "ordered" and self._instant:
            self._ordered = True
        else:
            raise ScriptError(line, f"not an expectation: {text!r}")

    def expectation(self) -> Expectation:
        """Return all that was read."""
        return Expectation(
            fail=self._fail,
            warn=self._messages("warn"),
            info=self._messages("info"),
            ordered=self._ordered,
            string=self._string,
            scalar=self._scalar,
            range_vector=self._range_vector,
            series=tuple(self._series),
        )

    def _messages(self, kind: str) -> tuple[Message, ...] | None:
        if kind in self._none_of:
            if kind in self._annotations:
                raise ValueError(f"both `expect {kind}` and `expect no_{kind}`")
            return ()
        found = self._annotations.get(kind)
        return None if found is None else tuple(found)


def _bare_number(text: str) -> float | None:
    try:
        return float(int(text, 0))
    except ValueError:
        pass
    try:
        return number(text)
    except NotationError:
        return None
