"""How long a remote-write body takes to become columns, for each sample.

    python -m benchmarks.remote_write_decode

One body as Prometheus sends it: series of one sample each, eight labels.
"""

from __future__ import annotations

import struct
import time

import cramjam

from api.receivers.body_decoding import decode
from api.receivers.write_batch import decode_write_request
from api.wire import varint_bytes

SERIES, REPEATS = 20_000, 5


def field(number, payload):
    """Return a length-delimited field."""
    return varint_bytes(number << 3 | 2) + varint_bytes(len(payload)) + payload


def body_of(series_count):
    """Return a WriteRequest of so many series."""
    parts = []
    for i in range(series_count):
        labels = {
            "__name__": "node_cpu_seconds_total", "cluster": "main", "cpu": str(i % 64),
            "instance": f"host-{i // 64}:9100", "job": "node", "mode": "idle",
            "namespace": "monitoring", "replica": "a",
        }  # fmt: skip
        message = b"".join(
            field(1, field(1, name.encode()) + field(2, value.encode()))
            for name, value in labels.items()
        )
        sample = (
            b"\x09" + struct.pack("<d", i * 0.37) + b"\x10" + varint_bytes(1_795_470_000_000 + i)
        )
        parts.append(field(1, message + field(2, sample)))
    return b"".join(parts)


def best_s(work):
    """Return the shortest of some runs, in seconds."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main():
    """Print nanoseconds a sample."""
    body = body_of(SERIES)
    packed = bytes(cramjam.snappy.compress_raw(body))
    print(f"{SERIES} series of 8 labels and one sample, {len(body) / SERIES:.0f} bytes each")
    seconds = best_s(lambda: decode(packed, "snappy"))
    print(f"snappy: {seconds * 1e9 / SERIES:.1f} ns a sample")
    seconds = best_s(lambda: decode_write_request(body))
    print(f"protobuf to columns: {seconds * 1e9 / SERIES:.1f} ns a sample")


if __name__ == "__main__":
    main()
