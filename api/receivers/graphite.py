"""POST /api/v1/import/graphite: Graphite's plaintext protocol, over HTTP.

From: whatever writes `path value timestamp` lines.   To: `import_receiver.py`.

The path is the metric's name, dots and all; tags (`path;name=value`) are labels. Timestamps are
seconds; without one, or with -1, a sample is of now.
Source: Graphite documentation, feeding in your data; tag support.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from api.receivers.import_lines import Import, LineError, Samples, plain_text, read_float
from api.receivers.import_receiver import extra_labels, receive
from api.receivers.push_requests import PushRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_graphite(body: bytes, now_ms: int, labels: Mapping[str, str]) -> Import:
    """Return what the lines say."""
    found, samples = Import(), Samples()
    for number, line in enumerate(plain_text(body).split("\n"), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            if not 2 <= len(parts) <= 3:
                raise LineError(f"expected path, value and timestamp, got {len(parts)} parts")
            value = read_float(parts[1])
            time_ms = now_ms if len(parts) < 3 else _time_ms(parts[2], now_ms)
            series = samples.find(parts[0])
            if series < 0:
                series = samples.add_series(parts[0], {**_labels(parts[0]), **labels})
            samples.add(series, time_ms, value, number)
        except LineError as error:
            found.faults.add(number, str(error))
    found.batches.append(samples.batch())
    return found


def _labels(path: str) -> dict[str, str]:
    name, *tags = path.split(";")
    labels = {}
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not equals or not key:
            raise LineError(f"a tag must be name=value, got {tag!r}")
        labels[key] = value
    return labels | {"__name__": name}


def _time_ms(text: str, now_ms: int) -> int:
    seconds = read_float(text)
    if seconds == -1:
        return now_ms
    if not abs(seconds) < 1e12:
        raise LineError("timestamp is out of range")
    return round(seconds * 1000)


async def import_graphite(request: web.Request) -> web.Response:
    """Answer /api/v1/import/graphite."""
    try:
        labels = extra_labels(request)
        outcome = await receive(
            request, "graphite", lambda body, now_ms: read_graphite(body, now_ms, labels)
        )
    except PushRefusedError as error:
        return error.reply()
    if outcome.dropped:
        return PushRefusedError(outcome.text, 400).reply()
    return web.Response(status=204)
