"""Do ten thousand targets keep their time? A reload and a change of one target are timed as well.

    python -m benchmarks.many_targets [--targets 10000] [--series 50] [--seconds 45]

One process serves all targets, which stand in the configuration, each with labels of its own.
Printed are scrapes made of those due, how far intervals stray from the one asked for, and what
reloads take, in time and in CPU beside scraping, when nothing and when one target has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """\
global: {{scrape_interval: {interval:g}s, scrape_timeout: {interval:g}s}}
scrape_configs:
- job_name: bench
  relabel_configs:
  - source_labels: [__address__]
    target_label: __metrics_path__
    replacement: /target/$1/metrics
  - {{source_labels: [host], target_label: instance}}
  - {{regex: host, action: labeldrop}}
  - {{target_label: __address__, replacement: "127.0.0.1:{port}"}}
"""


def config(port: int, targets: int, interval: float, renamed: str = "") -> str:
    """A configuration with a group for each target, as an inventory would write it."""
    lines = [CONFIG.format(interval=interval, port=port), "  static_configs:\n"]
    for n in range(targets):
        host = renamed if renamed and n == 0 else f"host-{n}"
        lines.append(f"  - {{targets: ['{n}'], labels: {{host: {host}, rack: r{n % 50}}}}}\n")
    return "".join(lines)


class Server:
    """One `gnomon serve` over a configuration that the benchmark writes."""

    def __init__(self, root: Path, text: str) -> None:
        self.port, self.file = peers.free_port(), root / "gnomon.yml"
        self.file.write_text(text)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "gnomon", "serve", f"--config.file={self.file}",
                f"--storage.tsdb.path={root / 'data'}", "--web.enable-lifecycle",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error",
            ]
        )  # fmt: skip

    def cpu_s(self) -> float:
        """CPU used so far, threads included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str) -> bytes:
        """The answer to a GET."""
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return reply.read()

    def query(self, expr: str) -> list[dict]:
        """An instant vector."""
        return json.loads(self.get(f"/api/v1/query?query={urllib.parse.quote(expr)}"))["data"][
            "result"
        ]

    def reload(self, text: str) -> tuple[float, float]:
        """Apply another configuration; return the seconds and the CPU it took."""
        self.file.write_text(text)
        cpu, began = self.cpu_s(), time.monotonic()
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        urllib.request.urlopen(request, timeout=120).read()
        return time.monotonic() - began, self.cpu_s() - cpu

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait; return how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if condition():
                break
        except OSError:
            pass
        time.sleep(0.2)
    return time.monotonic() - began


def served(port: int) -> int:
    """Scrapes answered so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/served") as reply:
        return json.load(reply)["scrapes"]


def intervals(server: Server) -> dict[str, float]:
    """Quantiles of the time between two scrapes of a target."""
    found = {}
    for line in server.get("/metrics").decode().splitlines():
        if line.startswith("prometheus_target_interval_length_seconds{") and "quantile" in line:
            name, _, value = line.rpartition(" ")
            found[name.split('quantile="')[1].split('"')[0]] = float(value)
    return found


def measure(args: argparse.Namespace, root: Path, port: int) -> list[list[str]]:
    """The rows of the table."""
    text = config(port, args.targets, args.interval)
    server = Server(root, text)
    try:
        rows = [["ready s", f"{until(lambda: b'Ready' in server.get('/-/ready'), 120):.1f}"]]
        time.sleep(args.interval * 1.5)
        cpu, scrapes = server.cpu_s(), served(port)
        time.sleep(args.seconds)
        made, cpu = served(port) - scrapes, server.cpu_s() - cpu
        due = args.targets * args.seconds / args.interval
        rows += [
            ["scrapes % of due", f"{made / due * 100:.1f}"],
            ["CPU % of a core", f"{cpu / args.seconds * 100:.0f}"],
            ["CPU ms a scrape", f"{cpu / made * 1000:.2f}"],
            *([f"interval q{q} s", f"{s:.3f}"] for q, s in intervals(server).items()),
            ["up", server.query("sum(up)")[0]["value"][1]],
        ]
        for what, new in (
            ("reload, nothing changed", text),
            ("reload, one target changed", config(port, args.targets, args.interval, "other")),
        ):
            wall, cpu = server.reload(new)
            rows.append([what, f"{wall:.2f} s, {cpu:.2f} s of CPU"])
        return rows
    finally:
        server.stop()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--interval", type=float, default=15)
    parser.add_argument("--seconds", type=float, default=45)
    args = parser.parse_args()
    port = peers.free_port()
    source = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.targets", str(port), str(args.series), "4"]
    )
    try:
        with peers.workdir() as root:
            until(lambda: served(port) >= 0, 30)
            peers.table(["what", "measured"], measure(args, Path(root), port))
    finally:
        source.kill()
        source.wait()


if __name__ == "__main__":
    main()
