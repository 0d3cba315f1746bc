"""What it costs to send samples on by remote write, and how fast a backlog goes.

    python -m benchmarks.forwarding [--million 1] [--series 10000] [--systems gnomon,prometheus]

Each system in turn takes samples by remote write 1.0, 2000 a request, and is configured to send
them on to a sink, which reads bodies and answers 204, nothing else.
`backlog`: the sink is not there while samples come in, then it is: CPU and time until all are sent.
`live`: the sink is there; CPU of taking and sending, less that of taking alone.
CPU seconds are of a million samples, of the system alone, from /proc.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

from aiohttp import web

from benchmarks import peers
from benchmarks.remote_write_client import encode_labels, encode_samples, send

BATCH = 2000
STEP_MS = 100
"""Prometheus sends on only what is newer than its start, and takes nothing far ahead."""


def sink(port: int) -> None:
    """Read bodies and answer 204, until killed."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/api/v1/write", take)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def config(port: int | None, message: str) -> str:
    """A configuration that scrapes nothing."""
    if port is None:
        return "global: {}\n"
    url = f"http://127.0.0.1:{port}/api/v1/write"
    return f"remote_write:\n- url: {url}\n  protobuf_message: {message}\n"


def push(server: peers.Server, args: argparse.Namespace) -> int:
    """Write all samples, scrape by scrape; returns how many."""
    labels = [
        encode_labels(
            {
                "__name__": f"metric_{n % 200}_total",
                "instance": f"host-{n // 200}:9100",
                "job": "bench",
                "mode": ("idle", "user", "system")[n % 3],
                "pod": f"pod-{n}",
            }
        )
        for n in range(args.series)
    ]
    steps = args.million * 1_000_000 // args.series
    begin_ms = int(time.time() * 1000) + 1000
    for step in range(steps):
        at = begin_ms + step * STEP_MS
        for begin in range(0, args.series, BATCH):
            series = [
                labels[n] + encode_samples([at], [float(step * (n % 7))])
                for n in range(begin, min(begin + BATCH, args.series))
            ]
            send(server.url, series)
    return steps * args.series


def sent(server: peers.Server) -> int:
    """How many samples the other end has answered for."""
    for line in server.get("/metrics").decode().splitlines():
        if line.startswith("prometheus_remote_storage_samples_total{"):
            return int(float(line.rpartition(" ")[2]))
    return 0


def until_sent(server: peers.Server, count: int) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 300
    while sent(server) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{server.name} sent {sent(server)} of {count}")
        time.sleep(0.1)


class Sink:
    """A sink in a process of its own."""

    def __init__(self, port: int) -> None:
        self._process = multiprocessing.Process(target=sink, args=(port,), daemon=True)
        self._process.start()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def measure(name: str, args: argparse.Namespace) -> list[str] | None:
    """A row of the table, None where the system is not there."""
    port = peers.free_port()
    with peers.workdir() as root:
        server = peers.start(name, root, config(port, args.message))
        if server is None:
            return None
        try:
            count = push(server, args)
            time.sleep(1)
            cpu, began = server.cpu_s(), time.monotonic()
            end = Sink(port)
            until_sent(server, count)
            backlog_s, backlog_cpu = time.monotonic() - began, server.cpu_s() - cpu
            end.close()
        finally:
            server.stop()
    live = [cpu_of_pushing(name, each, args) for each in (port, None)]
    million = count / 1e6
    return [
        name,
        f"{backlog_s:.1f} s",
        f"{backlog_cpu / million:.2f} s",
        f"{(live[0] - live[1]) / million:.2f} s",
        f"{live[1] / million:.2f} s",
    ]


def cpu_of_pushing(name: str, port: int | None, args: argparse.Namespace) -> float:
    """CPU of taking all samples, and of sending them on to `port`."""
    with peers.workdir() as root:
        end = Sink(port) if port is not None else None
        server = peers.start(name, root, config(port, args.message))
        assert server is not None
        try:
            time.sleep(1)
            cpu = server.cpu_s()
            count = push(server, args)
            if end is not None:
                until_sent(server, count)
            return server.cpu_s() - cpu
        finally:
            server.stop()
            if end is not None:
                end.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", type=int, default=1)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--systems", default="gnomon,prometheus")
    parser.add_argument("--message", default="prometheus.WriteRequest")
    args = parser.parse_args()
    rows = [measure(name, args) for name in args.systems.split(",")]
    peers.table(
        ["system", "backlog", "CPU backlog", "CPU live", "CPU of taking alone"],
        [row for row in rows if row is not None],
    )


if __name__ == "__main__":
    main()
