"""An engine for tests of the handlers before it."""

from __future__ import annotations

from promql.engine import EngineOptions
from promql.result import QueryResult, QueryStats, ScalarResult

QUERY, RANGE = "/api/v1/query", "/api/v1/query_range"


class ScriptedEngine:
    """An engine that does what a test says."""

    def __init__(self, act):
        self.act = act
        self.options = EngineOptions()

    def instant(self, query, time_ms, *, timeout_s, lookback_ms, canceled, pause):
        return self.act(
            query=query, time_ms=time_ms, timeout_s=timeout_s, lookback_ms=lookback_ms,
            canceled=canceled, pause=pause,
        )  # fmt: skip

    def range(self, query, start_ms, end_ms, step_ms, *, timeout_s, lookback_ms, canceled, pause):
        return self.act(
            query=query, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, timeout_s=timeout_s,
            lookback_ms=lookback_ms, canceled=canceled, pause=pause,
        )  # fmt: skip

    def close(self):
        pass


def scalar(value=1.0, warnings=(), infos=()):
    return QueryResult(ScalarResult(0, value), list(warnings), list(infos), QueryStats())
