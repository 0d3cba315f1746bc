"""What does scraping cost? CPU per million samples and memory per active series, peers beside us.

    python -m benchmarks.scrape_load [--targets 100] [--series 1000] [--interval 2] [--seconds 60]
        [--protobuf]

Each system scrapes the same targets in turn; CPU is counted from a warm state (all series known)
over `--seconds`. Samples are counted at the targets, and so is how far the time between two scrapes
of a target strays from the interval; what a scrape took is what each system says of it itself
(`scrape_duration_seconds`). The first scrapes (all series new) are counted
apart: from the moment the server is ready, so without its start, and without what the samples of
further scrapes in that time cost by the warm measurement.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request

from benchmarks import peers


def config(port: int, targets: int, interval: float) -> str:
    """A configuration with one job for each target path, as relabelling would make it."""
    listed = ", ".join(f"'{n}'" for n in range(targets))
    return f"""\
global: {{scrape_interval: {interval:g}s, scrape_timeout: {interval:g}s}}
scrape_configs:
- job_name: bench
  static_configs: [{{targets: [{listed}]}}]
  relabel_configs:
  - source_labels: [__address__]
    target_label: __metrics_path__
    replacement: /target/$1/metrics
  - {{source_labels: [__address__], target_label: instance, replacement: "target-$1"}}
  - {{target_label: __address__, replacement: "127.0.0.1:{port}"}}
"""


def served(port: int) -> int:
    """Scrapes answered so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/served") as reply:
        return json.load(reply)["scrapes"]


def wait_for(port: int) -> None:
    """Wait until the targets are there: they make their bodies first."""
    deadline = time.monotonic() + 60
    while True:
        try:
            served(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def strays(port: int, interval: float) -> list[float]:
    """How far each interval since the last call was from the one asked for, in seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/intervals") as reply:
        return [abs(seconds - interval) for seconds in json.load(reply)]


def durations(server: peers.Server, seconds: float) -> list[float]:
    """What every scrape of the last seconds took."""
    asked = f"scrape_duration_seconds[{seconds:.0f}s]"
    found = server.query("/api/v1/query", query=asked)["data"]["result"]
    return [float(value) for series in found for _, value in series["values"]]


def quantile(values: list[float], q: float) -> float:
    """The value below which so many of the values are."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(q * len(ranked)))] if ranked else float("nan")


def measure(name: str, args: argparse.Namespace) -> list[str] | None:
    """One system's row, or None if it is not installed."""
    port = peers.free_port()
    form = ["protobuf"] if args.protobuf else []
    source = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.targets", str(port), str(args.series), "20", *form]
    )
    try:
        with peers.workdir() as root:
            wait_for(port)
            server = peers.start(name, root, config(port, args.targets, args.interval))
            if server is None:
                return None
            try:
                cpu_start, scrapes_start = server.cpu_s(), served(port)
                time.sleep(args.interval * 2 + 6)
                strays(port, args.interval)
                cpu0, scrapes0 = server.cpu_s(), served(port)
                time.sleep(args.seconds)
                cpu1, scrapes1 = server.cpu_s(), served(port)
                stray = strays(port, args.interval)
                # The newest samples are not to be seen at once everywhere.
                time.sleep(2)
                took = durations(server, args.seconds)
                samples = (scrapes1 - scrapes0) * args.series
                warm = (cpu1 - cpu0) / samples
                further = (scrapes0 - scrapes_start - args.targets) * args.series
                first_cpu = cpu0 - cpu_start - further * warm
                expected = args.targets * args.seconds / args.interval
                rss = server.memory_bytes()
                disk = server.disk_bytes()
                active = args.targets * args.series
                up = server.query("/api/v1/query", query="sum(up)")["data"]["result"]
                return [
                    name,
                    f"{warm * 1e6:.2f}",
                    f"{first_cpu / active * 1e6:.2f}",
                    f"{rss / 2**20:.0f}",
                    f"{rss / active:.0f}",
                    f"{(scrapes1 - scrapes0) / expected * 100:.1f}",
                    f"{quantile(took, 0.5) * 1000:.1f}",
                    f"{quantile(took, 0.99) * 1000:.1f}",
                    f"{quantile(stray, 0.99) * 1000:.0f}",
                    f"{max(stray, default=float('nan')) * 1000:.0f}",
                    up[0]["value"][1] if up else "none",
                    f"{disk / 2**20:.0f}",
                    str(scrapes0 - scrapes_start),
                ]
            finally:
                server.stop()
    finally:
        source.kill()
        source.wait()


def main() -> None:
    """Print one row a system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--protobuf", action="store_true", help="instead of text")
    parser.add_argument("--systems", default="gnomon,prometheus,victoria-metrics")
    args = parser.parse_args()
    rows = []
    for name in args.systems.split(","):
        row = measure(name, args)
        rows.append(row or [name, "not installed", *[""] * 11])
    header = [
        "system", "CPU s/M samples", "first CPU s/M series", "RSS MB", "RSS/series", "scrapes %",
        "took p50 ms", "took p99 ms", "stray p99 ms", "stray max ms", "sum(up)", "disk MB",
        "warm-up scrapes",
    ]  # fmt: skip
    peers.table(header, rows)


if __name__ == "__main__":
    main()
