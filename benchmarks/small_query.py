"""What does the smallest request cost? CPU of the server for each, everything counted.

    python -m benchmarks.small_query [--requests 2000] [--systems prometheus,gnomon]

Over one kept-alive connection, one request after the other; CPU seconds of the server process
(all threads) from /proc, and the median latency as the client sees it. The peers idle meanwhile,
and what a server does anyway in that time counts against it.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import time
import urllib.parse

from benchmarks import peers
from benchmarks.query_latency import load

CASES = [
    ("scalar", "/api/v1/query", {"query": "1+1"}),
    ("one series", "/api/v1/query", {"query": 'queue_length{instance="host-3",queue="q1"}'}),
    ("ten series", "/api/v1/query", {"query": 'queue_length{instance="host-3"}'}),
    (
        "rate, summed",
        "/api/v1/query",
        {"query": 'sum(rate(http_requests_total{instance="host-3"}[5m]))'},
    ),
    (
        "panel of one series, 60 steps",
        "/api/v1/query_range",
        {"query": 'queue_length{instance="host-3",queue="q1"}', "step": 15, "range": 900},
    ),
    ("label values", "/api/v1/label/instance/values", {}),
    ("labels", "/api/v1/labels", {}),
    ("series", "/api/v1/series", {"match[]": 'queue_length{instance="host-3"}'}),
    ("healthy", "/-/healthy", {}),
]


class Connection:
    """A kept-alive HTTP/1.1 connection that costs the client next to nothing."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host = f"{parts.hostname}:{parts.port}"
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, path: str) -> bytes:
        """Return the request as bytes, to be sent many times."""
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: gzip\r\n"
            "User-Agent: bench\r\n\r\n"
        ).encode()

    def ask(self, request: bytes) -> int:
        """Send a request, read the whole answer, return its status."""
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        length = next((int(f[15:]) for f in fields if f.startswith(b"content-length:")), None)
        if length is None:
            while not body.endswith(b"0\r\n\r\n"):
                body += self._read()
        else:
            while len(body) < length:
                body += self._read()
        return int(fields[0].split()[1])

    def _read(self) -> bytes:
        part = self._socket.recv(1 << 16)
        if not part:
            raise ConnectionError("the server closed the connection")
        return part

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def measure(server: peers.Server, path: str, requests: int) -> tuple[float, float]:
    """CPU seconds of the server for one request, and the median latency in seconds."""
    connection = Connection(server.url)
    try:
        request = connection.request(path)
        for _ in range(min(50, requests)):
            if (status := connection.ask(request)) != 200:
                raise RuntimeError(f"{server.name} answered {status} to {path}")
        laps = []
        cpu = server.cpu_s()
        for _ in range(requests):
            begin = time.perf_counter()
            connection.ask(request)
            laps.append(time.perf_counter() - begin)
        return (server.cpu_s() - cpu) / requests, statistics.median(laps)
    finally:
        connection.close()


def main() -> None:
    """Print one row a request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--systems", default="prometheus,gnomon")
    parser.add_argument("--only", default="", help="a case's name, or part of one")
    args = parser.parse_args()
    args.series, args.minutes = 2000, 20
    end_ms = int(time.time() * 1000) // 15_000 * 15_000
    with peers.workdir() as root:
        servers = [s for name in args.systems.split(",") if (s := peers.start(name, root))]
        try:
            load(servers, args, end_ms)
            report(servers, args, end_ms / 1000)
        finally:
            for server in servers:
                server.stop()


def report(servers: list[peers.Server], args: argparse.Namespace, end_s: float) -> None:
    """Measure every case on every server and print the table."""
    rows = []
    for name, path, given in CASES:
        if args.only not in name:
            continue
        params = dict(given)
        if "range" in params:
            params |= {"start": end_s - params.pop("range"), "end": end_s}
        elif "query" in params:
            params["time"] = end_s
        whole = f"{path}?{urllib.parse.urlencode(params)}" if params else path
        cells = [name]
        for server in servers:
            cpu, lap = measure(server, whole, args.requests)
            cells.append(f"cpu {cpu * 1e3:.2f} ms, latency {lap * 1e3:.2f} ms")
        rows.append(cells)
    peers.table(["request", *[server.name for server in servers]], rows)


if __name__ == "__main__":
    main()
