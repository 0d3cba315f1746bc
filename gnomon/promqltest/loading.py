"""One `load` into a store: floats, histograms, and what classic histograms become.

From: `runner.py`.   To: a store, through its appenders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from gnomon.promqltest.histograms import rows_of
from gnomon.promqltest.nhcb import converted
from gnomon.promqltest.values import HistogramPoint, NotationError, render_labels
from promql.histogram_columns import from_rows
from tsdb.interface import Appender, AppendStatus, HistogramAppender, LabelSpans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from gnomon.promqltest.script import Load, SeriesLine
    from promql.histogram_columns import HistogramRow

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
            made = [(labels, places) for labels, places in converted(lines.values()) if places]
            problem = _append_histograms(store, command, made)
    except NotationError as error:
        return f"line {command.line}: {error}"
    return problem


def _load_series(store: LoadStore, command: Load, lines: list[SeriesLine]) -> str | None:
    """Store all series as written, in the order of time where floats and histograms alternate."""
    floats: list[tuple[Mapping[str, str], dict[int, float]]] = []
    histograms: list[tuple[Mapping[str, str], dict[int, HistogramRow]]] = []
    problem = None
    for line in lines:
        own_floats = {i: p for i, p in enumerate(line.points) if isinstance(p, float)}
        written = {i: p for i, p in enumerate(line.points) if isinstance(p, HistogramPoint)}
        if not written:
            if own_floats:
                floats.append((line.labels, own_floats))
            continue
        own = dict(zip(written, rows_of(list(written.values())), strict=True))
        if not own_floats:
            histograms.append((line.labels, own))
            continue
        for place in sorted((*own_floats, *own)):
            if place in own:
                one = {place: own[place]}
                problem = problem or _append_histograms(store, command, [(line.labels, one)])
            else:
                single = {place: own_floats[place]}
                problem = problem or _append_floats(store, command, [(line.labels, single)])
    problem = problem or _append_floats(store, command, floats)
    return problem or _append_histograms(store, command, histograms)


def _append_floats(
    store: LoadStore, command: Load, series: Sequence[tuple[Mapping[str, str], dict[int, float]]]
) -> str | None:
    if not series:
        return None
    values = np.array([value for _, points in series for value in points.values()], np.float64)
    refs, times = _refs_and_times(store, command, [(labels, list(p)) for labels, p in series])
    return _refusal(command, store.append(refs, times, values), [labels for labels, _ in series])


def _append_histograms(
    store: LoadStore,
    command: Load,
    series: Sequence[tuple[Mapping[str, str], dict[int, HistogramRow]]],
) -> str | None:
    if not series:
        return None
    columns = from_rows([row for _, points in series for row in points.values()])
    refs, times = _refs_and_times(store, command, [(labels, list(p)) for labels, p in series])
    statuses = store.append_histograms(refs, times, columns)
    return _refusal(command, statuses, [labels for labels, _ in series])


def _refs_and_times(
    store: LoadStore, command: Load, series: list[tuple[Mapping[str, str], list[int]]]
) -> tuple[Ints, Ints]:
    refs = store.resolve(LabelSpans.from_labels([labels for labels, _ in series]))
    times = np.array([place for _, places in series for place in places], dtype=np.int64)
    return np.repeat(refs, [len(places) for _, places in series]), times * command.interval_ms


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
