"""Say whether a query's answer is the expected one, in a sentence where it is not.

From: `runner.py`, with `promql.result` values and `script.Expectation`.
Source of the rules: the corpus README (floats agree to 1e-6 of the smaller magnitude).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2

from gnomon.promqltest.values import HistogramPoint, Point, render_labels
from promql.result import (
    MatrixResult,
    RawResult,
    ResultValue,
    ScalarResult,
    StringResult,
    VectorResult,
)
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from gnomon.promqltest.script import Eval, Message, SeriesLine

RELATIVE_MAX = 1e-6
SMALLEST_NORMAL = sys.float_info.min

_STALE_BYTES = STALE_NAN.tobytes()

LabelKey = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ResultSeries:
    """One series of an answer, in plain Python: a value for each time in milliseconds."""

    key: LabelKey
    values: Mapping[int, float]


def floats_equal(a: float, b: float) -> bool:
    """Say whether two floats count as the same.

    >>> floats_equal(1.0, 1.0 + 1e-9), floats_equal(1.0, 1.00001), floats_equal(math.nan, math.nan)
    (True, False, True)
    """
    a_stale, b_stale = _is_stale(a), _is_stale(b)
    if a_stale or b_stale:
        return a_stale and b_stale
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return True
    total = abs(a) + abs(b)
    difference = abs(a - b)
    if a == 0 or b == 0 or total < SMALLEST_NORMAL:
        return difference < RELATIVE_MAX * SMALLEST_NORMAL
    return difference / min(total, sys.float_info.max) < RELATIVE_MAX


def _is_stale(value: float) -> bool:
    return math.isnan(value) and _bytes(value) == _STALE_BYTES


def _bytes(value: float) -> bytes:
    return type(STALE_NAN)(value).tobytes()


def label_key(labels: Mapping[str, str]) -> LabelKey:
    """Return a label set as a sorted tuple; an empty value is an absent label."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def result_series(value: ResultValue) -> list[ResultSeries]:
    """Return a vector or matrix answer series by series, in its order."""
    if isinstance(value, VectorResult):
        return [
            ResultSeries(label_key(value.labels.row(s)), {value.time_ms: float(value.values[s])})
            for s in range(value.labels.series_count)
        ]
    if isinstance(value, MatrixResult):
        steps = value.steps_ms.tolist()
        return [
            ResultSeries(
                label_key(value.labels.row(s)),
                {
                    steps[t]: float(value.values[s, t])
                    for t in range(len(steps))
                    if value.present[s, t]
                },
            )
            for s in range(value.labels.series_count)
        ]
    if isinstance(value, RawResult):
        return [_raw_series(value, s) for s in range(value.labels.series_count)]
    raise TypeError(f"not series: {type(value).__name__}")


def _raw_series(value: RawResult, series: int) -> ResultSeries:
    count = int(value.count[series])
    time, at = int(value.time_start[series]), int(value.value_start[series])
    times = value.times[time : time + count].tolist()
    values = value.values[at : at + count]
    return ResultSeries(
        label_key(value.labels.row(series)),
        {t: float(v) for t, v in zip(times, values, strict=True)},
    )


def result_problem(case: Eval, value: ResultValue) -> str | None:
    """Return what is wrong with an answer, or None."""
    expected = case.expectation
    if expected.string is not None:
        return _string_problem(expected.string, value)
    if expected.scalar is not None:
        return _scalar_problem(expected.scalar, value)
    if not case.instant:
        if not isinstance(value, MatrixResult):
            return f"expected a matrix, got {_kind(value)}"
        return matrix_problem(
            expected.series, value, start_ms=case.start_ms, step_ms=case.step_ms, ordered=True
        )
    if expected.range_vector is not None:
        if not isinstance(value, MatrixResult | RawResult):
            return f"expected a range vector, got {_kind(value)}"
        start_ms, _, step_ms = expected.range_vector
        return matrix_problem(
            expected.series, value, start_ms=start_ms, step_ms=step_ms, ordered=False
        )
    if not isinstance(value, VectorResult):
        # An empty expectation says nothing of the kind: a fail-free run is what it asks for.
        if not expected.series and isinstance(value, MatrixResult | RawResult):
            return None if not result_series(value) else "expected nothing, got a range vector"
        return f"expected an instant vector, got {_kind(value)}"
    return vector_problem(expected.series, result_series(value), ordered=expected.ordered)


def _kind(value: ResultValue) -> str:
    names = {
        ScalarResult: "a scalar",
        StringResult: "a string",
        VectorResult: "an instant vector",
        MatrixResult: "a matrix",
        RawResult: "a range vector",
    }
    return names[type(value)]


def _string_problem(expected: str, value: ResultValue) -> str | None:
    if not isinstance(value, StringResult):
        return f"expected a string, got {_kind(value)}"
    return None if value.text == expected else f"expected {expected!r}, got {value.text!r}"


def _scalar_problem(expected: float, value: ResultValue) -> str | None:
    if not isinstance(value, ScalarResult):
        return f"expected a scalar, got {_kind(value)}"
    if floats_equal(expected, value.value):
        return None
    return f"expected the scalar {expected!r}, got {value.value!r}"


def vector_problem(
    expected: Sequence[SeriesLine], found: Sequence[ResultSeries], *, ordered: bool
) -> str | None:
    """Compare an instant vector; each series of `found` has its one value under any time."""
    got = {series.key: next(iter(series.values.values())) for series in found}
    if len(got) != len(found):
        return "the result holds the same label set twice"
    wanted: dict[LabelKey, float] = {}
    for line in expected:
        point = _only_point(line)
        if isinstance(point, str):
            return point
        wanted[label_key(line.labels)] = point
    problem = _label_sets_problem(wanted.keys(), got.keys())
    if problem is not None:
        return problem
    for key, value in wanted.items():
        if not floats_equal(value, got[key]):
            return f"expected {value!r} for {_show(key)}, got {got[key]!r}"
    if ordered and list(wanted) != [series.key for series in found]:
        order = ", ".join(_show(series.key) for series in found)
        return f"expected another order than {order}"
    return None


def _only_point(line: SeriesLine) -> float | str:
    if len(line.points) != 1 or line.points[0] is None:
        return f"line {line.line}: an instant expectation has exactly one value"
    point = line.points[0]
    return _native(point) if isinstance(point, HistogramPoint) else point


def _native(point: HistogramPoint) -> str:
    return f"native histograms are not supported yet: the expectation has {point.base.text}"


def matrix_problem(
    expected: Sequence[SeriesLine],
    value: MatrixResult | RawResult,
    *,
    start_ms: int,
    step_ms: int,
    ordered: bool,
) -> str | None:
    """Compare a matrix: same series, and for each the same times with equal values."""
    found = result_series(value)
    got = {series.key: series.values for series in found}
    if len(got) != len(found):
        return "the result holds the same label set twice"
    wanted: dict[LabelKey, dict[int, float]] = {}
    for line in expected:
        placed = _placed(line.points, start_ms=start_ms, step_ms=step_ms)
        if isinstance(placed, str):
            return placed
        if placed:
            wanted[label_key(line.labels)] = placed
    problem = _label_sets_problem(wanted.keys(), got.keys())
    if problem is not None:
        return problem
    for key, values in wanted.items():
        problem = _points_problem(key, values, got[key])
        if problem is not None:
            return problem
    if ordered and [series.key for series in found] != sorted(got):
        return "the result is not sorted by labels"
    return None


def _placed(points: Sequence[Point], *, start_ms: int, step_ms: int) -> dict[int, float] | str:
    out: dict[int, float] = {}
    for i, point in enumerate(points):
        if isinstance(point, HistogramPoint):
            return _native(point)
        if point is not None:
            out[start_ms + i * step_ms] = point
    return out


def _points_problem(
    key: LabelKey, wanted: Mapping[int, float], got: Mapping[int, float]
) -> str | None:
    if wanted.keys() != got.keys():
        return (
            f"expected points of {_show(key)} at {_times(wanted)}, got them at {_times(got)}"
            f" ({list(got.values())})"
        )
    for time_ms, value in wanted.items():
        if not floats_equal(value, got[time_ms]):
            return (
                f"expected {value!r} for {_show(key)} at {time_ms / 1000:g}s, got {got[time_ms]!r}"
            )
    return None


def _times(points: Mapping[int, float]) -> str:
    return "[" + " ".join(f"{time_ms / 1000:g}" for time_ms in sorted(points)) + "] s"


def _label_sets_problem(wanted: AbstractSet[LabelKey], got: AbstractSet[LabelKey]) -> str | None:
    parts = []
    missing, extra = wanted - got, got - wanted
    if missing:
        parts.append("missing " + ", ".join(_show(key) for key in sorted(missing)))
    if extra:
        parts.append("unexpected " + ", ".join(_show(key) for key in sorted(extra)))
    return "; ".join(parts) or None


def _show(key: LabelKey) -> str:
    return render_labels(dict(key))


def message_matches(message: Message, text: str) -> bool:
    """Say whether a text is what the script asks for."""
    if message.text is not None:
        return text == message.text
    if message.regex is not None:
        return re2.search(message.regex, text) is not None
    return True


def annotations_problem(
    kind: str, wanted: Sequence[Message] | None, texts: Sequence[str]
) -> str | None:
    """Compare the warnings or infos of a query with the `expect` lines for that kind."""
    if wanted is None:
        return None
    if not wanted:
        return f"expected no {kind}, got {list(texts)}" if texts else None
    if not texts:
        return f"expected a {kind}, got none"
    for message in wanted:
        if not any(message_matches(message, text) for text in texts):
            return f"expected a {kind} {_wish(message)}, got {list(texts)}"
    for text in texts:
        if not any(message_matches(message, text) for message in wanted):
            return f"unexpected {kind}: {text}"
    return None


def failure_problem(wanted: Message, error: str) -> str | None:
    """Compare the text of a failed query with `expect fail`."""
    if message_matches(wanted, error):
        return None
    return f"expected a failure {_wish(wanted)}, got: {error}"


def _wish(message: Message) -> str:
    return f"with {message.text!r}" if message.text is not None else f"matching {message.regex!r}"
