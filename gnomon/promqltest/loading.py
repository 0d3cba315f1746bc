"""One `load` into a store: floats, histograms, and what classic histograms become.

From: `runner.py`.   To: a store, through its appenders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from gnomon.promqltest.histograms import rows_of
from gnomon.promqltest.nhcb import converted
from gnomon.promqltest.script import SeriesLine
from gnomon.promqltest.values import HistogramPoint, NotationError, render_labels
from promql.histograms.columns import from_rows
from tsdb.interface import Appender, AppendStatus, HistogramAppender, LabelSpans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from gnomon.promqltest.script import Load
    from promql.histograms.columns import HistogramRow

    Ints = npt.NDArray[np.int64]
    Statuses = npt.NDArray[np.uint8]


class LoadStore(Appender, HistogramAppender, Protocol):
    """A store that takes both kinds of samples."""


def load(store: LoadStore, command: Load) -> str | None:
    """Store a load; return what went wrong, or None.

    A series that is written twice in one load counts as written last; scripts rely on it.
    """
    lines = {tuple(sorted(line.labels.items())): line for line in command.series}
    try:
        problem = _load_series(store, command, list(lines.values()))
        if problem is None and command.with_nhcb:
            made = [
                (SeriesLine(command.line, labels, ()), places)
                for labels, places in converted(lines.values())
                if places
            ]
            problem = _append_histograms(store, command, made)
    except NotationError as error:
        return f"line {command.line}: {error}"
    return problem


def _load_series(store: LoadStore, command: Load, lines: list[SeriesLine]) -> str | None:
    """Store all series as written, in the order of time where floats and histograms alternate."""
    floats: list[tuple[SeriesLine, dict[int, float]]] = []
    histograms: list[tuple[SeriesLine, dict[int, HistogramRow]]] = []
    problem = None
    for line in lines:
        own_floats = {i: p for i, p in enumerate(line.points) if isinstance(p, float)}
        written = {i: p for i, p in enumerate(line.points) if isinstance(p, HistogramPoint)}
        if not written:
            if own_floats:
                floats.append((line, own_floats))
            continue
        own = dict(zip(written, rows_of(list(written.values())), strict=True))
        if not own_floats:
            histograms.append((line, own))
            continue
        for place in sorted((*own_floats, *own)):
            if place in own:
                one = {place: own[place]}
                problem = problem or _append_histograms(store, command, [(line, one)])
            else:
                single = {place: own_floats[place]}
                problem = problem or _append_floats(store, command, [(line, single)])
    problem = problem or _append_floats(store, command, floats)
    return problem or _append_histograms(store, command, histograms)


def _append_floats(
    store: LoadStore, command: Load, series: Sequence[tuple[SeriesLine, dict[int, float]]]
) -> str | None:
    if not series:
        return None
    values = np.array([value for _, points in series for value in points.values()], np.float64)
    places = [(line, list(points)) for line, points in series]
    refs, times = _refs_and_times(store, command, places)
    statuses = store.append(refs, times, values, start_times_ms=_start_times(places, times))
    return _refusal(command, statuses, [line.labels for line, _ in series])


def _append_histograms(
    store: LoadStore,
    command: Load,
    series: Sequence[tuple[SeriesLine, dict[int, HistogramRow]]],
) -> str | None:
    if not series:
        return None
    columns = from_rows([row for _, points in series for row in points.values()])
    places = [(line, list(points)) for line, points in series]
    refs, times = _refs_and_times(store, command, places)
    starts = _start_times(places, times)
    statuses = store.append_histograms(refs, times, columns, start_times_ms=starts)
    return _refusal(command, statuses, [line.labels for line, _ in series])


def _refs_and_times(
    store: LoadStore, command: Load, series: list[tuple[SeriesLine, list[int]]]
) -> tuple[Ints, Ints]:
    refs = store.resolve(LabelSpans.from_labels([line.labels for line, _ in series]))
    times = np.array([place for _, places in series for place in places], dtype=np.int64)
    return np.repeat(refs, [len(places) for _, places in series]), times * command.interval_ms


def _start_times(series: list[tuple[SeriesLine, list[int]]], times: Ints) -> Ints | None:
    """Return the start timestamp of each sample, 0 for none; None if no line gives any."""
    if all(line.start_offsets_ms is None for line, _ in series):
        return None
    offsets = [
        None if line.start_offsets_ms is None else line.start_offsets_ms[place]
        for line, places in series
        for place in places
    ]
    given = np.array([offset is not None for offset in offsets])
    return np.where(given, times + np.array([offset or 0 for offset in offsets]), 0)


def _refusal(command: Load, statuses: Statuses, labels: list[Mapping[str, str]]) -> str | None:
    refused = np.flatnonzero(statuses > AppendStatus.DUPLICATE)
    if refused.size == 0:
        return None
    status = AppendStatus(int(statuses[refused[0]])).name
    among = ", ".join(render_labels(row) for row in labels[:3])
    return (
        f"line {command.line}: the store refused {refused.size} samples, first {status},"
        f" among {among}"
    )
