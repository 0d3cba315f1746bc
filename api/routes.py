"""Every path in one table, and the application made of it.

From: `gnomon/wiring.py`, which hands over the engines and runs the application.
To:   the handlers of this package.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from api import (
    admin,
    federate,
    lifecycle,
    notifications,
    pages,
    query,
    relabel_steps,
    remote_read,
    search,
    series,
    status,
    user_assets,
)
from api.features import features
from api.gate import Gate
from api.lifecycle import when_readable, when_ready
from api.openapi import openapi
from api.parts import PARTS, Parts
from api.receivers import falcon, influx, otlp
from api.receivers.graphite import import_graphite
from api.receivers.import_receiver import IMPORTS, ImportReceiver
from api.receivers.import_text import import_text
from api.receivers.otlp import OTLP, OtlpReceiver
from api.receivers.pushing import PushAppender
from api.receivers.remote_write import WRITES, WriteReceiver, write
from api.replies import outermost
from api.request_stats import RequestCounter
from api.self_metrics import self_metrics
from api.views import ApiOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from api.access import Access
    from api.views import AppView
    from promql.engine import Engine
    from tsdb.interface import SeriesReader, Storage

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GET, GET_POST, COMMAND = ("GET",), ("GET", "POST"), ("POST", "PUT")

API = "/api/v1"

API_ROUTES: tuple[tuple[tuple[str, ...], str, Handler], ...] = (
    (GET_POST, "/query", query.instant),
    (GET_POST, "/query_range", query.over_range),
    (GET_POST, "/query_exemplars", query.exemplars),
    (GET_POST, "/format_query", query.format_text),
    (GET_POST, "/parse_query", query.parse_tree),
    (GET_POST, "/series", series.series),
    (("DELETE",), "/series", series.delete_series),
    (GET_POST, "/labels", series.label_names),
    (GET, "/label/{name}/values", series.label_values),
    (GET, "/targets", status.targets),
    (GET, "/targets/metadata", status.targets_metadata),
    (GET, "/targets/relabel_steps", relabel_steps.relabel_steps),
    (GET, "/scrape_pools", status.scrape_pools),
    (GET, "/scrape_pools/config", relabel_steps.pool_config),
    (GET, "/metadata", status.metadata),
    (GET, "/rules", status.rules),
    (GET, "/alerts", status.alerts),
    (GET, "/alertmanagers", status.alertmanagers),
    (GET, "/notifications", notifications.notifications),
    (GET, "/status/config", status.config),
    (GET, "/status/flags", status.flags),
    (GET, "/status/runtimeinfo", status.runtimeinfo),
    (GET, "/status/buildinfo", status.buildinfo),
    (GET, "/status/self_metrics", self_metrics),
    (GET, "/status/tsdb", status.tsdb),
    (GET, "/status/tsdb/blocks", status.blocks),
    (GET, "/features", features),
    (("POST",), "/read", remote_read.read),
    (("POST",), "/write", write),
    (("POST",), "/otlp/v1/metrics", otlp.metrics),
    (("POST",), "/import/prometheus", import_text),
    (("POST",), "/import/graphite", import_graphite),
    (COMMAND, "/admin/tsdb/delete_series", admin.delete_series),
    (COMMAND, "/admin/tsdb/snapshot", admin.snapshot),
    (COMMAND, "/admin/tsdb/clean_tombstones", admin.clean_tombstones),
)
"""Methods, path below /api/v1, handler; they answer 503 until storage is open."""

EARLY_PATHS = (
    "/query",
    "/query_range",
    "/query_exemplars",
    "/format_query",
    "/parse_query",
    "/series",
    "/labels",
    "/label/{name}/values",
    "/status/config",
    "/status/flags",
    "/status/runtimeinfo",
    "/status/buildinfo",
)
"""Those of them that answer from what there is already while the log is replayed, and say so.

Remote reads and federation cannot say so: what they give would be taken for all there is.
"""

OTHER_ROUTES: tuple[tuple[tuple[str, ...], str, Handler], ...] = (
    (GET, f"{API}/status/walreplay", status.walreplay),
    (GET, f"{API}/notifications/live", notifications.live),
    (GET_POST, f"{API}/search/metric_names", when_ready(search.metric_names)),
    (GET_POST, f"{API}/search/label_names", when_ready(search.label_names)),
    (GET_POST, f"{API}/search/label_values", when_ready(search.label_values)),
    (GET, f"{API}/openapi.yaml", openapi),
    (("GET", "HEAD"), "/-/healthy", lifecycle.healthy),
    (("GET", "HEAD"), "/-/ready", when_ready(lifecycle.ready)),
    (COMMAND, "/-/reload", lifecycle.reload),
    (GET, "/-/reload", lifecycle.only_post),
    (COMMAND, "/-/quit", lifecycle.quit_server),
    (GET, "/-/quit", lifecycle.only_post),
    (GET, "/metrics", lifecycle.metrics),
    (GET, "/federate", when_ready(federate.federate)),
    (("POST",), "/write", when_ready(influx.write)),
    (("POST",), "/api/v2/write", when_ready(influx.write_v2)),
    (("GET", "HEAD"), "/ping", when_ready(influx.ping)),
    (("POST",), "/api/push", when_ready(falcon.push_to_transfer)),
    (("POST",), "/v1/push", when_ready(falcon.push_to_agent)),
    (GET, "/version", lifecycle.version),
    (("GET", "HEAD"), "/", pages.page),
    *((GET, page, pages.page) for page in pages.PAGES),
    (GET, "/ui/{name}", pages.file),
    (GET, "/user/{filepath:.*}", user_assets.file),
)


RUNNER_OPTIONS: dict[str, Any] = {
    "auto_decompress": False,
    "max_line_size": 1 << 20,
    "max_field_size": 1 << 20,
    "access_log": None,
}
"""How to run the application: `web.AppRunner(app, **RUNNER_OPTIONS)`.

Push receivers decompress in threads and within limits of their own; queries of many kilobytes
come in URLs (Go allows 1 MiB); requests are counted, not logged.
"""


def make_app(
    storage: Storage,
    engine: Engine,
    view: AppView,
    options: ApiOptions | None = None,
    *,
    reader: SeriesReader | None = None,
    access: Access | None = None,
    now: Callable[[], float] = time.time,
) -> web.Application:
    """Return the application; run it with `web.AppRunner(app, **RUNNER_OPTIONS)`.

    `reader` is asked for series in place of storage, where queries read from more than that.
    `app[PARTS]` and the receivers' keys hold what telemetry asks: `stats()` of each.
    Cleaning the application up cancels running queries and ends its threads; storage and engine
    stay open, they are the caller's.
    """
    options = options or ApiOptions()
    prefix = options.route_prefix.rstrip("/")
    routes = [
        *((methods, prefix + API + path, _guarded(path, run)) for methods, path, run in API_ROUTES),
        *((methods, prefix + path, run) for methods, path, run in OTHER_ROUTES),
    ]
    if prefix:
        routes += [(("GET", "HEAD"), path, lifecycle.to_prefix) for path in ("/", prefix)]
    app = web.Application(middlewares=[outermost])
    for methods, path, handler in routes:
        for method in methods:
            app.router.add_route(method, path, handler)
    pushes = PushAppender(storage, now)
    app[PARTS] = Parts(
        storage=storage,
        reader=reader or storage,
        engine=engine,
        view=view,
        options=options,
        gate=Gate(options.concurrency_max),
        pushes=pushes,
        requests=RequestCounter(),
        now=now,
        paths=frozenset(path for _, path, _ in routes if "{" not in path),
        access=access,
    )
    app[WRITES] = WriteReceiver(pushes)
    app[OTLP] = OtlpReceiver(pushes, options.otlp)
    app[IMPORTS] = ImportReceiver(pushes)
    notifications.install(app, view, options.notification_subscribers_max)
    remote_read.install(app, options)
    app.cleanup_ctx.append(_gate_open)
    return app


def _guarded(path: str, run: Handler) -> Handler:
    return when_readable(run) if path in EARLY_PATHS else when_ready(run)


async def _gate_open(app: web.Application) -> AsyncIterator[None]:
    yield
    parts = app[PARTS]
    await parts.gate.close()
    if parts.access is not None:
        await parts.access.close()
