"""How fast the engine alone takes samples and series, and how fast it starts again.

    python -m benchmarks.append [--series 100000] [--rounds 66] [--directory DIR]

One thread, with the log. Samples: `--rounds` samples of each series, in batches of one time as
scrapes are; CPU time, sealing of full slabs included. Then a million series with ten labels each,
one sample of each; then the head is saved, and opened as after a kill: from what was saved, and
from the log alone.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(retention_ms=None, background=False)
MILLION = 1_000_000


def labels_of(number: int) -> dict[str, str]:
    """Ten labels, of which few have many values."""
    return {
        "__name__": f"metric_{number % 500}",
        "job": "bench",
        "instance": f"host-{number // 500}:9100",
        "pod": f"pod-{number // 50}",
        "namespace": f"ns-{number % 40}",
        "container": f"c{number % 7}",
        "zone": f"z{number % 3}",
        "node": f"node-{number // 500 % 100}",
        "path": f"/p{number % 90}",
        "code": f"{200 + number % 5}",
    }


def append(directory: Path, series: int, rounds: int, batch: int) -> float:
    """Return millions of samples a second of CPU."""
    database = Database.open(directory, OPTIONS)
    refs = database.resolve(LabelSpans.from_labels(map(labels_of, range(series))))
    rng = np.random.default_rng(1)
    values = rng.integers(0, 100_000, series).astype(np.float64)
    begin_ms = int(time.time() * 1000) - rounds * 15_000
    took_s = 0.0
    for at in range(rounds):
        values = values + rng.integers(0, 1000, series)
        times = np.full(batch, begin_ms + at * 15_000)
        began = time.process_time()
        for first in range(0, series, batch):
            part = slice(first, first + batch)
            database.append(refs[part], times[: refs[part].size], values[part])
        took_s += time.process_time() - began
    database.close()
    return series * rounds / took_s / 1e6


def create(database: Database) -> float:
    """Make a million series; return the CPU time that took, without making their labels here."""
    took_s = 0.0
    for first in range(0, MILLION, 10_000):
        labels = LabelSpans.from_labels(map(labels_of, range(first, first + 10_000)))
        began = time.process_time()
        refs = database.resolve(labels)
        database.append(refs, np.full(10_000, int(time.time() * 1000)), np.arange(10_000.0))
        took_s += time.process_time() - began
    return took_s


def opened(directory: Path, copy: Path) -> str:
    """Open what a kill would leave now; return what that took."""
    shutil.copytree(directory, copy)
    began, began_cpu = time.perf_counter(), time.process_time()
    database = Database.open(copy, OPTIONS)
    took_s, took_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    assert database.stats().series == MILLION
    replayed = database.stats().replay_samples
    database.close()
    shutil.rmtree(copy)
    return f"{took_s:.2f} s, {took_cpu_s:.2f} s of CPU, {replayed} samples replayed"


def main() -> None:
    """Print all that was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=66)
    parser.add_argument("--directory", help="where to put the data")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        for batch in (1000, 10_000, args.series):
            rate = append(Path(folder) / f"batch-{batch}", args.series, args.rounds, batch)
            print(f"batches of {batch:7}: {rate:5.1f} M samples a second of CPU", flush=True)
        path = Path(folder) / "million"
        database = Database.open(path, OPTIONS)
        print(f"a million series made: {create(database):.2f} s of CPU", flush=True)
        print(f"opened from the log: {opened(path, Path(folder) / 'copy')}", flush=True)
        began = time.perf_counter()
        database.save_head()
        size = (path / "head/snapshot").stat().st_size / 2**20
        print(f"head saved: {time.perf_counter() - began:.2f} s, {size:.0f} MB")
        print(f"opened from that: {opened(path, Path(folder) / 'copy')}")
        database.close()


if __name__ == "__main__":
    main()
