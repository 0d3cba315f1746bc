"""Run `.test` scripts on the real engine over a real store.

From: files, through `script.py`.   To: `gnomon test promql` and the corpus test.
A case passes only if its answer, its annotations and the same question asked otherwise
(`variants.py`) all agree with the script.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gnomon.promqltest import compare, script, variants
from gnomon.promqltest.loading import load
from promql.errors import QueryError
from promql.format import format_expr
from promql.parse import FEATURES, parse
from promql.result import MatrixResult, ScalarResult, VectorResult
from tsdb.interface import HistogramAppender, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gnomon.promqltest.script import Eval, Load
    from promql.result import QueryResult, ResultValue
    from promql.syntax import Expr

MINUTE_MS = 60_000


class Store(Storage, HistogramAppender, Protocol):
    """A storage that can be thrown away."""

    def close(self) -> None:
        """Release everything."""
        ...


class Evaluator(Protocol):
    """The engine, set up as the scripts assume."""

    def instant(self, expr: str, time_ms: int) -> QueryResult:
        """Evaluate at one time; raises QueryError."""
        ...

    def range(self, expr: str, start_ms: int, end_ms: int, step_ms: int) -> QueryResult:
        """Evaluate at steps; raises QueryError."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case; `problem` is None where it passed."""

    line: int
    expr: str
    problem: str | None


def run(
    text: str, make_store: Callable[[], Store], make_evaluator: Callable[[Store], Evaluator]
) -> Iterator[Outcome]:
    """Run one script from its top and yield an outcome for each eval.

    Raises `script.ScriptError` before anything runs if the text is no script.
    """
    commands = script.parse(text)
    session = _Session(make_store, make_evaluator)
    try:
        for command in commands:
            if isinstance(command, script.Clear):
                session.clear()
            elif isinstance(command, script.Load):
                session.load(command)
            else:
                yield Outcome(command.line, command.expr, session.problem(command))
    finally:
        session.close()


class _Session:
    """The store of one script and what could not be put into it."""

    def __init__(
        self, make_store: Callable[[], Store], make_evaluator: Callable[[Store], Evaluator]
    ) -> None:
        self._make_store, self._make_evaluator = make_store, make_evaluator
        self._open()

    def _open(self) -> None:
        self._store = self._make_store()
        self._evaluator = self._make_evaluator(self._store)
        self._load_problem: str | None = None

    def clear(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._store.close()

    def load(self, command: Load) -> None:
        problem = load(self._store, command)
        self._load_problem = self._load_problem or problem

    def problem(self, case: Eval) -> str | None:
        """Run one case; None means that it passed."""
        if self._load_problem is not None:
            return self._load_problem
        try:
            expr = parse(case.expr, FEATURES)
        except QueryError as error:
            return f"does not parse: {error}"
        problem = self._main_problem(case)
        if problem is None and case.instant:
            problem = self._variants_problem(case, expr)
        return problem

    def _main_problem(self, case: Eval) -> str | None:
        expected = case.expectation
        time_ms = expected.range_vector[1] if expected.range_vector else case.start_ms
        try:
            if case.instant:
                result = self._evaluator.instant(case.expr, time_ms)
            else:
                result = self._evaluator.range(case.expr, case.start_ms, case.end_ms, case.step_ms)
        except QueryError as error:
            if expected.fail is None:
                return f"failed: {error}"
            return compare.failure_problem(expected.fail, str(error))
        except Exception as error:  # noqa: BLE001 - a crash of the engine fails one case, not the run
            return f"crashed: {type(error).__name__}: {error}"
        if expected.fail is not None:
            return "expected a failure, got a result"
        return (
            compare.annotations_problem("warning", expected.warn, result.warnings)
            or compare.annotations_problem("info", expected.info, result.infos)
            or compare.result_problem(case, result.value)
        )

    def _variants_problem(self, case: Eval, expr: Expr) -> str | None:
        """Ask the same pinned to its time, at other times, and as the middle of a range."""
        asked = [(case.expr, case.start_ms)]
        if not variants.time_dependent(expr) and case.expectation.range_vector is None:
            text = format_expr(variants.pinned(expr, case.start_ms))
            asked += [(text, time_ms) for time_ms in variants.other_times(case.start_ms)]
        for number, (text, time_ms) in enumerate(asked):
            problem = None
            try:
                if number > 0:
                    problem = self._instant_variant(case, text, time_ms)
                if problem is None and _ranges(case):
                    problem = self._range_variant(case, text, time_ms)
            except QueryError as error:
                problem = None if case.expectation.fail is not None else f"failed: {error}"
            except Exception as error:  # noqa: BLE001 - as above
                problem = f"crashed: {type(error).__name__}: {error}"
            if problem is not None:
                return problem
        return None

    def _instant_variant(self, case: Eval, text: str, time_ms: int) -> str | None:
        result = self._evaluator.instant(text, time_ms)
        if case.expectation.fail is not None:
            return f"asked as {text} at {time_ms / 1000:g}s: expected a failure, got a result"
        problem = compare.result_problem(case, result.value)
        return problem and f"asked as {text} at {time_ms / 1000:g}s: {problem}"

    def _range_variant(self, case: Eval, text: str, time_ms: int) -> str | None:
        start_ms, end_ms = time_ms - MINUTE_MS, time_ms + MINUTE_MS
        result = self._evaluator.range(text, start_ms, end_ms, MINUTE_MS)
        if case.expectation.fail is not None:
            return None
        middle = _middle(result.value, time_ms, scalar=case.expectation.scalar is not None)
        problem = compare.result_problem(case, middle)
        return problem and (
            f"asked as {text}, the middle of a range around {time_ms / 1000:g}s: {problem}"
        )


def _ranges(case: Eval) -> bool:
    expected = case.expectation
    if expected.range_vector is not None or expected.string is not None or expected.ordered:
        return False
    return not any(text in case.expr for text in variants.STEP_DEPENDENT)


def _middle(value: ResultValue, time_ms: int, *, scalar: bool) -> ResultValue:
    """Return one step of a matrix as the vector or scalar of an instant query."""
    if not isinstance(value, MatrixResult):
        return value
    step = int(np.searchsorted(value.steps_ms, time_ms))
    if scalar:
        # A range query of a scalar has one series without labels.
        return ScalarResult(time_ms, float(value.values[0, step]))
    present = value.present[:, step]
    histograms = value.histograms
    if histograms is not None:
        histograms = replace(histograms, row=histograms.row[:, step : step + 1])
        present = present | histograms.present[:, 0]
    rows = np.flatnonzero(present)
    return VectorResult(
        time_ms,
        value.labels.take(rows),
        value.values[rows, step],
        None if histograms is None else histograms.take(rows),
    )
