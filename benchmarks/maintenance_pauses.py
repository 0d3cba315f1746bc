"""How long do writers and readers wait beside maintenance? One engine, calls in milliseconds.

    python -m benchmarks.maintenance_pauses [--series 300000] [--gone 200000] [--interval 60]

The engine holds some hours of `--series` series and of `--gone` that ended; then maintenance cuts
the head, and after two more windows compacts their blocks. Meanwhile one thread appends batches of
1000 samples and creates ten series with each, another reads ten series; both note how long each
call took, and the same is done before, in peace. On a machine with other work the longest calls say
something about that work too: compare with the line of peace, and mind the share of slow calls.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import peers
from benchmarks.churn import FIXED, HOUR_MS, Template, rss_mb
from tsdb.database import Database, DatabaseOptions
from tsdb.interface import Matcher, MatchOp, Selection

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 10_000
POD = 50


class Worker(threading.Thread):
    """Does something again and again, and notes how long it took."""

    def __init__(self, work: Callable[[], None], pause_s: float) -> None:
        super().__init__()
        self.work, self.pause_s = work, pause_s
        self.took_s: list[float] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Work until told to stop."""
        while not self.done.wait(self.pause_s):
            begin = time.perf_counter()
            self.work()
            self.took_s.append(time.perf_counter() - begin)

    def cells(self) -> list[str]:
        """Median, 99th percentile, longest in ms, and share above 5 ms."""
        self.done.set()
        self.join()
        ms = np.array(self.took_s) * 1000
        return [
            f"{np.median(ms):.2f}",
            f"{np.percentile(ms, 99):.2f}",
            f"{ms.max():.1f}",
            f"{(ms > 5).mean() * 100:.2f} %",
        ]


class Load:
    """A database and what is done to it."""

    def __init__(self, database: Database, args: argparse.Namespace) -> None:
        self.database, self.args = database, args
        self.template = Template.of(FIXED)
        self.pods = 0
        self.now_ms = int(time.time() * 1000) // (2 * HOUR_MS) * 2 * HOUR_MS - 26 * HOUR_MS

    def make(self, series: int) -> np.ndarray:
        """Make series of new pods."""
        pods = np.repeat(np.arange(self.pods, self.pods + series // POD + 1), POD)[:series]
        self.pods += series // POD + 1
        numbers = np.arange(series) % POD
        parts = [
            self.database.resolve(
                self.template.fill(pods[at : at + BATCH], numbers[at : at + BATCH])
            )
            for at in range(0, series, BATCH)
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def fill(self, refs: np.ndarray, hours: float) -> None:
        """Append samples of some hours, up to a new present."""
        for _ in range(int(hours * 3600) // self.args.interval):
            self.now_ms += self.args.interval * 1000
            for at in range(0, refs.size, BATCH):
                part = refs[at : at + BATCH]
                values = (part & 0xFFF) * 0.1 + self.now_ms % 7919
                self.database.append(part, np.full(part.size, self.now_ms), values)

    def watched(self, name: str, refs: np.ndarray, work: Callable[[], None]) -> list[str]:
        """Do some work with a writer and a reader beside it."""
        at_ms = self.now_ms

        def write() -> None:
            nonlocal at_ms
            at_ms += 1
            self.make(10)
            self.database.append(refs[:1000], np.full(1000, at_ms), np.arange(1000.0))

        matchers = (
            Matcher("__name__", MatchOp.EQUAL, "container_metric_007_total"),
            Matcher("pod", MatchOp.MATCHES, f"app-6c9d7{self.args.gone // POD // 10 + 1:07d}."),
        )

        def read() -> None:
            selection = Selection(matchers, at_ms - HOUR_MS, at_ms)
            assert self.database.select([selection])[0].series_count

        before = rss_mb()
        workers = [Worker(write, 0.002), Worker(read, 0.002)]
        high = Worker(lambda: peak.append(rss_mb()), 0.01)
        peak: list[float] = [before]
        for each in (*workers, high):
            each.start()
        begin = time.perf_counter()
        work()
        took_s = time.perf_counter() - begin
        cells = [cell for each in workers for cell in each.cells()]
        high.cells()
        self.now_ms = at_ms
        return [
            name,
            f"{took_s:.1f}",
            *cells,
            f"{before:.0f}",
            f"{max(peak):.0f}",
            f"{rss_mb():.0f}",
        ]


def main() -> None:
    """Print how long calls took, in peace and beside each kind of maintenance."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=300_000)
    parser.add_argument("--gone", type=int, default=200_000)
    parser.add_argument("--interval", type=int, default=60)
    parser.add_argument("--directory", help="where to put the data")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        database = Database.open(Path(folder), DatabaseOptions(background=False))
        load = Load(database, args)
        gone, kept = load.make(args.gone), load.make(args.series)
        load.fill(np.concatenate([gone, kept]), 0.5)
        load.fill(kept, 2.8)
        rows.append(load.watched("peace", kept, lambda: time.sleep(5)))
        rows.append(load.watched("first cut", kept, database.maintain))
        for _ in range(3):
            load.fill(kept, 2)
            rows.append(load.watched("cut", kept, database.maintain))
            if (done := database.stats().compactions) > 0:
                rows[-1][0] = f"cut, {done} compaction"
                break
        database.close()
    header = ["beside", "s", "append ms", "p99", "longest", "> 5 ms", "select ms", "p99", "longest",
              "> 5 ms", "RSS MB", "most", "after"]  # fmt: skip
    peers.table(header, rows)


if __name__ == "__main__":
    main()
