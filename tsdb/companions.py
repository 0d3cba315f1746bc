"""The writer's side of start timestamps: which series holds those of which.

From: `append.py`, with the start timestamps of a batch. To: samples of companions, see
`start_times.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.columns import ragged
from tsdb.interface import METRIC_NAME, LabelSpans
from tsdb.start_times import COMPANION_LABEL, COMPANION_NAME, COMPANION_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tsdb.head import Head
    from tsdb.interface import Ints
    from tsdb.label_kernels import Slots, Words
    from tsdb.metric_table import SeriesRows

_SLOT_MASK = 0xFFFFFFFF
_EXACT_MS = 1 << 53
"""Up to here every whole number is a float."""


@dataclass(frozen=True, slots=True)
class StartBatch:
    """The start timestamps of some samples of a batch: int64[n] places, refs, words of values."""

    at: Ints
    refs: Ints
    bits: Words


class Companions:
    """Refs of series to refs of their companions, for those that have any. Thread-safe."""

    def __init__(self, head: Head, resolve: Callable[[LabelSpans], Ints]) -> None:
        """`resolve` makes the companions that there are not yet; it takes the head's lock."""
        self._head = head
        self._resolve = resolve
        self._refs: Ints = np.empty(0, np.int64)
        self._companions: Ints = np.empty(0, np.int64)

    def batch(self, refs: Ints, start_times_ms: Ints) -> StartBatch | None:
        """Return what is to be stored beside a batch, None if nothing is.

        Raises `WriteFailedError` if companions cannot be logged.
        """
        starts = np.ascontiguousarray(start_times_ms, np.int64)
        at = np.flatnonzero((starts != 0) & (starts >= -_EXACT_MS) & (starts <= _EXACT_MS))
        if not at.size:
            return None
        companions = self._of(refs[at])
        kept = companions >= 0
        if not kept.all():
            at, companions = at[kept], companions[kept]
        if not at.size:
            return None
        return StartBatch(at, companions, starts[at].astype(np.float64).view(np.uint64))

    def live(self, batch: StartBatch) -> bool:
        """Say whether all companions are still there. The caller holds the head's lock."""
        return bool(self._is_live(batch.refs).all())

    def _of(self, refs: Ints) -> Ints:
        """Return the companion of each series, -1 for a series that is gone."""
        while True:
            with self._head.lock:
                found = self._known(refs)
                missing = np.unique(refs[found < 0])
                missing = missing[self._is_live(missing)]
                if not missing.size:
                    return found
                labels = _companion_labels(self._head.rows, (missing & _SLOT_MASK).astype(np.int32))
            made = self._resolve(labels)
            with self._head.lock:
                self._learn(missing, made)

    def _known(self, refs: Ints) -> Ints:
        if not self._refs.size:
            return np.full(refs.size, -1, np.int64)
        place = np.minimum(np.searchsorted(self._refs, refs), self._refs.size - 1)
        companions = self._companions[place]
        return np.where((self._refs[place] == refs) & self._is_live(companions), companions, -1)

    def _learn(self, refs: Ints, companions: Ints) -> None:
        """Remember more, and forget what is gone by now."""
        kept = self._is_live(self._refs) & ~np.isin(self._refs, refs)
        all_refs = np.concatenate([self._refs[kept], refs])
        order = np.argsort(all_refs)
        self._refs = all_refs[order]
        self._companions = np.concatenate([self._companions[kept], companions])[order]

    def _is_live(self, refs: Ints) -> npt.NDArray[np.bool_]:
        head = self._head
        slots = refs & _SLOT_MASK
        inside = (refs >= 0) & (slots < head.slot_count)
        generation = head.generation.array[np.where(inside, slots, 0)] if head.slot_count else 0
        live: npt.NDArray[np.bool_] = inside & (generation == refs >> 32)
        return live


def _companion_labels(rows: SeriesRows, slots: Slots) -> LabelSpans:
    """Return the labels of the companions of some series, as spans into a text of their own."""
    labels, symbols = rows.labels(slots), rows.symbols
    columns = dict(zip(labels.names, labels.ids, strict=True))
    names = columns.get(METRIC_NAME, np.zeros(slots.size, np.uint32))
    distinct, inverse = np.unique(names, return_inverse=True)
    renamed = symbols.intern_many([COMPANION_NAME + text for text in symbols.texts(distinct)])
    columns[METRIC_NAME] = renamed[inverse]
    columns[COMPANION_LABEL] = np.full(slots.size, symbols.intern(COMPANION_VALUE), np.uint32)
    ordered = sorted(columns, key=str.encode)
    values = np.stack([columns[name] for name in ordered], axis=1)
    there = values > 0
    sizes = np.count_nonzero(there, axis=1)
    name_ids = np.broadcast_to(symbols.intern_many(ordered), values.shape)[there]
    used, place = np.unique(np.stack([name_ids, values[there]], axis=1), return_inverse=True)
    text, starts, stops = symbols.ranges(used)
    lengths = stops - starts
    begin = np.cumsum(lengths) - lengths
    bounds = np.stack([begin, begin + lengths], axis=1)[place.reshape(-1, 2)]
    return LabelSpans(
        text[ragged(starts, lengths)],
        bounds.reshape(-1, 4).astype(np.int32),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
    )
