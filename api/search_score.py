"""How well a name fits what somebody has typed of it: 1 is best, None is not at all.

From: `search.py`.   Source: Prometheus' search API, whose two kinds of likeness these are; Winkler,
"String Comparator Metrics" (1990). How a subsequence is weighed is ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUBSEQUENCE, JARO_WINKLER = "subsequence", "jarowinkler"
ALGORITHMS = (SUBSEQUENCE, JARO_WINKLER)


def scorer(
    terms: Sequence[str], algorithm: str, threshold: float, *, case_sensitive: bool
) -> Callable[[str], float | None]:
    """Return what scores a name: the best of its scores for any of the terms."""
    if not terms:
        return lambda _name: 1.0
    fold = (lambda text: text) if case_sensitive else str.lower
    kind = _subsequence if algorithm == SUBSEQUENCE else _likeness
    each = [kind(fold(term), threshold) for term in terms]

    def best(name: str) -> float | None:
        folded = fold(name)
        found = [score for one in each if (score := one(folded)) is not None]
        return max(found) if found else None

    return best


def _subsequence(term: str, threshold: float) -> Callable[[str], float | None]:
    """Score names that have the letters of a term in its order, the closer together the better.

    >>> [_subsequence("abc", 0.0)(name) for name in ("abc", "cab")]
    [1.0, None]
    """
    # One pass in C for the many that do not fit.
    fits = re.compile(".*?".join(map(re.escape, term)), re.DOTALL)

    def score(name: str) -> float | None:
        found = fits.search(name)
        if found is None:
            return None
        if name == term:
            return 1.0
        at = name.find(term)
        if at >= 0:
            # As typed: what begins with it first, and the shorter the rest the better.
            value = (0.9 if at == 0 else 0.8) + 0.1 * len(term) / len(name)
        else:
            value = 0.8 * len(term) / (found.end() - found.start())
        return value if value >= threshold else None

    return score


def _likeness(term: str, threshold: float) -> Callable[[str], float | None]:
    """Score names that contain a term, or are like it but for some letters."""

    def score(name: str) -> float | None:
        if term in name:
            return 1.0
        value = jaro_winkler(term, name)
        return value if threshold < 1 and value >= threshold else None

    return score


def jaro_winkler(one: str, other: str) -> float:
    """Return the likeness of two texts, from 0 to 1.

    >>> [round(jaro_winkler(*pair), 3) for pair in (("MARTHA", "MARHTA"), ("DIXON", "DICKSONX"))]
    [0.961, 0.813]
    """
    if not one or not other:
        return float(one == other)
    reach = max(0, max(len(one), len(other)) // 2 - 1)
    taken = [False] * len(other)
    mine = []
    for at, char in enumerate(one):
        for place in range(max(0, at - reach), min(len(other), at + reach + 1)):
            if not taken[place] and other[place] == char:
                taken[place] = True
                mine.append(char)
                break
    if not mine:
        return 0.0
    theirs = [char for place, char in enumerate(other) if taken[place]]
    swapped = sum(a != b for a, b in zip(mine, theirs, strict=True)) / 2
    count = len(mine)
    jaro = (count / len(one) + count / len(other) + (count - swapped) / count) / 3
    prefix = 0
    for a, b in zip(one[:4], other[:4], strict=False):
        if a != b:
            break
        prefix += 1
    return jaro + prefix * 0.1 * (1 - jaro)
