"""Writes to a database and says what was acknowledged, until somebody kills it.

Run as: writer.py DIRECTORY SERIES FIRST_BATCH. Prints a line for each acknowledged batch.
Batch k has one sample of every series, at time k * 1000 with value k; each seventh batch brings a
late sample of series 0 as well. Before each batch comes a histogram of the same time. Maintenance
runs all the time, over windows of two minutes, and so does saving the head.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from tsdb.database import Database
from tsdb.interface import AppendStatus, HistogramColumns, LabelSpans
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(
    retention_ms=None,
    min_block_ms=120_000,
    max_block_ms=1_200_000,
    background=False,
    wal_segment_bytes=1 << 16,
    head_save_wal_bytes=1 << 12,
)
LATE_MS = 500


def histogram(batch: int) -> HistogramColumns:
    """The histogram of one batch: five buckets that grow evenly."""
    none, zero = np.zeros(0), np.zeros(1)
    buckets = (np.array([0, 5]), np.arange(5, dtype=np.int32), np.full(5, float(batch)))
    return HistogramColumns(
        np.array([2], np.int8),
        np.array([0], np.int8),
        np.array([False]),
        np.array([5.0 * batch]),
        np.array([batch / 3]),
        zero,
        zero,
        *buckets,
        np.zeros(2, np.int64),
        none.astype(np.int32),
        none,
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        none,
    )


def main() -> None:
    database = Database.open(sys.argv[1], OPTIONS)
    series = int(sys.argv[2])
    labels = [{"__name__": "written", "series": str(number)} for number in range(series)]
    histogram_labels = LabelSpans.from_labels([{"__name__": "written_too"}])
    begin = int(sys.argv[3])

    def maintain() -> None:
        while True:
            database.maintain()

    def save() -> None:
        while True:
            database.save_head()

    threading.Thread(target=maintain, daemon=True).start()
    threading.Thread(target=save, daemon=True).start()
    for batch in range(begin, begin + 1_000_000):
        refs = database.resolve(LabelSpans.from_labels(labels))
        histogram_refs = database.resolve(histogram_labels)
        times = np.full(series, batch * 1000)
        values = np.full(series, float(batch))
        if batch % 7 == 0:
            refs = np.append(refs, refs[0])
            times = np.append(times, (batch - 3) * 1000 + LATE_MS)
            values = np.append(values, -float(batch))
        # The writer before may have been killed between the two: then this is a repetition.
        status = database.append_histograms(histogram_refs, times[:1], histogram(batch))
        assert status[0] in (AppendStatus.STORED, AppendStatus.DUPLICATE), status
        status = database.append(refs, times, values)
        assert not status.any(), status
        print(batch, flush=True)


if __name__ == "__main__":
    main()
