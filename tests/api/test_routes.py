"""Paths, methods, probes, commands and headers as Prometheus 3.5.3 answers them."""

from __future__ import annotations

import asyncio
import time

import pytest

from api.parts import PARTS
from api.replies import GONE
from api.routes import API, API_ROUTES, OTHER_ROUTES
from api.views import ApiOptions


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/-/healthy", 200, "Prometheus Server is Healthy.\n"),
        ("HEAD", "/-/healthy", 200, ""),
        ("GET", "/-/ready", 200, "Prometheus Server is Ready.\n"),
        ("HEAD", "/-/ready", 200, ""),
        ("POST", "/-/ready", 405, "Method Not Allowed\n"),
        ("GET", "/-/reload", 405, "Only POST or PUT requests allowed"),
        ("GET", "/-/quit", 405, "Only POST or PUT requests allowed"),
        ("DELETE", "/-/quit", 405, "Method Not Allowed\n"),
        ("POST", "/-/reload", 403, "Lifecycle API is not enabled."),
        ("PUT", "/-/quit", 403, "Lifecycle API is not enabled."),
        ("GET", "/nope", 404, "404 page not found\n"),
        ("GET", "/api/v1/", 404, "404 page not found\n"),
        ("GET", "/api/v1/nope", 404, "404 page not found\n"),
        ("POST", "/api/v1/nope", 404, "404 page not found\n"),
        ("GET", "/api/v2/query", 404, "404 page not found\n"),
        ("GET", "/api/v1/label/a%2Fb/values", 404, "404 page not found\n"),
        ("GET", "/api/v1/label/job/valuesx", 404, "404 page not found\n"),
        ("OPTIONS", "/api/v1/query", 204, ""),
        ("OPTIONS", "/api/v1/nope", 204, ""),
        ("PUT", "/api/v1/query", 405, "Method Not Allowed\n"),
        ("HEAD", "/api/v1/query?query=1", 405, ""),
        ("GET", "/api/v1/write", 405, "Method Not Allowed\n"),
        ("POST", "/api/v1/label/job/values", 405, "Method Not Allowed\n"),
        ("POST", "/api/v1/metadata", 405, "Method Not Allowed\n"),
        ("POST", "/api/v1/status/config", 405, "Method Not Allowed\n"),
        ("POST", "/federate", 405, "Method Not Allowed\n"),
        ("GET", "/metrics", 200, "# TYPE up gauge\nup 1\n"),
    ],
)
def test_paths_and_methods(api, method, path, status, text):
    reply = api.ask(method, path)
    assert (reply.status, reply.text) == (status, text)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/api/v1", "/api/v1/"),
        ("/api/v1/query/", "/api/v1/query"),
        ("/api/v1//query?query=1", "/api/v1/query?query=1"),
        ("/api/v1/label//values", "/api/v1/label/values"),
    ],
)
def test_untidy_paths_are_redirected(api, path, location):
    reply = api.ask("GET", path)
    assert (reply.status, reply.headers["Location"]) == (301, location)


def test_wrong_methods_name_the_right_ones(api):
    reply = api.ask("PUT", "/api/v1/query")
    assert reply.headers["Allow"] == "GET, OPTIONS, POST"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_deleting_series_is_for_the_admin_api(api):
    reply = api.ask("DELETE", "/api/v1/series?match[]=a")
    assert (reply.status, reply.json["error"]) == (500, "not implemented")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/query?query=1"), ("OPTIONS", "/api/v1/query")]
)
def test_cors_headers_are_there_for_other_origins(api, method, path):
    reply = api.ask(method, path, headers={"Origin": "http://example.com"})
    assert reply.headers["Access-Control-Allow-Origin"] == "http://example.com"
    assert reply.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert reply.headers["Access-Control-Allow-Headers"] == (
        "Accept, Authorization, Content-Type, Origin"
    )
    assert reply.headers["Access-Control-Expose-Headers"] == "Date"
    assert reply.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("pattern", "origin"), [("https?://good", "http://evil"), (".*", None), ("a", "")]
)
def test_cors_headers_are_not_there_otherwise(api, pattern, origin):
    api.options = ApiOptions(cors_origin=pattern)
    headers = {} if origin is None else {"Origin": origin}
    reply = api.ask("GET", "/api/v1/query?query=1", headers=headers)
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert reply.headers["Vary"] == "Origin"


def test_until_storage_is_open_only_health_answers(api):
    api.view.is_ready, api.view.is_stopping = False, True
    paths = ["/api/v1/query?query=1", "/-/ready", "/api/v1/status/config", "/federate"]
    for reply in api.ask_all([("GET", path, {}) for path in paths]):
        assert (reply.status, reply.text) == (503, "Service Unavailable")
        assert reply.headers["X-Prometheus-Stopping"] == "true"
        assert reply.headers["Retry-After"] == "5"
    for path in ("/-/healthy", "/api/v1/status/walreplay", "/metrics"):
        assert api.ask("GET", path).status == 200


def test_while_the_log_is_replayed_what_is_there_is_read_with_a_warning(api):
    api.view.is_ready, api.view.notes = False, ("some is missing",)
    paths = [
        f"/api/v1/{path}"
        for path in ("series?match[]=up", "labels", "label/job/values", "query_exemplars?query=up")
    ]
    for reply in api.ask_all([("GET", path, {}) for path in paths]):
        assert (reply.status, reply.json["warnings"]) == (200, ["some is missing"])
    assert api.ask("GET", "/api/v1/query?query=1").status == 200
    closed = ["/-/ready", "/federate", "/api/v1/read", "/api/v1/write", "/api/v1/status/tsdb"]
    for path in closed:
        reply = api.ask("POST" if path.endswith(("read", "write")) else "GET", path)
        assert (path, reply.status, reply.headers["Retry-After"]) == (path, 503, "5")


def test_commands_reach_the_app(api):
    api.options = ApiOptions(enable_lifecycle=True)
    reload, stop = api.ask_all([("POST", "/-/reload", {}), ("PUT", "/-/quit", {})])
    assert (reload.status, reload.text) == (200, "")
    assert (stop.status, stop.text) == (200, "Requesting termination... Goodbye!")
    assert (api.view.reloads, api.view.quits) == (["done"], 1)


def test_a_failed_reload_says_why(api):
    api.options = ApiOptions(enable_lifecycle=True)
    api.view.reload_error = "line 3: unknown field"
    reply = api.ask("POST", "/-/reload")
    assert (reply.status, reply.text) == (
        500,
        "failed to reload config: line 3: unknown field\n",
    )


def test_outside_the_api_options_names_the_methods(api):
    reply = api.ask("OPTIONS", "/-/ready")
    assert (reply.status, reply.text) == (200, "")
    assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert api.ask("OPTIONS", "/nope").status == 404


def test_only_what_is_there_has_headers_for_other_origins(api):
    for path, method in (("/api/v1/nope", "GET"), ("/api/v1/query", "PUT")):
        reply = api.ask(method, path, headers={"Origin": "http://x"})
        assert "Vary" not in reply.headers
        assert "Access-Control-Allow-Origin" not in reply.headers


def test_version_is_buildinfo_without_envelope(api):
    reply = api.ask("GET", "/version")
    assert reply.json["version"] == "3.5.0"


def test_a_prefix_moves_everything(api):
    api.options = ApiOptions(route_prefix="/prom/")
    moved, gone, api_root, page, *to_page = api.ask_all(
        [
            ("GET", "/prom/api/v1/query?query=1", {}),
            ("GET", "/api/v1/query?query=1", {}),
            ("GET", "/prom/api/v1", {}),
            ("GET", "/prom/", {}),
            ("GET", "/", {}),
            ("GET", "/prom", {}),
        ]
    )
    assert (moved.status, gone.status) == (200, 404)
    assert api_root.headers["Location"] == "/prom/api/v1/"
    assert 'href="metrics"' in page.text
    assert [(reply.status, reply.headers["Location"]) for reply in to_page] == [(302, "/prom/")] * 2


@pytest.mark.parametrize("prefix", ["", "/prom"])
def test_every_request_is_counted_by_its_route(api, prefix):
    api.options = ApiOptions(route_prefix=prefix)
    api.ask_all(
        [
            ("GET", f"{prefix}/api/v1/query?query=1", {}),
            ("GET", f"{prefix}/api/v1/query", {}),
            ("GET", f"{prefix}/api/v1/label/a/values", {}),
            ("GET", "/nope", {}),
        ]
    )
    stats = api.app[PARTS].requests.stats()
    assert set(stats.by_code) == {
        ("/api/v1/query", 200, 1),
        ("/api/v1/query", 400, 1),
        ("/api/v1/label/:name/values", 200, 1),
        ("/", 404, 1),
    }
    query = next(handler for handler in stats.handlers if handler.handler == "/api/v1/query")
    assert sum(query.duration_counts) == sum(query.size_counts) == 2
    assert query.size_total_bytes > 100
    assert query.duration_total_s > 0


def test_no_path_is_routed_twice():
    routes = [
        (method, prefix + path)
        for prefix, table in ((API, API_ROUTES), ("", OTHER_ROUTES))
        for methods, path, _ in table
        for method in methods
    ]
    assert len(routes) == len(set(routes))


def test_a_client_that_leaves_in_its_body_is_no_error_of_ours(api, caplog):
    paths = ("/api/v1/query", "/api/v1/write", "/api/v1/read")

    async def scenario(_session, address):
        host, port = address.removeprefix("http://").split(":")
        for path in paths:
            _, writer = await asyncio.open_connection(host, int(port))
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            form = "Content-Type: application/x-www-form-urlencoded\r\n\r\nabc"
            writer.write((head + form).encode())
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
        requests = api.app[PARTS].requests
        deadline = time.monotonic() + 30
        while len(requests.stats().by_code) < len(paths):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert {code for _, code, _ in requests.stats().by_code} <= {GONE, 400, 415}

    with caplog.at_level("WARNING"):
        api.run(scenario)
    assert caplog.records == []
