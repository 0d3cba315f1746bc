"""`info(v, {...})`: series get the labels of the info series of the same instance and job.

From: `plan.py` (what to read), `evaluate.py` (both vectors).
Which info series belongs to a series may change from step to step: then the series becomes
several, one for each set of labels, each present at its steps. Of one metric's info series the one
with the newest sample counts. Source: Prometheus' documentation and test scripts of info().
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import re2

from promql.errors import ExecutionError
from promql.labels import SeriesLabels
from promql.matchers import matches_empty
from promql.same_labels import merge_same_labels
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
from tsdb.interface import METRIC_NAME, Matcher, MatchOp

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Matrix
    from promql.syntax import Expr

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

IDENTIFYING = ("instance", "job")
_POSITIVE = frozenset({MatchOp.EQUAL, MatchOp.MATCHES})


@dataclass(frozen=True, slots=True)
class InfoSelector:
    """What the second argument says: which metrics are info metrics, which of their labels count.

    `data` empty means all labels.
    """

    names: tuple[Matcher, ...]
    data: tuple[Matcher, ...]

    @staticmethod
    def of(node: Call) -> InfoSelector:
        """Return the selector of a call; without a name it means `target_info`."""
        given = node.args[1] if len(node.args) > 1 else None
        while isinstance(given, Paren):
            given = given.expr
        matchers = given.matchers if isinstance(given, VectorSelector) else ()
        names = tuple(matcher for matcher in matchers if matcher.name == METRIC_NAME)
        if not any(matcher.op in _POSITIVE for matcher in names):
            names = (*names, Matcher(METRIC_NAME, MatchOp.EQUAL, "target_info"))
        return InfoSelector(
            names, tuple(matcher for matcher in matchers if matcher.name != METRIC_NAME)
        )

    def is_info(self, name: str) -> bool:
        """Return whether series of this name are info series, and so get no labels of others."""
        return all(_matches(matcher, name) for matcher in self.names)

    @property
    def wants_labels(self) -> bool:
        """Whether a series that no info series belongs to is left out."""
        return not all(matches_empty(matcher) for matcher in self.data)


def reference(node: Expr) -> VectorSelector | Subquery | None:
    """Return the outermost node with a time of its own on the way to the first selector."""
    match node:
        case VectorSelector() | Subquery():
            return node
        case MatrixSelector(vector=vector):
            return vector
        case Paren(expr=inner) | Unary(expr=inner) | Aggregation(expr=inner):
            return reference(inner)
        case Binary(lhs=left, rhs=right):
            return reference(left) or reference(right)
        case Call(args=args):
            return next((found for arg in args if (found := reference(arg))), None)
        case _:
            return None


def _matches(matcher: Matcher, text: str) -> bool:
    if matcher.op is MatchOp.EQUAL:
        return text == matcher.value
    if matcher.op is MatchOp.NOT_EQUAL:
        return text != matcher.value
    found = re2.fullmatch(f"(?s:{matcher.value})", text) is not None
    return found == (matcher.op is MatchOp.MATCHES)


def join_info(selector: InfoSelector, base: Matrix, info: Matrix, ctx: EvalContext) -> Matrix:
    """Return `base` with the labels of `info`, whose `float_time` says how new a sample is.

    Raises ExecutionError where two info series belong to one series at one step and neither is
    newer, where two info metrics give one label two values, and for an info series of histograms.
    """
    if info.histograms is not None:
        row = int(np.flatnonzero(info.histograms.present.any(axis=1))[0])
        raise ExecutionError(
            f"this should be an info metric, with float samples: {info.labels.format_row(row)}"
        )
    both = base.labels.keep(IDENTIFYING).concat(info.labels.keep(IDENTIFYING))
    group_of, representative = both.group()
    base_group = group_of[: base.series_count]
    winners = _winners(info, group_of[base.series_count :], representative.size)
    names, symbols = base.labels.column(METRIC_NAME), base.labels.symbols
    is_info = {
        symbol: selector.is_info(symbols.text(symbol)) for symbol in np.unique(names).tolist()
    }
    own = np.array([is_info[symbol] for symbol in names.tolist()], dtype=np.bool_)
    rows: list[int] = []
    given: list[dict[str, int]] = []
    masks: list[Mask] = []
    everywhere = np.ones(ctx.step_count, dtype=np.bool_)
    choices: dict[int, list[tuple[dict[str, int], Mask]]] = {}
    for row in range(base.series_count):
        group = int(base_group[row])
        if own[row]:
            chosen: list[tuple[dict[str, int], Mask]] = [({}, everywhere)]
        else:
            if group not in choices:
                choices[group] = _choices(selector, info, winners[:, group])
            chosen = choices[group]
        for labels, mask in chosen:
            rows.append(row)
            given.append(labels)
            masks.append(mask)
    return _enriched(base, rows, given, masks)


def _winners(info: Matrix, group_of: Ints, groups: int) -> Ints:
    """Return which info series counts: int64[info metrics, groups, steps], -1 for none."""
    assert info.float_time is not None
    metrics, metric_of = np.unique(info.labels.column(METRIC_NAME), return_inverse=True)
    steps = info.values.shape[1]
    winners = np.full((metrics.size, groups, steps), -1, dtype=np.int64)
    newest = np.full((metrics.size, groups, steps), -np.inf)
    for row in range(info.series_count):
        at = (metric_of[row], group_of[row])
        present, times = info.present[row], info.float_time[row]
        tied = present & (winners[at] >= 0) & (newest[at] == times)
        if tied.any():
            step = int(np.flatnonzero(tied)[0])
            other = int(winners[at][step])
            when = round(float(times[step]) * 1000)
            raise ExecutionError(
                "found duplicate series for info metric: existing "
                f"{info.labels.format_row(other)} @ {when}, "
                f"new {info.labels.format_row(row)} @ {when}"
            )
        newer = present & (times > newest[at])
        winners[at][newer] = row
        newest[at][newer] = times[newer]
    return winners


def _choices(
    selector: InfoSelector, info: Matrix, winners: Ints
) -> list[tuple[dict[str, int], Mask]]:
    """Return the labels given to the series of one group, and the steps at which they are.

    `winners` int64[info metrics, steps].
    """
    choices = []
    for combination in np.unique(winners, axis=1).T:
        mask = (winners == combination[:, np.newaxis]).all(axis=0)
        chosen = [int(row) for row in combination if row >= 0]
        if chosen or not selector.wants_labels:
            choices.append((_data_labels(selector, info, chosen), mask))
    return choices


def _data_labels(selector: InfoSelector, info: Matrix, rows: list[int]) -> dict[str, int]:
    wanted = {matcher.name for matcher in selector.data}
    labels: dict[str, int] = {}
    for row in rows:
        for name, symbol in zip(info.labels.names, info.labels.ids[:, row].tolist(), strict=True):
            if not symbol or name == METRIC_NAME or (wanted and name not in wanted):
                continue
            if labels.setdefault(name, symbol) != symbol:
                raise ExecutionError(f"conflicting label: {name}")
    return labels


def _enriched(
    base: Matrix, rows: list[int], given: list[dict[str, int]], masks: list[Mask]
) -> Matrix:
    """Return a row for each of `rows`, with labels added where the series has none of the name."""
    at = np.array(rows, dtype=np.int64)
    names = tuple(sorted({*base.labels.names, *(name for labels in given for name in labels)}))
    own = base.labels.aligned(names).ids[:, at]
    added = np.zeros_like(own)
    for row, labels in enumerate(given):
        for name, symbol in labels.items():
            added[names.index(name), row] = symbol
    chosen = base.take(at)
    if masks:
        chosen = chosen.narrowed(np.stack(masks))
    enriched = SeriesLabels(names, np.where(own == 0, added, own), base.labels.symbols)
    return merge_same_labels(replace(chosen, labels=enriched))
