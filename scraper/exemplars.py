"""Exemplars of a scrape: read where they are new, and kept behind the samples they belong to.

From: the spans that `exposition.py` or `protobuf.py` found.
To:   `tsdb.interface.ExemplarStorage`, through `ingest.py`.

A target repeats its exemplars until it has newer ones, so the bytes of those of the last scrape are
remembered: what is shown again is neither read nor stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import ExemplarStatus, LabelSpans

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.exemplar_text import Exemplar
    from scraper.exposition import Exposition
    from tsdb.interface import ExemplarStorage

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Fresh:
    """An exemplar that the last scrape did not show, and the sample that it is of."""

    sample: int
    exemplar: Exemplar


class TargetExemplars:
    """The exemplars of one target, from scrape to scrape."""

    def __init__(self) -> None:
        self._shown: frozenset[tuple[int, bytes]] = frozenset()
        self._next: frozenset[tuple[int, bytes]] = frozenset()
        self._fresh: list[_Fresh] = []

    def read(self, exposition: Exposition, refs: Ints) -> None:
        """Read what is new. `refs` int64[samples]. Raises ParseError; then nothing has changed."""
        self._fresh = []
        samples = exposition.exemplar_sample.tolist()
        shown = []
        for number, sample in enumerate(samples):
            text = exposition.exemplar_text(number)
            key = int(refs[sample]), text
            shown.append(key)
            if key not in self._shown:
                self._fresh.append(_Fresh(sample, exposition.read_exemplar(text)))
        self._next = frozenset(shown)

    def store(
        self, storage: ExemplarStorage, samples: Ints, refs: Ints, times_ms: Ints, native: Ints
    ) -> int:
        """Keep what `read` found of the samples that were stored; return how many came too late.

        Shapes: [stored] each, `samples` their numbers, rising; `native` numbers those that are
        native histograms: an exemplar of such a one needs a time of its own, others without have
        the time of their sample.
        """
        fresh, self._fresh = self._fresh, []
        self._shown = self._next
        if not fresh or not samples.size:
            return 0
        natives = frozenset(native.tolist())
        rows = []
        for one in fresh:
            at = int(np.searchsorted(samples, one.sample))
            if at == samples.size or samples[at] != one.sample:
                continue
            time_ms = one.exemplar.time_ms
            if time_ms is None:
                if one.sample in natives:
                    continue
                time_ms = int(times_ms[at])
            rows.append((int(refs[at]), time_ms, one.exemplar))
        if not rows:
            return 0
        # Of one series in the order of time: storage takes none that is older than its newest.
        rows.sort(key=lambda row: row[:2])
        statuses = storage.append_exemplars(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            np.array([row[2].value for row in rows]),
            LabelSpans.from_labels(row[2].labels for row in rows),
        )
        return int(np.count_nonzero(statuses == ExemplarStatus.OUT_OF_ORDER))
