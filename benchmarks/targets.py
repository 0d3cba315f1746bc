"""A cheap server of many scrape targets: `/target/<n>/metrics`, gzip bodies made beforehand.

Run as a process of its own, so that its CPU is not counted with the server under measurement:
`python -m benchmarks.targets PORT SERIES VERSIONS [protobuf]`. Every target serves the same texts;
`instance` tells them apart. Each scrape of a target gets the next of VERSIONS bodies: counters
grow, gauges move, and one series in four stays as it is. `/served` counts the scrapes, and
`/intervals` has the seconds between two of a target since it was last asked.
"""

from __future__ import annotations

import gzip
import random
import re
import struct
import sys
import time

from aiohttp import web


def body(series: int, version: int) -> bytes:
    """One exposition of about `series` samples, the `version`th in time."""
    rng = random.Random(7)
    lines = []
    per_family = 50
    for family in range(series // per_family):
        kind = ("counter", "gauge", "counter", "gauge")[family % 4]
        name = f"bench_family_{family}" + ("_total" if kind == "counter" else "")
        lines.append(f"# HELP {name} Family number {family} of the benchmark.")
        lines.append(f"# TYPE {name} {kind}")
        for k in range(per_family):
            base = rng.randrange(10_000_000)
            rate = rng.randrange(1, 500)
            noise = random.Random(version * 1_000_003 + family * 1009 + k)
            if family % 4 == 0:
                value = str(base + rate * version)
            elif family % 4 == 1:
                value = f"{base / 1000 + noise.gauss(0, 10):.3f}"
            elif family % 4 == 2:
                value = f"{base / 16 + rate * version + noise.random():.6f}"
            else:
                value = str(base)
            labels = f'path="/api/v1/resource/{k}",method="GET",code="{200 + k % 5}"'
            lines.append(f"{name}{{{labels}}} {value}")
    return ("\n".join(lines) + "\n").encode()


PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    """A field that has a length: text, or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def as_protobuf(text: bytes) -> bytes:
    """The same samples as messages."""
    families: dict[str, bytes] = {}
    helps: dict[str, str] = {}
    for line in text.decode().splitlines():
        if line.startswith("# HELP "):
            name, _, helps[name] = line.removeprefix("# HELP ").partition(" ")
        if line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        name = series.partition("{")[0]
        labels = b"".join(
            field(1, field(1, label.encode()) + field(2, text.encode()))
            for label, text in re.findall(r'(\w+)="([^"]*)"', series)
        )
        number = b"\x09" + struct.pack("<d", float(value))
        shown = labels + field(3 if name.endswith("_total") else 2, number)
        families[name] = families.get(name, b"") + field(4, shown)
    out = b""
    for name, metrics in families.items():
        kind = b"\x18\x00" if name.endswith("_total") else b"\x18\x01"
        message = field(1, name.encode()) + field(2, helps[name].encode()) + kind + metrics
        out += varint(len(message)) + message
    return out


def main() -> None:
    """Serve until killed."""
    port, series, versions = (int(argument) for argument in sys.argv[1:4])
    texts = [body(series, version) for version in range(versions)]
    content_type = "text/plain; version=0.0.4"
    if sys.argv[4:] == ["protobuf"]:
        texts, content_type = [as_protobuf(text) for text in texts], PROTOBUF
    bodies = [gzip.compress(text, 6) for text in texts]
    scrapes: dict[str, int] = {}
    last: dict[str, float] = {}
    between: list[float] = []

    async def metrics(request: web.Request) -> web.Response:
        target = request.match_info["target"]
        now = time.monotonic()
        if target in last:
            between.append(now - last[target])
        last[target] = now
        count = scrapes[target] = scrapes.get(target, -1) + 1
        headers = {"Content-Encoding": "gzip", "Content-Type": content_type}
        return web.Response(body=bodies[count % versions], headers=headers)

    async def served(_: web.Request) -> web.Response:
        return web.json_response({"scrapes": sum(scrapes.values()) + len(scrapes)})

    async def intervals(_: web.Request) -> web.Response:
        found = between.copy()
        between.clear()
        return web.json_response(found)

    app = web.Application()
    app.router.add_get("/target/{target}/metrics", metrics)
    app.router.add_get("/served", served)
    app.router.add_get("/intervals", intervals)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
