"""Bodies of remote write as live senders make them, by the thousand, and a driver that sends them.

Each series' message is made once; a body is a run of messages with times and values patched in, so
that bodies of a whole day are made in seconds. The driver is a process of its own that does
nothing but write bytes made beforehand to sockets and read statuses, so that it takes next to
nothing from the server it measures.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cramjam
import numpy as np
import zstandard

from benchmarks.remote_write_client import encode_labels, field, varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

V1, V2, ZSTD = "1.0", "2.0", "zstd"
HEADERS = {
    V1: "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n"
    "X-Prometheus-Remote-Write-Version: 0.1.0\r\n",
    V2: "Content-Encoding: snappy\r\n"
    "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n"
    "X-Prometheus-Remote-Write-Version: 2.0.0\r\n",
    ZSTD: "Content-Encoding: zstd\r\nContent-Type: application/x-protobuf\r\n"
    "X-VictoriaMetrics-Remote-Write-Version: 1\r\n",
}
MODES = ("idle", "user", "system", "iowait", "irq", "softirq", "steal", "nice")


@dataclass(frozen=True)
class Load:
    """Samples of `series` series, `steps` of each, by `connections`, so many a request."""

    series: int
    steps: int
    step_ms: int
    end_ms: int
    per_request: int
    connections: int
    protocol: str

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return self.series * self.steps


def labels_of(number: int) -> dict[str, str]:
    """Labels as an exporter, a scraper and external labels make them together: nine."""
    return {
        "__name__": f"node_metric_{number // 8 % 50}_seconds_total",
        "cluster": "main",
        "cpu": str(number // 400 % 32),
        "instance": f"host-{number // 12_800}-{number % 400 // 8}:9100",
        "job": "node",
        "mode": MODES[number % 8],
        "namespace": "monitoring",
        "prometheus": "monitoring/k8s",
        "replica": "a",
    }


def _messages(load: Load, numbers: Sequence[int]) -> tuple[list[bytes], bytes]:
    """Return TimeSeries messages whose samples are to be patched, and the symbols before them."""
    # A sample: its value (9 bytes with the tag), then its time, 6 bytes as of any day now.
    sample = b"\x09" + bytes(8) + b"\x10" + varint(load.end_ms)
    symbols: dict[str, int] = {"": 0}
    messages = []
    for number in numbers:
        labels = labels_of(number)
        if load.protocol == V2:
            refs = b"".join(
                varint(symbols.setdefault(text, len(symbols)))
                for pair in labels.items()
                for text in pair
            )
            messages.append(field(5, field(1, refs) + field(2, sample)))
        else:
            messages.append(field(1, encode_labels(labels) + field(2, sample)))
    return messages, b"".join(field(4, text.encode()) for text in symbols)


def _values(numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Half counters of whole numbers at their own pace, half gauges with two decimals."""
    counters = np.floor(steps * (1 + numbers % 97) * 0.73) + numbers
    noise = (numbers * 2_654_435_761 + steps * 40_503) % 1000
    return np.where(numbers % 2 == 0, counters, noise / 100 + numbers % 7)


def requests(load: Load, connection: int) -> Iterator[bytes]:
    """Make the requests of one connection, which has series of its own, scrape by scrape."""
    share = load.series // load.connections
    numbers = range(connection * share, (connection + 1) * share)
    messages, _ = _messages(load, numbers)
    number = np.array(numbers)
    total = share * load.steps
    pack = {
        V1: lambda body: bytes(cramjam.snappy.compress_raw(body)),
        V2: lambda body: bytes(cramjam.snappy.compress_raw(body)),
        ZSTD: zstandard.ZstdCompressor(level=1).compress,
    }[load.protocol]
    templates: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, int]] = {}
    for begin in range(0, total, load.per_request):
        count = min(load.per_request, total - begin)
        key = (begin % share, count)
        if key not in templates:
            templates[key] = _template(load, messages, numbers, begin % share, count)
        data, value_at, tail = templates[key]
        index = begin + np.arange(count)
        steps = index // share
        times = load.end_ms - (load.steps - 1 - steps) * load.step_ms
        values = _values(number[index % share], steps).astype("<f8")
        data[value_at[:, None] + np.arange(8)] = values.view(np.uint8).reshape(count, 8)
        for byte in range(tail):
            more = 0x80 if byte < tail - 1 else 0
            data[value_at + 9 + byte] = (times >> 7 * byte & 0x7F) | more
        body = pack(data.tobytes())
        yield (
            f"POST /api/v1/write HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n"
            f"{HEADERS[load.protocol]}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def _template(
    load: Load, messages: list[bytes], numbers: range, begin: int, count: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return a body of so many messages in turn, where its values stand, and a time's bytes."""
    tail = len(varint(load.end_ms))
    places = [(begin + i) % len(messages) for i in range(count)]
    if load.protocol == V2:
        chosen, symbols = _messages(load, [numbers[place] for place in places])
    else:
        chosen, symbols = [messages[place] for place in places], b""
    ends = len(symbols) + np.cumsum([len(message) for message in chosen])
    data = np.frombuffer(bytearray(symbols + b"".join(chosen)), np.uint8)
    return data, ends - tail - 1 - 8, tail


def _talk(port: int, waiting: list[bytes], go: threading.Event, failed: list[str]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        go.wait()
        for request in waiting:
            while True:
                connection.sendall(request)
                reply = connection.recv(4096)
                if reply.startswith(b"HTTP/1.1 204"):
                    break
                if not reply.startswith(b"HTTP/1.1 503"):
                    failed.append(reply[:500].decode(errors="replace"))
                    return
                time.sleep(0.05)


def _drive(port: int, load: Load, pipe: multiprocessing.connection.Connection) -> None:
    """In a process of its own: make all requests, then send them when told, and tell."""
    go, failed = threading.Event(), []
    threads = [
        threading.Thread(
            target=_talk, args=(port, list(requests(load, connection)), go, failed), daemon=True
        )
        for connection in range(load.connections)
    ]
    for thread in threads:
        thread.start()
    pipe.send("ready")
    pipe.recv()
    cpu, began = time.process_time(), time.perf_counter()
    go.set()
    for thread in threads:
        thread.join()
    pipe.send((time.perf_counter() - began, time.process_time() - cpu, failed))


class Driver:
    """A process that has all of a load ready to be sent."""

    def __init__(self, port: int, load: Load) -> None:
        """Make the requests, which takes some seconds."""
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_drive, args=(port, load, theirs), daemon=True)
        self._process.start()
        assert self._pipe.recv() == "ready"

    def run(self) -> tuple[float, float]:
        """Send all; return seconds, and those of the driver's own CPU."""
        self._pipe.send("go")
        took_s, cpu_s, failed = self._pipe.recv()
        self._process.join()
        if failed:
            raise RuntimeError(failed[0])
        return took_s, cpu_s
