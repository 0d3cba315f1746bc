"""Ask a data directory as a server is asked: the same questions, the same answers.

From: `commands/query.py --data DIR`.   To: `library.py`; answers go through the API's own writer.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from api.json_writer import result_chunks
from api.times import parse_duration_ns, parse_time
from gnomon import library
from gnomon.http_query import Answer, AskError
from promql.errors import ParseError, QueryError
from promql.explain_text import plan_members
from tsdb.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TypeVar

    from promql.result import QueryResult

    T = TypeVar("T")

NANOS_PER_MS = 1_000_000


class DataSource:
    """A data directory, opened for reading only; a server may have it open at the same time."""

    def __init__(self, path: Path) -> None:
        try:
            self._library = library.open(path, read_only=True, retention=None)
        except (StorageError, OSError) as error:
            raise AskError(str(error)) from error

    def instant(self, query: str, time: str) -> Answer:
        """Answer a query at one time."""
        at_ms = _time_ms(time, "time")
        return _ask(lambda: _answer(self._library.engine.instant(query, at_ms)))

    def range(self, query: str, start: str, end: str, step: str) -> Answer:
        """Answer a query at every step."""
        start_ms, end_ms = _time_ms(start, "start"), _time_ms(end, "end")
        step_ms = _step_ms(step)
        if end_ms < start_ms:
            raise AskError("bad_data: end timestamp must not be before start time")
        return _ask(lambda: _answer(self._library.engine.range(query, start_ms, end_ms, step_ms)))

    def explain(self, query: str, times: Sequence[str], *, analyze: bool) -> Answer:
        """Answer with the plan of a query: at one time, or at start, end and step."""
        if len(times) == 3:
            start_ms, end_ms = _time_ms(times[0], "start"), _time_ms(times[1], "end")
            step_ms = _step_ms(times[2])
        else:
            start_ms = end_ms = _time_ms(times[0], "time")
            step_ms = 0
        if end_ms < start_ms:
            raise AskError("bad_data: end timestamp must not be before start time")
        explain = self._library.engine.explain
        return _ask(
            lambda: Answer(plan_members(explain(query, start_ms, end_ms, step_ms, analyze=analyze)))
        )

    def series(self, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Answer with the label sets of series."""
        start_s, end_s = _optional_s(start, "start"), _optional_s(end, "end")
        return _ask(lambda: Answer(self._library.series(*selectors, start_s=start_s, end_s=end_s)))

    def label_names(self, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Answer with the label names in use."""
        start_s, end_s = _optional_s(start, "start"), _optional_s(end, "end")
        return _ask(
            lambda: Answer(self._library.label_names(*selectors, start_s=start_s, end_s=end_s))
        )

    def label_values(self, name: str, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Answer with the values of one label."""
        start_s, end_s = _optional_s(start, "start"), _optional_s(end, "end")
        return _ask(
            lambda: Answer(
                self._library.label_values(name, *selectors, start_s=start_s, end_s=end_s)
            )
        )

    def close(self) -> None:
        """Close the directory."""
        self._library.close()


def _ask(question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except ParseError as error:
        raise AskError(f'bad_data: invalid parameter "query": {error}') from error
    except (QueryError, StorageError) as error:
        raise AskError(f"execution: {error}") from error


def _answer(result: QueryResult) -> Answer:
    body = b"".join(result_chunks(result.value))
    return Answer(json.loads(body)["data"], result.warnings, result.infos)


def _time_ms(text: str, name: str) -> int:
    if not text:
        return round(time.time() * 1000)
    instant = parse_time(text)
    if instant is None:
        raise AskError(f"bad_data: {name}: cannot parse {text!r} to a valid timestamp")
    return instant.query_ms


def _optional_s(text: str, name: str) -> float | None:
    return _time_ms(text, name) / 1000 if text else None


def _step_ms(text: str) -> int:
    duration_ns = parse_duration_ns(text)
    if duration_ns is None or duration_ns < NANOS_PER_MS:
        raise AskError(f"bad_data: step: cannot parse {text!r} to a positive duration")
    return duration_ns // NANOS_PER_MS
