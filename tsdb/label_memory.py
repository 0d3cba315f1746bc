"""Names and values of labels of what matchers find, of which only new rows are looked at.

From: `select.py`. To: `matching.py` and rows of `metric_table.py`; `block.py` keeps its answers so.

Label browsers ask for them again and again. Rows never change and never leave a store of rows, so
what the first n of them have stays, and a question costs as much as there are new series: of the
metric it names, or of all. Invariant: an entry says what those of the first `count` rows of its
table have that satisfy its matchers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdb.kernels import NO_TIME
from tsdb.matching import match_from, seek

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tsdb.interface import Ints, Matcher
    from tsdb.matching import RegexMemory
    from tsdb.metric_table import SeriesRows

_TEXTS_MAX = 10_000
"""Names or values of an entry that are kept at most: 1 MB."""

_TEXTS_KEPT_MAX = 100_000
"""Those of all entries together."""

Question = tuple[str | None, tuple["Matcher", ...]]
"""A label, whose values are asked for (None: the names of labels), and matchers of the series."""


class Texts:
    """Some texts, once each, and sorted once somebody wants them so. Never changes."""

    __slots__ = ("_ordered", "count", "found")

    def __init__(self, found: Iterable[str] = (), count: int = 0) -> None:
        """Take texts; `count` rows of a table were looked at for them."""
        self.found = frozenset(found)
        self.count = count
        self._ordered: list[str] | None = None

    def with_more(self, new: Sequence[str], count: int) -> Texts:
        """Return these texts and others, of `count` rows in all."""
        both = self.found.union(new)
        if len(both) > len(self.found):
            return Texts(both, count)
        same = Texts(self.found, count)
        same._ordered = self._ordered
        return same

    @property
    def ordered(self) -> list[str]:
        """The texts, rising. Not to be changed."""
        if self._ordered is None:
            self._ordered = sorted(self.found)
        return self._ordered


NOTHING = Texts()


def all_of(parts: Sequence[Texts]) -> list[str]:
    """Return the texts of all parts, once each, sorted.

    >>> all_of([Texts(["b", "a"]), Texts(["c", "a"])])
    ['a', 'b', 'c']
    """
    parts = [part for part in parts if part.found]
    if len(parts) == 1:
        return parts[0].ordered.copy()
    return sorted(frozenset().union(*(part.found for part in parts)))


class Answers:
    """What was answered to questions, as far as it is small. Thread-safe: at worst asked again."""

    def __init__(self) -> None:
        self._known: dict[Question, Texts] = {}
        self._kept = 0

    def get(self, question: Question) -> Texts:
        """Return what is known, of no rows if nothing is."""
        return self._known.get(question, NOTHING)

    def keep(self, question: Question, texts: Texts) -> None:
        """Keep an answer, for as long as there is room."""
        size = len(texts.found)
        if size > _TEXTS_MAX:
            return
        # Two threads may count at once; the bound is no promise to the last text.
        self._kept += 1 + size - len(self.get(question).found)
        if self._kept > _TEXTS_KEPT_MAX:
            self._known, self._kept = {}, 1 + size
        self._known[question] = texts


class LabelMemory:
    """What is known of the rows of one store. Thread-safe: who comes second knows no less."""

    def __init__(self, rows: SeriesRows) -> None:
        self.rows = rows
        self._answers = Answers()

    def texts(self, question: Question, regexes: RegexMemory, newest_time: Ints) -> Texts | None:
        """Return the answer to a question; None if a series it is about had no sample in order.

        `newest_time` is that of each slot, `NO_TIME` for those that have had none: a series that
        was only resolved is none. Raises `BadMatcherError`.
        """
        label, matchers = question
        sought = seek(self.rows, matchers)
        if sought is None:
            return NOTHING
        known = self._answers.get(question)
        if known.count >= sought.row_count:
            return known
        slots = match_from(self.rows, regexes, sought, known.count)
        if (newest_time[slots] == NO_TIME).any():
            return None
        new = self.rows.names(slots) if label is None else self.rows.values(label, slots)
        texts = known.with_more(new, sought.row_count)
        self._answers.keep(question, texts)
        return texts
