"""Start (created) timestamps: kept beside the samples that have one, and nowhere else.

From: `companions.py` (writing), `select.py` (reading). To: rows of head and blocks like others.

The start timestamps of a series are the samples of a *companion*: a series with the same labels,
another metric name (`COMPANION_NAME` in front) and the label `COMPANION_LABEL`. A companion has a
sample at each time at which the series has one with a start timestamp, its value is that timestamp.
So log, head, pages, blocks, compaction, retention, deletion and recovery are those of any series,
nearly constant starts take next to no room, and a series without start timestamps costs nothing.
Invariant: companions are found by a matcher on `COMPANION_LABEL` alone; every other match leaves
them out. A companion's sample without one of its series means nothing and is not shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.columns import ragged
from tsdb.interface import (
    METRIC_NAME,
    Matcher,
    MatchOp,
    Selection,
    StartTimes,
)
from tsdb.merge import group_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsdb.interface import Ids, Ints, LabelColumns, SeriesBatch, SymbolSource
    from tsdb.label_kernels import Slots
    from tsdb.metric_table import SeriesRows

COMPANION_LABEL = "\x00start_timestamp"
"""The label that only companions have. Nobody else may use it."""
COMPANION_NAME = "\x00start_timestamp\x00"
"""What stands in front of a companion's metric name."""
COMPANION_VALUE = "1"
"""The value of that label."""
_NO_SYMBOL = np.uint32(0xFFFFFFFF)

NO_COMPANION = Matcher(COMPANION_LABEL, MatchOp.EQUAL, "")
_COMPANION = Matcher(COMPANION_LABEL, MatchOp.NOT_EQUAL, "")


def leaves_companions_out(matchers: Sequence[Matcher]) -> bool:
    """Say whether matchers need `NO_COMPANION`: they ask for no name, nor for companions."""
    for matcher in matchers:
        if matcher.name == COMPANION_LABEL:
            return False
        if matcher.name == METRIC_NAME and matcher.op is MatchOp.EQUAL and matcher.value:
            return False
    return True


def companion_matchers(matchers: Sequence[Matcher]) -> tuple[Matcher, ...]:
    """Return what the companions of exactly the series satisfy that satisfy `matchers`."""
    return (*map(_renamed, matchers), _COMPANION)


def _renamed(matcher: Matcher) -> Matcher:
    if matcher.name != METRIC_NAME:
        return matcher
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        return replace(matcher, value=COMPANION_NAME + matcher.value)
    return replace(matcher, value=rf"\x00start_timestamp\x00(?:{matcher.value})")


def companion_selection(selection: Selection) -> Selection:
    """Return the selection of the companions of what another selects."""
    matchers = companion_matchers(selection.matchers)
    return Selection(matchers, selection.start_ms, selection.end_ms)


def is_companion_name(text: str) -> bool:
    """Say whether a metric name is one of companions."""
    return text.startswith(COMPANION_NAME)


def has_companions(symbols: SymbolSource) -> bool:
    """Say whether a symbol space may have companions."""
    return symbols.find(COMPANION_LABEL) is not None


def companion_count(rows: SeriesRows) -> int:
    """Return how many series of the head are companions; nobody else's count includes them."""
    label = rows.symbols.find(COMPANION_LABEL)
    if label is None:
        return 0
    table, count = rows.table(None)
    return int(np.count_nonzero(rows.column(table, label, count)))


def companions_among(rows: SeriesRows, slots: Slots) -> int:
    """Return how many of some series of the head are companions."""
    label = rows.symbols.find(COMPANION_LABEL)
    if label is None:
        return 0
    column = np.empty(slots.size, np.uint32)
    rows.fill(label, slots, column)
    return int(np.count_nonzero(column))


def with_start_times(batch: SeriesBatch, companions: SeriesBatch) -> SeriesBatch:
    """Return a batch with the start timestamps that its companions hold; same symbols."""
    if not batch.series_count or not companions.series_count:
        return batch
    of = _companion_of(batch.labels, companions.labels)
    having = of >= 0
    count = np.zeros(of.size, np.int64)
    count[having] = companions.count[of[having]]
    first = np.zeros(of.size + 1, np.int64)
    np.cumsum(count, out=first[1:])
    rows, sizes = of[having], count[having]
    starts = companions.values[ragged(companions.value_start[rows], sizes)].astype(np.int64)
    times = companions.times[ragged(companions.time_start[rows], sizes)]
    return replace(batch, start_times=StartTimes(first, times, starts))


def _companion_of(labels: LabelColumns, companions: LabelColumns) -> Ints:
    """Return the place of each series' companion, -1 where it has none: int64[S]."""
    mine = {name: labels.ids[at] for at, name in enumerate(labels.names)}
    its = {name: companions.ids[at] for at, name in enumerate(companions.names)}
    its.pop(COMPANION_LABEL, None)
    if METRIC_NAME in its:
        its[METRIC_NAME] = _plain_names(its[METRIC_NAME], labels.symbols)
    names = sorted({*mine, *its})
    none, none_of_its = (
        np.zeros(labels.series_count, np.uint32),
        np.zeros(companions.series_count, np.uint32),
    )
    rows = np.column_stack(
        [np.concatenate([its.get(name, none_of_its), mine.get(name, none)]) for name in names]
        or [np.zeros(labels.series_count + companions.series_count, np.uint32)]
    )
    group, leader = group_rows(rows)
    # Companions come first, so each leads its group, and a series alone leads its own.
    found = leader[group[companions.series_count :]]
    return np.where(found < companions.series_count, found, -1)


def _plain_names(ids: Ids, symbols: SymbolSource) -> Ids:
    """Return the ids of the metric names that companions are named after."""
    distinct, inverse = np.unique(ids, return_inverse=True)
    plain = np.full(distinct.size, _NO_SYMBOL, np.uint32)
    for at, text in enumerate(symbols.texts(distinct)):
        symbol = symbols.find(text.removeprefix(COMPANION_NAME))
        if symbol is not None:
            plain[at] = symbol
    return plain[inverse]
