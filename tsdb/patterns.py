r"""Regular expressions that need no automaton: most of what dashboards send.

From: `matching.py`. To: the same, which finds exact texts by hash and wildcards by a loop over
bytes (`text_kernels.py`); whatever is not of this kind goes to RE2, text by text.

Of this kind are alternations, with or without one pair of parentheses around, of literal text with
`.*` and `.+` anywhere, as Grafana makes them of variables: `(node-1\.example|node-2.*)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tsdb.interface import Bytes, Ints

_META = frozenset("\\.+*?()[]{}^$|")


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Literals with gaps around them, as `text_kernels.match_wildcards` takes them."""

    literals: Bytes
    stops: Ints
    gaps: Ints


@dataclass(frozen=True, slots=True)
class PlainPattern:
    """Texts that match as they are, and wildcards any of which may match."""

    exact: tuple[str, ...]
    wildcards: tuple[Wildcard, ...]


@lru_cache(maxsize=1024)
def plain_pattern(pattern: str) -> PlainPattern | None:
    r"""Return what a valid, anchored pattern is in simpler terms, None if it is not simple.

    >>> plain_pattern(r"(a\.b|c)").exact
    ('a.b', 'c')
    >>> plain_pattern("a.*b").wildcards[0].gaps.tolist()
    [-1, 0, -1]
    >>> plain_pattern("a.b") is None
    True
    """
    if pattern.startswith("(") and not pattern.startswith("(?") and pattern.endswith(")"):
        inner = pattern[1:-1]
        # An escaped parenthesis at the end would be part of the text.
        if not inner.endswith("\\"):
            pattern = inner
    exact: list[str] = []
    wildcards: list[Wildcard] = []
    literals, gaps = [""], [-1]
    at = 0
    while True:
        letter = pattern[at : at + 1]
        following = pattern[at + 1 : at + 2]
        if letter in ("", "|"):
            if len(gaps) == 1:
                exact.append(literals[0])
            else:
                wildcards.append(_wildcard(literals, gaps))
            if not letter:
                return PlainPattern(tuple(exact), tuple(wildcards))
            literals, gaps = [""], [-1]
        elif letter == "." and following and following in "*+":
            more = following == "+"
            if literals[-1] or len(gaps) == 1:
                literals.append("")
                gaps.append(int(more))
            elif more and gaps[-1]:
                return None  # two letters at least: letters are not bytes
            else:
                gaps[-1] = max(gaps[-1], int(more))
            at += 1
            if pattern[at + 1 : at + 2] == "?":
                at += 1  # lazy or not, the same texts match
        elif letter == "\\" and following and not following.isalnum() and following.isascii():
            literals[-1] += following
            at += 1
        elif letter in _META:
            return None
        else:
            literals[-1] += letter
        at += 1


def literal_start(pattern: str) -> Wildcard | None:
    r"""Return what every match of any valid, anchored pattern starts with, None if nothing.

    >>> literal_start("node-[0-9]+").literals.tobytes()
    b'node-'
    >>> literal_start("ab?").literals.tobytes()
    b'a'
    """
    if "|" in pattern:
        return None
    size = next((at for at, letter in enumerate(pattern) if letter in _META), len(pattern))
    if pattern[size : size + 1] and pattern[size] in "*?{":
        size -= 1
    return _wildcard([pattern[:size], ""], [-1, 0]) if size > 0 else None


def _wildcard(literals: list[str], gaps: list[int]) -> Wildcard:
    """Arrange literals, with `gaps[k]` before the k-th, for the kernel."""
    encoded = [each.encode() for each in literals]
    if not encoded[0]:
        encoded, gaps = encoded[1:], gaps[1:]
    gaps = [*gaps, -1]
    if not encoded[-1]:
        encoded, gaps = encoded[:-1], gaps[:-1]
    return Wildcard(
        np.frombuffer(b"".join(encoded), np.uint8),
        np.cumsum([len(each) for each in encoded], dtype=np.int64),
        np.array(gaps, np.int64),
    )
