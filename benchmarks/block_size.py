"""Bytes that a sample takes in a block, and how fast it is written and read.

    python -m benchmarks.block_size [--peer] [--corpora DIR]

Real data: the captured node_exporter scrapes, respaced to 15 s, as 20 instances that begin at
different scrapes. The capture is shorter than a window, so instances repeat each other's values,
which a frame of neighbouring series finds: the line "pages alone, one instance" says what a sample
of one instance takes without that help. Synthetic data: noisy counters, gauges and histogram
buckets. Each is written as 2 h blocks and then compacted to one. With --peer, and promtool on the
PATH, Prometheus makes its blocks of the same samples through OpenMetrics text.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsdb.block import Block
from tsdb.block_writer import write_block
from tsdb.compaction import compact
from tsdb.interface import LabelColumns, SeriesBatch
from tsdb.symbols import SymbolTable

CORPORA = Path(__file__).resolve().parent.parent.parent / "shared" / "corpora"
STEP_MS = 15_000
WINDOW_MS = 2 * 3600 * 1000
START_MS = 1_700_006_400_000  # a multiple of two hours
INSTANCES = 20


@dataclass
class Data:
    """Series with all their samples: labels, and a float for each scrape, NaN where absent.

    Shapes: `values` float64[series, scrapes], `present` bool of that shape; `times` int64[scrapes].
    """

    labels: list[dict[str, str]]
    times: np.ndarray
    values: np.ndarray
    present: np.ndarray


def node_exporter(corpora: Path, scrapes: int, instances: int = INSTANCES) -> Data:
    """The capture as several instances; it begins anew where it is too short."""
    captured: list[dict[str, float]] = []
    with (corpora / "exposition" / "node_exporter-scrapes.cap").open("rb") as file:
        while head := file.read(12):
            _, size = struct.unpack("<QI", head)
            text = zlib.decompress(file.read(size)).decode()
            lines = [line for line in text.splitlines() if line and line[0] != "#"]
            pairs = (line.rsplit(" ", 1) for line in lines)
            captured.append({series: float(value) for series, value in pairs})
    names = sorted({series for scrape in captured for series in scrape})
    table = np.full((len(names), len(captured)), np.nan)
    for at, scrape in enumerate(captured):
        table[:, at] = [scrape.get(name, np.nan) for name in names]
    seen = np.zeros(table.shape, dtype=bool)
    for at, scrape in enumerate(captured):
        seen[:, at] = [name in scrape for name in names]
    labels, values, present = [], [], []
    offsets = np.linspace(0, len(captured) - 1, instances, endpoint=False).astype(int)
    for instance, offset in enumerate(offsets.tolist()):
        walk = (offset + np.arange(scrapes)) % len(captured)
        values.append(table[:, walk])
        present.append(seen[:, walk])
        labels += [series_labels(name, instance) for name in names]
    times = START_MS + STEP_MS * np.arange(scrapes)
    return Data(labels, times, np.concatenate(values), np.concatenate(present))


def series_labels(series: str, instance: int) -> dict[str, str]:
    """A line's series as labels; label values of this capture hold no comma and no escape."""
    name, _, rest = series.partition("{")
    labels = {"__name__": name, "instance": f"10.0.0.{instance}:9100", "job": "node"}
    for pair in filter(None, rest.rstrip("}").split('",')):
        key, _, value = pair.partition('="')
        labels[key.strip()] = value.rstrip('"')
    return labels


def synthetic(series: int, scrapes: int) -> Data:
    """A third each: counters with noisy rates, gauges that wander with noise, histogram buckets."""
    rng = np.random.default_rng(7)
    each = series // 3
    counters = rng.poisson(rng.uniform(5, 200, (each, 1)), (each, scrapes)).cumsum(axis=1) * 1.0
    wander = rng.normal(0, 0.3, (each, scrapes)).cumsum(axis=1)
    gauges = np.round(50 + wander + rng.normal(0, 0.2, (each, scrapes)), 2)
    buckets = []
    for _ in range(each // 10):
        hits = rng.poisson(20, scrapes)
        shares = np.cumsum(rng.dirichlet(np.ones(10)))
        buckets += [np.cumsum(rng.binomial(hits, min(share, 1.0))) * 1.0 for share in shares]
    values = np.concatenate([counters, gauges, np.array(buckets)])
    labels = []
    for at in range(len(values)):
        kind = ("requests_total", "temperature_celsius", "latency_seconds_bucket")[at // each]
        host = f"host-{at % each // 10}"
        labels.append({"__name__": kind, "instance": host, "job": "app", "le": str(at % 10)})
    times = START_MS + STEP_MS * np.arange(scrapes)
    return Data(labels, times, values, np.ones(values.shape, dtype=bool))


def window_batch(data: Data, low: int, high: int, symbols: SymbolTable) -> SeriesBatch:
    """The samples of scrapes low to high as a batch, metrics in order."""
    names = sorted({name for labels in data.labels for name in labels})
    order = sorted(range(len(data.labels)), key=lambda at: data.labels[at]["__name__"])
    ids = np.zeros((len(names), len(order)), dtype=np.uint32)
    for at, name in enumerate(names):
        ids[at] = symbols.intern_many([data.labels[row].get(name, "") for row in order])
    present = data.present[order, low:high]
    counts = present.sum(axis=1)
    runs: dict[bytes, int] = {}
    times: list[np.ndarray] = []
    start = np.zeros(len(order), dtype=np.int64)
    size = 0
    for row in range(len(order)):
        key = present[row].tobytes()
        if key not in runs:
            runs[key] = size
            times.append(data.times[low:high][present[row]])
            size += times[-1].size
        start[row] = runs[key]
    return SeriesBatch(
        LabelColumns(tuple(names), ids, symbols),
        np.concatenate(times),
        start,
        data.values[order, low:high][present],
        np.cumsum(counts) - counts,
        counts.astype(np.int64),
    )


def best_s(work, repeats: int = 3):
    """Run something a few times; return the seconds of the quickest run, and its result."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return min(times), result


def measure(name: str, data: Data, directory: Path) -> None:
    """Write 2 h blocks, compact them, read the result; print one row for each of both."""
    symbols = SymbolTable()
    per_window = WINDOW_MS // STEP_MS
    blocks, took, samples = [], 0.0, 0
    for low in range(0, data.times.size, per_window):
        batch = window_batch(data, low, low + per_window, symbols)
        begin = START_MS + low * STEP_MS
        started = time.perf_counter()
        path = write_block(
            directory, symbols, [batch], min_time_ms=begin, max_time_ms=begin + WINDOW_MS
        )
        took += time.perf_counter() - started
        samples += batch.sample_count
        blocks.append(Block.open(path))
    row(f"{name}, 2 h blocks", blocks, samples, took)
    if len(blocks) > 1:
        started = time.perf_counter()
        path = compact(blocks, directory)
        row(f"{name}, compacted", [Block.open(path)], samples, time.perf_counter() - started)


def row(name: str, blocks: list[Block], samples: int, write_s: float) -> None:
    """Print what some blocks of the same data take and how fast they are read."""
    size = sum(block.size_bytes for block in blocks)
    index = sum((block.path / "index").stat().st_size for block in blocks)

    def read() -> int:
        total = 0
        for block in blocks:
            batch = block.select_all(0, block.row_samples().size)
            total += batch.sample_count
        return total

    read_s, total = best_s(read)
    assert total == samples
    print(
        f"{name:36} {samples / 1e6:9.2f} {size / samples:9.3f} {index / samples:9.3f} "
        f"{samples / write_s / 1e6:9.1f} {samples / read_s / 1e6:9.1f} "
        f"{14.4e6 / samples * read_s * 1e3:9.0f}",
        flush=True,
    )


def open_time(directory: Path, blocks: int = 100) -> None:
    """Print how long it takes to open many blocks."""
    some = [path for path in directory.iterdir() if path.is_dir()]
    paths = [some[at % len(some)] for at in range(blocks)]
    took, _ = best_s(lambda: [Block.open(path) for path in paths])
    print(f"opening {blocks} blocks: {took * 1e3:.1f} ms")


def peer(name: str, data: Data) -> None:
    """Prometheus' own blocks of the same samples, made by promtool from OpenMetrics text."""
    promtool = shutil.which("promtool")
    if promtool is None:
        print("no promtool on the PATH: no comparison with Prometheus")
        return
    with tempfile.TemporaryDirectory() as folder:
        text, out = Path(folder) / "samples.om", Path(folder) / "blocks"
        samples = 0
        with text.open("w") as file:
            order = sorted(range(len(data.labels)), key=lambda at: data.labels[at]["__name__"])
            seconds = data.times / 1000
            for at in order:
                labels = dict(data.labels[at])
                metric = labels.pop("__name__")
                pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
                values = data.values[at].tolist()
                for step in np.flatnonzero(data.present[at]).tolist():
                    file.write(f"{metric}{{{pairs}}} {values[step]!r} {seconds[step]:.3f}\n")
                    samples += 1
            file.write("# EOF\n")
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(text), str(out)]
        subprocess.run(command, check=True, capture_output=True)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"{name + ', Prometheus 2 h blocks':36} {samples / 1e6:9.2f} {size / samples:9.3f}")


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--corpora", type=Path, default=os.environ.get("GNOMON_CORPORA", CORPORA)
    )
    arguments.add_argument("--peer", action="store_true", help="compare with promtool's blocks")
    arguments.add_argument("--windows", type=int, default=3, help="2 h windows of data (3)")
    options = arguments.parse_args()
    scrapes = options.windows * WINDOW_MS // STEP_MS
    one = node_exporter(Path(options.corpora), 400, instances=1)
    sets = {
        "node_exporter x 20": node_exporter(Path(options.corpora), scrapes),
        "synthetic, noisy": synthetic(2400, scrapes),
    }
    print(
        f"{'data':36} {'M samples':>9} {'B/sample':>9} {'of index':>9} {'M/s write':>9} "
        f"{'M/s read':>9} {'14.4M, ms':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        symbols = SymbolTable()
        batch = window_batch(one, 0, 400, symbols)
        path = write_block(
            Path(folder), symbols, [batch], min_time_ms=0, max_time_ms=START_MS + WINDOW_MS
        )
        size = (path / "pages").stat().st_size / batch.sample_count
        print(f"{'pages alone, one instance':36} {batch.sample_count / 1e6:9.2f} {size:9.3f}")
    for name, data in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            measure(name, data, Path(folder))
            open_time(Path(folder))
    if options.peer:
        peer("node_exporter x 2", node_exporter(Path(options.corpora), 480, instances=2))
        peer("synthetic, noisy", synthetic(2400, 480))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
