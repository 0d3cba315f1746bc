"""Agent mode: scrape and forward, answer no queries, keep no blocks.

From: `--agent`.   To: `server.py`, which asks here what is different then.
Source: what `prometheus --agent` answers and refuses.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from gnomon.config.document import ConfigError, read_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_UNAVAILABLE = "unavailable with Prometheus Agent"
_PATHS = frozenset(
    {
        "query",
        "query_range",
        "query_exemplars",
        "format_query",
        "parse_query",
        "labels",
        "series",
        "alerts",
        "rules",
        "alertmanagers",
        "status/tsdb",
        "status/tsdb/blocks",
        "admin/tsdb/delete_series",
        "admin/tsdb/clean_tombstones",
        "admin/tsdb/snapshot",
    }
)
"""Paths below /api/v1 that ask for what an agent has not."""
_NO_STORE = frozenset({"/federate", "/api/v1/read"})
_UNSUPPORTED = "unsupported operation with WAL-only storage\n"
_REFUSED_FIELDS = ("alerting", "rule_files", "remote_read")


def refuse_queries(app: web.Application, prefix: str) -> None:
    """Have an application answer queries as an agent does. Before it is started."""

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix(prefix)
        if path in _NO_STORE:
            return web.Response(status=500, text=_UNSUPPORTED)
        inner = path.removeprefix("/api/v1/")
        if inner != path and (inner in _PATHS or inner.startswith("label/")):
            body = {"status": "error", "errorType": "execution", "error": _UNAVAILABLE}
            text = json.dumps(body, separators=(",", ":"))
            return web.Response(status=422, text=text, content_type="application/json")
        return await handler(request)

    app.middlewares.append(refuse)


def check_config(path: Path) -> None:
    """Refuse a configuration file that asks for what an agent has not. Raises ConfigError."""
    top, _ = read_document(path.read_text(encoding="utf-8"), "config.plain")
    for name in _REFUSED_FIELDS:
        if not top.empty(name):
            raise ConfigError(
                f"parsing YAML file {path}: field {name} is not allowed in agent mode"
            )
