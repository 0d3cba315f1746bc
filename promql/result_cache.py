"""Answers of range queries, kept for the next refresh of the same dashboard.

From: `engine.py`.   To: `query_run.py`, which evaluates only the steps that are not known.
A refresh asks the same query at the same step again, its window a little later. Steps that were
answered stay right until data of their time, or of a time before, changes: storage says so
(`interface.ChangeSource`). Kept are answers whose every step stands by itself
(`stands_by_itself`), of floats, and without annotations, for those belong to a query as a whole.
Invariant: a query is answered from here exactly as it would be without.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.result import MatrixResult
from promql.syntax import Aggregation, Call, DurationCall, Subquery, VectorSelector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from promql.plan import QueryTimes
    from promql.syntax import Expr
    from tsdb.interface import ChangeSource

_WHOLE_QUERY_CALLS = frozenset({"start", "end", "range", "info"})
"""What looks at the query's times, or may mix up steps."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache did and holds: queries by how they were answered, bytes, entries."""

    hits: int = 0
    misses: int = 0
    bytes_held: int = 0
    entries: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """The first steps of a query as they were answered before; `samples_per_step` of the same."""

    matrix: MatrixResult
    samples_per_step: list[int]


@dataclass(frozen=True, slots=True)
class _Entry:
    ticket: int
    known: Known
    size: int


Key = tuple[str, int, int, int]


class ResultCache:
    """The most recently used answers, up to `bytes_max`. Thread-safe."""

    def __init__(self, changes: ChangeSource, bytes_max: int) -> None:
        self._changes, self._bytes_max = changes, bytes_max
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    def ticket(self) -> int:
        """Return a mark of now; take it before the query reads."""
        return self._changes.change_ticket()

    def find(self, query: str, times: QueryTimes) -> Known | None:
        """Return those first steps of the query that are known and still right."""
        with self._lock:
            entry = self._entries.get(_key(query, times))
        known = None if entry is None else self._still_right(entry, times)
        with self._lock:
            if known is None:
                self._misses += 1
            else:
                self._hits += 1
                if entry is not None and _key(query, times) in self._entries:
                    self._entries.move_to_end(_key(query, times))
        return known

    def keep(self, query: str, times: QueryTimes, ticket: int, answer: Known) -> None:
        """Keep the answer of a query that took the ticket before it read."""
        matrix = answer.matrix
        if matrix.histograms is not None or matrix.steps_ms.size < 2:
            return
        # Labels too, and the objects that hold it all.
        size = matrix.values.nbytes + matrix.present.nbytes + 2 * matrix.labels.ids.nbytes + 2000
        if size > self._bytes_max // 4:
            return
        with self._lock:
            self._drop(_key(query, times))
            self._entries[_key(query, times)] = _Entry(ticket, answer, size)
            self._bytes += size
            while self._bytes > self._bytes_max:
                self._drop(next(iter(self._entries)))

    def stats(self) -> CacheStats:
        """Return the counts so far."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._bytes, len(self._entries))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def _still_right(self, entry: _Entry, times: QueryTimes) -> Known | None:
        steps = entry.known.matrix.steps_ms
        changed_ms = self._changes.oldest_change_ms(entry.ticket)
        first = int((times.start_ms - int(steps[0])) // times.step_ms)
        if first < 0 or (changed_ms is not None and changed_ms <= times.start_ms):
            return None  # It begins earlier than what is known, or nothing of it is.
        last_ms = times.end_ms if changed_ms is None else min(times.end_ms, changed_ms - 1)
        stop = int(np.searchsorted(steps, last_ms, side="right"))
        if stop <= first:
            return None
        part = slice(first, stop)
        matrix = entry.known.matrix
        present = matrix.present[:, part]
        rows = np.flatnonzero(present.any(axis=1))
        return Known(
            MatrixResult(
                steps[part],
                matrix.labels.take(rows),
                matrix.values[rows, part],
                present[rows],
            ),
            entry.known.samples_per_step[part],
        )


def _key(query: str, times: QueryTimes) -> Key:
    return (query, times.step_ms, times.start_ms % times.step_ms, times.lookback_ms)


def stands_by_itself(expr: Expr) -> bool:
    """Say whether every step is answered from the data up to its own time, and from nothing else.

    Not so: `@`, negative offsets and smoothed windows read later data; `start()` and the like
    look at the whole query; which series `limitk` takes depends on what else there is.
    """
    return not any(_looks_elsewhere(node) for node in _nodes(expr))


def _looks_elsewhere(node: object) -> bool:
    match node:
        case VectorSelector(extension=extension) if extension:
            return True
        case VectorSelector() | Subquery():
            return node.at is not None or node.offset_ms < 0 or node.offset_expr is not None
        case Aggregation(op="limitk") | DurationCall():
            return True
        case Call(func=func):
            return func in _WHOLE_QUERY_CALLS
        case _:
            return False


def _nodes(node: object) -> Iterator[object]:
    """Yield a node and all below it."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple):
            waiting.extend(each)
        elif is_dataclass(each):
            yield each
            waiting.extend(getattr(each, field.name) for field in fields(each))
