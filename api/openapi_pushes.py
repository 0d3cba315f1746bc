"""The description of endpoints whose bodies are neither forms nor JSON envelopes: pushes and reads.

To: `openapi.py`. What lies outside /api/v1 (InfluxDB's and Open-Falcon's own paths) is in the
README alone: the description has one base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from api.openapi_schemas import TEXT, Schema

PROTOBUF, JSON, PLAIN = "application/x-protobuf", "application/json", "text/plain"
STREAM = "application/x-streamed-protobuf"

_BINARY: Schema = {"type": "string", "format": "binary"}
_ANY: Schema = {}

_PROBLEMS = {
    400: "All or some of it cannot be stored and never will be.",
    404: "The receiver is not switched on.",
    413: "The body is too large.",
    415: "The type or compression of the body is not known.",
    500: "The server failed.",
    503: "Storage cannot take anything now; `Retry-After` says when to try again.",
}


@dataclass(frozen=True, slots=True)
class PushEndpoint:
    """One path below /api/v1 that is posted to.

    `media` are the types of bodies it takes, `done` the status of success, `replies` the types of
    what is then answered (none: nothing), `problems` those of what is answered otherwise.
    """

    path: str
    text: str
    media: tuple[str, ...]
    done: int = 204
    replies: tuple[str, ...] = ()
    problems: tuple[str, ...] = (PLAIN,)


PUSHES = (
    PushEndpoint("/write", "Remote write 1.0 and 2.0.", (PROTOBUF,)),
    PushEndpoint("/read", "Remote read.", (PROTOBUF,), 200, (PROTOBUF, STREAM)),
    PushEndpoint(
        "/otlp/v1/metrics",
        "OpenTelemetry's metrics.",
        (PROTOBUF, JSON),
        200,
        (PROTOBUF, JSON),
        (PLAIN, PROTOBUF, JSON),
    ),
    PushEndpoint("/import/prometheus", "Text in Prometheus' exposition formats.", (PLAIN,)),
    PushEndpoint("/import/graphite", "Graphite's plaintext protocol.", (PLAIN,)),
)


def push_paths() -> dict[str, Any]:
    """Return their part of `paths`."""
    return {endpoint.path: {"post": _operation(endpoint)} for endpoint in PUSHES}


def _content(media: tuple[str, ...]) -> dict[str, Any]:
    schemas = {PLAIN: TEXT, JSON: _ANY}
    return {kind: {"schema": schemas.get(kind, _BINARY)} for kind in media}


def _operation(endpoint: PushEndpoint) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "It is stored." if endpoint.done == 204 else "Answered."}
    if endpoint.replies:
        done["content"] = _content(endpoint.replies)
    responses = {
        str(status): {"description": text, "content": _content(endpoint.problems)}
        for status, text in _PROBLEMS.items()
    }
    return {
        "operationId": "post" + endpoint.path.replace("/", "_"),
        "summary": endpoint.text,
        "requestBody": {"required": True, "content": _content(endpoint.media)},
        "responses": {str(endpoint.done): done, **responses},
    }
