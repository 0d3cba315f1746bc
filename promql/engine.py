"""Where queries come in: parsed (or found parsed), checked, braked, run, and their cost told.

From: `api/gate.py`, rules, the CLI: text and times.   To: `query_run.py`, and back `result.py`.

Limits, deadline and cancellation hold from the start of the call. An engine has no state besides
its caches of parsed queries and of finished steps; it may be used by many threads at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promql.annotations import Annotations
from promql.context import Budget, go_on
from promql.errors import RefusedQueryError
from promql.evaluate import Evaluator
from promql.explain import CountingRows, Explainer, Observer
from promql.parse import parse
from promql.plan import QueryTimes
from promql.query_run import Clock, QueryRun, read_max
from promql.result import QueryResult, QueryStats
from promql.result_cache import Known, ResultCache, stands_by_itself
from promql.rows import RowRunner
from promql.syntax import ValueType
from promql.value_types import value_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from promql.explain import Explanation
    from promql.result import MatrixResult, ResultValue
    from promql.syntax import Expr
    from tsdb.interface import ChangeSource, SeriesReader


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
    result_cache_bytes: int = 64 << 20
    """What finished steps of range queries may take; 0 keeps none."""
    threads: int = 0
    """Threads for the kernels of all queries together; 0 means one for each core."""


class Engine:
    """Answers queries from one reader. `close()` ends its threads.

    With `changes`, the reader's own, steps that were answered once are kept until data of their
    time changes.
    """

    def __init__(
        self,
        reader: SeriesReader,
        options: EngineOptions | None = None,
        *,
        changes: ChangeSource | None = None,
    ) -> None:
        self._reader = reader
        self.options = options or EngineOptions()
        cache_bytes = self.options.result_cache_bytes
        self.result_cache = (
            ResultCache(changes, cache_bytes) if changes is not None and cache_bytes else None
        )
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
        pause: Callable[[], None] = go_on,
    ) -> QueryResult:
        """Answer a query at one time. A range vector is answered with its samples.

        `pause` is called in the middle of long work, to let others have their turn. Raises the
        QueryErrors of `errors.py`.
        """
        times = self._times(time_ms, time_ms, 0, lookback_ms)
        return self._run(query, times, timeout_s, canceled, pause, instant=True)

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
        """Answer a query at every step from `start_ms` to `end_ms`, inclusive.

        `step_ms` is positive; `pause` is as for `instant`. Raises the QueryErrors of `errors.py`.
        """
        assert step_ms > 0
        times = self._times(start_ms, end_ms, step_ms, lookback_ms)
        return self._run(query, times, timeout_s, canceled, pause, instant=False)

    def explain(
        self,
        query: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        *,
        analyze: bool = False,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
        canceled: threading.Event | None = None,
        pause: Callable[[], None] = go_on,
    ) -> Explanation:
        """Return how a query is answered; `step_ms` 0 is an instant query at `start_ms`.

        With `analyze` it is answered as well, without steps that are known, and the plan says what
        each part came to. Raises the QueryErrors of `errors.py`.
        """
        instant = step_ms == 0
        times = self._times(start_ms, end_ms, step_ms, lookback_ms)
        expr = self.checked(query, instant=instant)
        observer, stats = None, None
        if analyze:
            observer = Observer()
            stats = self._run(
                query, times, timeout_s, canceled, pause, instant=instant, observer=observer
            ).stats
        return Explainer(
            self._reader,
            expr,
            query,
            times,
            self.options.features,
            keeps_steps=not instant
            and self.result_cache is not None
            and self._parsed.steps_stand_alone(query, expr),
            read_max=read_max(self.options.samples_max),
        ).explain(observer, stats)

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
        pause: Callable[[], None],
        *,
        instant: bool,
        observer: Observer | None = None,
    ) -> QueryResult:
        clock = Clock()
        options = self.options
        # A request may shorten the time limit, never lengthen it.
        limit_s = options.timeout_s if timeout_s is None else min(timeout_s, options.timeout_s)
        budget = Budget(
            options.samples_max, time.monotonic() + limit_s, canceled or threading.Event(), pause
        )
        expr = self.checked(query, instant=instant)
        parse_s = clock.lap()
        annotations = Annotations(query)
        run = QueryRun(
            self._reader,
            expr,
            query,
            times,
            samples_max=options.samples_max,
            delayed_name_removal=options.delayed_name_removal,
            features=options.features,
            annotations=annotations,
            budget=budget,
            rows=self._rows if observer is None else CountingRows(self._rows, observer),
            evaluator=Evaluator if observer is None else observer.evaluator,
        )
        value: ResultValue
        cache = None if observer is not None else self.result_cache
        if instant:
            value = run.instant()
        elif cache is None or not self._parsed.steps_stand_alone(query, expr):
            value = run.range()
        else:
            value = self._with_known_steps(cache, query, times, run, annotations)
        run_s = clock.lap()
        stats = QueryStats(
            parse_s=parse_s,
            prepare_s=run.cost.prepare_s,
            inner_eval_s=run.cost.inner_eval_s,
            eval_total_s=run_s,
            sort_s=run.cost.sort_s,
            total_s=parse_s + run_s,
            samples_total=sum(run.cost.samples_per_step),
            samples_peak=budget.peak_samples,
            samples_per_step=run.cost.samples_per_step,
            start_ms=times.start_ms,
            step_ms=times.step_ms,
        )
        return QueryResult(value, annotations.warnings, annotations.infos, stats)

    def checked(self, query: str, *, instant: bool) -> Expr:
        """Return a query parsed. Raises `ParseError` if it is none, or not of this kind."""
        expr = self._parsed.get(query)
        kind = value_type(expr)
        if not instant and kind not in (ValueType.SCALAR, ValueType.VECTOR):
            raise RefusedQueryError(
                f'invalid expression type "{kind.value}" for range query, '
                "must be Scalar or instant Vector",
                query,
            )
        return expr

    def _with_known_steps(
        self,
        cache: ResultCache,
        query: str,
        times: QueryTimes,
        run: QueryRun,
        annotations: Annotations,
    ) -> MatrixResult:
        """Evaluate the steps that the cache does not know, and give it the answer."""
        ticket = cache.ticket()
        matrix = run.range(cache.find(query, times))
        # Annotations are of a query as a whole: one that has any is evaluated as a whole.
        if not (annotations.warnings or annotations.infos):
            cache.keep(query, times, ticket, Known(matrix, run.cost.samples_per_step))
        return matrix


class _ParsedQueries:
    """The most recent queries, parsed and checked. Nodes are frozen, so threads may share them."""

    def __init__(self, parsed_max: int, features: frozenset[str]) -> None:
        self._parsed_max, self._features = parsed_max, features
        self._parsed: OrderedDict[str, Expr] = OrderedDict()
        self._stand_alone: dict[str, bool] = {}
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
                oldest, _ = self._parsed.popitem(last=False)
                self._stand_alone.pop(oldest, None)
        return expr

    def steps_stand_alone(self, query: str, expr: Expr) -> bool:
        """Say whether the steps of a query may be answered one without the others."""
        found = self._stand_alone.get(query)
        if found is None:
            found = stands_by_itself(expr)
            with self._lock:
                if query in self._parsed:
                    self._stand_alone[query] = found
        return found
