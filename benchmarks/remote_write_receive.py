"""What it costs to take samples by remote write, and how many a second are taken.

    python -m benchmarks.remote_write_receive [--hours 6] [--series 10000] [--protocol 1.0]
        [--systems gnomon,prometheus,victoria-metrics]

10 000 series of a sample every 15 s, 2000 samples a request, four connections, as fast as each
system takes them. `CPU/M` are CPU seconds a million samples until the last one is acknowledged,
`after` those with what is done for them in the ten seconds after. `lost`: what is not there after
SIGKILL at the end and another start, of what was acknowledged. Systems without a protocol are left
out: Prometheus takes no zstd, VictoriaMetrics no 2.0.
"""

from __future__ import annotations

import argparse
import time

from benchmarks import peers
from benchmarks.remote_write_bodies import V1, V2, ZSTD, Driver, Load

LACKING = {("prometheus", ZSTD), ("victoria-metrics", V2)}
STEP_MS = 15_000
SETTLE_S = 10.0


def measure(name: str, protocol: str, args: argparse.Namespace) -> list[str] | None:
    """Load one system; return a row of the table, None where it is not there."""
    steps = int(args.hours * 3_600_000 / STEP_MS)
    end_ms = int(time.time()) * 1000
    load = Load(args.series, steps, STEP_MS, end_ms, args.samples, args.connections, protocol)
    with peers.workdir() as root:
        server = peers.start(name, root)
        if server is None:
            return None
        try:
            driver = Driver(int(server.url.rpartition(":")[2]), load)
            before_s = server.cpu_s()
            took_s, driver_s = driver.run()
            at_once_s = server.cpu_s() - before_s
            time.sleep(args.settle)
            after_s = server.cpu_s() - before_s
            memory = server.memory_bytes("VmHWM") / 2**20
            lost = "-"
            if args.kill:
                server.kill()
                server = peers.start(name, root, port=int(server.url.rpartition(":")[2]))
                lost = str(load.samples - stored(server, load))
        finally:
            server.kill()
    million = load.samples / 1e6
    return [
        name, protocol, f"{at_once_s / million:.2f}", f"{after_s / million:.2f}",
        f"{million / took_s:.2f}", f"{driver_s / million:.2f}", f"{memory:.0f}", lost,
    ]  # fmt: skip


def stored(server: peers.Server, load: Load) -> int:
    """Count the samples that are there."""
    seconds = load.steps * load.step_ms // 1000
    found = server.query(
        "/api/v1/query",
        query=f'sum(count_over_time({{job="node"}}[{seconds}s]))',
        time=load.end_ms / 1000,
    )["data"]["result"]
    return int(float(found[0]["value"][1])) if found else 0


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=2000, help="of a request")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--protocol", default=V1, choices=(V1, V2, ZSTD, "all"))
    parser.add_argument("--systems", default="gnomon,prometheus,victoria-metrics")
    parser.add_argument("--settle", type=float, default=SETTLE_S)
    parser.add_argument("--kill", action="store_true", help="count what SIGKILL costs")
    args = parser.parse_args()
    protocols = (V1, V2, ZSTD) if args.protocol == "all" else (args.protocol,)
    rows = []
    for protocol in protocols:
        for name in args.systems.split(","):
            if (name, protocol) in LACKING:
                continue
            row = measure(name, protocol, args)
            rows.append(row or [name, protocol, "not there"] + ["-"] * 5)
            print(" ".join(rows[-1]), flush=True)
    print()
    peers.table(
        ["system", "protocol", "CPU/M", "after", "M/s", "driver CPU/M", "peak MB", "lost"], rows
    )


if __name__ == "__main__":
    main()
