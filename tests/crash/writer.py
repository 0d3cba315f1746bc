"""Writes to a database and says what was acknowledged, until somebody kills it.

Run as: writer.py DIRECTORY SERIES FIRST_BATCH. Prints a line for each acknowledged batch.
Batch k has one sample of every series, at time k * 1000 with value k; each seventh batch brings a
late sample of series 0 as well. Maintenance runs all the time, over windows of two minutes.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from tsdb.database import Database, DatabaseOptions
from tsdb.interface import LabelSpans

OPTIONS = DatabaseOptions(
    retention_ms=None,
    min_block_ms=120_000,
    max_block_ms=1_200_000,
    background=False,
    wal_segment_bytes=1 << 16,
)
LATE_MS = 500


def main() -> None:
    database = Database.open(sys.argv[1], OPTIONS)
    series = int(sys.argv[2])
    labels = [{"__name__": "written", "series": str(number)} for number in range(series)]
    begin = int(sys.argv[3])

    def maintain() -> None:
        while True:
            database.maintain()

    threading.Thread(target=maintain, daemon=True).start()
    for batch in range(begin, begin + 1_000_000):
        refs = database.resolve(LabelSpans.from_labels(labels))
        times = np.full(series, batch * 1000)
        values = np.full(series, float(batch))
        if batch % 7 == 0:
            refs = np.append(refs, refs[0])
            times = np.append(times, (batch - 3) * 1000 + LATE_MS)
            values = np.append(values, -float(batch))
        status = database.append(refs, times, values)
        assert not status.any(), status
        print(batch, flush=True)


if __name__ == "__main__":
    main()
