"""The HTTP surface beside a real Prometheus 3.5: statuses, headers, shapes, errors word by word.

What values come back is `test_promdiff.py`'s business; here is what a client meets before it reads
one. A difference is known, by what was asked and what came back, or it fails.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import re
import subprocess
import threading
from urllib.parse import quote

import pytest

from tests.end_to_end.processes import free_port, prometheus_3, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.peer]

EXPOSED = b"""# HELP req_total Requests.
# TYPE req_total counter
req_total{code="200"} 10
req_total{code="500"} 3
# HELP temp Temperature <b> & "x".
# TYPE temp gauge
temp 21.5
"""
CONFIG = """
global: {{scrape_interval: 500ms, external_labels: {{cluster: c}}}}
scrape_configs:
- job_name: site
  fallback_scrape_protocol: PrometheusText0.0.4
  params: {{a: [b]}}
  static_configs: [{{targets: ["127.0.0.1:{port}", "127.0.0.1:1"], labels: {{env: prod}}}}]
  relabel_configs: [{{source_labels: [__address__], regex: ".*:1", action: drop}}]
"""
FLAGS = ("--web.enable-admin-api", "--web.enable-remote-write-receiver")
HEADERS = (
    "content-type", "allow", "vary", "location", "x-content-type-options",
    "access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers",
    "access-control-expose-headers",
)  # fmt: skip
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

PATHS = (
    "/graph?g0.expr=up", "/targets", "/rules", "/alerts", "/service-discovery", "/status", "/flags",
    "/config", "/metrics", "/version", "/federate", "/federate?match[]=(", "/-/healthy", "/-/ready",
    "/-/reload", "/x", "/api", "/api/v1/x", "/api/v2/x", "/api/v1/rules/test/test",
    "/api/v1/label/a%2fb/values", "/api/v1/label/%ff/values", "//api/v1/query",
)  # fmt: skip
ENDPOINTS = (
    "query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels",
    "label/job/values", "targets", "targets/metadata", "scrape_pools", "metadata", "rules",
    "alerts", "alertmanagers", "notifications", "status/config", "status/runtimeinfo",
    "status/tsdb", "status/walreplay", "write", "read",
)  # fmt: skip
TIMES = (
    "", "abc", "-1", "1.5", "1e9", "1e300", "NaN", "2024-01-01T00:00:00.123+02:00", "2024-13-01",
    "292277025-08-18T07:12:54.999999999Z", " 1", "<>&\"'", "\x00",
)  # fmt: skip
DURATIONS = ("", "abc", "-1", "1.5", "1m30s", "1e3", "Inf", "9999999y", "5 m", "0.5ms", "1w1d")
NUMBERS = ("", "abc", "-1", "1", "1.5", "99999999999999999999", "+2")
SELECTORS = ("", "(", "{}", 'up{a=~"("}', "up{job=", "up[5m]", "sum(up)", "\u00e9", "{'a b'}", "1")
SINGLE = (
    "query?query=temp", "query?query=temp[5m]", "query?query=1&time=1", "query?query=1e300&time=1",
    "query?query=req_total&limit=1", "query?query=req_total&stats=all", "query?query=%zz",
    "query_range?query=temp&start=1&end=0&step=1", "query_range?query=1&start=0&end=11001&step=1",
    "query_range?query=1&start=0&end=1&step=0", "query_range?query=up[5m]&start=0&end=1&step=1",
    "series?match[]=temp&match[]=(", "series?match[]=temp", "series?match[]=temp&a;b",
    "targets?state=dropped", "targets?state=x", "targets?scrapePool=x",
    "targets/metadata?metric=temp", "targets/metadata?limit=1", "metadata?metric=temp",
    "rules?type=x", "rules?type=ALERT", "rules?exclude_alerts=x", "rules?group_next_token=x",
    "rules?group_limit=1&group_next_token=x", "label/U__a_2e_b/values", "label/U__/values",
)  # fmt: skip


def cases():
    for path in PATHS:
        for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
            yield method, path, None, {}
    for name in ENDPOINTS:
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE"):
            yield method, f"/api/v1/{name}", None, {"Origin": "http://x"}
    for text in TIMES:
        for rest in ("query?query=1&time=", "series?match[]=up&start=", "labels?end=",
                     "query_exemplars?query=up&start="):  # fmt: skip
            yield "GET", f"/api/v1/{rest}{quote(text)}", None, {}
    for text in DURATIONS:
        for rest in ("query_range?query=1&start=0&end=9&step=", "query?query=1&lookback_delta="):
            yield "GET", f"/api/v1/{rest}{quote(text)}", None, {}
    for text in NUMBERS:
        for rest in ("query?query=1&limit=", "labels?limit=", "metadata?limit_per_metric=",
                     "status/tsdb?limit=", "rules?group_limit="):  # fmt: skip
            yield "GET", f"/api/v1/{rest}{quote(text)}", None, {}
    for text in SELECTORS:
        for rest in ("query?time=1&query=", "format_query?query=", "series?match[]=",
                     "labels?match[]=", "targets/metadata?match_target="):  # fmt: skip
            yield "GET", f"/api/v1/{rest}{quote(text)}", None, {}
    for rest in SINGLE:
        yield "GET", f"/api/v1/{rest}", None, {}
    for body in (b"query=1&time=1", b"", b"query=%zz", b"\x00\xff"):
        for headers in (FORM, {}, {"Content-Type": "application/json"}):
            yield "POST", "/api/v1/query?query=2", body, headers
            yield "POST", "/api/v1/series?match[]=temp", body, headers
    for rest in ("", "?match[]=", "?match[]=(", "?match[]=nope&start=x"):
        yield "POST", f"/api/v1/admin/tsdb/delete_series{rest}", None, {}
    yield "POST", "/api/v1/admin/tsdb/snapshot?skip_head=x", None, {}


KNOWN = {
    "pages answer at their own address, with a policy": r"^GET /graph",
    "so do these; Debian's Prometheus has none": (
        r"^\w+ /(targets|rules|alerts|service-discovery|status|flags|config) "
    ),
    "HEAD of a probe tells the type": r"^HEAD /-/.*\| content-type: ",
    "a refusal is not to be guessed at by browsers": r"^\w+ /-/.*\| x-content-type-options",
    "two members more": r"^GET /version .*\| shape",
    "redirects keep the method": r"^\w+ //api/",
    "and OPTIONS are answered anywhere below the API": r"^OPTIONS /api/v1/.*\| ",
    "a slash within a name is no path": r"/label/a%2fb/values .*\| (vary|status|allow|body)",
    "pushes let other origins read their replies": (
        r"^POST /api/v1/(write|read) .*\| (vary|access-control-.*): None / "
    ),
}
"""What we do otherwise, and why that is meant."""


class Exporter(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(EXPOSED)))
        self.end_headers()
        self.wfile.write(EXPOSED)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def exporter():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()
            thread.join()


@contextlib.contextmanager
def prometheus(program, folder, config):
    port = free_port()
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'theirs'}",
             f"--web.listen-address=127.0.0.1:{port}", *FLAGS],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


def ask(port, method, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        found = {name: reply.getheader(name) for name in HEADERS}
        return reply.status, found, reply.read()


def parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        return None


def shape(value):
    """Return the members of all objects, however deep, and types in place of values."""
    if isinstance(value, dict):
        return sorted((name, shape(each)) for name, each in value.items())
    if isinstance(value, list):
        return sorted({json.dumps(shape(each)) for each in value})
    return "number" if type(value) in (int, float) else type(value).__name__


def differences(theirs, ours):
    if theirs[0] != ours[0]:
        yield f"status: {theirs[0]} / {ours[0]}"
    for name in HEADERS:
        if theirs[1][name] != ours[1][name]:
            yield f"{name}: {theirs[1][name]} / {ours[1][name]}"
    said, we_said = parsed(theirs[2]), parsed(ours[2])
    if not isinstance(said, dict) or not isinstance(we_said, dict):
        if theirs[2] != ours[2] and len(theirs[2]) < 1000:
            yield f"body: {theirs[2]!r} / {ours[2]!r}"
    elif "error" in said or "error" in we_said:
        if said != we_said:
            yield f"error: {said} / {we_said}"
    elif shape(said) != shape(we_said):
        yield f"shape: {shape(said)} / {shape(we_said)}"


def test_every_request_is_answered_as_prometheus_does(server, tmp_path):
    program = prometheus_3()
    running = server(*FLAGS)
    with exporter() as exposed:
        running.config_file.write_text(CONFIG.format(port=exposed))
        with prometheus(program, tmp_path, running.config_file) as port:
            running.start()
            up = "/api/v1/query?query=temp%2Bup"
            for each in (port, running.port):
                until(lambda: scraped(each, up), "the first scrape")  # noqa: B023 - called at once
            count, unknown = 0, []
            for method, path, body, headers in cases():
                count += 1
                theirs = ask(port, method, path, body, headers)
                ours = ask(running.port, method, path, body, headers)
                for found in differences(theirs, ours):
                    line = f"{method} {path} {body or ''} | {found}"
                    if not any(re.search(pattern, line) for pattern in KNOWN.values()):
                        unknown.append(line)
    assert count > 400
    assert unknown == []


def scraped(port, path):
    try:
        return b'"metric"' in ask(port, "GET", path, None, {})[2]
    except OSError:
        return False
