"""The exemplars of a Prometheus log, to the log and the ring of ours.

From: `head.py`, record by record. To: a data directory whose lock the caller has.
As many are held as Prometheus and we keep by default, the newest: memory stays bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.record_kernels import read_exemplars
from tsdb.database import Database
from tsdb.interface import ExemplarStatus, LabelSpans
from tsdb.options import DatabaseOptions

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.tsdb_tools.series_table import SeriesTable
    from tsdb.interface import Bytes, Floats, Ints

    Batch = tuple[Ints, Ints, Floats, LabelSpans]


class ExemplarLog:
    """Exemplars as they come, those of a record together: refs, times, values, labels."""

    def __init__(self, exemplars_max: int = DatabaseOptions().exemplars_max) -> None:
        """Hold nothing yet, and never many more than `exemplars_max`."""
        self._max = exemplars_max
        self._held = 0
        self.batches: list[Batch] = []

    def take(self, data: Bytes, size: int) -> int:
        """Take over one record, `SLACK_BYTES` behind it; return how many it has, -1 if damaged."""
        room = size // 11 + 1
        refs, times, first = (
            np.empty(room, np.int64),
            np.empty(room, np.int64),
            np.zeros(room + 1, np.int64),
        )
        bits, spans = np.empty(room, np.uint64), np.empty((size // 2 + 1, 4), np.int32)
        found = int(read_exemplars(data, size, refs, times, bits, first, spans))
        if found > 0:
            labels = LabelSpans(data, spans[: first[found]].copy(), first[: found + 1].copy())
            values = bits[:found].view(np.float64)
            self.batches.append((refs[:found].copy(), times[:found].copy(), values.copy(), labels))
            self._held += found
            while self._held - self.batches[0][0].size >= self._max:
                self._held -= self.batches.pop(0)[0].size
        return found


def store_exemplars(target: Path, series: SeriesTable, batches: list[Batch]) -> tuple[int, int]:
    """Write exemplars into a data directory; return how many are kept, and how many are refused.

    The refs of `batches` are rows of `series`, -1 for none. Refused are those of no known series,
    and what is not newer than an exemplar that its series has. Raises OSError, WriteFailedError.
    """
    if not batches:
        return 0, 0
    options = DatabaseOptions(retention_ms=None, background=False, no_lockfile=True)
    database = Database.open(target, options)
    stored = refused = 0
    try:
        rows = np.unique(np.concatenate([refs for refs, *_ in batches]))
        rows = rows[rows >= 0]
        columns = series.labels(rows)
        made = database.resolve(LabelSpans.from_labels(columns.row(at) for at in range(rows.size)))
        # One place more, for exemplars of no series: a ref that nobody has.
        ref_of = np.append(made, -1)
        for refs, times, values, labels in batches:
            place = np.where(refs >= 0, np.searchsorted(rows, refs), rows.size)
            status = database.append_exemplars(ref_of[place], times, values, labels)
            kept = int(np.count_nonzero(status == ExemplarStatus.STORED))
            stored += kept
            refused += refs.size - kept
    finally:
        database.close()
    return stored, refused
