"""What a target says of its metric families: type, help and unit.

From: the metadata lines of `exposition.py`.   To: the app's metadata view, and the rule that `le`
and `quantile` values are rewritten for histograms and summaries.

Lines are parsed when their text is new. A target repeats the same lines in every scrape, so a
scrape whose lines hash to the same keyed 64 bits as those of the last one costs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from scraper.tokens import ESCAPED, METRIC, STRING, ParseError, go_quote, is_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORGET_AFTER = 10
"""Scrapes after which a family that is not exposed any more is forgotten; as in Prometheus."""

LINES_SPARE = 2000
"""Lines remembered beyond two for each family known."""


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


FAMILY_NAME = re.compile(rb"%s|%s" % (METRIC, STRING))
"""A name in a metadata line, quoted or not."""

_HELP_ESCAPED = re.compile(rb"\\([\\n])")
_META_LINE = {
    False: re.compile(rb"#[ \t]+(HELP|TYPE)[ \t]+(%s|%s)(.*)" % (METRIC, STRING), re.DOTALL),
    True: re.compile(rb"# (HELP|TYPE|UNIT) (%s|%s) (.*)" % (METRIC, STRING), re.DOTALL),
}


@dataclass(frozen=True, slots=True)
class MetadataLine:
    """`# TYPE` and its kin: `kind` is "HELP", "TYPE" or "UNIT", the text is unescaped."""

    kind: str
    family: str
    text: str


@dataclass(frozen=True, slots=True)
class FamilyMetadata:
    """What a target said of one metric family; a type that was not said is "unknown"."""

    family: str
    type: str = "unknown"
    help: str = ""
    unit: str = ""


@dataclass(slots=True)
class TargetMetadata:
    """The metadata of one target. `families` is replaced, never changed: safe to read any time."""

    families: dict[str, FamilyMetadata] = field(default_factory=dict)
    # Keyed by format as well: what OpenMetrics allows, text may refuse.
    _lines: dict[tuple[bytes, bool], MetadataLine] = field(default_factory=dict)
    _hash: int = -1
    _age: dict[str, int] = field(default_factory=dict)
    _said: frozenset[str] = frozenset()

    def knows(self, comment_hash: int) -> bool:
        """Say whether the last scrape had just these lines."""
        return comment_hash == self._hash

    def parse(self, line: bytes, *, openmetrics: bool) -> MetadataLine:
        """Return what a line says, parsed once for each text. Raises ParseError."""
        key = line, openmetrics
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) > 2 * len(self._said) + LINES_SPARE:
                # A target whose lines vary in scrapes that fail must not fill the memory.
                self._lines = {}
            key, found = _shared_line(key)
            self._lines[key] = found
        return found

    def update(self, lines: Sequence[bytes], comment_hash: int, *, openmetrics: bool) -> None:
        """Take the lines of one accepted scrape as what holds now."""
        parsed = dict(_shared_line((line, openmetrics)) for line in lines)
        said: dict[str, dict[str, str]] = {}
        for line in parsed.values():
            said.setdefault(line.family, {})[line.kind.lower()] = line.text
        self.take(said, comment_hash)
        self._lines = parsed

    def note(self, lines: Sequence[MetadataLine]) -> None:
        """Take what a scrape that failed had said; nothing is forgotten for it."""
        if len(self.families) > 2 * len(self._said) + LINES_SPARE:
            return
        families = dict(self.families)
        for line in lines:
            known = families.get(line.family) or FamilyMetadata(line.family)
            families[line.family] = replace(known, **{line.kind.lower(): line.text})
        self.families = families
        # The next good scrape says everything anew.
        self._hash = -1

    def take(self, said: Mapping[str, Mapping[str, str]], comment_hash: int) -> None:
        """Take type, help and unit (those that were said) of families as what holds now."""
        self._lines = {}
        self._hash = comment_hash
        families = dict(self.families)
        for family, parts in said.items():
            families[family] = _shared_family(family, **parts)
            self._age.pop(family, None)
        self.families = families
        self._said = frozenset(said)

    def end_scrape(self) -> None:
        """Count a scrape; forget families that have been absent for `FORGET_AFTER` of them."""
        if len(self._said) == len(self.families):
            return
        absent = self.families.keys() - self._said
        for family in absent:
            self._age[family] = self._age.get(family, 0) + 1
        gone = {family for family in absent if self._age[family] > FORGET_AFTER}
        if gone:
            self.families = {f: m for f, m in self.families.items() if f not in gone}
            for family in gone:
                del self._age[family]


# Targets of a kind say the same: one copy for all of them, and read once.
@lru_cache(maxsize=1 << 14)
def _shared_line(key: tuple[bytes, bool]) -> tuple[tuple[bytes, bool], MetadataLine]:
    """Return what a line says, with its key. Raises ParseError."""
    return key, parse_metadata(key[0], openmetrics=key[1])


_shared_family = lru_cache(maxsize=1 << 14)(FamilyMetadata)


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
        if not is_utf8(text):
            raise ParseError(f"help text {go_quote(text)} is not a valid utf8 string")
        pattern = ESCAPED if openmetrics else _HELP_ESCAPED
        text = pattern.sub(lambda m: b"\n" if m[1] == b"n" else m[1], text)
    elif text and not name.endswith(b"_" + text):
        raise ParseError(f"unit {go_quote(text)} not a suffix of metric {go_quote(name)}")
    return MetadataLine(kind.decode(), name.decode(errors="replace"), text.decode(errors="replace"))
