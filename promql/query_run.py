"""One query's run: plan, select, evaluate; and again in halves where too much would be read.

From: `engine.py`, with a checked expression, its times and its brakes.   To: `result.py`.

What a query reads is held while it is evaluated, but for very many samples, which storage leaves to
be read series by series where they are needed. A range query over a long time may read far
more than its answer holds; then its steps are evaluated in two halves, each by itself, and their
answers are joined. Every step is evaluated as in the whole: `start()`, `@ end()` and `range()` stay
those of the query.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from promql.context import EvalContext, SampleCounts
from promql.errors import ExecutionError, TooManySamplesError
from promql.evaluate import Evaluator
from promql.labels import QuerySymbols, SeriesLabels
from promql.matrix import Windows
from promql.plan import make_plan
from promql.result import MatrixResult
from promql.result_building import instant_value, join_steps, range_value
from promql.start_times import USE_START_TIMESTAMPS
from promql.windows import Samples, samples_per_step
from tsdb import errors as storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from promql.annotations import Annotations
    from promql.context import Budget
    from promql.plan import Plan, QueryTimes
    from promql.result import ResultValue
    from promql.result_cache import Known
    from promql.rows import RowRunner
    from promql.syntax import Expr
    from tsdb.interface import Selection, SeriesReader

    Ints = npt.NDArray[np.int64]


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, and begin a new one."""
        now = time.perf_counter()
        elapsed, self._at = now - self._at, now
        return elapsed


@dataclass(slots=True)
class Cost:
    """What a run came to, summed over its parts. `samples_per_step` is int64[T] of all steps."""

    prepare_s: float = 0.0
    inner_eval_s: float = 0.0
    sort_s: float = 0.0
    samples_per_step: list[int] = field(default_factory=list)


class QueryRun:
    """Runs one query once; `cost` is filled as it goes."""

    def __init__(
        self,
        reader: SeriesReader,
        expr: Expr,
        query: str,
        times: QueryTimes,
        *,
        samples_max: int,
        delayed_name_removal: bool,
        features: frozenset[str],
        annotations: Annotations,
        budget: Budget,
        rows: RowRunner,
        evaluator: Callable[[Plan, Sequence[Samples]], Evaluator] = Evaluator,
    ) -> None:
        self._reader, self._expr, self._query, self._times = reader, expr, query, times
        self._samples_max, self._delayed, self._features = (
            samples_max,
            delayed_name_removal,
            features,
        )
        self._annotations, self._budget, self._rows = annotations, budget, rows
        self._evaluator = evaluator
        self.cost = Cost()

    def instant(self) -> ResultValue:
        """Return the answer at the query's only time. Raises QueryErrors."""
        return self._part(np.array([self._times.start_ms], dtype=np.int64), instant=True)

    def range(self, known: Known | None = None) -> MatrixResult:
        """Return the answer at all steps, the first of which may be known. Raises QueryErrors."""
        times = self._times
        count = max(0, (times.end_ms - times.start_ms) // times.step_ms + 1)
        self._budget.reserve(count)
        steps_ms = times.start_ms + times.step_ms * np.arange(count, dtype=np.int64)
        if known is None:
            return self._steps(steps_ms)
        self._budget.take(int(np.count_nonzero(known.matrix.present)))
        self.cost.samples_per_step += known.samples_per_step
        rest = steps_ms[known.matrix.steps_ms.size :]
        return join_steps(known.matrix, self._steps(rest)) if rest.size else known.matrix

    def _steps(self, steps_ms: Ints) -> MatrixResult:
        try:
            value = self._part(steps_ms, instant=False)
        except _ReadTooMuchError:
            if steps_ms.size < 2:
                raise
        else:
            assert isinstance(value, MatrixResult)
            return value
        middle = steps_ms.size // 2
        return join_steps(self._steps(steps_ms[:middle]), self._steps(steps_ms[middle:]))

    def _part(self, steps_ms: Ints, *, instant: bool) -> ResultValue:
        """Answer some of the steps by one select; by two where one finds damage too late."""
        mark = self._budget.held
        # Whoever watches wants to see the nodes one by one.
        if self._evaluator is Evaluator:
            try:
                return self._answer(steps_ms, instant=instant, deferred=True)
            except storage_errors.ReadAgainError:
                self._budget.settle(mark, 0)
        return self._answer(steps_ms, instant=instant, deferred=False)

    def _answer(self, steps_ms: Ints, *, instant: bool, deferred: bool) -> ResultValue:
        """Answer some of the steps; with `deferred` samples are read when they are needed."""
        clock, budget, times = Clock(), self._budget, self._times
        first_ms = int(steps_ms[0]) if steps_ms.size else times.start_ms
        last_ms = int(steps_ms[-1]) if steps_ms.size else times.start_ms
        plan = make_plan(
            self._expr,
            times,
            self._query,
            first_ms=first_ms,
            last_ms=last_ms,
            start_times=USE_START_TIMESTAMPS in self._features,
        )
        budget.check()
        if deferred:
            plan.selections = [replace(each, deferred=True) for each in plan.selections]
        selected, symbols = self._select(plan.selections)
        self.cost.prepare_s += clock.lap()
        ctx = EvalContext(
            steps_ms=steps_ms,
            step_ms=times.step_ms,
            start_ms=times.start_ms,
            end_ms=times.end_ms,
            lookback_ms=times.lookback_ms,
            symbols=symbols,
            annotations=self._annotations,
            budget=budget,
            delayed_name_removal=self._delayed,
            default_subquery_step_ms=times.default_subquery_step_ms,
            features=self._features,
            query_step_ms=times.step_ms,
            counts=SampleCounts(steps_ms.size),
            rows=self._rows,
        )
        budget.check()
        operand = self._evaluator(plan, selected).operand(self._expr, ctx)
        if isinstance(operand, Windows):
            # Inside a query one series' window at a time is held; as the answer all are.
            budget.settle(0, int(samples_per_step(operand).sum()))
        self.cost.inner_eval_s += clock.lap()
        value = instant_value(operand, ctx) if instant else range_value(operand, ctx)
        self.cost.sort_s += clock.lap()
        self.cost.samples_per_step += ctx.counts.per_step.tolist()
        return value

    def _select(self, selections: list[Selection]) -> tuple[list[Samples], QuerySymbols]:
        """Read everything the part needs, at once."""
        if not selections:
            return [], QuerySymbols(None)
        try:
            batches = self._reader.select(selections, samples_max=read_max(self._samples_max))
        except storage_errors.TooManySamplesError as error:
            raise _ReadTooMuchError from error
        except storage_errors.StorageError as error:
            raise ExecutionError(f"expanding series: {error}") from error
        for batch in batches:
            for warning in batch.warnings:
                self._annotations.warn_of_storage(warning)
        symbols = QuerySymbols(batches[0].labels.symbols)
        return [
            Samples.from_batch(batch, SeriesLabels.from_columns(batch.labels, symbols))
            for batch in batches
        ], symbols


def read_max(samples_max: int) -> int:
    """Return how many stored samples a query of a limit may read at once.

    Prometheus counts what it holds while it evaluates, not what it reads on the way. Here all is
    read first: a sample costs 8 bytes, a point of Prometheus' limit 16, so twice the limit is the
    same memory; and a million samples are not worth a refusal.
    """
    return max(2 * samples_max, 1_000_000)


class _ReadTooMuchError(TooManySamplesError):
    """Storage would have to read too much at once; for fewer steps it may be little enough."""
