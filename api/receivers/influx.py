r"""POST /write and /api/v2/write: InfluxDB's line protocol.

From: Telegraf and other programs that write to InfluxDB, version 1 or 2.
To:   `import_receiver.py`.

`cpu,host=a usage=5,idle=3 1700000000` becomes `cpu_usage{host="a"}` and `cpu_idle{host="a"}`, as
VictoriaMetrics names them; the database or bucket becomes the label `db`. Booleans are 1 and 0.
Strings that are no numbers cannot be held by a time series: they are left out and counted.
Source: InfluxDB documentation, line protocol; VictoriaMetrics documentation for the names.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import web

from api.json_text import dumps
from api.receivers.import_lines import Import, LineError, Samples, plain_text, read_float
from api.receivers.import_receiver import extra_labels, receive
from api.receivers.push_requests import PushRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _ErrorBody = Callable[[PushRefusedError], dict[str, str]]

_PER_MS = {"ns": 1_000_000, "n": 1_000_000, "us": 1000, "u": 1000, "µ": 1000, "ms": 1}
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
PRECISIONS = (*_PER_MS, *_MS)

_TRUE, _FALSE = ("t", "T", "true", "True", "TRUE"), ("f", "F", "false", "False", "FALSE")

_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
# A line is parted at spaces that are neither escaped nor within quotes.
_SERIES = re.compile(r"((?:[^\\ ]|\\.)+) +", re.DOTALL)
_FIELDS = re.compile(r'((?:[^\\" ]|\\.|"(?:[^\\"]|\\.)*")+) *', re.DOTALL)
_FIELD = re.compile(r'((?:[^\\=,]|\\.)+)=("(?:[^\\"]|\\.)*"|[^,"]*)(?:,|$)', re.DOTALL)
_COMMA, _EQUALS = re.compile(r"(?<!\\),"), re.compile(r"(?<!\\)=")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_STRING = re.compile(r'\\(["\\])')


def read_influx(
    body: bytes, now_ms: int, labels: Mapping[str, str], precision: str = "ns", database: str = ""
) -> Import:
    """Return what the lines say. `precision` is one of PRECISIONS."""
    found, samples = Import(), Samples()
    for number, line in enumerate(plain_text(body).split("\n"), 1):
        text = line.strip(" \r\t")
        if not text or text.startswith("#"):
            continue
        try:
            series, fields, time_ms = _parts(text, now_ms, precision)
            for name, raw in fields:
                value = _value(raw)
                if value is None:
                    found.ignored += 1
                    continue
                key = series, name
                place = samples.find(key)
                if place < 0:
                    place = samples.add_series(key, _labels(series, name, labels, database))
                samples.add(place, time_ms, value, number)
        except LineError as error:
            found.faults.add(number, str(error))
    found.batches.append(samples.batch())
    return found


def _parts(line: str, now_ms: int, precision: str) -> tuple[str, list[tuple[str, str]], int]:
    """Return measurement with tags, names and texts of the fields, and the time."""
    if "\\" not in line and '"' not in line:
        parts = line.split()
        if not 2 <= len(parts) <= 3:
            raise LineError("missing fields" if len(parts) < 2 else "too many parts")
        series, fields_text, time_text = parts[0], parts[1], parts[2] if len(parts) > 2 else ""
        fields = []
        for field in fields_text.split(","):
            name, equals, raw = field.partition("=")
            if not equals or not name or not raw:
                raise LineError(f"invalid field format: {field!r}")
            fields.append((name, raw))
    else:
        head = _SERIES.match(line)
        if head is None:
            raise LineError("missing fields")
        body = _FIELDS.match(line, head.end())
        if body is None:
            raise LineError("invalid field format")
        series, fields, time_text = head[1], _fields(body[1]), line[body.end() :]
    return series, fields, _time_ms(time_text, now_ms, precision)


def _fields(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None or not match[2]:
            raise LineError(f"invalid field format: {text[at:]!r}")
        found.append((_ESCAPED.sub(r"\1", match[1]), match[2]))
        at = match.end()
    return found


def _time_ms(text: str, now_ms: int, precision: str) -> int:
    if not text:
        return now_ms
    if _WHOLE.fullmatch(text) is None:
        raise LineError(f"bad timestamp {text!r}")
    if precision in _MS:
        return int(text) * _MS[precision]
    return int(text) // _PER_MS[precision]


def _value(raw: str) -> float | None:
    """Return the value of a field, None for a string that is no number. Raises LineError."""
    if raw[0] == '"':
        text = _ESCAPED_STRING.sub(r"\1", raw[1:-1])
        try:
            return read_float(text)
        except LineError:
            return None
    if raw in _TRUE:
        return 1.0
    if raw in _FALSE:
        return 0.0
    if raw[-1] in "iu":
        if _WHOLE.fullmatch(raw[:-1]) is None:
            raise LineError(f"cannot parse {raw!r} as a whole number")
        return float(raw[:-1])
    return read_float(raw)


def _labels(series: str, field: str, extra: Mapping[str, str], database: str) -> dict[str, str]:
    """Return the labels of one field of a measurement with tags."""
    measurement, tags = _measurement(series)
    held = {"db": database} if database else {}
    return {**held, **tags, **extra, "__name__": f"{measurement}_{field}"}


# The fields of a line share it, and agents send the same ones every few seconds.
@lru_cache(maxsize=1 << 14)
def _measurement(series: str) -> tuple[str, Mapping[str, str]]:
    """Return the name of a measurement and its tags. Raises LineError."""
    plain = "\\" not in series
    measurement, *texts = series.split(",") if plain else _COMMA.split(series)
    tags = {}
    for text in texts:
        if plain:
            name, equals, value = text.partition("=")
        else:
            name, *values = _EQUALS.split(text, maxsplit=1)
            equals, value = "=" * len(values), values[0] if values else ""
            name, value = _ESCAPED.sub(r"\1", name), _ESCAPED.sub(r"\1", value)
        if not equals or not name:
            raise LineError(f"missing tag value: {text!r}")
        tags[name] = value
    measurement = _ESCAPED.sub(r"\1", measurement)
    if not measurement:
        raise LineError("missing measurement")
    return measurement, tags


async def write(request: web.Request) -> web.Response:
    """Answer /write, as InfluxDB 1 does."""
    return await _write(request, _error_of_version_1)


async def write_v2(request: web.Request) -> web.Response:
    """Answer /api/v2/write, as InfluxDB 2 does."""
    return await _write(request, _error_of_version_2)


async def _write(request: web.Request, error_body: _ErrorBody) -> web.Response:
    query = request.query
    precision = query.get("precision") or "ns"
    database = query.get("db") or query.get("bucket", "")
    try:
        if precision not in PRECISIONS:
            raise PushRefusedError(f"invalid precision {precision!r}", 400)
        labels = extra_labels(request)
        outcome = await receive(
            request,
            "influx",
            lambda body, now_ms: read_influx(body, now_ms, labels, precision, database),
        )
    except PushRefusedError as error:
        return _failed(error, error_body)
    if outcome.dropped:
        problem = f"partial write: {outcome.text} dropped={outcome.dropped}"
        return _failed(PushRefusedError(problem, 400), error_body)
    return web.Response(status=204, headers=_VERSION)


async def ping(_request: web.Request) -> web.Response:
    """Answer /ping: clients of InfluxDB ask whether it is there."""
    return web.Response(status=204, headers=_VERSION)


def _error_of_version_1(error: PushRefusedError) -> dict[str, str]:
    return {"error": str(error)}


def _error_of_version_2(error: PushRefusedError) -> dict[str, str]:
    codes = {400: "invalid", 404: "not found", 413: "request too large", 503: "unavailable"}
    return {"code": codes.get(error.status, "internal error"), "message": str(error)}


def _failed(error: PushRefusedError, error_body: _ErrorBody) -> web.Response:
    return web.Response(
        body=dumps(error_body(error)),
        status=error.status,
        content_type="application/json",
        headers={**_VERSION, **error.headers},
    )


# Clients choose their protocol by it: line protocol as of the last release of version 1.
_VERSION = {"X-Influxdb-Version": "1.8.10"}
