"""One dispatch over node types: a node and the steps of its context become an operand.

From: `engine.py`, with the plan and what storage selected for it.
To:   the modules of the operators and functions. Branches live here, arithmetic does not.

Every node is evaluated once for all steps. What is the same at every step (`@`, literals) is
evaluated for the first step and spread over the others. A subquery evaluates its expression over
steps of its own and takes the result for samples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promql.aggregate import aggregate
from promql.aggregate_ranges import KERNELS as FOLDED
from promql.aggregate_ranges import (
    can_fold,
    can_fold_windows,
    fold_newest,
    fold_windows,
    folds_in_parts,
    groups_of_windows,
    of_one_metric,
)
from promql.binary import evaluate_binary, negate
from promql.context import SampleCounts
from promql.count_values import refuse_label
from promql.extended import extended_windows, refuse_extension, smoothed_samples
from promql.functions import implementation
from promql.held import held_beside_operands, points_at_end, samples_held
from promql.histograms.runs import runs_with_resets, shown_per_step
from promql.info import InfoSelector, join_info
from promql.label_functions import FUNCTIONS as LABEL_FUNCTIONS
from promql.label_functions import refuse_texts
from promql.matrix import Matrix, ScalarSteps, StringValue, Windows
from promql.series_parts import EACH_SERIES, RowsDone
from promql.start_times import USE_START_TIMESTAMPS, start_seconds
from promql.syntax import (
    Aggregation,
    Binary,
    Call,
    DurationCall,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from promql.windows import Samples, newest_samples, samples_per_step, windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.grouping import Groups
    from promql.matrix import Operand
    from promql.plan import Plan
    from promql.syntax import Expr

    Ints = npt.NDArray[np.int64]


class Evaluator:
    """Evaluates the nodes of one planned query."""

    def __init__(self, plan: Plan, selected: Sequence[Samples]) -> None:
        self._plan, self._selected = plan, selected
        self._clean: dict[int, Samples] = {}
        self._told: dict[int, Samples] = {}
        self._known: Matrix | None = None
        """What the vector that is evaluated next comes to, where that is known."""
        self._collected = 0
        """Points at the last step of the operands that the node in work has so far."""

    def operand(self, node: Expr, ctx: EvalContext) -> Operand:
        """Return what a node yields at the steps of `ctx`.

        Raises ExecutionError and what the budget raises.
        """
        while isinstance(node, Paren):
            node = node.expr
        mark, others = ctx.budget.held, self._collected
        self._collected = 0
        if ctx.step_count > 1 and id(node) in self._plan.invariant:
            result = self._evaluate_once(node, ctx)
            samples = samples_held(result)
        else:
            result = self._evaluate(node, ctx)
            samples = samples_held(result)
            self._peak(node, result, samples, ctx)
        ctx.budget.settle(mark, samples)
        self._collected = others + points_at_end(result)
        return result

    def _evaluate_once(self, node: Expr, ctx: EvalContext) -> Operand:
        counts = SampleCounts(1)
        first = replace(ctx, steps_ms=ctx.steps_ms[:1], counts=counts)
        result = self._evaluate(node, first)
        self._peak(node, result, samples_held(result), ctx)
        ctx.counts.per_step += counts.total
        return _spread(result, ctx)

    def _peak(self, node: Expr, result: Operand, samples: int, ctx: EvalContext) -> None:
        """Account for the moment when a node's operands and its result are both held."""
        ctx.budget.take(held_beside_operands(node, result, samples, self._collected))

    def _evaluate(self, node: Expr, ctx: EvalContext) -> Operand:
        match node:
            case NumberLiteral(value=value):
                return ScalarSteps(np.full(ctx.step_count, value))
            case StringLiteral(value=text):
                return StringValue(text)
            case VectorSelector():
                return self._vector(node, ctx)
            case MatrixSelector():
                return self._range(node, ctx)
            case Subquery():
                return self._subquery(node, ctx)
            case Call(func="info"):
                return self._info(node, ctx)
            case Call():
                if node.func in LABEL_FUNCTIONS:
                    refuse_texts(node.func, [_text(arg) for arg in node.args[1:]])
                if (place := self._large_range(node)) is not None:
                    return self._call_in_parts(node, place, ctx)
                args = [self._argument(node, arg, ctx) for arg in node.args]
                return implementation(node.func)(node, args, ctx)
            case Aggregation():
                return self._aggregation(node, ctx)
            case Binary(lhs=left, rhs=right):
                first = self.operand(left, ctx)
                if isinstance(first, Matrix) and self._is_same_vector(left, right):
                    self._known = first
                return evaluate_binary(node, first, self.operand(right, ctx), ctx)
            case Unary(op="-", expr=inner):
                return negate(node, self.operand(inner, ctx), ctx)
            case Unary(expr=inner):
                return self.operand(inner, ctx)
            case Paren() | DurationCall():
                raise AssertionError("parentheses and durations were resolved before")

    def _info(self, node: Call, ctx: EvalContext) -> Matrix:
        base = self.operand(node.args[0], ctx)
        assert isinstance(base, Matrix)
        samples = self._selected[self._plan.selection_of[id(node)]]
        points = self._plan.looks[id(node)].points(ctx.steps_ms)
        info = newest_samples(samples, points, ctx, keep_time=True)
        return join_info(InfoSelector.of(node), base, info, ctx)

    def _argument(self, node: Call, arg: Expr, ctx: EvalContext) -> Operand:
        """`timestamp()` of a bare selector means the samples' own times; so these are kept.

        So are their start timestamps where `start_timestamp()` asks for them.
        """
        bare = _unwrapped(arg)
        if node.func == "start_timestamp" and isinstance(bare, VectorSelector):
            return self._started_vector(bare, ctx)
        if node.func == "timestamp" and isinstance(bare, VectorSelector):
            return self._vector(bare, ctx, keep_time=True)
        if isinstance(bare, MatrixSelector) and bare.vector.extension:
            refuse_extension(bare.vector.extension, node.func)
        return self.operand(arg, ctx)

    def _large_range(self, node: Call) -> int | None:
        """Return which argument is a range of samples that need not be there all at once."""
        if node.func not in EACH_SERIES:
            return None
        for place, arg in enumerate(node.args):
            selector = _unwrapped(arg)
            if isinstance(selector, MatrixSelector) and not selector.vector.extension:
                samples = self._selected[self._plan.selection_of[id(selector)]]
                large = samples.deferred is not None and of_one_metric(samples.labels)
                return place if large else None
        return None

    def _call_in_parts(self, node: Call, place: int, ctx: EvalContext) -> Matrix:
        """Return a function of a range, some series after the other."""
        selector = _unwrapped(node.args[place])
        assert isinstance(selector, MatrixSelector)
        args = [
            StringValue("") if at == place else self._argument(node, arg, ctx)
            for at, arg in enumerate(node.args)
        ]
        samples = self._selected[self._plan.selection_of[id(selector)]]
        ctx.budget.reserve(samples.count.size * ctx.step_count)
        mark, held = ctx.budget.held, 0
        rows_done = RowsDone(samples.count.size, ctx.step_count)
        for rows, view in self._ranges(selector, samples, ctx):
            held = max(held, samples_held(view))
            ctx.budget.settle(mark, held)
            args[place] = view
            part = implementation(node.func)(node, args, ctx)
            assert isinstance(part, Matrix)
            rows_done.put(rows, part)
        ctx.budget.settle(mark, held)
        return rows_done.matrix()

    def _ranges(
        self, node: MatrixSelector, samples: Samples, ctx: EvalContext
    ) -> Iterator[tuple[slice, Windows]]:
        """Yield the windows of some series of a large selection after the other."""
        look = self._plan.looks[id(node)]
        ends = look.points(ctx.steps_ms)
        for rows, part in samples.parts():
            ctx.budget.check()
            clean = part.without_stale(ctx)
            kept = np.zeros(clean.count.size, dtype=np.bool_)
            view = windows(clean, ends, look.range_ms, kept, ctx)
            ctx.counts.per_step += samples_per_step(view)
            yield rows, view

    def _aggregation(self, node: Aggregation, ctx: EvalContext) -> Matrix:
        if can_fold(node, ctx) and (folded := self._folded(node, ctx)) is not None:
            return folded
        param = None if node.param is None else self.operand(node.param, ctx)
        assert param is None or isinstance(param, ScalarSteps | StringValue)
        if isinstance(param, StringValue):
            refuse_label(param.text)
        inner = self.operand(node.expr, ctx)
        assert isinstance(inner, Matrix)
        return aggregate(node, inner, param, ctx)

    def _folded(self, node: Aggregation, ctx: EvalContext) -> Matrix | None:
        """Return an aggregation whose operand is never there as a whole; None if it must be."""
        inner = _unwrapped(node.expr)
        mark = ctx.budget.held
        if isinstance(inner, VectorSelector) and not inner.extension and inner.at is None:
            samples = self._selected[self._plan.selection_of[id(inner)]]
            if samples.histograms is not None or samples.count.size == 0:
                return None
            points = self._plan.looks[id(inner)].points(ctx.steps_ms)
            result, found = fold_newest(node, samples, points, ctx)
            ctx.counts.per_step += found
        elif isinstance(inner, Call) and inner.func in FOLDED:
            selector = _unwrapped(inner.args[0])
            if not isinstance(selector, MatrixSelector) or selector.vector.extension:
                return None
            large = self._selected[self._plan.selection_of[id(selector)]]
            if large.deferred is not None and of_one_metric(large.labels):
                groups = groups_of_windows(node, inner, large.labels)
                if folds_in_parts(groups, large, ctx.step_count):
                    return self._folded_in_parts(node, inner, selector, groups, ctx)
            view = self._range(selector, ctx)
            ctx.budget.take(samples_held(view))
            if not can_fold_windows(view):
                operand = implementation(inner.func)(inner, [view], ctx)
                assert isinstance(operand, Matrix)
                ctx.budget.take(samples_held(operand))
                ctx.budget.settle(mark, samples_held(operand))
                return aggregate(node, operand, None, ctx)
            groups = groups_of_windows(node, inner, view.labels)
            whole = slice(0, view.series_count)
            result, found = fold_windows(node, inner, groups, [(whole, view)], ctx)
        else:
            return None
        return _settled(result, found, mark, ctx)

    def _folded_in_parts(
        self,
        node: Aggregation,
        call: Call,
        selector: MatrixSelector,
        groups: Groups,
        ctx: EvalContext,
    ) -> Matrix:
        """Return the aggregation of a function of a range that is never there as a whole."""
        mark, held = ctx.budget.held, 0
        samples = self._selected[self._plan.selection_of[id(selector)]]

        def views() -> Iterator[tuple[slice, Windows]]:
            nonlocal held
            for rows, view in self._ranges(selector, samples, ctx):
                held = max(held, samples_held(view))
                ctx.budget.settle(mark, held)
                yield rows, view

        result, found = fold_windows(node, call, groups, views(), ctx, alone=False)
        return _settled(result, found, mark, ctx)

    def _is_same_vector(self, left: Expr, right: Expr) -> bool:
        """Say whether two operands are one selector, looking at the same times."""
        left, right = _unwrapped(left), _unwrapped(right)
        plan = self._plan
        return (
            isinstance(left, VectorSelector)
            and isinstance(right, VectorSelector)
            and left.extension == right.extension
            and plan.selection_of[id(left)] == plan.selection_of[id(right)]
            and plan.looks[id(left)] == plan.looks[id(right)]
            and not {id(left), id(right)} & plan.invariant
        )

    def _vector(self, node: VectorSelector, ctx: EvalContext, *, keep_time: bool = False) -> Matrix:
        number = self._plan.selection_of[id(node)]
        points = self._plan.looks[id(node)].points(ctx.steps_ms)
        known, self._known = self._known, None
        if known is not None:
            result = known
        elif node.extension == "smoothed":
            result = smoothed_samples(self._without_stale(number, ctx), points, node.span, ctx)
        else:
            samples = self._selected[number]
            if id(node) in self._plan.summarised and samples.histograms is not None:
                samples = self._with_resets(number)
            result = newest_samples(samples, points, ctx, keep_time=keep_time)
        # Whose time alone is asked for, a histogram is a sample like others.
        found = result.occupied if keep_time else result.present
        if ctx.step_count == 1:
            ctx.counts.per_step += np.count_nonzero(found)
        else:
            ctx.counts.per_step += np.count_nonzero(found, axis=0)
        if result.histograms is not None and not keep_time:
            ctx.counts.per_step += shown_per_step(result.histograms)
        return result

    def _started_vector(self, node: VectorSelector, ctx: EvalContext) -> Matrix:
        """Return a vector with the start of each sample; without the feature it has none."""
        vector = self._vector(node, ctx, keep_time=USE_START_TIMESTAMPS in ctx.features)
        if vector.float_time is None:
            return vector
        known = self._selected[self._plan.selection_of[id(node)]].start_times
        return replace(vector, float_time=start_seconds(known, vector.float_time))

    def _range(self, node: MatrixSelector, ctx: EvalContext) -> Windows:
        number = self._plan.selection_of[id(node)]
        samples = self._without_stale(number, ctx)
        if id(node) in self._plan.summarised and samples.histograms is not None:
            samples = self._with_resets(number).without_stale(ctx)
        look = self._plan.looks[id(node)]
        ends, kept = look.points(ctx.steps_ms), np.zeros(samples.count.size, dtype=np.bool_)
        extension = node.vector.extension
        if extension:
            view = extended_windows(samples, ends, look.range_ms, extension, kept, ctx)
        else:
            view = windows(samples, ends, look.range_ms, kept, ctx)
        ctx.counts.per_step += samples_per_step(view)
        return view

    def _without_stale(self, number: int, ctx: EvalContext) -> Samples:
        """Return a selection without its stale markers; the work is done once a query."""
        if number not in self._clean:
            self._clean[number] = self._selected[number].whole().without_stale(ctx)
        return self._clean[number]

    def _with_resets(self, number: int) -> Samples:
        """Return a selection whose histograms know whether their counter was reset.

        Prometheus finds that out only where buckets are not asked for, and then warns when
        histograms before and after a reset come together.
        """
        if number not in self._told:
            samples = self._selected[number]
            assert samples.histograms is not None
            told = runs_with_resets(samples.histograms)
            self._told[number] = replace(samples, histograms=told)
        return self._told[number]

    def _subquery(self, node: Subquery, ctx: EvalContext) -> Windows:
        inner = self._plan.inner[id(node)]
        ctx.budget.check()
        ctx.budget.reserve(inner.step_count)
        steps_ms = inner.steps_ms()
        # Not counted: what a subquery looks at is counted where its result is looked at.
        inside = replace(
            ctx,
            steps_ms=steps_ms,
            step_ms=inner.step_ms,
            counts=SampleCounts(inner.step_count),
        )
        points = self.operand(node.expr, inside)
        assert isinstance(points, Matrix)
        samples = Samples.from_matrix(points, steps_ms).without_stale(ctx)
        ends = inner.look.points(ctx.steps_ms)
        view = windows(samples, ends, inner.look.range_ms, points.drop_name, ctx)
        ctx.counts.per_step += samples_per_step(view)
        return view


def _settled(result: Matrix, found: Ints, mark: int, ctx: EvalContext) -> Matrix:
    """Let the operand of a fold count as if it had been held, which Prometheus does."""
    held = int(found.sum())
    ctx.budget.take(held)
    ctx.budget.settle(mark, held)
    return result


def _text(node: Expr) -> str:
    node = _unwrapped(node)
    assert isinstance(node, StringLiteral)
    return node.value


def _unwrapped(node: Expr) -> Expr:
    while isinstance(node, Paren):
        node = node.expr
    return node


def _spread(result: Operand, ctx: EvalContext) -> Operand:
    """Repeat a result of one step at every step of `ctx`."""
    steps = ctx.step_count
    match result:
        case ScalarSteps(values=values):
            return ScalarSteps(np.repeat(values, steps))
        case Matrix():
            ctx.budget.reserve(result.series_count * steps)
            time, histograms = result.float_time, result.histograms
            if histograms is not None:
                histograms = replace(histograms, row=np.repeat(histograms.row, steps, axis=1))
            return replace(
                result,
                histograms=histograms,
                values=np.repeat(result.values, steps, axis=1),
                present=np.repeat(result.present, steps, axis=1),
                float_time=None if time is None else np.repeat(time, steps, axis=1),
            )
        case StringValue() | Windows():
            return result
