"""Start timestamps from a target and from pushes to an answer, through a kill."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.end_to_end.processes import until

pytestmark = pytest.mark.timeout(240)

FEATURES = "--enable-feature=promql-experimental-functions,use-start-timestamps,"


@contextlib.contextmanager
def openmetrics_target(text):
    """Serve what `text()` returns as OpenMetrics, at /metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def exposed(created_s):
    return f"# TYPE c counter\nc_total 7\nc_created {created_s}\n# EOF\n"


def test_stored_start_timestamps_survive_a_kill(server):
    created_s = int(time.time()) - 3
    running = server(FEATURES + "st-storage")
    with openmetrics_target(lambda: exposed(created_s)) as target:
        running.configure({"t": target})
        running.start()
        until(lambda: running.query("count_over_time(c_total[1m]) >= 2"), "two scrapes")
    running.kill()
    running.start()
    assert set(running.query("start_timestamp(c_total)").values()) == {float(created_s)}
    # All seven were counted inside the window; without start timestamps that is not seen.
    assert min(running.query("increase(c_total[10m])").values()) >= 7
    assert "c_created" not in running.api("label/__name__/values")
    assert not any("start" in name for name in running.api("label/__name__/values"))


def test_zero_samples_stand_where_counting_began(server):
    created_s = int(time.time()) - 3
    running = server("--enable-feature=created-timestamp-zero-ingestion")
    with openmetrics_target(lambda: exposed(created_s)) as target:
        running.configure({"t": target})
        running.start()
        until(lambda: running.query("count_over_time(c_total[1m]) >= 3"), "two scrapes")
    assert set(running.query("min_over_time(c_total[10m])").values()) == {0.0}
    values = running.api("query", query="c_total[10m]")["result"][0]["values"]
    assert [value for _, value in values].count("0") == 1
    assert values[0] == [created_s, "0"]
