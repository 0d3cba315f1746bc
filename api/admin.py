"""Handlers of the admin API: delete series, take a snapshot, clean deletions up.

From: `routes.py`.   To: `views.AppView`, in threads.
Off unless `--web.enable-admin-api` is given. Source: Prometheus HTTP API documentation.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiohttp import web

from api.errors import BAD_DATA, ApiError, BadParameterError
from api.params import Form, parse_bool, read_form, selector
from api.parts import PARTS
from api.replies import success
from promql.errors import ParseError
from tsdb.errors import BadMatcherError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


async def delete_series(request: web.Request) -> web.Response:
    """Answer /api/v1/admin/tsdb/delete_series: the samples of a time range are gone for readers."""
    form = await _allowed_form(request)
    if not form.all("match[]"):
        raise ApiError(BAD_DATA, "no match[] parameter provided")
    start_ms, end_ms = form.time_range_ms()
    try:
        sets = [selector(text) for text in form.all("match[]")]
    except ParseError as error:
        raise BadParameterError("match[]", str(error)) from None
    view = request.app[PARTS].view
    await _done(request, "delete series", lambda: view.delete_series(sets, start_ms, end_ms))
    return web.Response(status=204)


async def clean_tombstones(request: web.Request) -> web.Response:
    """Answer /api/v1/admin/tsdb/clean_tombstones: what was deleted leaves the disk."""
    await _allowed_form(request)
    await _done(request, "clean tombstones", request.app[PARTS].view.clean_tombstones)
    return web.Response(status=204)


async def snapshot(request: web.Request) -> web.Response:
    """Answer /api/v1/admin/tsdb/snapshot: the name of a new directory under snapshots/."""
    form = await _allowed_form(request)
    skip_head = False
    if form.text("skip_head"):
        try:
            skip_head = parse_bool(form.text("skip_head"))
        except ValueError as error:
            reason = f"unable to parse boolean: {error}"
            raise BadParameterError("skip_head", reason) from None
    view = request.app[PARTS].view
    name = await _done(request, "create snapshot", lambda: view.snapshot(skip_head=skip_head))
    return success(request, {"name": name})


async def _allowed_form(request: web.Request) -> Form:
    if not request.app[PARTS].options.enable_admin_api:
        raise ApiError("unavailable", "admin APIs disabled")
    return await read_form(request)


async def _done(request: web.Request, what: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Run the command in a thread. What storage or the disk refuses is told to the caller."""
    try:
        result = await request.app[PARTS].gate.write(work)
    except BadMatcherError:
        raise
    except (StorageError, OSError) as error:
        _log.exception("admin API: %s failed", what)
        raise ApiError("internal", f"{what}: {error}") from error
    _log.warning("admin API: %s", what, extra={"fields": {"remote": request.remote}})
    return result
