"""What a query answers: columns, never an object per point.

From: `engine.py`.   To: `api/json_writer.py`, the CLI, rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from promql.histograms.matrix import HistogramMatrix
    from promql.labels import SeriesLabels
    from tsdb.interface import HistogramRuns

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ScalarResult:
    """One float at one time."""

    time_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class StringResult:
    """One string at one time."""

    time_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class VectorResult:
    """S series at one time: `values` float64[S]. Every series is present, none comes twice.

    `histograms` [S, 1] says which series have a histogram instead: their value is undefined. None
    where all are floats.
    """

    time_ms: int
    labels: SeriesLabels
    values: Floats
    histograms: HistogramMatrix | None = None


@dataclass(frozen=True, slots=True)
class MatrixResult:
    """S series over shared steps, sorted by labels.

    Shapes: `steps_ms` int64[T]; `values` float64[S, T]; `present` bool[S, T]: where there is a
    float; `histograms` [S, T], None where all points are floats. Every row has at least one point.
    """

    steps_ms: Ints
    labels: SeriesLabels
    values: Floats
    present: Mask
    histograms: HistogramMatrix | None = None


@dataclass(frozen=True, slots=True)
class RawResult:
    """S series with their stored samples: the answer to an instant query of a range selector.

    Shapes as in `SeriesBatch`: series s has times at `time_start[s]`, values at `value_start[s]`,
    `count[s]` of each; `histograms` holds the histograms of the same series, None if there are
    none. Sorted by labels.
    """

    labels: SeriesLabels
    times: Ints
    time_start: Ints
    values: Floats
    value_start: Ints
    count: Ints
    histograms: HistogramRuns | None = None


ResultValue = ScalarResult | StringResult | VectorResult | MatrixResult | RawResult


@dataclass(frozen=True, slots=True)
class QueryStats:
    """What the query cost. Times in seconds; names follow the API's `stats` member."""

    parse_s: float = 0.0
    queue_s: float = 0.0
    prepare_s: float = 0.0
    inner_eval_s: float = 0.0
    eval_total_s: float = 0.0
    sort_s: float = 0.0
    total_s: float = 0.0
    samples_total: int = 0
    samples_peak: int = 0
    samples_per_step: list[int] = field(default_factory=list)
    start_ms: int = 0
    step_ms: int = 0
    """The steps of `samples_per_step`: the first, and how far apart they are."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """An answer with what the user should know about it."""

    value: ResultValue
    warnings: list[str]
    infos: list[str]
    stats: QueryStats
