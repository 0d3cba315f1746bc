"""What does it cost to be federated from? The same data, all of it asked for at once.

    python -m benchmarks.federation [--series 10000] [--runs 7]

The median counts, and the CPU of the server over the same runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
import urllib.parse
import urllib.request

from benchmarks import peers
from benchmarks.query_latency import STEP_MS, load

DELIMITED = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)


def ask(server: peers.Server, accept: str, runs: int) -> tuple[float, float, int]:
    """Median seconds, CPU seconds a run, and bytes of the answer."""
    words = urllib.parse.urlencode({"match[]": '{__name__=~".+"}'})
    request = urllib.request.Request(f"{server.url}/federate?{words}", headers={"Accept": accept})
    laps, size = [], 0
    for lap in range(runs + 2):
        if lap == 2:
            cpu = server.cpu_s()
        begin = time.perf_counter()
        with urllib.request.urlopen(request, timeout=300) as reply:
            size = len(reply.read())
        laps.append(time.perf_counter() - begin)
    return statistics.median(laps[2:]), (server.cpu_s() - cpu) / runs, size


def main() -> None:
    """Print a row for each form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    with peers.workdir() as root:
        names = ("prometheus", "gnomon")
        servers = [server for name in names if (server := peers.start(name, root))]
        try:
            load(servers, args, int(time.time() * 1000) // STEP_MS * STEP_MS)
            rows = []
            for form, accept in (("text", "text/plain"), ("protobuf", DELIMITED)):
                cells = [form]
                for server in servers:
                    median, cpu, size = ask(server, accept, args.runs)
                    cells.append(f"{median * 1e3:.1f} ms (cpu {cpu * 1e3:.1f}, {size} bytes)")
                rows.append(cells)
            peers.table(["form", *[server.name for server in servers]], rows)
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
