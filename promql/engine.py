"""A query's whole way: parse, check, plan, select, evaluate, and make the result.

From: `api/gate.py`, rules, the CLI: text and times.   To: `result.py`'s columns.

Limits, deadline and cancellation hold from the start of the call. An engine has no state besides
its cache of parsed queries; it may be used by many threads at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.annotations import Annotations
from promql.context import Budget, EvalContext, SampleCounts
from promql.errors import ExecutionError, RefusedQueryError, TooManySamplesError
from promql.evaluate import Evaluator
from promql.labels import QuerySymbols, SeriesLabels
from promql.matrix import Windows
from promql.parse import parse
from promql.plan import QueryTimes, make_plan
from promql.result import QueryResult, QueryStats
from promql.result_building import instant_value, range_value
from promql.rows import RowRunner
from promql.syntax import ValueType
from promql.value_types import value_type
from promql.windows import Samples, samples_per_step
from tsdb import errors as storage_errors

if TYPE_CHECKING:
    from promql.syntax import Expr
    from tsdb.interface import Selection, SeriesReader


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What every query of an engine obeys unless its call says otherwise. Prometheus' defaults."""

    samples_max: int = 50_000_000
    timeout_s: float = 120.0
    lookback_ms: int = 300_000
    default_subquery_step_ms: int = 60_000
    features: frozenset[str] = frozenset()
    delayed_name_removal: bool = False
    parsed_max: int = 1000
    threads: int = 0
    """Threads for the kernels of all queries together; 0 means one for each core."""


class Engine:
    """Answers queries from one reader. `close()` ends its threads."""

    def __init__(self, reader: SeriesReader, options: EngineOptions | None = None) -> None:
        self._reader = reader
        self.options = options or EngineOptions()
        self._parsed = _ParsedQueries(self.options.parsed_max, self.options.features)
        # The calling thread works too, so one core less needs a helper.
        helpers = (self.options.threads or len(os.sched_getaffinity(0))) - 1
        self._executor = (
            ThreadPoolExecutor(helpers, thread_name_prefix="promql") if helpers > 0 else None
        )
        self._rows = RowRunner(self._executor, helpers)

    def close(self) -> None:
        """End the engine's threads; queries after this run on their caller's thread alone."""
        self._rows = RowRunner()
        if self._executor is not None:
            self._executor.shutdown()

    def instant(
        self,
        query: str,
        time_ms: int,
        *,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
        canceled: threading.Event | None = None,
    ) -> QueryResult:
        """Answer a query at one time. A range vector is answered with its samples.

        Raises the QueryErrors of `errors.py`.
        """
        times = self._times(time_ms, time_ms, 0, lookback_ms)
        return self._run(query, times, timeout_s, canceled, instant=True)

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
    ) -> QueryResult:
        """Answer a query at every step from `start_ms` to `end_ms`, inclusive.

        `step_ms` is positive. Raises the QueryErrors of `errors.py`.
        """
        assert step_ms > 0
        times = self._times(start_ms, end_ms, step_ms, lookback_ms)
        return self._run(query, times, timeout_s, canceled, instant=False)

    def _times(
        self, start_ms: int, end_ms: int, step_ms: int, lookback_ms: int | None
    ) -> QueryTimes:
        return QueryTimes(
            start_ms=start_ms,
            end_ms=end_ms,
            step_ms=step_ms,
            lookback_ms=lookback_ms or self.options.lookback_ms,
            default_subquery_step_ms=self.options.default_subquery_step_ms,
        )

    def _run(
        self,
        query: str,
        times: QueryTimes,
        timeout_s: float | None,
        canceled: threading.Event | None,
        *,
        instant: bool,
    ) -> QueryResult:
        clock = _Clock()
        options = self.options
        # A request may shorten the time limit, never lengthen it.
        limit_s = options.timeout_s if timeout_s is None else min(timeout_s, options.timeout_s)
        budget = Budget(
            options.samples_max, time.monotonic() + limit_s, canceled or threading.Event()
        )
        expr = self._parsed.get(query)
        kind = value_type(expr)
        if not instant and kind not in (ValueType.SCALAR, ValueType.VECTOR):
            raise RefusedQueryError(
                f'invalid expression type "{kind.value}" for range query, '
                "must be Scalar or instant Vector",
                query,
            )
        plan = make_plan(expr, times, query)
        parse_s = clock.lap()
        budget.check()
        selected, symbols = self._select(plan.selections)
        prepare_s = clock.lap()
        count = 1 if instant else max(0, (times.end_ms - times.start_ms) // times.step_ms + 1)
        budget.reserve(count)
        steps = times.start_ms + times.step_ms * np.arange(count, dtype=np.int64)
        ctx = EvalContext(
            steps_ms=steps,
            step_ms=times.step_ms,
            start_ms=times.start_ms,
            end_ms=times.end_ms,
            lookback_ms=times.lookback_ms,
            symbols=symbols,
            annotations=Annotations(query),
            budget=budget,
            delayed_name_removal=options.delayed_name_removal,
            default_subquery_step_ms=options.default_subquery_step_ms,
            features=options.features,
            query_step_ms=times.step_ms,
            counts=SampleCounts(steps.size),
            rows=self._rows,
        )
        budget.check()
        operand = Evaluator(plan, selected).operand(expr, ctx)
        if isinstance(operand, Windows):
            # Inside a query one series' window at a time is held; as the answer all are.
            budget.take(int(samples_per_step(operand).sum()))
        eval_s = clock.lap()
        value = instant_value(operand, ctx) if instant else range_value(operand, ctx)
        sort_s = clock.lap()
        stats = QueryStats(
            parse_s=parse_s,
            prepare_s=prepare_s,
            inner_eval_s=eval_s,
            eval_total_s=prepare_s + eval_s + sort_s,
            sort_s=sort_s,
            total_s=parse_s + prepare_s + eval_s + sort_s,
            samples_total=ctx.counts.total,
            samples_peak=budget.peak_samples,
            samples_per_step=ctx.counts.per_step.tolist(),
        )
        return QueryResult(value, ctx.annotations.warnings, ctx.annotations.infos, stats)

    def _select(self, selections: list[Selection]) -> tuple[list[Samples], QuerySymbols]:
        """Read everything the query needs, at once."""
        if not selections:
            return [], QuerySymbols(None)
        try:
            batches = self._reader.select(selections, samples_max=self._read_max())
        except storage_errors.TooManySamplesError as error:
            raise TooManySamplesError from error
        except storage_errors.StorageError as error:
            raise ExecutionError(f"expanding series: {error}") from error
        symbols = QuerySymbols(batches[0].labels.symbols)
        return [
            Samples.from_batch(batch, SeriesLabels.from_columns(batch.labels, symbols))
            for batch in batches
        ], symbols

    def _read_max(self) -> int:
        """Return how many stored samples a query may read.

        Prometheus counts what it holds while it evaluates, not what it reads on the way. Here all
        is read first: a sample costs 8 bytes, a point of Prometheus' limit 16, so twice the limit
        is the same memory; and a million samples are not worth a refusal.
        """
        return max(2 * self.options.samples_max, 1_000_000)


class _Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._at = now - self._at, now
        return elapsed


class _ParsedQueries:
    """The most recent queries, parsed and checked. Nodes are frozen, so threads may share them."""

    def __init__(self, parsed_max: int, features: frozenset[str]) -> None:
        self._parsed_max, self._features = parsed_max, features
        self._parsed: OrderedDict[str, Expr] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, query: str) -> Expr:
        with self._lock:
            found = self._parsed.get(query)
            if found is not None:
                self._parsed.move_to_end(query)
                return found
        expr = parse(query, self._features)
        with self._lock:
            self._parsed[query] = expr
            if len(self._parsed) > self._parsed_max:
                self._parsed.popitem(last=False)
        return expr
