"""Gnomon inside a Python program: open a data directory, append, query, no server in between.

    from gnomon import library

    with library.open("rooms") as db:
        db.append({"__name__": "room_celsius", "room": "attic"}, [int(time.time() * 1000)], [21.5])
        result = db.query("avg by (room) (room_celsius)")
        for labels, time_s, value in library.rows(result):
            print(labels, time_s, value)

From: any program.   To: `tsdb/database.py` and `promql/engine.py`, which do the work.
One process at a time, a server included, may have a directory open for writing; `read_only` needs
no lock, also beside a running server, and sees what was written up to the moment of opening.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from gnomon.compiled import load_kernels
from gnomon.units import parse_duration
from promql.histograms.columns import HistogramRow, row_of
from promql.result import (
    MatrixResult,
    RawResult,
    ScalarResult,
    StringResult,
    VectorResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from promql.engine import Engine
    from promql.result import QueryResult
    from tsdb.database import Database
    from tsdb.interface import AppendStatus, Matcher

    Row = tuple[dict[str, str], float, float | str | HistogramRow]

__all__ = ["Library", "open", "rows"]

_FAR_MS = 2**62


def open(
    path: Path | str | None,
    *,
    read_only: bool = False,
    retention: str | None = "15d",
    features: Iterable[str] = (),
    samples_max: int = 50_000_000,
) -> Library:
    """Open a data directory, making it if need be; None is a database in memory.

    `retention` is a duration such as "90d", None keeps everything. `features` are those of
    `--enable-feature`. Raises `tsdb.errors.LockedError` where another process has it, OSError,
    FileNotFoundError for a directory that is only to be read and is not there.
    """
    if path is not None and read_only and not Path(path).is_dir():
        raise FileNotFoundError(f"no data directory at {path}")
    load_kernels(None if path is None or read_only else Path(path))
    from promql.engine import Engine, EngineOptions
    from promql.parse import FEATURES
    from tsdb.database import Database
    from tsdb.options import DatabaseOptions

    retention_ms = None if retention is None else parse_duration(retention)
    options = DatabaseOptions(retention_ms=retention_ms, read_only=read_only)
    database = Database.in_memory(options) if path is None else Database.open(path, options)
    names = frozenset(features)
    engine_options = EngineOptions(
        samples_max=samples_max,
        features=names & FEATURES,
        delayed_name_removal="promql-delayed-name-removal" in names,
    )
    return Library(database, Engine(database, engine_options, changes=database))


class Library:
    """An open database with its engine. Thread-safe; a context manager; close it once."""

    def __init__(self, database: Database, engine: Engine) -> None:
        """Use `open`."""
        self.database, self.engine = database, engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to the disk and give the directory back."""
        self.engine.close()
        self.database.close()

    def append(
        self,
        labels: Mapping[str, str],
        times_ms: Sequence[int] | npt.NDArray[np.int64],
        values: Sequence[float] | npt.NDArray[np.float64],
    ) -> list[AppendStatus]:
        """Store samples of one series, the name as label `__name__`; say what became of each.

        When this returns, what is STORED survives a crash of the process.
        """
        return self.append_batch([labels] * len(times_ms), times_ms, values)

    def append_batch(
        self,
        labels: Sequence[Mapping[str, str]],
        times_ms: Sequence[int] | npt.NDArray[np.int64],
        values: Sequence[float] | npt.NDArray[np.float64],
    ) -> list[AppendStatus]:
        """Store one sample for each entry of `labels`, all of them visible at once."""
        from tsdb.interface import AppendStatus, LabelSpans

        if not len(labels) == len(times_ms) == len(values):
            raise ValueError("labels, times and values differ in number")
        distinct: dict[tuple[tuple[str, str], ...], int] = {}
        rows_of = [
            distinct.setdefault(tuple(sorted(each.items())), len(distinct)) for each in labels
        ]
        refs = self.database.resolve(LabelSpans.from_labels([dict(key) for key in distinct]))
        statuses = self.database.append(
            refs[np.array(rows_of, dtype=np.int64)],
            np.ascontiguousarray(times_ms, dtype=np.int64),
            np.ascontiguousarray(values, dtype=np.float64),
        )
        return [AppendStatus(int(status)) for status in statuses]

    def query(self, expr: str, *, time_s: float | None = None) -> QueryResult:
        """Answer a PromQL query at one time (now, if none is given), as columns.

        Raises `promql.errors.QueryError`.
        """
        at_s = time.time() if time_s is None else time_s
        return self.engine.instant(expr, round(at_s * 1000))

    def query_range(self, expr: str, *, start_s: float, end_s: float, step_s: float) -> QueryResult:
        """Answer a PromQL query at every step. Raises `promql.errors.QueryError`."""
        step_ms = round(step_s * 1000)
        if step_ms <= 0 or end_s < start_s:
            raise ValueError("the step must be positive, and the end not before the start")
        return self.engine.range(expr, round(start_s * 1000), round(end_s * 1000), step_ms)

    def series(
        self, *selectors: str, start_s: float | None = None, end_s: float | None = None
    ) -> list[dict[str, str]]:
        """Return the labels of every series that satisfies any of the selectors."""
        found = self.database.series(*_where(selectors, start_s, end_s))
        return [found.row(number) for number in range(found.series_count)]

    def label_names(
        self, *selectors: str, start_s: float | None = None, end_s: float | None = None
    ) -> list[str]:
        """Return the label names in use, sorted."""
        return self.database.label_names(*_where(selectors, start_s, end_s))

    def label_values(
        self, name: str, *selectors: str, start_s: float | None = None, end_s: float | None = None
    ) -> list[str]:
        """Return the values of one label, sorted."""
        return self.database.label_values(name, *_where(selectors, start_s, end_s))


def _where(
    selectors: Sequence[str], start_s: float | None, end_s: float | None
) -> tuple[list[tuple[Matcher, ...]], int, int]:
    from promql.parse import parse_selector

    matchers = [parse_selector(selector) for selector in selectors]
    start_ms = -_FAR_MS if start_s is None else round(start_s * 1000)
    end_ms = _FAR_MS if end_s is None else round(end_s * 1000)
    return matchers, start_ms, end_ms


def rows(result: QueryResult) -> Iterator[Row]:
    """Yield an answer point by point: labels, time in seconds, value.

    A native histogram is a `HistogramRow`; those of a series come after its floats. For small
    answers; large ones are better read as the columns they are.
    """
    value = result.value
    if isinstance(value, ScalarResult):
        yield {}, value.time_ms / 1000, value.value
    elif isinstance(value, StringResult):
        yield {}, value.time_ms / 1000, value.text
    elif isinstance(value, VectorResult):
        shown = value.histograms
        for s, number in enumerate(value.values.tolist()):
            row = -1 if shown is None else int(shown.row[s, 0])
            point = number if shown is None or row < 0 else row_of(shown.columns, row)
            yield value.labels.row(s), value.time_ms / 1000, point
    elif isinstance(value, MatrixResult):
        for s in range(value.labels.series_count):
            labels = value.labels.row(s)
            for step in np.flatnonzero(value.present[s]).tolist():
                yield labels, int(value.steps_ms[step]) / 1000, float(value.values[s, step])
            if value.histograms is not None:
                rows_shown = value.histograms.row[s]
                for step in np.flatnonzero(rows_shown >= 0).tolist():
                    histogram = row_of(value.histograms.columns, int(rows_shown[step]))
                    yield labels, int(value.steps_ms[step]) / 1000, histogram
    else:
        assert isinstance(value, RawResult)
        for s in range(value.labels.series_count):
            labels, count = value.labels.row(s), int(value.count[s])
            first_time, first_value = int(value.time_start[s]), int(value.value_start[s])
            times = value.times[first_time : first_time + count].tolist()
            numbers = value.values[first_value : first_value + count].tolist()
            for time_ms, number in zip(times, numbers, strict=True):
                yield labels, time_ms / 1000, number
            runs = value.histograms
            if runs is not None:
                begin = int(runs.start[s])
                for row in range(begin, begin + int(runs.count[s])):
                    yield labels, int(runs.times[row]) / 1000, row_of(runs.columns, row)
