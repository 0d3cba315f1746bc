"""What matchers found, so that the next query with the same ones need not look again.

From: `select.py`. To: `matching.py`, where it was not asked yet, or rows have come since.

Dashboards ask the same few selectors again and again, and mostly nothing is new: then the rows, and
their labels, are what they were. Invariant: an entry holds as long as no row has come to the metric
it is about (to any, where the matchers name none), since a row never changes; collecting series
makes another store of rows, which has a memory of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdb.interface import METRIC_NAME, MatchOp
from tsdb.matching import match_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsdb.interface import Ints, LabelColumns, Matcher
    from tsdb.label_kernels import Slots
    from tsdb.matching import RegexMemory
    from tsdb.metric_table import SeriesRows

_ROWS_MAX = 1 << 12
"""Rows of an entry at most: making the labels of more costs more than finding them."""

_ROWS_KEPT_MAX = 1 << 16
"""Rows of all entries together: with ten labels each, 3 MB."""


class FoundSeries:
    """The slots of the series that some matchers found, and their labels once somebody asks."""

    __slots__ = ("_labels", "_rows", "slots")

    def __init__(self, rows: SeriesRows, slots: Slots) -> None:
        self._rows = rows
        self.slots = slots
        self._labels: LabelColumns | None = None

    def labels(self) -> LabelColumns:
        """Return the labels of all of them."""
        if self._labels is None:
            self._labels = self._rows.labels(self.slots)
        return self._labels

    def labels_at(self, at: Ints) -> LabelColumns:
        """Return the labels of some of them."""
        return self._rows.labels(self.slots[at])


class MatchMemory:
    """What matchers found among the rows of one store. Thread-safe."""

    def __init__(self, rows: SeriesRows) -> None:
        self.rows = rows
        self._found: dict[tuple[Matcher, ...], tuple[int | None, int, FoundSeries]] = {}
        self._kept = 0

    def find(self, memory: RegexMemory, matchers: Sequence[Matcher]) -> FoundSeries:
        """Return the series that satisfy every matcher. Raises `BadMatcherError`."""
        rows, key = self.rows, tuple(matchers)
        known = self._found.get(key)
        if known is not None:
            metric, mark, found = known
            if rows.mark(metric) == mark:
                return found
        metric = self._metric(key)
        # Before looking: what comes meanwhile may be found or not, and the next one looks again.
        mark = rows.mark(metric)
        found = FoundSeries(rows, match_series(rows, memory, key))
        if found.slots.size <= _ROWS_MAX:
            self._keep(key, metric, mark, found)
        return found

    def _metric(self, matchers: Sequence[Matcher]) -> int | None:
        """Return the symbol of the metric that all rows found must have, None if there is none."""
        for matcher in matchers:
            if matcher.name == METRIC_NAME and matcher.op is MatchOp.EQUAL and matcher.value:
                return self.rows.symbols.find(matcher.value)
        return None

    def _keep(
        self, key: tuple[Matcher, ...], metric: int | None, mark: int, found: FoundSeries
    ) -> None:
        # Two threads may count at once; the bound is no promise to the last row.
        self._kept += 1 + found.slots.size
        if self._kept > _ROWS_KEPT_MAX:
            self._found, self._kept = {}, 1 + found.slots.size
        self._found[key] = (metric, mark, found)
