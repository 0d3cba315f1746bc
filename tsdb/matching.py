"""Matchers -> slots.

From: `select.py`. To: rows of `metric_table.py`.

An equality on the metric name picks one table, anything else looks at the table of all series.
`=` is one compare on a column of ids; a regular expression is tried once for each distinct value
that the column holds and becomes a lookup table over ids.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import re2

from tsdb.errors import BadMatcherError
from tsdb.interface import ABSENT, METRIC_NAME, Matcher, MatchOp
from tsdb.label_kernels import mark_ids
from tsdb.patterns import literal_start, plain_pattern
from tsdb.start_times import NO_COMPANION, has_companions, leaves_companions_out
from tsdb.text_kernels import match_wildcards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tsdb.interface import Ids, LabelColumns
    from tsdb.label_kernels import Slots
    from tsdb.metric_table import MetricTable, SeriesRows
    from tsdb.patterns import Wildcard
    from tsdb.symbols import SymbolTable

    Mask = npt.NDArray[np.bool_]

_META = frozenset("\\.+*?()[]{}^$|")
_GO_REASONS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\": "trailing backslash at end of expression",
    "invalid named capture group": "invalid named capture",
}
"""What RE2 in C++ says, and what RE2 in Go, and so Prometheus, says of the same."""
_UNKNOWN, _NO, _YES = 0, 1, 2
_REMEMBERED_FROM = 4096
"""Rows of a table from which what a matcher says of them is remembered."""
_PATTERNS_MAX = 256
_TEXTS_MAX = 8
"""Alternatives of a pattern that are compared one by one: 0.1 ms each for a million rows."""


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Callable[[str], bool]:
    r"""Return the test of an anchored RE2 pattern, dot matching newlines.

    Alternations of plain texts become a set. Raises `BadMatcherError`.

    >>> compile_regex("a|b")("b"), compile_regex("a.")("a\n"), compile_regex("a")("ab")
    (True, True, False)
    """
    options = re2.Options()
    options.log_errors = False
    try:
        compiled: Any = re2.compile(f"^(?s:{pattern})$", options)
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadMatcherError(pattern, _as_go_says(text)) from None
    if not _META.intersection(pattern.replace("|", "")):
        return frozenset(pattern.split("|")).__contains__
    full = compiled.search
    return lambda text: full(text) is not None


def _as_go_says(text: str) -> str:
    """Translate an error of RE2 into the words that users of Prometheus know.

    >>> _as_go_says("missing ): ^(?s:a()$")
    'missing closing ): `^(?s:a()$`'
    """
    reason, colon, fragment = text.partition(": ")
    reason = _GO_REASONS.get(reason, reason)
    return f"{reason}: `{fragment}`" if colon else reason


class RegexMemory:
    """What each pattern said of each symbol, so that it is asked once. One per symbol table."""

    def __init__(self, symbols: SymbolTable) -> None:
        self.symbols = symbols
        self._verdicts: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def mask(self, pattern: str, ids: Ids) -> Mask:
        """Say for each id whether its text matches. Raises `BadMatcherError`."""
        test = compile_regex(pattern)
        count = len(self.symbols)
        seen = np.zeros(count, np.bool_)
        mark_ids(ids, seen)
        with self._lock:
            verdicts = self._verdicts.pop(pattern, None)
            if verdicts is None or verdicts.size < count:
                bigger = np.zeros(count + count // 4, np.uint8)
                if verdicts is not None:
                    bigger[: verdicts.size] = verdicts
                verdicts = bigger
            self._verdicts[pattern] = verdicts
            while len(self._verdicts) > _PATTERNS_MAX:
                self._verdicts.popitem(last=False)
        asked = np.flatnonzero(seen & (verdicts[:count] == _UNKNOWN))
        if asked.size:
            answers = self._ask(pattern, test, asked.astype(np.uint32))
            verdicts[asked] = np.where(answers, _YES, _NO)
        matched: Mask = (verdicts == _YES)[ids]
        return matched

    def _ask(self, pattern: str, test: Callable[[str], bool], ids: Ids) -> Mask:
        """Say of each id, rising, whether its text matches."""
        answers = np.zeros(ids.size, np.uint8)
        plain = plain_pattern(pattern)
        if plain is None:
            start = literal_start(pattern)
            if start is not None:
                self._match(start, ids, answers)
            maybe = np.arange(ids.size) if start is None else np.flatnonzero(answers)
            texts = self.symbols.texts(ids[maybe])
            answers[maybe] = np.fromiter(map(test, texts), np.bool_, maybe.size)
            return answers.view(np.bool_)
        for wildcard in plain.wildcards:
            self._match(wildcard, ids, answers)
        found = [self.symbols.find(text) for text in plain.exact]
        exact = np.array([each for each in found if each is not None], np.uint32)
        if exact.size:
            at = np.minimum(np.searchsorted(ids, exact), ids.size - 1)
            answers[at[ids[at] == exact]] = 1
        return answers.view(np.bool_)

    def _match(self, wildcard: Wildcard, ids: Ids, answers: npt.NDArray[np.uint8]) -> None:
        text, offsets = self.symbols.buffers()
        match_wildcards(
            text, offsets, ids, wildcard.literals, wildcard.stops, wildcard.gaps, answers
        )


def check_matchers(matchers: Sequence[Matcher]) -> None:
    """Raise `BadMatcherError` if a regular expression does not compile."""
    for matcher in matchers:
        if matcher.op in (MatchOp.MATCHES, MatchOp.NOT_MATCHES):
            compile_regex(matcher.value)


class Sought(NamedTuple):
    """Where to look: the first `row_count` rows of a table; and what is left to ask of them."""

    table: MetricTable
    row_count: int
    rest: list[Matcher]


def match_series(rows: SeriesRows, memory: RegexMemory, matchers: Sequence[Matcher]) -> Slots:
    """Return the slots of all series that satisfy every matcher: int32[matches].

    Raises `BadMatcherError`.
    """
    check_matchers(matchers)
    sought = seek(rows, matchers)
    return np.empty(0, np.int32) if sought is None else match_from(rows, memory, sought, 0)


def seek(rows: SeriesRows, matchers: Sequence[Matcher]) -> Sought | None:
    """Return where to look for series, None if they are of a metric that nobody has."""
    symbols = rows.symbols
    metric: int | None = None
    rest = list(matchers)
    for matcher in matchers:
        if matcher.name == METRIC_NAME and matcher.op is MatchOp.EQUAL and matcher.value:
            metric = symbols.find(matcher.value)
            if metric is None:
                return None
            rest.remove(matcher)
            break
    if metric is None and leaves_companions_out(matchers) and has_companions(symbols):
        rest.append(NO_COMPANION)
    table, count = rows.table(metric)
    # Equalities first: they are the cheapest and leave the fewest rows to the others.
    rest.sort(key=lambda matcher: (matcher.op is not MatchOp.EQUAL, not _compares(matcher)))
    return Sought(table, count, rest)


def match_from(rows: SeriesRows, memory: RegexMemory, sought: Sought, first: int) -> Slots:
    """Return the slots of what is sought, without looking at the table's first `first` rows.

    Raises `BadMatcherError`.
    """
    table, count, rest = sought
    symbols = rows.symbols
    slots = table.slots[first:count]
    chosen: npt.NDArray[np.int64] | None = None
    good: Mask | None = None
    for matcher in rest:
        label = symbols.find(matcher.name)
        if label is None:
            column = np.zeros(slots.size, np.uint32)
        else:
            column = rows.column(table, label, count)[first:]
        if chosen is None and slots.size >= _REMEMBERED_FROM and _compares(matcher):
            # A whole column is compared sooner than rows that many others left are picked.
            also = _test(symbols, memory, matcher, column)
            good = also if good is None else good & also
            continue
        if good is not None:
            chosen, good = np.flatnonzero(good), None
        if chosen is None and label is not None and first == 0 and count >= _REMEMBERED_FROM:
            chosen = _remembered(symbols, memory, matcher, table, column)
            continue
        ids = column if chosen is None else column[chosen]
        kept = np.flatnonzero(_test(symbols, memory, matcher, ids))
        chosen = kept if chosen is None else chosen[kept]
        if not chosen.size:
            break
    if good is not None:
        chosen = np.flatnonzero(good)
    return slots if chosen is None else slots[chosen]


def _remembered(
    symbols: SymbolTable, memory: RegexMemory, matcher: Matcher, table: MetricTable, column: Ids
) -> npt.NDArray[np.int64]:
    """Return the rows of a long column that satisfy a matcher, asking only about new ones."""
    known, rows = table.recall(matcher)
    # Somebody else may have asked about more rows than this reader sees.
    rows = rows[: np.searchsorted(rows, column.size)]
    known = min(known, column.size)
    more = known + np.flatnonzero(_test(symbols, memory, matcher, column[known:]))
    rows = np.concatenate([rows, more]) if rows.size else more
    table.remember(matcher, column.size, rows)
    return rows


def label_mask(labels: LabelColumns, matcher: Matcher) -> Mask:
    """Say of each series of a batch whether it satisfies one matcher. Not for hot paths."""
    if matcher.name in labels.names:
        ids = labels.ids[labels.names.index(matcher.name)]
    else:
        ids = np.zeros(labels.series_count, np.uint32)
    distinct, inverse = np.unique(ids, return_inverse=True)
    texts = labels.symbols.texts(distinct)
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        answers = [text == matcher.value for text in texts]
    else:
        answers = list(map(compile_regex(matcher.value), texts))
    mask = np.array(answers, np.bool_)[inverse]
    return ~mask if matcher.op in (MatchOp.NOT_EQUAL, MatchOp.NOT_MATCHES) else mask


def satisfying(labels: LabelColumns, sets: Sequence[Sequence[Matcher]]) -> Mask:
    """Say of each series of a batch whether it satisfies all of any set. Not for hot paths."""
    found = np.zeros(labels.series_count, np.bool_)
    for matchers in sets:
        good = np.ones(labels.series_count, np.bool_)
        for matcher in matchers:
            good &= label_mask(labels, matcher)
        found |= good
    return found


def _compares(matcher: Matcher) -> bool:
    """Say whether a matcher is asked of a column by a few compares."""
    return matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL) or bool(_few_texts(matcher.value))


def _few_texts(pattern: str) -> tuple[str, ...]:
    """Return the texts that a pattern stands for, nothing if they are more than a few."""
    plain = plain_pattern(pattern)
    if plain is None or plain.wildcards or len(plain.exact) > _TEXTS_MAX:
        return ()
    return plain.exact


def _test(symbols: SymbolTable, memory: RegexMemory, matcher: Matcher, ids: Ids) -> Mask:
    """Say of each id whether it satisfies the matcher."""
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        wanted = symbols.find(matcher.value) if matcher.value else ABSENT
        equal = np.zeros(ids.size, np.bool_) if wanted is None else ids == np.uint32(wanted)
        return equal if matcher.op is MatchOp.EQUAL else ~equal
    exact = _few_texts(matcher.value)
    if exact:
        compile_regex(matcher.value)  # raises where it is none
        matched = np.zeros(ids.size, np.bool_)
        for text in exact:
            wanted = symbols.find(text) if text else ABSENT
            if wanted is not None:
                matched |= ids == np.uint32(wanted)
    else:
        matched = memory.mask(matcher.value, ids)
    return matched if matcher.op is MatchOp.MATCHES else ~matched
