"""Handlers outside the API: probes, reload, quit, own metrics.

From: `routes.py`.   To: `views.AppView`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from api.json_text import dumps
from api.parts import PARTS
from api.replies import text, whole
from api.status import build_members

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.views import AppView

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
RETRY_AFTER_S = "5"
"""When who was sent away may come again, as the header has it."""


def when_ready(handler: Handler) -> Handler:
    """Return the handler, answering 503 as long as storage is not open or is closing."""
    return _guarded(handler, lambda view: view.ready())


def when_readable(handler: Handler) -> Handler:
    """Return the handler, answering 503 until storage can be read, if only a part of it."""
    return _guarded(handler, lambda view: view.readable())


def _guarded(handler: Handler, is_open: Callable[[AppView], bool]) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        view = request.app[PARTS].view
        if is_open(view):
            return await handler(request)
        response = text("Service Unavailable", 503)
        response.headers["X-Prometheus-Stopping"] = "true" if view.stopping() else "false"
        response.headers["Retry-After"] = RETRY_AFTER_S
        return response

    return guarded


async def healthy(_request: web.Request) -> web.Response:
    """Answer /-/healthy: the process answers."""
    return text("Prometheus Server is Healthy.\n")


async def ready(_request: web.Request) -> web.Response:
    """Answer /-/ready; `when_ready` guards it."""
    return text("Prometheus Server is Ready.\n")


async def only_post(_request: web.Request) -> web.Response:
    """Answer GET of a command."""
    return text("Only POST or PUT requests allowed", 405)


async def reload(request: web.Request) -> web.Response:
    """Answer /-/reload: the configuration file is read anew."""
    parts = request.app[PARTS]
    if not parts.options.enable_lifecycle:
        return text("Lifecycle API is not enabled.", 403)
    try:
        await parts.view.reload()
    except ValueError as error:
        return text(f"failed to reload config: {error}\n", 500)
    return web.Response(status=200)


async def quit_server(request: web.Request) -> web.Response:
    """Answer /-/quit: a graceful shutdown begins."""
    parts = request.app[PARTS]
    if not parts.options.enable_lifecycle:
        return text("Lifecycle API is not enabled.", 403)
    parts.view.quit()
    return text("Requesting termination... Goodbye!")


async def metrics(request: web.Request) -> web.Response:
    """Answer /metrics: the server's own."""
    parts = request.app[PARTS]
    body = await parts.gate.call(parts.view.metrics_text)
    return whole(request, body, content_type=_METRICS_TYPE)


async def version(request: web.Request) -> web.Response:
    """Answer /version: what /api/v1/status/buildinfo says, without envelope."""
    members = build_members(request.app[PARTS].view.build())
    return text(dumps(members).decode() + "\n")


async def to_prefix(request: web.Request) -> web.Response:
    """Send who asks for / or for the prefix alone to the pages under the prefix."""
    prefix = request.app[PARTS].options.route_prefix.rstrip("/")
    return web.Response(status=302, headers={"Location": f"{prefix}/"})
