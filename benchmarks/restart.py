"""How long until all data can be queried again? After a kill, and after a clean end.

    python -m benchmarks.restart [--million 14] [--series 20000] [--systems gnomon,prometheus]

Bodies of remote write are made once (`--batch` series a request, `--steps` samples of each) and
kept in a file. Each system in turn takes them, is killed, and started again; the clock runs from
the start of the process until queries that count samples answer with all that were acknowledged.
Then it is ended by SIGTERM and started once more. Of the start after the kill the table has when
the server was ready, its peak of memory until then (that of the replay), what it took then, and the
peak with the queries; and what it took, and its data directory, when loading had ended.

For a hundred million samples: --million 100 --steps 20.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cramjam
import numpy as np

from benchmarks import peers
from benchmarks.remote_write_client import encode_labels, encode_samples, field

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLE_BYTES = 18
_TIME_BYTES = 6
_LENGTH = struct.Struct("<I")
_SAMPLES_A_QUERY = 40_000_000
_PATIENCE_S = 60
"""After so long without another sample none is expected: they are lost, or another window's."""
"""Below the limits on samples that servers have by default."""
_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def template(numbers: range, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a body with `steps` samples of each series, and where each begins: [series, steps]."""
    empty = encode_samples([1 << 41] * steps, [0.0] * steps)
    assert len(empty) == steps * _SAMPLE_BYTES
    messages = [
        field(
            1,
            encode_labels(
                {
                    "__name__": f"metric_{n % 200}",
                    "job": "bench",
                    "instance": f"host-{n // 200}:9100",
                    "pod": f"pod-{n}",
                }
            )
            + empty,
        )
        for n in numbers
    ]
    ends = np.cumsum([len(message) for message in messages])
    places = ends[:, np.newaxis] - _SAMPLE_BYTES * np.arange(steps, 0, -1)
    return np.frombuffer(bytearray(b"".join(messages)), np.uint8), places


def fill(body: np.ndarray, places: np.ndarray, times: np.ndarray, values: np.ndarray) -> None:
    """Put times [steps] and values [series, steps] where the samples of a body begin."""
    raw = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(*values.shape, 8)
    body[places[..., np.newaxis] + np.arange(3, 11)] = raw
    for byte in range(_TIME_BYTES):
        more = 0x80 if byte < _TIME_BYTES - 1 else 0
        body[places + 12 + byte] = (times >> 7 * byte & 0x7F) | more


def write_bodies(path: Path, args: argparse.Namespace) -> tuple[int, float]:
    """Write the bodies of all samples to a file; returns how many, and the newest time in s."""
    rng = np.random.default_rng(1)
    steps = args.million * 1_000_000 // args.series
    step_ms = min(15_000, 5_400_000 // steps)
    first_ms = int(time.time() * 1000) - steps * step_ms
    counters = rng.integers(0, 1000, args.series).astype(float)
    templates: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    with path.open("wb") as out:
        # Some steps go in one request, as a sender that catches up does.
        for k in range(0, steps, args.steps):
            times = first_ms + step_ms * np.arange(k, min(k + args.steps, steps))
            rises = rng.integers(0, 100, (args.series, times.size)).astype(float)
            values = counters[:, np.newaxis] + np.cumsum(rises, axis=1)
            counters = values[:, -1]
            for begin in range(0, args.series, args.batch):
                numbers = range(begin, min(begin + args.batch, args.series))
                key = (begin, times.size)
                if key not in templates:
                    templates[key] = template(numbers, times.size)
                body, places = templates[key]
                fill(body, places, times, values[numbers.start : numbers.stop])
                packed = cramjam.snappy.compress_raw(body)
                out.write(_LENGTH.pack(len(packed)))
                out.write(packed)
    return steps * args.series, (first_ms + steps * step_ms) / 1000


def bodies(path: Path) -> Iterator[bytes]:
    """Read back what `write_bodies` wrote."""
    with path.open("rb") as file:
        while length := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(length)[0])


def load(server: peers.Server, path: Path) -> float:
    """Send all bodies; returns the seconds that took."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=300)
    with contextlib.closing(connection):
        for body in bodies(path):
            connection.request("POST", "/api/v1/write", body, _HEADERS)
            reply = connection.getresponse()
            text = reply.read()
            if reply.status not in (200, 204):
                raise RuntimeError(f"{server.name} answered {reply.status}: {text[:500]!r}")
    return time.perf_counter() - began


@dataclass(frozen=True)
class Start:
    """A server that was started, and what that took: seconds, and bytes of memory when ready."""

    server: peers.Server
    ready_s: float
    all_s: float
    ready_peak: int
    ready_bytes: int


def counted(server: peers.Server, at_s: float, queries: int) -> int:
    """Return how many samples there are, asked for by names of metrics in so many queries."""
    found = 0
    for digits in np.array_split(np.arange(10), queries):
        names = "" if queries == 1 else f',__name__=~"metric_.*[{"".join(map(str, digits))}]"'
        reply = server.query(
            "/api/v1/query",
            query=f'sum(count_over_time({{job="bench"{names}}}[3h]))',
            time=f"{at_s:.3f}",
            timeout="100s",
        )
        result = reply["data"]["result"]
        found += int(float(result[0]["value"][1])) if result else 0
    return found


def until_all(name: str, root: Path, expected: int, at_s: float) -> Start:
    """Start a system and wait until all samples are counted."""
    began = time.perf_counter()
    server = peers.start(name, root)
    assert server is not None
    ready_s = time.perf_counter() - began
    memory = server.memory_bytes("VmHWM"), server.memory_bytes()
    count, counted_s = 0, time.perf_counter()
    while count != expected:
        before = count
        with contextlib.suppress(ConnectionError):
            count = counted(server, at_s, -(-expected // _SAMPLES_A_QUERY))
        if count != before:
            counted_s = time.perf_counter()
        elif time.perf_counter() - counted_s > _PATIENCE_S:
            print(f"{name}: {expected - count} of {expected} samples did not come back")
            break
    all_s = (time.perf_counter() if count == expected else counted_s) - began
    return Start(server, ready_s, all_s, *memory)


def measure(name: str, path: Path, written: int, at_s: float, directory: str) -> str | None:
    """One system's row, None if it is not installed."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        root = Path(folder)
        server = peers.start(name, root)
        if server is None:
            return None
        load_s = load(server, path)
        loaded, disk = server.memory_bytes(), server.disk_bytes()
        server.kill()
        killed = until_all(name, root, written, at_s)
        peak = killed.server.memory_bytes("VmHWM")
        killed.server.stop()
        clean = until_all(name, root, written, at_s)
        clean.server.stop()
    return (
        f"{name:18} {written / 1e6:8.1f} {load_s:8.1f} {killed.ready_s:8.2f} {killed.all_s:8.2f} "
        f"{clean.all_s:8.2f} {killed.ready_peak / 2**20:9.0f} {killed.ready_bytes / 2**20:9.0f} "
        f"{peak / 2**20:9.0f} {loaded / 2**20:9.0f} {disk / 2**20:8.0f}"
    )


def main() -> None:
    """Print a row for each system."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--million", type=int, default=14, help="samples, in millions")
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=1000, help="series in a request")
    parser.add_argument("--steps", type=int, default=4, help="samples of a series in a request")
    parser.add_argument("--directory", help="where to put the data")
    parser.add_argument("--systems", default="gnomon,prometheus,victoria-metrics")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        path = Path(folder) / "bodies"
        began = time.perf_counter()
        written, at_s = write_bodies(path, args)
        print(f"bodies: {path.stat().st_size / 2**20:.0f} MB, {time.perf_counter() - began:.0f} s")
        print(
            "system             M samples   load s  ready s    all s  clean s   MB peak  MB ready"
            "  MB query MB loaded  MB disk"
        )
        for name in args.systems.split(","):
            row = measure(name, path, written, at_s, args.directory)
            print(row or f"{name:18} is not installed", flush=True)


if __name__ == "__main__":
    main()
