"""Refreshing dashboards: how many requests a second they get, and how slow the slow ones are.

    python -m benchmarks.dashboards [--viewers 8] [--seconds 20] [--series 10000] [--samples 50000]

Each viewer has a dashboard of 30 panels, as Grafana draws them: ranges of an hour or less, that end
now, with steps that fill the screen. It asks them over six connections, as a browser does, and
refreshes when the last one has answered. Meanwhile `--samples` a second are scraped; 0 is none.
The systems are measured one after the other, each alone on the machine with the driver. A scrape
missed, or any answer but 200, is told.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
import urllib.request

import aiohttp

from benchmarks import peers
from benchmarks.query_latency import STEP_MS, load

CONNECTIONS = 6
SERIES_A_TARGET = 500
PANELS = (
    ("sum by (zone) (rate(http_requests_total[5m]))", 60),
    ('sum by (code) (rate(http_requests_total{job="job-1"}[5m]))', 60),
    ('rate(http_requests_total{instance="host-7"}[5m])', 60),
    ('sum by (path) (rate(http_requests_total{zone="zone-2"}[2m]))', 30),
    ("topk(5, sum by (instance) (rate(http_requests_total[5m])))", 60),
    ("histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))", 60),
    (
        "histogram_quantile(0.5, sum by (le, zone)"
        ' (rate(http_request_duration_seconds_bucket{job="job-2"}[5m])))',
        60,
    ),
    ("avg by (zone) (queue_length)", 60),
    ('max_over_time(queue_length{instance="host-3"}[10m])', 60),
    ('queue_length{job="job-3",queue="q1"}', 30),
)
STEPS_S = (15, 30, 60)
"""Each panel is there three times, with another step: 30 panels."""


async def drive(url: str, viewers: int, seconds: float) -> tuple[list[float], int, int]:
    """Have viewers refresh for a while; return the seconds of each answer, bytes and failures."""
    laps: list[float] = []
    size = failures = 0
    stop_at = time.monotonic() + seconds

    async def connection(session: aiohttp.ClientSession, panels: list) -> None:
        nonlocal size, failures
        while panels:
            query, minutes, step = panels.pop()
            end = time.time() // step * step
            form = {"query": query, "start": end - minutes * 60, "end": end, "step": step}
            begin = time.perf_counter()
            async with session.post(f"{url}/api/v1/query_range", data=form) as reply:
                size += len(await reply.read())
                failures += reply.status != 200
            laps.append(time.perf_counter() - begin)

    async def viewer() -> None:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        headers = {"Accept-Encoding": "gzip"}
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, auto_decompress=False
        ) as session:
            while time.monotonic() < stop_at:
                panels = [(*panel, step) for step in STEPS_S for panel in PANELS]
                async with asyncio.TaskGroup() as group:
                    for _ in range(CONNECTIONS):
                        group.create_task(connection(session, panels))

    async with asyncio.TaskGroup() as group:
        for _ in range(viewers):
            group.create_task(viewer())
    return laps, size, failures


def scrape_config(port: int, targets: int) -> str:
    """Return a configuration that scrapes so many targets, each every second."""
    jobs = "".join(
        f"- job_name: bench-{n}\n  metrics_path: /target/{n}/metrics\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{port}'], labels: {{target: '{n}'}}}}]\n"
        for n in range(targets)
    )
    return f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}"


def measure(name: str, root, args: argparse.Namespace) -> list[str] | None:
    """Return a row of the table for one system, None if it is not there."""
    targets = args.samples // SERIES_A_TARGET
    port = peers.free_port()
    scraped = None
    if targets:
        words = [sys.executable, "-m", "benchmarks.targets", str(port), str(SERIES_A_TARGET), "8"]
        scraped = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        time.sleep(2)
    server = peers.start(name, root, cached=args.cached)
    if server is None:
        return None
    try:
        # Before any scrape: Prometheus takes nothing that is an hour older than what it has.
        load([server], args, int(time.time() * 1000) // STEP_MS * STEP_MS)
        if targets:
            (root / f"{name}.yml").write_text(scrape_config(port, targets))
            urllib.request.urlopen(f"{server.url}/-/reload", data=b"", timeout=60).close()
            time.sleep(3)
        asyncio.run(drive(server.url, 1, 1.0))
        cpu, begin = server.cpu_s(), time.monotonic()
        laps, size, failures = asyncio.run(drive(server.url, args.viewers, args.seconds))
        passed = time.monotonic() - begin
        cpu = server.cpu_s() - cpu
        missed = missed_scrapes(server, targets, int(passed)) if targets else 0
        memory = server.memory_bytes("VmHWM") >> 20
    finally:
        server.stop()
        if scraped is not None:
            scraped.kill()
            scraped.wait()
    laps.sort()
    p50, p99 = (laps[min(len(laps) - 1, int(len(laps) * q))] * 1e3 for q in (0.5, 0.99))
    return [
        name, f"{len(laps) / passed:.0f}", f"{p50:.1f}", f"{p99:.1f}",
        f"{cpu / len(laps) * 1e3:.2f}", str(failures), str(missed), str(memory), str(size >> 20),
    ]  # fmt: skip


def missed_scrapes(server: peers.Server, targets: int, seconds: int) -> int:
    """Return how many of the scrapes that were due do not stand in the data as good ones."""
    window = max(1, seconds - 2)
    answer = server.query(
        "/api/v1/query", query=f'sum(sum_over_time(up{{job=~"bench-.*"}}[{window}s]))'
    )
    found = answer["data"]["result"]
    good = int(float(found[0]["value"][1])) if found else 0
    # A window may catch one scrape more than it has seconds.
    return max(0, targets * window - good)


def main() -> None:
    """Print one row a system, and Gnomon's ratios to Prometheus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=65)
    parser.add_argument("--samples", type=int, default=50_000, help="scraped a second")
    parser.add_argument("--systems", default="prometheus,gnomon")
    parser.add_argument("--cached", action="store_true", help="results may be kept")
    args = parser.parse_args()
    rows = []
    for name in args.systems.split(","):
        with peers.workdir() as root:
            row = measure(name, root, args)
        if row is not None:
            rows.append(row)
    header = ["system", "requests/s", "p50 ms", "p99 ms", "CPU ms/request", "failed", "missed",
              "MB", "MB sent"]  # fmt: skip
    peers.table(header, rows)
    by_name = {row[0]: row for row in rows}
    if {"prometheus", "gnomon"} <= by_name.keys():
        theirs, ours = by_name["prometheus"], by_name["gnomon"]
        requests, slow = (float(ours[n]) / float(theirs[n]) for n in (1, 3))
        print(f"gnomon / prometheus: {requests:.2f} x requests/s, {slow:.2f} x p99")


if __name__ == "__main__":
    main()
