"""How long do the label browser's questions take over very many series? Peers beside us.

    python -m benchmarks.series_api [--series 1000000] [--runs 15] [--kept]

Data: one sample each of series of 20 metrics with 5 labels, by remote write. Each question is
asked of all systems in turn, `--runs` times after a warm-up; the median counts, and the CPU of the
server process over the same runs. Each time over another connection, as scripts do; with `--kept`
over one, as Grafana and browsers do.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import time
from contextlib import closing
from urllib.parse import urlencode, urlsplit

from benchmarks import peers
from benchmarks.query_latency import ask
from benchmarks.remote_write_client import encode_labels, encode_samples, send

METRICS, PER_REQUEST = 20, 5000

CASES = [
    ("values of a label", "/api/v1/label/zone/values", {}),
    ("values of the names", "/api/v1/label/__name__/values", {}),
    ("values of a long label", "/api/v1/label/instance/values", {}),
    ("values, one metric", "/api/v1/label/zone/values", {"match[]": "metric_3"}),
    ("values, a pattern", "/api/v1/label/zone/values", {"match[]": '{instance=~"host-1.*"}'}),
    ("values, one instance", "/api/v1/label/path/values", {"match[]": '{instance="host-7"}'}),
    ("names", "/api/v1/labels", {}),
    ("names, one metric", "/api/v1/labels", {"match[]": "metric_3"}),
    ("series of one instance", "/api/v1/series", {"match[]": '{instance="host-7"}'}),
    ("series, few of a metric", "/api/v1/series", {"match[]": 'metric_3{instance="host-7"}'}),
    ("series of a metric", "/api/v1/series", {"match[]": "metric_3"}),
]


def load(servers: list[peers.Server], count: int, time_ms: int) -> None:
    """Write one sample of each series to every server."""
    sample = encode_samples([time_ms], [1.0])
    for first in range(0, count, PER_REQUEST):
        messages = []
        for n in range(first, min(first + PER_REQUEST, count)):
            row = n // METRICS
            labels = {
                "__name__": f"metric_{n % METRICS}",
                "instance": f"host-{row // 50}",
                "job": f"job-{row // 50 % 7}",
                "path": f"/api/{row % 50}",
                "zone": f"zone-{row // 50 % 12}",
            }
            messages.append(encode_labels(labels) + sample)
        for server in servers:
            send(server.url, messages)


def ask_over_one(
    server: peers.Server, path: str, params: dict[str, str], runs: int
) -> tuple[float, float, int]:
    """Return what `ask` does, asking over one connection."""
    target = f"{path}?{urlencode(params)}"
    laps, size, cpu = [], 0, 0.0
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc)) as connection:
        for number in range(-2, runs):
            if number == 0:
                cpu = server.cpu_s()
            begin = time.perf_counter()
            connection.request("GET", target)
            reply = connection.getresponse()
            size = len(reply.read())
            if reply.status != 200:
                raise RuntimeError(f"{server.name} answered {reply.status} to {target}")
            if number >= 0:
                laps.append(time.perf_counter() - begin)
    return statistics.median(laps), (server.cpu_s() - cpu) / runs, size


def main() -> None:
    """Print one row a question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--systems", default="prometheus,gnomon")
    parser.add_argument("--kept", action="store_true", help="over one connection")
    args = parser.parse_args()
    with peers.workdir() as root:
        servers = [s for name in args.systems.split(",") if (s := peers.start(name, root))]
        try:
            load(servers, args.series, int(time.time() * 1000))
            rows = []
            for name, path, params in CASES:
                cells = [name]
                for server in servers:
                    if args.kept:
                        lap, cpu, size = ask_over_one(server, path, params, args.runs)
                    else:
                        lap, cpu, size = ask(server, path, params, args.runs, packed=False)
                    cells.append(f"{lap * 1e3:.2f} ms, cpu {cpu * 1e3:.1f} ms, {size} B")
                rows.append(cells)
            peers.table(["question", *[server.name for server in servers]], rows)
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
