"""Start timestamps on their way: whose they are, and which sample's.

From: `series_table.py`, `queue.py`.   To: `messages_v2.py`; by 1.0 there is no place for them.

Storage keeps the start timestamps of a series as samples of another one, its companion (see
`tsdb/start_times.py`), and so does the log: in the record of the floats themselves, in one right
before that of histograms. Here a companion becomes a pointer to the entry of its series, and its
samples are found again by entry and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import METRIC_NAME, LabelSpans
from tsdb.series_index import SeriesIndex
from tsdb.start_times import COMPANION_LABEL, COMPANION_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.interface import Ints
    from tsdb.label_kernels import Words

    Entries = npt.NDArray[np.int32]
    Mask = npt.NDArray[np.bool_]

_NAME = np.frombuffer(METRIC_NAME.encode(), np.uint8)
_LABEL = np.frombuffer(COMPANION_LABEL.encode(), np.uint8)


@dataclass(frozen=True, slots=True)
class Starts:
    """When counting began, of the sample that an entry has at a time. Shapes: [N]."""

    entries: Entries
    times: Ints
    starts: Ints


class EntriesByLabels:
    """Which entry was made of which labels, as storage has them. One thread at a time.

    Hashes of labels, in sorted runs that are merged as they come to be of a size, so that learning
    costs the same whether series come by the thousand or one by one.
    """

    def __init__(self) -> None:
        self._hasher = SeriesIndex()
        self._runs: list[_Run] = []

    def learn(self, labels: LabelSpans, entries: Entries) -> None:
        """Meet series; where the same labels come again, the newer entry counts."""
        low, high = self._hasher.hash(labels)
        self._runs.append(_Run.of(low[::-1], high[::-1], entries[::-1]))
        while len(self._runs) > 1 and self._runs[-2].low.size < 2 * self._runs[-1].low.size:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(
                _Run.of(
                    np.concatenate([newer.low, older.low]),
                    np.concatenate([newer.high, older.high]),
                    np.concatenate([newer.entries, older.entries]),
                )
            )

    def find(self, labels: LabelSpans) -> Entries:
        """Return the entry of each series, -1 where there is none."""
        low, high = self._hasher.hash(labels)
        entries = np.full(low.size, -1, np.int32)
        for run in self._runs:
            place = np.minimum(np.searchsorted(run.low, low), run.low.size - 1)
            # Two with one half of 64 bits in common hide each other: no start is sent, none wrong.
            found = (run.low[place] == low) & (run.high[place] == high)
            entries[found] = run.entries[place[found]]
        return entries

    def keep_only(self, kept: Entries) -> None:
        """Forget all but some entries, sorted, which are numbered anew in their order."""
        runs = []
        for run in self._runs:
            place, there = places_in(kept, run.entries)
            if there.any():
                entries = place[there].astype(np.int32)
                runs.append(_Run(run.low[there], run.high[there], entries))
        self._runs = runs


@dataclass(frozen=True, slots=True)
class _Run:
    """Hashes and entries, sorted by hash, none of them twice. Shapes: [N], N > 0."""

    low: Words
    high: Words
    entries: Entries

    @staticmethod
    def of(low: Words, high: Words, entries: Entries) -> _Run:
        """Sort; of equal hashes the first one counts."""
        order = np.lexsort((high, low))
        low, high, entries = low[order], high[order], entries[order]
        first = np.ones(low.size, np.bool_)
        first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        return _Run(low[first], high[first], entries[first])


def places_in(kept: Entries, entries: Entries) -> tuple[Ints, Mask]:
    """Return where entries stand among sorted ones, and whether they are there."""
    if not kept.size:
        return np.zeros(entries.size, np.int64), np.zeros(entries.size, np.bool_)
    place = np.minimum(np.searchsorted(kept, entries), kept.size - 1)
    return place, kept[place] == entries


def are_companions(labels: LabelSpans) -> Mask:
    """Say of each series whether it holds start timestamps: its first label says so."""
    found = np.zeros(labels.series_count, np.bool_)
    having = np.flatnonzero(np.diff(labels.first) > 0)
    spans = labels.spans[labels.first[having]]
    having = having[_spells(labels, spans, _LABEL)]
    found[having] = True
    return found


def own_labels(companions: LabelSpans) -> LabelSpans:
    """Return the labels of the series whose start timestamps some companions hold."""
    kept = np.ones(len(companions.spans), np.bool_)
    kept[companions.first[:-1]] = False  # the companion's label sorts first
    spans = companions.spans[kept]
    named = np.flatnonzero(_spells(companions, spans, _NAME))
    spans[named, 2] += np.int32(len(COMPANION_NAME.encode()))
    nameless = np.zeros(len(spans), np.bool_)
    nameless[named] = spans[named, 2] >= spans[named, 3]
    first = companions.first - np.arange(companions.first.size)
    if nameless.any():
        gone = np.concatenate([np.zeros(1, np.int64), np.cumsum(nameless)])
        spans, first = spans[~nameless], first - gone[first]
    return LabelSpans(companions.data, np.ascontiguousarray(spans), first)


def _spells(labels: LabelSpans, spans: npt.NDArray[np.int32], name: npt.NDArray[np.uint8]) -> Mask:
    """Say of each label whether that is its name."""
    found: Mask = spans[:, 1] - spans[:, 0] == name.size
    places = spans[found, 0][:, None] + np.arange(name.size)
    found[found] = (labels.data[places] == name).all(axis=1)
    return found


def starts_of(entries: Entries, times: Ints, parts: Sequence[Starts]) -> Ints | None:
    """Return when each sample began to count, 0 where nobody says; None for nobody at all."""
    if not parts:
        return None
    known, inverse = np.unique(np.concatenate([part.times for part in parts]), return_inverse=True)
    keys = np.concatenate([part.entries for part in parts]).astype(np.int64) * known.size + inverse
    keys, first = np.unique(keys, return_index=True)
    values = np.concatenate([part.starts for part in parts])[first]
    moment = np.minimum(np.searchsorted(known, times), known.size - 1)
    wanted = entries.astype(np.int64) * known.size + moment
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    there = (known[moment] == times) & (keys[place] == wanted)
    return np.where(there, values[place], 0) if there.any() else None
