"""Handlers of queries: instant, range, exemplars, and what the parser says of a query.

From: `routes.py`.   To: `promql.engine` through `gate.py`; `json_writer.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import web

from api.errors import BAD_DATA, ApiError, BadParameterError
from api.json_text import JsonBytes
from api.json_writer import result_body
from api.params import POINTS_MAX, Form, read_form
from api.parts import PARTS
from api.query_log import QueryLog
from api.replies import (
    Packed,
    accepted_encoding,
    answer,
    packed,
    packed_body,
    success,
    success_body,
)
from api.times import MAX_TIME, MIN_TIME, Instant
from promql.errors import ExecutionError, ParseError, QueryTimeoutError
from promql.explain_text import plan_members
from promql.float_text import sample_text
from promql.format import prettify
from promql.parse import parse
from promql.result import MatrixResult, QueryResult, RawResult, ResultValue, VectorResult
from promql.syntax import VectorSelector
from promql.tree_json import tree_json

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Hashable

    from promql.syntax import Expr
    from tsdb.interface import ExemplarColumns, HistogramRuns, Matcher

    Evaluate = Callable[[str, threading.Event, float], QueryResult]

RECENT_MS = 300_000
PANEL_MS = 2 * 3_600_000
"""What is no older is in memory, not in blocks: a head keeps so much at least."""

TRUNCATED = "results truncated due to limit"
PER_STEP_FEATURE = "promql-per-step-stats"


async def instant(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/query: one time."""
    parts, form = request.app[PARTS], await read_form(request)
    limit = form.limit()
    now = Instant.of(0, int(parts.now() * 1_000_000_000))
    at = form.time("time", now)
    timeout_s, lookback_ms = form.timeout_s(), form.lookback_ms()
    if form.text("explain"):
        return await _explain(request, form, (at.query_ms, at.query_ms, 0))

    def evaluate(text: str, canceled: threading.Event, left_s: float) -> QueryResult:
        return parts.engine.instant(
            text,
            at.query_ms,
            timeout_s=left_s,
            lookback_ms=lookback_ms,
            canceled=canceled,
            pause=parts.gate.pause,
        )

    # What is asked of the present is in memory: see `Gate.query`.
    recent = abs(parts.now_ms - at.query_ms) < RECENT_MS and parts.view.answers_alone()
    key = ("instant", form.text("query"), lookback_ms, limit) if recent else None
    times = at.query_ms, at.query_ms, 0
    return await _answer(request, form, evaluate, times, timeout_s=timeout_s, limit=limit, key=key)


async def over_range(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/query_range: many times."""
    parts, form = request.app[PARTS], await read_form(request)
    limit = form.limit()
    start, end = form.time("start"), form.time("end")
    if end.before(start):
        raise BadParameterError("end", "end timestamp must not be before start time")
    step_ns = form.duration_ns("step")
    if step_ns <= 0:
        raise BadParameterError(
            "step",
            "zero or negative query resolution step widths are not accepted. "
            "Try a positive integer",
        )
    if end.since_ns(start) // step_ns > POINTS_MAX:
        raise ApiError(
            BAD_DATA,
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)",
        )
    timeout_s, lookback_ms = form.timeout_s(), form.lookback_ms()
    step_ms = step_ns // 1_000_000
    if form.text("explain") and step_ms:
        return await _explain(request, form, (start.query_ms, end.query_ms, step_ms))

    def evaluate(text: str, canceled: threading.Event, left_s: float) -> QueryResult:
        if step_ms == 0:
            parts.engine.checked(text, instant=False)
            raise ExecutionError("query resolution step widths below 1ms are not supported")
        return parts.engine.range(
            text,
            start.query_ms,
            end.query_ms,
            step_ms,
            timeout_s=left_s,
            lookback_ms=lookback_ms,
            canceled=canceled,
            pause=parts.gate.pause,
        )

    times = start.query_ms, end.query_ms, step_ms
    # A panel that is asked for again has moved, and is as much work as it was.
    span_ms = end.query_ms - start.query_ms
    recent = parts.now_ms - start.query_ms < PANEL_MS and span_ms < PANEL_MS
    asked = ("range", form.text("query"), span_ms, step_ms, lookback_ms, limit)
    key = asked if recent and parts.view.answers_alone() else None
    return await _answer(request, form, evaluate, times, timeout_s=timeout_s, limit=limit, key=key)


async def _answer(
    request: web.Request,
    form: Form,
    evaluate: Evaluate,
    times: tuple[int, int, int],
    *,
    timeout_s: float | None,
    limit: int,
    key: Hashable = None,
) -> web.StreamResponse:
    """Evaluate in a thread and send the result, whole if it is small, else in chunks.

    `times` are start, end and step in ms, for the log. `key` is of queries that read little as a
    rule, see `Gate.query`.
    """
    parts = request.app[PARTS]
    longest_s = parts.options.query_timeout_s
    timeout_s = longest_s if timeout_s is None else min(timeout_s, longest_s)
    stats = form.text("stats")
    per_step = stats == "all" and PER_STEP_FEATURE in parts.engine.options.features
    offered = accepted_encoding(request)
    lines = parts.view.query_log()
    log = None if lines is None else QueryLog(lines, request, form.text("query"), times)
    if log is not None:
        key = None  # a line of a log may wait for the disk: not on the event loop

    def result_of(canceled: threading.Event, left_s: float) -> QueryResult:
        if left_s <= 0:
            raise QueryTimeoutError("query execution")
        return evaluate(form.text("query"), canceled, left_s)

    def run(canceled: threading.Event, left_s: float, queue_s: float) -> Packed:
        if log is None:
            result = result_of(canceled, left_s)
        else:
            result = log.told(lambda: result_of(canceled, left_s), queue_s)
        value, warnings = result.value, result.warnings
        if limit:
            value, cut = _truncated(value, limit)
            warnings = [*warnings, TRUNCATED] if cut else warnings
        # What is small is made here, as most answers are.
        return packed_body(
            result_body(
                value,
                stats=replace(result.stats, queue_s=queue_s) if stats else None,
                per_step=per_step,
                warnings=warnings,
                infos=result.infos,
            ),
            offered,
        )

    try:
        reply = await parts.gate.query(request, run, timeout_s, key)
    except ParseError as error:
        raise BadParameterError("query", str(error)) from None
    return await answer(request, reply)


async def _explain(
    request: web.Request, form: Form, times: tuple[int, int, int]
) -> web.StreamResponse:
    """Answer with the plan of a query at its start, end and step instead of its result."""
    parts = request.app[PARTS]
    wanted = form.text("explain")
    if wanted not in ("plan", "analyze"):
        raise BadParameterError("explain", f'"{wanted}" is neither plan nor analyze')
    timeout_s, lookback_ms = form.timeout_s(), form.lookback_ms()
    longest_s = parts.options.query_timeout_s
    offered = accepted_encoding(request)

    def run(canceled: threading.Event, left_s: float, _: float) -> Packed:
        if left_s <= 0:
            raise QueryTimeoutError("query execution")
        explained = parts.engine.explain(
            form.text("query"),
            *times,
            analyze=wanted == "analyze",
            timeout_s=left_s,
            lookback_ms=lookback_ms,
            canceled=canceled,
            pause=parts.gate.pause,
        )
        return packed(iter([success_body(plan_members(explained))]), offered)

    try:
        reply = await parts.gate.query(
            request, run, longest_s if timeout_s is None else min(timeout_s, longest_s)
        )
    except ParseError as error:
        raise BadParameterError("query", str(error)) from None
    return await answer(request, reply)


def _truncated(value: ResultValue, limit: int) -> tuple[ResultValue, bool]:
    """Return the first `limit` series, and whether there were more."""
    if not isinstance(value, VectorResult | MatrixResult | RawResult):
        return value, False
    if value.labels.series_count <= limit:
        return value, False
    labels = value.labels.take(np.arange(limit))
    if isinstance(value, RawResult):
        return replace(
            value,
            labels=labels,
            time_start=value.time_start[:limit],
            value_start=value.value_start[:limit],
            count=value.count[:limit],
            histograms=None if value.histograms is None else _first(value.histograms, limit),
        ), True
    histograms = value.histograms
    if histograms is not None:
        histograms = histograms.take(slice(limit))
    cut = replace(value, labels=labels, values=value.values[:limit], histograms=histograms)
    if isinstance(cut, MatrixResult):
        return replace(cut, present=cut.present[:limit]), True
    return cut, True


def _first(runs: HistogramRuns, limit: int) -> HistogramRuns:
    return replace(runs, start=runs.start[:limit], count=runs.count[:limit])


async def exemplars(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/query_exemplars: those of all series that the query selects."""
    parts, form = request.app[PARTS], await read_form(request)
    start, end = form.time("start", MIN_TIME), form.time("end", MAX_TIME)
    if end.before(start):
        raise ApiError(BAD_DATA, "end timestamp must not be before start timestamp")
    start_ms, end_ms = form.time_range_ms()
    matcher_sets = _selectors(parse(form.text("query"), parts.engine.options.features))
    if not matcher_sets:
        return web.Response(status=204)
    offered = accepted_encoding(request)

    def run() -> Packed:
        notes = parts.view.reading_notes()
        found = parts.storage.select_exemplars(matcher_sets, start_ms, end_ms)
        return packed(iter([success_body(_exemplar_members(found), notes)]), offered)

    return await answer(request, await parts.gate.read(run))


def _exemplar_members(found: ExemplarColumns) -> list[dict[str, object]]:
    """Return the members of each series, sorted by labels. Storage keeps few enough of them."""
    members: list[tuple[list[tuple[str, str]], dict[str, object]]] = []
    for series in range(found.series.series_count):
        labels = dict(sorted(found.series.row(series).items()))
        exemplars = [
            {
                "labels": found.labels.row(at),
                "value": sample_text(float(found.values[at])),
                "timestamp": _seconds(int(found.times[at])),
            }
            for at in range(int(found.first[series]), int(found.first[series + 1]))
        ]
        members.append((list(labels.items()), {"seriesLabels": labels, "exemplars": exemplars}))
    return [each for _, each in sorted(members, key=lambda pair: pair[0])]


def _seconds(time_ms: int) -> float:
    seconds, millis = divmod(time_ms, 1000)
    return time_ms / 1000 if millis else seconds


def _selectors(expr: Expr) -> list[tuple[Matcher, ...]]:
    """Return the matchers of every selector in an expression, however deep."""
    found: list[tuple[Matcher, ...]] = []
    waiting: list[object] = [expr]
    while waiting:
        node = waiting.pop()
        if isinstance(node, VectorSelector):
            found.append(node.matchers)
        elif isinstance(node, tuple):
            waiting += node
        else:
            waiting += [getattr(node, name) for name in getattr(node, "__dataclass_fields__", ())]
    return found


async def format_text(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/format_query: the query, laid out."""
    parts, form = request.app[PARTS], await read_form(request)
    try:
        return success(request, prettify(parse(form.text("query"), parts.engine.options.features)))
    except ParseError as error:
        raise BadParameterError("query", str(error)) from None


async def parse_tree(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/parse_query: the query's syntax tree."""
    parts, form = request.app[PARTS], await read_form(request)
    try:
        body = tree_json(parse(form.text("query"), parts.engine.options.features))
    except ParseError as error:
        raise BadParameterError("query", str(error)) from None
    return success(request, JsonBytes(body))
