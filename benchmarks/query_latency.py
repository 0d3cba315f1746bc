"""How long do typical queries take over HTTP? The same data and queries, peers beside us.

    python -m benchmarks.query_latency [--series 10000] [--minutes 60] [--step 15] [--runs 7]
        [--only max_over_time] [--cached] [--gzip]

With --minutes 360 the range queries are the long ones.
Data: a service with counters, gauges and classic histograms, written by remote write at 15 s.
Each query is asked of all systems in turn, `--runs` times after a warm-up; the median counts, and
the ratio to Prometheus. CPU of the server process is counted over the same runs. With --gzip the
clients ask for compressed answers, as browsers do, and count what comes over the wire.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
import urllib.parse
import urllib.request

from benchmarks import peers
from benchmarks.remote_write_client import encode_labels, encode_samples, send

STEP_MS = 15_000
BUCKETS = ("0.005", "0.01", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "10.0", "+Inf")

RANGE = [
    "rate(http_requests_total[5m])",
    "sum by (zone) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    'sum by (job) (rate(http_requests_total{code="500"}[5m]))'
    " / on (job) sum by (job) (rate(http_requests_total[5m]))",
    "topk(5, sum by (instance) (rate(http_requests_total[5m])))",
    "max_over_time(queue_length[10m])",
    "avg by (zone) (queue_length)",
    "quantile_over_time(0.9, queue_length[10m])",
    "sum by (instance, path, zone) (rate(http_requests_total[5m]))"
    " * on (instance) group_left (version) build_info",
    "max_over_time(sum by (zone) (rate(http_requests_total[5m]))[30m:1m])",
    "predict_linear(queue_length[30m], 3600)",
    "sum by (zone) (avg_over_time(queue_length[10m]))",
]
INSTANT = [
    "queue_length",
    "sum(rate(http_requests_total[5m]))",
    'queue_length{instance="host-3"}',
    "sum by (zone) (increase(http_requests_total[6h]))",
    "topk(10, increase(http_requests_total[6h]))",
    "max(max_over_time(queue_length[6h]))",
    "avg by (zone) (avg_over_time(queue_length[6h]))",
]


def series(count: int):
    """Yield (labels, value function of the step) for about `count` series."""
    rng = random.Random(11)
    instances = max(1, count // 50)
    for i in range(instances):
        base = {"instance": f"host-{i}", "job": f"job-{i % 4}", "zone": f"zone-{i % 6}"}
        for k in range(20):
            labels = {
                "__name__": "http_requests_total",
                "path": f"/api/{k % 5}",
                "code": ("200", "204", "404", "500")[k // 5],
                **base,
            }
            speed = rng.randrange(1, 300)
            yield labels, lambda step, speed=speed: float(speed * step + step % 7)
        for k in range(10):
            labels = {"__name__": "queue_length", "queue": f"q{k}", **base}
            swing, mean = rng.random() * 50, rng.random() * 100
            yield (
                labels,
                lambda step, swing=swing, mean=mean: mean + swing * math.sin(step / 9),
            )
        yield {"__name__": "build_info", "version": f"1.{i % 9}", **base}, lambda _: 1.0
        for k in range(2):
            speed = rng.randrange(5, 100)
            for b, bound in enumerate(BUCKETS):
                labels = {
                    "__name__": "http_request_duration_seconds_bucket",
                    "le": bound,
                    "path": f"/api/{k}",
                    **base,
                }
                yield labels, lambda step, speed=speed, b=b: float(speed * step * (b + 1))


def load(servers: list[peers.Server], args: argparse.Namespace, end_ms: int) -> int:
    """Write the data to every server, 10 steps and 500 series a request; returns the samples."""
    steps = args.minutes * 60_000 // STEP_MS
    start_ms = end_ms - (steps - 1) * STEP_MS
    everything = [(encode_labels(labels), value) for labels, value in series(args.series)]
    for first in range(0, steps, 10):
        numbers = range(first, min(first + 10, steps))
        times = [start_ms + n * STEP_MS for n in numbers]
        for at in range(0, len(everything), 500):
            messages = [
                labels + encode_samples(times, [value(n) for n in numbers])
                for labels, value in everything[at : at + 500]
            ]
            for server in servers:
                send(server.url, messages)
    return len(everything) * steps


def fetch(server: peers.Server, path: str, params: dict, *, packed: bool) -> int:
    """Bytes of an answer as they came."""
    url = f"{server.url}{path}?{urllib.parse.urlencode(params)}"
    headers = {"Accept-Encoding": "gzip"} if packed else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        return len(reply.read())


def ask(
    server: peers.Server, path: str, params: dict, runs: int, *, packed: bool
) -> tuple[float, float, int]:
    """Median seconds, CPU seconds a run, and bytes of the answer."""
    for _ in range(2):
        size = fetch(server, path, params, packed=packed)
    cpu = server.cpu_s()
    laps = []
    for _ in range(runs):
        begin = time.perf_counter()
        fetch(server, path, params, packed=packed)
        laps.append(time.perf_counter() - begin)
    return statistics.median(laps), (server.cpu_s() - cpu) / runs, size


def main() -> None:
    """Print one row a query, then the geometric means of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--step", type=int, default=15, help="of range queries, in seconds")
    parser.add_argument("--only", default="", help="part of a query")
    parser.add_argument("--systems", default="prometheus,gnomon,victoria-metrics")
    parser.add_argument("--cached", action="store_true", help="results may be kept")
    parser.add_argument("--gzip", action="store_true", help="ask for compressed answers")
    args = parser.parse_args()
    end_ms = int(time.time() * 1000) // STEP_MS * STEP_MS
    with peers.workdir() as root:
        started = [peers.start(n, root, cached=args.cached) for n in args.systems.split(",")]
        servers = [server for server in started if server is not None]
        try:
            samples = load(servers, args, end_ms)
            print(f"{samples} samples in {args.series} series, {args.minutes} min")
            for server in servers:
                if server.name == "victoria-metrics":
                    server.get("/internal/force_flush")
            time.sleep(2)
            report(servers, args, end_ms)
        finally:
            for server in servers:
                server.stop()


def report(servers: list[peers.Server], args: argparse.Namespace, end_ms: int) -> None:
    """Ask every query of every server and print the table."""
    end = end_ms / 1000
    window = {"end": end, "start": end - args.minutes * 60 + 300, "step": args.step}
    cases = [("range", "/api/v1/query_range", {"query": q, **window}) for q in RANGE]
    cases += [("instant", "/api/v1/query", {"query": q, "time": end}) for q in INSTANT]
    cases.append(("values", "/api/v1/label/instance/values", {}))
    rows: list[list[str]] = []
    ratios: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for kind, path, params in cases:
        if args.only not in params.get("query", path):
            continue
        cells = [kind, params.get("query", path)[:60]]
        base = base_cpu = 0.0
        for server in servers:
            median, cpu, size = ask(server, path, params, args.runs, packed=args.gzip)
            base, base_cpu = base or median, base_cpu or cpu
            cells.append(
                f"{median * 1e3:.1f} ms ({median / base:.2f}, cpu {cpu * 1e3:.0f}, {size})"
            )
            if server is not servers[0]:
                # CPU is told in ticks of 10 ms: less than one says nothing.
                share = (cpu + 0.001) / (base_cpu + 0.001)
                ratios.setdefault((kind, server.name), []).append((median / base, share))
        rows.append(cells)
    peers.table(["kind", "query", *[s.name for s in servers]], rows)
    for (kind, name), values in ratios.items():
        latency, cpu = (
            math.exp(statistics.fmean(map(math.log, v))) for v in zip(*values, strict=True)
        )
        print(
            f"{kind}: {name} / {servers[0].name}, geometric means:"
            f" latency {latency:.2f}, CPU {cpu:.2f}"
        )


if __name__ == "__main__":
    main()
