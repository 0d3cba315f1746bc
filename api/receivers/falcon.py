"""POST /api/push and /v1/push: metrics as the agents of Open-Falcon push them.

From: falcon-agent and the scripts that push to it or to a transfer.   To: `import_receiver.py`.

An item's `endpoint` becomes the label of that name, its tags labels, its metric the name, dots and
all. COUNTER and DERIVE are stored as they come, as counters: Open-Falcon itself stores their rates,
here `rate()` makes them. Timestamps stay as they are sent, they are not moved to the step.
Source: Open-Falcon documentation and its transfer's checks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from api.json_text import dumps
from api.receivers.body_decoding import json_of
from api.receivers.import_lines import Import, LineError, Samples, read_float
from api.receivers.import_receiver import receive
from api.receivers.push_requests import PushRefusedError
from api.replies import text
from tsdb.interface import MetricMetadata

if TYPE_CHECKING:
    from api.receivers.import_receiver import ImportOutcome

TYPES = {"GAUGE": "gauge", "COUNTER": "counter", "DERIVE": "counter"}
NAME_BYTES_MAX = 510
_UNWANTED = "kernel.hostname"


class BlankBodyError(PushRefusedError):
    """A request without a body."""

    def __init__(self) -> None:
        super().__init__("blank body", 400)


class UndecodableError(PushRefusedError):
    """A body that is no JSON list."""

    def __init__(self) -> None:
        super().__init__("decode error", 400)


def read_falcon(body: bytes, now_ms: int) -> Import:
    """Return what the items say. Raises BlankBodyError, UndecodableError."""
    if not body:
        raise BlankBodyError
    try:
        items = json_of(body)
    except orjson.JSONDecodeError:
        raise UndecodableError from None
    if not isinstance(items, list):
        raise UndecodableError
    found, samples = Import(), Samples()
    found.faults.unit = "item"
    for number, item in enumerate(items, 1):
        try:
            _read_item(item, number, now_ms, samples, found)
        except LineError as error:
            found.faults.add(number, str(error))
    found.batches.append(samples.batch())
    return found


def _read_item(item: Any, number: int, now_ms: int, samples: Samples, found: Import) -> None:  # noqa: ANN401
    if not isinstance(item, dict):
        raise LineError("is no object")
    metric, endpoint = _text(item, "metric"), _text(item, "endpoint")
    kind, tags = _text(item, "counterType"), _text(item, "tags")
    if not metric or not endpoint:
        raise LineError("metric and endpoint must be given")
    if metric == _UNWANTED:
        raise LineError(f"{_UNWANTED} is not taken")
    if kind not in TYPES:
        raise LineError(f"counterType must be one of {', '.join(TYPES)}, got {kind!r}")
    if _number(item, "step") <= 0:
        raise LineError("step must be positive")
    if len(metric.encode()) + len(tags.encode()) > NAME_BYTES_MAX:
        raise LineError(f"metric and tags are longer than {NAME_BYTES_MAX} bytes")
    value = item.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise LineError("value is no number")
    sample = read_float(value) if isinstance(value, str) else float(value)
    seconds = _number(item, "timestamp")
    if seconds <= 0 or seconds > 2 * now_ms / 1000:
        seconds = now_ms / 1000
    key = metric, endpoint, tags
    series = samples.find(key)
    if series < 0:
        series = samples.add_series(key, _tags(tags) | {"endpoint": endpoint, "__name__": metric})
        found.metadata[metric] = MetricMetadata(metric, TYPES[kind])
    samples.add(series, int(seconds * 1000), sample, number)


def _text(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LineError(f"{name} is no string")
    return value


def _number(item: dict[str, Any], name: str) -> float:
    value = item.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LineError(f"{name} is no number")
    return float(value)


def _tags(text: str) -> dict[str, str]:
    """Return tags as labels: spaces are taken out, parts without `=` are left out.

    >>> _tags("mount=/, fstype=ext4,odd")
    {'mount': '/', 'fstype': 'ext4'}
    """
    pairs = (part.partition("=") for part in text.replace(" ", "").split(","))
    return {name: value for name, equals, value in pairs if equals and name}


async def push_to_transfer(request: web.Request) -> web.Response:
    """Answer /api/push, as a transfer does."""
    begin = time.monotonic()
    try:
        outcome = await receive(request, "falcon", read_falcon)
    except PushRefusedError as error:
        return error.reply()
    members = {
        "msg": "success",
        "data": {
            "Message": "ok",
            "Total": outcome.stored + outcome.dropped,
            "Invalid": outcome.dropped,
            "Latency": round((time.monotonic() - begin) * 1000),
        },
    }
    if outcome.dropped:
        members["data"] |= {"Problems": outcome.text}  # type: ignore[operator]
    return web.Response(body=dumps(members), content_type="application/json", charset="UTF-8")


async def push_to_agent(request: web.Request) -> web.Response:
    """Answer /v1/push, as an agent does."""
    try:
        outcome: ImportOutcome = await receive(request, "falcon", read_falcon)
    except BlankBodyError:
        return text("body is blank\n", 400)
    except UndecodableError:
        return text("connot decode body\n", 400)  # the agent's own spelling
    except PushRefusedError as error:
        return error.reply()
    if outcome.dropped and not outcome.stored:
        return text(f"{outcome.text}\n", 400)
    return text("success")
