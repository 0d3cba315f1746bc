"""How long until all data can be queried again? After a kill, and after a clean end.

    python -m benchmarks.restart [--million 14] [--series 20000] [--systems gnomon,prometheus]

Each system in turn takes the same samples by remote write (`--batch` series a request, `--steps`
samples of each), is killed, and started again; the clock runs from the start of the process until a
query that counts samples answers with all that were acknowledged. Then it is ended by SIGTERM and
started once more. Of the start after the kill the table has when the server was ready, its peak of
memory until then (that of the replay), what it took then, and the peak with the query.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.remote_write_client import encode_labels, encode_samples, send


def load(server: peers.Server, args: argparse.Namespace) -> tuple[int, float, float]:
    """Write all samples; returns how many, the time of the last in s, and the duration."""
    labels = [
        encode_labels(
            {
                "__name__": f"metric_{n % 200}",
                "job": "bench",
                "instance": f"host-{n // 200}:9100",
                "pod": f"pod-{n}",
            }
        )
        for n in range(args.series)
    ]
    rng = np.random.default_rng(1)
    steps = args.million * 1_000_000 // args.series
    step_ms = min(15_000, 5_400_000 // steps)
    first_ms = int(time.time() * 1000) - steps * step_ms
    counters = rng.integers(0, 1000, args.series).astype(float)
    began = time.perf_counter()
    written = 0
    # Some steps go in one request, as a sender that catches up does.
    for k in range(0, steps, args.steps):
        times = [first_ms + j * step_ms for j in range(k, min(k + args.steps, steps))]
        rises = rng.integers(0, 100, (len(times), args.series)).astype(float)
        values = counters + np.cumsum(rises, axis=0)
        counters = values[-1]
        columns = values.T.tolist()
        for begin in range(0, args.series, args.batch):
            some = range(begin, min(begin + args.batch, args.series))
            send(server.url, [labels[n] + encode_samples(times, columns[n]) for n in some])
            written += len(some) * len(times)
    return written, (first_ms + steps * step_ms) / 1000, time.perf_counter() - began


@dataclass(frozen=True)
class Start:
    """A server that was started, and what that took: seconds, and bytes of memory when ready."""

    server: peers.Server
    ready_s: float
    all_s: float
    ready_peak: int
    ready_bytes: int


def until_all(name: str, root: Path, expected: int, at_s: float) -> Start:
    """Start a system and wait until all samples are counted."""
    began = time.perf_counter()
    server = peers.start(name, root)
    assert server is not None
    ready_s = time.perf_counter() - began
    memory = server.memory_bytes("VmHWM"), server.memory_bytes()
    count = 0
    while count != expected:
        with contextlib.suppress(ConnectionError):
            reply = server.query(
                "/api/v1/query",
                query='sum(count_over_time({job="bench"}[3h]))',
                time=f"{at_s:.3f}",
                timeout="100s",
            )
            result = reply["data"]["result"]
            count = int(float(result[0]["value"][1])) if result else 0
        if time.perf_counter() - began > 60:
            print(f"{name}: {expected - count} of {expected} samples did not come back")
            break
    return Start(server, ready_s, time.perf_counter() - began, *memory)


def measure(name: str, args: argparse.Namespace) -> str | None:
    """One system's row, None if it is not installed."""
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        root = Path(folder)
        server = peers.start(name, root)
        if server is None:
            return None
        written, at_s, load_s = load(server, args)
        server.kill()
        killed = until_all(name, root, written, at_s)
        peak = killed.server.memory_bytes("VmHWM")
        killed.server.stop()
        clean = until_all(name, root, written, at_s)
        clean.server.stop()
    return (
        f"{name:18} {written / 1e6:8.1f} {load_s:8.1f} {killed.ready_s:8.2f} {killed.all_s:8.2f} "
        f"{clean.all_s:8.2f} {killed.ready_peak / 2**20:9.0f} {killed.ready_bytes / 2**20:9.0f} "
        f"{peak / 2**20:9.0f}"
    )


def main() -> None:
    """Print a row for each system."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--million", type=int, default=14, help="samples, in millions")
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=1000, help="series in a request")
    parser.add_argument("--steps", type=int, default=4, help="samples of a series in a request")
    parser.add_argument("--directory", help="where to put the data")
    parser.add_argument("--systems", default="gnomon,prometheus,victoria-metrics")
    args = parser.parse_args()
    print(
        "system             M samples   load s  ready s    all s  clean s   MB peak  MB ready"
        "  MB query"
    )
    for name in args.systems.split(","):
        print(measure(name, args) or f"{name:18} is not installed", flush=True)


if __name__ == "__main__":
    main()
