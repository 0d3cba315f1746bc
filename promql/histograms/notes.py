"""What there is to say about native histograms: the texts of warnings and infos, in one place.

From: every module that calculates with them.   To: `annotations.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.quoting import quote
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.histograms.algebra import Flag
    from promql.labels import SeriesLabels
    from promql.syntax import Span

    Flags = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]

ADDITION, SUBTRACTION, AGGREGATION = "addition", "subtraction", "aggregation"


def any_flag(flags: Flags, flag: Flag) -> bool:
    """Tell whether any row has a flag."""
    return bool((flags & flag).any())


def names_of(labels: SeriesLabels, rows: Mask | Ints) -> list[str]:
    """Return the distinct metric names of some series, in no order that matters."""
    return labels.symbols.texts(np.unique(labels.column(METRIC_NAME)[rows]))


def note_types(op: str, left: str, right: str, span: Span, ctx: EvalContext) -> None:
    """Say: an operator met kinds of samples that it has no answer for."""
    ctx.annotations.info(
        f'incompatible sample types encountered for binary operator "{op}": {left} {op} {right}',
        span,
    )


def note_layout(op: str, span: Span, ctx: EvalContext) -> None:
    """Say: an operator met custom buckets on one side and exponential ones on the other."""
    ctx.annotations.warn(f"incompatible bucket layout encountered for binary operator {op}", span)


def note_collision(operation: str, span: Span, ctx: EvalContext) -> None:
    """Say: some histograms were known to follow a reset, others not to."""
    ctx.annotations.warn(f"conflicting counter resets during histogram {operation}", span)


def note_reconciled(operation: str, span: Span, ctx: EvalContext) -> None:
    """Say: custom bounds differed; only those that all share were used."""
    ctx.annotations.info(f"mismatched custom buckets were reconciled during {operation}", span)


class LastNotes:
    """What a binary operator has to tell of its pairs: of each step only what came last.

    As in Prometheus, which goes through the pairs of a step and keeps one note.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._notes: list[Callable[[], None]] = []
        self._of: npt.NDArray[np.int8] | None = None

    def put(self, where: Mask, note: Callable[[], None]) -> None:
        """Keep a note of some pairs; `where` is bool[P, T]."""
        if where.any():
            if self._of is None:
                self._of = np.zeros(self._shape, dtype=np.int8)
            self._notes.append(note)
            self._of[where] = len(self._notes)

    def tell(self) -> None:
        """Add the annotations."""
        if self._of is None:
            return
        upwards = self._of[::-1]
        last = np.argmax(upwards != 0, axis=0)
        told = upwards[last, np.arange(last.size)]
        for number in np.unique(told[told > 0]).tolist():
            self._notes[number - 1]()


def note_mixed_schemas(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: histograms with exponential and with custom buckets came together."""
    ctx.annotations.warn(
        "vector contains a mix of histograms with exponential and custom buckets schemas"
        f" for metric name {quote(name)}",
        span,
    )


def note_mixed_samples(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: a series has floats and histograms where only one kind makes sense."""
    ctx.annotations.warn(
        f"encountered a mix of histograms and floats for metric name {quote(name)}", span
    )


def note_ignored_in_range(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: a function of floats passed over histograms among them."""
    ctx.annotations.info(
        "ignored histograms in a range containing both floats and histograms"
        f" for metric name {quote(name)}",
        span,
    )


def note_ignored_in_aggregation(op: str, span: Span, ctx: EvalContext) -> None:
    """Say: an aggregation of floats passed over histograms."""
    ctx.annotations.info(f"ignored histogram in {op} aggregation", span)


def note_mixed_in_aggregation(span: Span, ctx: EvalContext) -> None:
    """Say: a group has floats and histograms, so that it has no sum."""
    ctx.annotations.warn("encountered a mix of histograms and floats for aggregation", span)


def note_no_counter(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: a function of counters met a gauge histogram."""
    ctx.annotations.warn(f"this native histogram metric is not a counter: {quote(name)}", span)


def note_no_gauge(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: a function of gauges met a counter histogram."""
    ctx.annotations.warn(f"this native histogram metric is not a gauge: {quote(name)}", span)


def note_classic_and_native(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: one series has classic buckets and native histograms at one step."""
    ctx.annotations.warn(
        "vector contains a mix of classic and native histograms" + _for_metric(name), span
    )


def note_nan_result(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: NaN observations are where the quantile would be."""
    ctx.annotations.info(
        "input to histogram_quantile has NaN observations, result is NaN" + _for_metric(name), span
    )


def note_nan_skew(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: NaN observations count as if they were larger than all others."""
    ctx.annotations.info(
        "input to histogram_quantile has NaN observations, result is skewed higher"
        + _for_metric(name),
        span,
    )


def note_excluded_nans(name: str, span: Span, ctx: EvalContext) -> None:
    """Say: NaN observations lie between no two values."""
    ctx.annotations.info(
        "input to histogram_fraction has NaN observations, which are excluded from all fractions"
        + _for_metric(name),
        span,
    )


def _for_metric(name: str) -> str:
    return f" for metric name {quote(name)}" if name else ""
