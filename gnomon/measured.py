"""The query engine with its times counted, for `prometheus_engine_query_duration_seconds`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promql.context import go_on
from promql.engine import Engine
from promql.result_cache import CacheStats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from promql.engine import EngineOptions
    from promql.result import QueryResult
    from tsdb.interface import ChangeSource, SeriesReader

QUANTILES = (0.5, 0.9, 0.99)
RECENT_MAX = 1024
"""Quantiles are of this many queries; a window by time would need a clock for no gain."""


@dataclass(frozen=True, slots=True)
class SliceStats:
    """One part of the work of queries: how often, how long in all, quantiles of recent ones."""

    count: int
    total_s: float
    quantiles_s: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """All queries that came to an answer; slices have the names of Prometheus' label."""

    queries: int
    samples: int
    slices: Mapping[str, SliceStats]
    result_cache: CacheStats


@dataclass(slots=True)
class _Slice:
    total_s: float = 0.0
    recent_s: list[float] = field(default_factory=list)

    def add(self, seconds: float, number: int) -> None:
        self.total_s += seconds
        if len(self.recent_s) < RECENT_MAX:
            self.recent_s.append(seconds)
        else:
            self.recent_s[number % RECENT_MAX] = seconds

    def stats(self, count: int) -> SliceStats:
        ordered = sorted(self.recent_s)
        last = len(ordered) - 1
        quantiles = {q: ordered[round(q * last)] if ordered else float("nan") for q in QUANTILES}
        return SliceStats(count, self.total_s, quantiles)


class MeasuredEngine(Engine):
    """An engine that counts; its lock guards the counts, never an evaluation."""

    def __init__(
        self,
        reader: SeriesReader,
        options: EngineOptions | None = None,
        *,
        changes: ChangeSource | None = None,
    ) -> None:
        super().__init__(reader, options, changes=changes)
        self._lock = threading.Lock()
        self._queries = self._samples = 0
        self._slices = {name: _Slice() for name in ("inner_eval", "prepare_time", "result_sort")}

    def instant(
        self,
        query: str,
        time_ms: int,
        *,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
        canceled: threading.Event | None = None,
        pause: Callable[[], None] = go_on,
    ) -> QueryResult:
        """Answer as `Engine.instant` does."""
        result = super().instant(
            query,
            time_ms,
            timeout_s=timeout_s,
            lookback_ms=lookback_ms,
            canceled=canceled,
            pause=pause,
        )
        return self._counted(result)

    def range(
        self,
        query: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        *,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
        canceled: threading.Event | None = None,
        pause: Callable[[], None] = go_on,
    ) -> QueryResult:
        """Answer as `Engine.range` does."""
        result = super().range(
            query,
            start_ms,
            end_ms,
            step_ms,
            timeout_s=timeout_s,
            lookback_ms=lookback_ms,
            canceled=canceled,
            pause=pause,
        )
        return self._counted(result)

    def stats(self) -> EngineStats:
        """Return all counts."""
        with self._lock:
            slices = {name: part.stats(self._queries) for name, part in self._slices.items()}
            cache = CacheStats() if self.result_cache is None else self.result_cache.stats()
            return EngineStats(self._queries, self._samples, slices, cache)

    def _counted(self, result: QueryResult) -> QueryResult:
        stats = result.stats
        with self._lock:
            self._slices["inner_eval"].add(stats.inner_eval_s, self._queries)
            self._slices["prepare_time"].add(stats.prepare_s, self._queries)
            self._slices["result_sort"].add(stats.sort_s, self._queries)
            self._queries += 1
            self._samples += stats.samples_total
        return result
