"""What a native histogram costs: to append, in memory, in the log, in a block, and to read.

    python -m benchmarks.native_histograms [--series N] [--buckets N]

Two hours of scrapes 15 s apart. Every bucket of every series grows by a Poisson number of 3 a
scrape, the sum by noise: there is little to compress. Maintenance runs once a minute of data, as
it does in a server.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from tsdb.database import Database
from tsdb.interface import HistogramColumns, LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

STEPS, STEP_MS = 480, 15_000
OPTIONS = DatabaseOptions(retention_ms=None, background=False)


def scrape(counts: np.ndarray, noise: np.ndarray) -> HistogramColumns:
    """One histogram for each series. Shapes: `counts` [series, buckets], `noise` [series]."""
    series, buckets = counts.shape
    none, zeros = np.zeros(0), np.zeros(series)
    total = counts.sum(axis=1)
    return HistogramColumns(
        np.full(series, 3, np.int8),
        np.zeros(series, np.int8),
        np.zeros(series, np.bool_),
        total.astype(np.float64),
        total * 0.37 + noise,
        np.full(series, 2.0**-128),
        zeros,
        np.arange(0, series * buckets + 1, buckets),
        np.tile(np.arange(buckets, dtype=np.int32), series),
        counts.astype(np.float64).ravel(),
        np.zeros(series + 1, np.int64),
        none.astype(np.int32),
        none,
        np.zeros(series, np.int64),
        np.zeros(series, np.int64),
        none,
    )


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def read(database: Database, name: str) -> None:
    """Print how long it takes to read all series, and one."""
    one = (Matcher("instance", MatchOp.EQUAL, "7"),)
    for what, matchers in (("all series", ()), ("one series", one)):
        begin = time.perf_counter()
        (batch,) = database.select([Selection(matchers, 0, STEPS * STEP_MS)])
        took = time.perf_counter() - begin
        assert batch.histograms is not None
        found = int(batch.histograms.count.sum())
        print(f"  read {what} from {name}: {took * 1e3:.1f} ms for {found} histograms")


def main() -> None:
    """Write, cut and read, and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--buckets", type=int, default=30)
    arguments = parser.parse_args()
    series, total = arguments.series, arguments.series * STEPS
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as directory:
        database = Database.open(directory, OPTIONS)
        labels = [{"__name__": "latency", "instance": str(at)} for at in range(series)]
        refs = database.resolve(LabelSpans.from_labels(labels))
        counts = np.zeros((series, arguments.buckets), np.int64)
        before, append_s, maintain_s = resident(), 0.0, 0.0
        for step in range(STEPS):
            counts += random.poisson(3, counts.shape)
            columns = scrape(counts, random.random(series))
            begin = time.perf_counter()
            status = database.append_histograms(refs, np.full(series, step * STEP_MS), columns)
            append_s += time.perf_counter() - begin
            assert not status.any()
            if step % 4 == 3:
                begin = time.perf_counter()
                database.maintain()
                maintain_s += time.perf_counter() - begin
        print(f"{series} series, {arguments.buckets} buckets, {total} histograms; of each:")
        print(
            f"  append {append_s / total * 1e6:.2f} us, maintenance {maintain_s / total * 1e6:.2f}"
        )
        print(f"  memory {(resident() - before) / total:.0f} bytes, of all of them in the head")
        print(f"  log {database.stats().wal.size_bytes / total:.1f} bytes")
        read(database, "the head")
        begin = time.perf_counter()
        database.flush()
        print(f"  cut {(time.perf_counter() - begin) / total * 1e6:.2f} us")
        print(f"  block {database.stats().block_bytes / total:.1f} bytes, index included")
        read(database, "a block")
        database.close()


if __name__ == "__main__":
    main()
