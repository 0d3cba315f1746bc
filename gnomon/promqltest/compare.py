"""Say whether a query's answer is the expected one, in a sentence where it is not.

From: `runner.py`, with `promql.result` values and `script.Expectation`.
Source of the rules: the corpus README (floats agree to 1e-6 of the smaller magnitude).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2

from gnomon.promqltest.closeness import floats_equal
from gnomon.promqltest.histograms import Wanted, histograms_equal, show, wanted_points
from gnomon.promqltest.values import NotationError, Point, render_labels
from promql.histograms.columns import HistogramRow, row_of
from promql.result import (
    MatrixResult,
    RawResult,
    ResultValue,
    ScalarResult,
    StringResult,
    VectorResult,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    import numpy.typing as npt

    from gnomon.promqltest.script import Eval, Message, SeriesLine
    from promql.histograms.matrix import HistogramMatrix
    from promql.labels import SeriesLabels

LabelKey = tuple[tuple[str, str], ...]


Value = float | HistogramRow
Expected = float | Wanted


@dataclass(frozen=True, slots=True)
class ResultSeries:
    """One series of an answer, in plain Python: a value for each time in milliseconds."""

    key: LabelKey
    values: Mapping[int, Value]


def label_key(labels: Mapping[str, str]) -> LabelKey:
    """Return a label set as a sorted tuple; an empty value is an absent label."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def result_series(value: ResultValue) -> list[ResultSeries]:
    """Return a vector or matrix answer series by series, in its order."""
    if isinstance(value, VectorResult):
        times = [value.time_ms]
        return [
            _series(value.labels, s, times, value.values[s : s + 1], [True], value.histograms)
            for s in range(value.labels.series_count)
        ]
    if isinstance(value, MatrixResult):
        steps = value.steps_ms.tolist()
        return [
            _series(
                value.labels, s, steps, value.values[s], value.present[s].tolist(), value.histograms
            )
            for s in range(value.labels.series_count)
        ]
    if isinstance(value, RawResult):
        return [_raw_series(value, s) for s in range(value.labels.series_count)]
    raise TypeError(f"not series: {type(value).__name__}")


def _series(
    labels: SeriesLabels,
    series: int,
    times: Sequence[int],
    values: npt.NDArray[np.float64],
    present: Sequence[bool],
    histograms: HistogramMatrix | None,
) -> ResultSeries:
    rows = [-1] * len(times) if histograms is None else histograms.row[series].tolist()
    points: dict[int, Value] = {}
    for time_ms, value, there, row in zip(times, values.tolist(), present, rows, strict=True):
        if row >= 0:
            assert histograms is not None
            points[time_ms] = row_of(histograms.columns, row)
        elif there:
            points[time_ms] = value
    return ResultSeries(label_key(labels.row(series)), points)


def _raw_series(value: RawResult, series: int) -> ResultSeries:
    count = int(value.count[series])
    time, at = int(value.time_start[series]), int(value.value_start[series])
    times = value.times[time : time + count].tolist()
    points: dict[int, Value] = dict(zip(times, value.values[at : at + count].tolist(), strict=True))
    runs = value.histograms
    if runs is not None:
        first = int(runs.start[series])
        for row in range(first, first + int(runs.count[series])):
            points[int(runs.times[row])] = row_of(runs.columns, row)
    return ResultSeries(label_key(value.labels.row(series)), dict(sorted(points.items())))


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
    wanted: dict[LabelKey, Expected] = {}
    for line in expected:
        point = _only_point(line)
        if isinstance(point, str):
            return point
        wanted[label_key(line.labels)] = point
    problem = _label_sets_problem(wanted.keys(), got.keys())
    if problem is not None:
        return problem
    for key, value in wanted.items():
        if not _equal(value, got[key]):
            return f"expected {value} for {_show(key)}, got {_text(got[key])}"
    if ordered and list(wanted) != [series.key for series in found]:
        order = ", ".join(_show(series.key) for series in found)
        return f"expected another order than {order}"
    return None


def _only_point(line: SeriesLine) -> Expected | str:
    point = wanted_points(line.points)[0] if len(line.points) == 1 else None
    if point is None:
        return f"line {line.line}: an instant expectation has exactly one value"
    return point


def _equal(wanted: Expected, found: Value) -> bool:
    """Say whether a point is the expected one, of kind and value."""
    if isinstance(wanted, Wanted):
        return isinstance(found, HistogramRow) and histograms_equal(wanted, found)
    return isinstance(found, float) and floats_equal(wanted, found)


def _text(value: Value) -> str:
    return show(value) if isinstance(value, HistogramRow) else repr(value)


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
    wanted: dict[LabelKey, dict[int, Expected]] = {}
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


def _placed(points: Sequence[Point], *, start_ms: int, step_ms: int) -> dict[int, Expected] | str:
    try:
        found = wanted_points(points)
    except NotationError as error:
        return str(error)
    return {start_ms + i * step_ms: point for i, point in enumerate(found) if point is not None}


def _points_problem(
    key: LabelKey, wanted: Mapping[int, Expected], got: Mapping[int, Value]
) -> str | None:
    if wanted.keys() != got.keys():
        return (
            f"expected points of {_show(key)} at {_times(wanted)}, got them at {_times(got)}"
            f" ({[_text(value) for value in got.values()]})"
        )
    for time_ms, value in wanted.items():
        if not _equal(value, got[time_ms]):
            return (
                f"expected {value} for {_show(key)} at {time_ms / 1000:g}s,"
                f" got {_text(got[time_ms])}"
            )
    return None


def _times(points: Mapping[int, object]) -> str:
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
