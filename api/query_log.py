"""What the query log says of a query that was evaluated, and of one that failed in evaluation.

From: `query.py`, in the query's thread.   To: what the app hands out, `gnomon/json_lines.py`.
The members and their order are Prometheus'. What does not parse is not logged, as there.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from api.json_writer import stats_members
from promql.errors import ParseError
from promql.result import QueryStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from api.views import LogLines
    from promql.result import QueryResult

MESSAGE = "promql query logged"
NO_SPAN = "0000000000000000"
"""Queries are not traced."""


class QueryLog:
    """Tells a log of one request's query."""

    def __init__(
        self, lines: LogLines, request: web.Request, query: str, times: tuple[int, int, int]
    ) -> None:
        """Take what is asked; `times` are start and end in ms, and the step, 0 for an instant."""
        self._lines, self._request, self._query, self._times = lines, request, query, times

    def told(self, evaluate: Callable[[], QueryResult], queue_s: float) -> QueryResult:
        """Return what `evaluate` does, and log it, also if it raises other than ParseError."""
        try:
            result = evaluate()
        except ParseError:
            raise
        except Exception as error:
            self._write(QueryStats(queue_s=queue_s), str(error))
            raise
        self._write(replace(result.stats, queue_s=queue_s), None)
        return result

    def _write(self, stats: QueryStats, error: str | None) -> None:
        start_ms, end_ms, step_ms = self._times
        self._lines.write(
            MESSAGE,
            {
                "params": {
                    "end": _time_text(end_ms),
                    # Bytes of a request that were no UTF-8 are surrogates here.
                    "query": re.sub("[\ud800-\udfff]", "\ufffd", self._query),
                    "start": _time_text(start_ms),
                    "step": step_ms // 1000,
                },
                **({} if error is None else {"error": error}),
                "stats": stats_members(stats, per_step=False),
                "spanID": NO_SPAN,
                "httpRequest": {
                    "clientIP": self._request.remote or "",
                    "method": self._request.method,
                    "path": self._request.path,
                },
            },
        )


def _time_text(time_ms: int) -> str:
    """Return a time as the log has it.

    >>> _time_text(1_700_000_000_500)
    '2023-11-14T22:13:20.500Z'
    """
    seconds, millis = divmod(time_ms, 1000)
    try:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(time_ms)  # beyond what the calendar has; the log must not fail a query
    return f"{text}.{millis:03d}Z"
