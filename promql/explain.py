"""How a query is answered: its plan, and, if it is run, what each part of it came to.

From: `engine.py`.   To: `explain_text.py`, the API, the CLI.

The plan is what `plan.py` makes and `evaluate.py` obeys, told: what is read once for whom, what is
the same at every step, which steps a subquery has. What is only known while a query runs, whether
an aggregation folded its operand's results as they were made, or in how many chunks a node's series
were worked through, is observed there by an evaluator that looks at the clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from promql.evaluate import Evaluator
from promql.format import format_matcher, headline
from promql.histograms.runs import sample_sizes
from promql.literals import format_duration
from promql.matrix import Matrix, ScalarSteps, Windows
from promql.plan import make_plan
from promql.rows import RowRunner
from promql.start_times import USE_START_TIMESTAMPS
from promql.syntax import (
    Aggregation,
    Binary,
    Call,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
)
from promql.windows import samples_per_step
from tsdb import errors as storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.plan import Plan, QueryTimes
    from promql.result import QueryStats
    from promql.syntax import Expr
    from promql.windows import Samples
    from tsdb.interface import Selection, SeriesReader


@dataclass(frozen=True, slots=True)
class Read:
    """What storage is asked for once, for all selectors that need it.

    `func`, `grouping` and `by` are what it is read for, where all selectors agree. An estimate is
    made of a look at the newest part of the time. `series` and `samples` are what was read, None
    where the query was not run; a native histogram counts for its size, as in limits.
    """

    number: int
    matchers: tuple[str, ...]
    start_ms: int
    end_ms: int
    selectors: int
    func: str
    grouping: tuple[str, ...]
    by: bool
    estimated_series: int | None = None
    estimated_samples: int | None = None
    series: int | None = None
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a node came to: `seconds` include its operands', `points` are those of its result."""

    seconds: float
    series: int
    points: int
    chunks: int


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One node of the query: what it is without its operands, and how it is evaluated.

    `read` is the number of the read that a selector gets its samples from.
    """

    text: str
    notes: tuple[str, ...] = ()
    read: int | None = None
    measured: Measured | None = None
    operands: tuple[PlanNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A query's plan. An instant query has start = end and step 0.

    `keeps_steps`: finished steps may answer the next refresh. `parts`: in how many pieces of its
    time the query was evaluated, 0 if it was not run; `stats` are None then.
    """

    start_ms: int
    end_ms: int
    step_ms: int
    steps: int
    keeps_steps: bool
    reads: tuple[Read, ...]
    root: PlanNode
    parts: int = 0
    stats: QueryStats | None = None


@dataclass(slots=True)
class _Tally:
    seconds: float = 0.0
    series: int = 0
    points: int = 0
    chunks: int = 0
    folded: bool = False


class Observer:
    """Makes the evaluators of one run, one a part, and sums up what they saw."""

    def __init__(self) -> None:
        self.parts = 0
        self.of_node: dict[int, _Tally] = {}
        self.of_read: dict[int, tuple[int, int]] = {}
        self.current = _Tally()

    def evaluator(self, plan: Plan, selected: Sequence[Samples]) -> Evaluator:
        """Return an evaluator for one part of the steps."""
        self.parts += 1
        for number, samples in enumerate(selected):
            series, before = self.of_read.get(number, (0, 0))
            held = int(samples.count.sum()) + _histogram_samples(samples)
            self.of_read[number] = (max(series, samples.count.size), before + held)
        return _Observed(plan, selected, self)

    def tally(self, node: Expr) -> _Tally:
        """Return the sums of a node."""
        return self.of_node.setdefault(id(node), _Tally())


def _histogram_samples(samples: Samples) -> int:
    runs = samples.histograms
    return 0 if runs is None else int(sample_sizes(runs.columns).sum())


class _Observed(Evaluator):
    """An evaluator that notes what each node came to."""

    def __init__(self, plan: Plan, selected: Sequence[Samples], observer: Observer) -> None:
        super().__init__(plan, selected)
        self._observer = observer

    def operand(self, node: Expr, ctx: EvalContext) -> Operand:
        while isinstance(node, Paren):
            node = node.expr
        observer = self._observer
        outer, tally = observer.current, observer.tally(node)
        observer.current = tally
        begun = time.perf_counter()
        try:
            result = super().operand(node, ctx)
        finally:
            observer.current = outer
            tally.seconds += time.perf_counter() - begun
        series, points = _extent(result)
        tally.series = max(tally.series, series)
        tally.points += points
        return result

    def _folded(self, node: Aggregation, ctx: EvalContext) -> Matrix | None:
        result = super()._folded(node, ctx)
        self._observer.tally(node).folded |= result is not None
        return result


class CountingRows(RowRunner):
    """Runs kernels as another runner does, and counts the chunks for the node in work."""

    def __init__(self, rows: RowRunner, observer: Observer) -> None:
        super().__init__()
        self._rows, self._observer = rows, observer

    def run(
        self,
        rows: int,
        cost: int,
        work: Callable[[int, int], object],
        check: Callable[[], None],
        *,
        rows_min: int = 1,
    ) -> None:
        """Run as `RowRunner.run` does."""
        begun: list[int] = []  # Appended to by several threads, which lists allow.

        def counted(low: int, high: int) -> object:
            begun.append(low)
            return work(low, high)

        try:
            self._rows.run(rows, cost, counted, check, rows_min=rows_min)
        finally:
            self._observer.current.chunks += len(begun)


def _extent(result: Operand) -> tuple[int, int]:
    """Return how many series and points an operand has; of a range vector, its windows' samples."""
    match result:
        case Matrix():
            points = int(np.count_nonzero(result.occupied))
            return result.series_count, points
        case ScalarSteps(values=values):
            return 0, values.size
        case Windows():
            return result.series_count, int(samples_per_step(result).sum())
        case _:
            return 0, 0


@dataclass(slots=True)
class Explainer:
    """Explains one parsed query at its times."""

    reader: SeriesReader
    expr: Expr
    query: str
    times: QueryTimes
    features: frozenset[str]
    keeps_steps: bool
    read_max: int
    _plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        """Plan the query; raises as `make_plan` does."""
        self._plan = make_plan(
            self.expr,
            self.times,
            self.query,
            start_times=USE_START_TIMESTAMPS in self.features,
        )

    def explain(self, observer: Observer | None, stats: QueryStats | None) -> Explanation:
        """Return the plan, with what an observer of a run saw, and what the run cost."""
        times = self.times
        steps = 1 if times.step_ms == 0 else (times.end_ms - times.start_ms) // times.step_ms + 1
        return Explanation(
            start_ms=times.start_ms,
            end_ms=times.end_ms,
            step_ms=times.step_ms,
            steps=max(0, steps),
            keeps_steps=self.keeps_steps,
            reads=self._reads(observer),
            root=self._node(self.expr, observer, many_steps=steps > 1),
            parts=0 if observer is None else observer.parts,
            stats=stats,
        )

    def _reads(self, observer: Observer | None) -> tuple[Read, ...]:
        selectors: dict[int, int] = {}
        for number in self._plan.selection_of.values():
            selectors[number] = selectors.get(number, 0) + 1
        reads = []
        for number, selection in enumerate(self._plan.selections):
            hints = selection.hints
            read = Read(
                number=number,
                matchers=tuple(format_matcher(matcher) for matcher in selection.matchers),
                start_ms=selection.start_ms,
                end_ms=selection.end_ms,
                selectors=selectors.get(number, 0),
                func=hints.func,
                grouping=hints.grouping,
                by=hints.by,
            )
            read = self._estimated(read, selection)
            if observer is not None and number in observer.of_read:
                series, samples = observer.of_read[number]
                read = replace(read, series=series, samples=samples)
            reads.append(read)
        return tuple(reads)

    def _estimated(self, read: Read, selection: Selection) -> Read:
        """Look at the newest samples, as far back as a selector may look, and go on from there."""
        length_ms = selection.end_ms - selection.start_ms + 1
        looked_ms = min(length_ms, self.times.lookback_ms)
        newest = replace(selection, start_ms=selection.end_ms - looked_ms + 1)
        try:
            (batch,) = self.reader.select([newest], samples_max=self.read_max)
        except storage_errors.StorageError:
            return read
        found = batch.sample_count
        if batch.histograms is not None:
            found += int(sample_sizes(batch.histograms.columns).sum())
        return replace(
            read,
            estimated_series=batch.series_count,
            estimated_samples=round(found * length_ms / looked_ms),
        )

    def _node(self, node: Expr, observer: Observer | None, *, many_steps: bool) -> PlanNode:
        while isinstance(node, Paren):
            node = node.expr
        plan = self._plan
        notes: list[str] = []
        if many_steps and id(node) in plan.invariant and not isinstance(node, MatrixSelector):
            notes.append("once for all steps")
        operands = _operands(node)
        if isinstance(node, Subquery):
            inner = plan.inner[id(node)]
            notes.append(f"{inner.step_count} steps of {format_duration(inner.step_ms)}")
            many_steps = inner.step_count > 1
        tally = None if observer is None else observer.of_node.get(id(node))
        if tally is not None and tally.folded:
            notes.append("its operand's results are folded as they are made")
        return PlanNode(
            text=headline(node),
            notes=tuple(notes),
            read=plan.selection_of.get(id(node)),
            measured=None
            if tally is None
            else Measured(tally.seconds, tally.series, tally.points, tally.chunks),
            operands=tuple(
                self._node(operand, observer, many_steps=many_steps) for operand in operands
            ),
        )


def _operands(node: Expr) -> tuple[Expr, ...]:
    match node:
        case Aggregation(expr=inner, param=param):
            return (inner,) if param is None else (param, inner)
        case Binary(lhs=lhs, rhs=rhs):
            return lhs, rhs
        case Call(func="info", args=args):
            return args[:1]  # The other is no operand: it says what labels are wanted.
        case Call(args=args):
            return args
        case Unary(expr=inner) | Subquery(expr=inner):
            return (inner,)
        case VectorSelector() | MatrixSelector():
            return ()
        case _:
            return ()
