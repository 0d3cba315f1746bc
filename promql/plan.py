"""A parsed query becomes what to read and when: one walk over the nodes, before any is evaluated.

From: `engine.py`, with checked nodes and the times of one query.
To:   `SeriesReader.select` (the selections), `evaluate.py` (where each selector finds its data).

Every offset, `@`, subquery and duration expression becomes absolute time here. All selections of
the query are known before the first is read, so that one `select` reads them of one snapshot.
Nodes are looked up by `id()`: equal nodes at two places of a query may have different times.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from promql.durations import duration_ms
from promql.info import InfoSelector, reference
from promql.start_times import READERS
from promql.syntax import (
    Aggregation,
    At,
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
from tsdb.interface import SelectHints, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from promql.syntax import Expr
    from tsdb.interface import Matcher

    Ints = npt.NDArray[np.int64]

TIME_DEPENDENT = frozenset(
    {"time", "timestamp", "predict_linear", "minute", "hour", "month", "year"}
    | {"day_of_month", "day_of_week", "day_of_year", "days_in_month"}
)
"""Functions whose value depends on the step even where all their arguments are fixed by `@`."""


SUMMARIES = frozenset({"histogram_avg", "histogram_count", "histogram_sum"})
"""Functions that look at no bucket. What they get is told of resets that their reader sees."""

NEED_BUCKETS = frozenset(
    {"histogram_fraction", "histogram_quantile", "histogram_quantiles"}
    | {"histogram_stddev", "histogram_stdvar"}
)
"""Functions under which that is not so."""


FAR_MS = 1 << 62
"""No sample is this far from the epoch: times beyond are taken as it, so nothing overflows."""


def _within_reach(time_ms: int) -> int:
    return max(-FAR_MS, min(FAR_MS, time_ms))


@dataclass(frozen=True, slots=True)
class QueryTimes:
    """The times of one query, in milliseconds. An instant query has start = end and step 0."""

    start_ms: int
    end_ms: int
    step_ms: int
    lookback_ms: int
    default_subquery_step_ms: int


@dataclass(frozen=True, slots=True)
class Look:
    """When a selector or subquery looks, seen from a step: at `at_ms` if set, `offset_ms` before.

    `range_ms` is 0 for an instant selector.
    """

    offset_ms: int
    at_ms: int | None
    range_ms: int = 0

    def points(self, steps_ms: Ints) -> Ints:
        """Return where each step looks (for a window: its right edge), int64[T]."""
        if self.at_ms is None:
            if steps_ms.size and steps_ms[0] >= -FAR_MS and steps_ms[-1] <= FAR_MS:
                return steps_ms - self.offset_ms if self.offset_ms else steps_ms
            return np.clip(steps_ms, -FAR_MS, FAR_MS) - self.offset_ms
        point = _within_reach(self.at_ms) - self.offset_ms
        return np.full(steps_ms.size, point, dtype=np.int64)

    def bounds(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        """Return the first and last point of steps from `first_ms` to `last_ms`."""
        if self.at_ms is not None:
            first_ms = last_ms = self.at_ms
        return _within_reach(first_ms) - self.offset_ms, _within_reach(last_ms) - self.offset_ms


@dataclass(frozen=True, slots=True)
class Inner:
    """A subquery's own steps: the `step_count` multiples of `step_ms` that any window may hold."""

    look: Look
    first_ms: int
    step_count: int
    step_ms: int

    def steps_ms(self) -> Ints:
        """Return the steps, int64[T]. There may be very many: ask for `step_count` first."""
        return self.first_ms + self.step_ms * np.arange(self.step_count, dtype=np.int64)


@dataclass(slots=True)
class Plan:
    """What one query reads and when. Keys are `id(node)`; the nodes must be kept alive."""

    selections: list[Selection] = field(default_factory=list)
    looks: dict[int, Look] = field(default_factory=dict)
    selection_of: dict[int, int] = field(default_factory=dict)
    inner: dict[int, Inner] = field(default_factory=dict)
    invariant: set[int] = field(default_factory=set)
    """Subtrees that have one value for all steps; evaluated at the first and spread."""
    summarised: set[int] = field(default_factory=set)
    """Selectors of which only counts and sums of histograms are asked."""


def make_plan(
    expr: Expr,
    times: QueryTimes,
    query: str,
    *,
    first_ms: int | None = None,
    last_ms: int | None = None,
    start_times: bool = False,
) -> Plan:
    """Resolve all times of a query and collect what its steps from first to last read.

    Without `first_ms` and `last_ms` that is all of them. With `start_times`, functions that look
    at start timestamps get them. Raises RefusedQueryError for a duration
    expression without a valid value.
    """
    planner = _Planner(times, query, start_times=start_times)
    planner.walk(
        expr,
        times.start_ms if first_ms is None else first_ms,
        times.end_ms if last_ms is None else last_ms,
        SelectHints(step_ms=times.step_ms),
    )
    planner.place_selections()
    return planner.plan


@dataclass(frozen=True, slots=True)
class _Wish:
    """A selector's own wish to read."""

    node: int
    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int
    hints: SelectHints
    start_times: bool


class _Planner:
    """One walk; `first_ms` and `last_ms` are the first and last step of the context around."""

    def __init__(self, times: QueryTimes, query: str, *, start_times: bool = False) -> None:
        self.plan = Plan()
        self._start_times = start_times
        self._times, self._query = times, query
        self._wishes: list[_Wish] = []
        self._summarised = False

    def walk(self, node: Expr, first_ms: int, last_ms: int, hints: SelectHints) -> bool:
        """Plan a subtree; return whether it has the same value at every step."""
        match node:
            case NumberLiteral() | StringLiteral():
                return True
            case DurationCall():
                raise AssertionError("durations are resolved with what they belong to")
            case Paren(expr=inner) | Unary(expr=inner):
                return self._all(node, (inner,), first_ms, last_ms, hints)
            case Binary(lhs=lhs, rhs=rhs):
                with self._summary(on=False):
                    return self._all(node, (lhs, rhs), first_ms, last_ms, hints)
            case Aggregation():
                inside = SelectHints(
                    step_ms=hints.step_ms,
                    func=node.op,
                    grouping=node.grouping,
                    by=not node.without,
                )
                parts = (node.expr,) if node.param is None else (node.param, node.expr)
                return self._all(node, parts, first_ms, last_ms, inside)
            case Call(func="info"):
                return self._info(node, first_ms, last_ms, hints)
            case Call():
                inside = SelectHints(step_ms=hints.step_ms, func=node.func)
                with self._summary(on=self._stays_summary(node.func)):
                    fixed = self._all(node, node.args, first_ms, last_ms, inside)
                if node.func in TIME_DEPENDENT:
                    self.plan.invariant.discard(id(node))
                    return False
                return fixed
            case VectorSelector():
                look = self._look(node, 0)
                self._wish(node, node.matchers, look, first_ms, last_ms, hints, node.extension)
                return self._mark(node, fixed=node.at is not None)
            case MatrixSelector():
                vector = node.vector
                range_ms = self._duration(node.range_ms, node.range_expr)
                look = self._look(vector, range_ms)
                self._wish(node, vector.matchers, look, first_ms, last_ms, hints, vector.extension)
                return vector.at is not None
            case Subquery():
                with self._summary(on=False):
                    self._subquery(node, first_ms, last_ms)
                return node.at is not None

    def _all(
        self,
        node: Expr,
        parts: tuple[Expr, ...],
        first_ms: int,
        last_ms: int,
        hints: SelectHints,
    ) -> bool:
        fixed = [self.walk(part, first_ms, last_ms, hints) for part in parts]
        return self._mark(node, fixed=all(fixed))

    @contextmanager
    def _summary(self, *, on: bool) -> Iterator[None]:
        """Set whether only counts and sums of histograms are asked of what is walked inside."""
        before, self._summarised = self._summarised, on
        yield
        self._summarised = before

    def _stays_summary(self, func: str) -> bool:
        return func in SUMMARIES or (self._summarised and func not in NEED_BUCKETS)

    def _mark(self, node: Expr, *, fixed: bool) -> bool:
        if fixed:
            self.plan.invariant.add(id(node))
        return fixed

    def _subquery(self, node: Subquery, first_ms: int, last_ms: int) -> None:
        look = Look(
            self._duration(node.offset_ms, node.offset_expr, negative=True),
            self._at_ms(node.at),
            self._duration(node.range_ms, node.range_expr),
        )
        step_ms = self._duration(node.step_ms, node.step_expr)
        step_ms = step_ms or self._times.default_subquery_step_ms
        low, high = look.bounds(first_ms, last_ms)
        # Left open: the first multiple of the step after the left edge of the first window.
        begin = ((low - look.range_ms) // step_ms + 1) * step_ms
        count = max(0, (high - begin) // step_ms + 1)
        self.plan.inner[id(node)] = Inner(look, begin, count, step_ms)
        last = begin + step_ms * max(0, count - 1)
        self.walk(node.expr, begin, last, SelectHints(step_ms=step_ms))

    def _info(self, node: Call, first_ms: int, last_ms: int, hints: SelectHints) -> bool:
        """Read the info series as of the time of the first selector in the argument."""
        look = self._reference(node.args[0])
        selector = InfoSelector.of(node)
        self._wish(node, (*selector.names, *selector.data), look, first_ms, last_ms, hints)
        return self._all(node, node.args[:1], first_ms, last_ms, SelectHints(step_ms=hints.step_ms))

    def _reference(self, node: Expr) -> Look:
        found = reference(node)
        if found is None:
            return Look(0, None)
        offset = self._duration(found.offset_ms, found.offset_expr, negative=True)
        inner = self._reference(found.expr) if isinstance(found, Subquery) else Look(0, None)
        if inner.at_ms is not None:
            return inner
        return Look(inner.offset_ms + offset, self._at_ms(found.at))

    def _look(self, node: VectorSelector, range_ms: int) -> Look:
        offset = self._duration(node.offset_ms, node.offset_expr, negative=True)
        return Look(offset, self._at_ms(node.at), range_ms)

    def _at_ms(self, at: At | None) -> int | None:
        if at is None:
            return None
        if at.edge == "start":
            return self._times.start_ms
        if at.edge == "end":
            return self._times.end_ms
        return at.timestamp_ms

    def _duration(self, plain_ms: int, expr: Expr | None, *, negative: bool = False) -> int:
        if expr is None:
            return plain_ms
        return duration_ms(
            expr,
            step_ms=self._times.step_ms,
            range_ms=self._times.end_ms - self._times.start_ms,
            negative=negative,
            query=self._query,
        )

    def _wish(
        self,
        node: VectorSelector | MatrixSelector | Call,
        matchers: tuple[Matcher, ...],
        look: Look,
        first_ms: int,
        last_ms: int,
        hints: SelectHints,
        extension: str = "",
    ) -> None:
        low, high = look.bounds(first_ms, last_ms)
        back_ms = look.range_ms or self._times.lookback_ms
        if extension:  # an edge of the range may look for a sample beyond it
            back_ms += self._times.lookback_ms if look.range_ms else 0
            high += self._times.lookback_ms if extension == "smoothed" else 0
        hints = SelectHints(
            step_ms=hints.step_ms,
            range_ms=look.range_ms,
            func=hints.func,
            grouping=hints.grouping,
            by=hints.by,
        )
        self.plan.looks[id(node)] = look
        if self._summarised:
            self.plan.summarised.add(id(node))
        # Left open, to the millisecond.
        starts = self._start_times and hints.func in READERS
        self._wishes.append(_Wish(id(node), matchers, low - back_ms + 1, high, hints, starts))

    def place_selections(self) -> None:
        """Read the same matchers once where their times overlap."""
        if len(self._wishes) == 1:
            self._place(self._wishes, self._wishes[0].end_ms)
            return
        by_matchers: dict[frozenset[Matcher], list[_Wish]] = {}
        for wish in self._wishes:
            by_matchers.setdefault(frozenset(wish.matchers), []).append(wish)
        for wishes in by_matchers.values():
            wishes.sort(key=lambda wish: wish.start_ms)
            group: list[_Wish] = []
            end_ms = 0
            for wish in wishes:
                if group and wish.start_ms > end_ms:
                    self._place(group, end_ms)
                    group = []
                end_ms = max(end_ms, wish.end_ms) if group else wish.end_ms
                group.append(wish)
            self._place(group, end_ms)

    def _place(self, group: list[_Wish], end_ms: int) -> None:
        # What is true for one reader only must not lead storage to skip what another needs.
        hints = group[0].hints if len({wish.hints for wish in group}) == 1 else SelectHints()
        for wish in group:
            self.plan.selection_of[wish.node] = len(self.plan.selections)
        starts = any(wish.start_times for wish in group)
        self.plan.selections.append(
            Selection(group[0].matchers, group[0].start_ms, end_ms, hints, starts)
        )
