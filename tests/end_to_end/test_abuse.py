"""Queries that ask for far too much, beside viewers who ask for little: those must not notice."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
import urllib.parse

import pytest

from tests.end_to_end.processes import PATIENCE_S, until

pytestmark = pytest.mark.timeout(300)

TIMEOUT_S = 3
SMALL = (
    "/api/v1/query?query=up",
    "/api/v1/labels",
    "/api/v1/query?query=count(scrape_samples_scraped)",
)


NAMED = 'label_join({job="self"}, "n", "", "__name__")'
"""Series that are told apart without their names."""


def heavy(start_s):
    """Return the path of a query that takes a minute: lines through two million windows of 5000."""
    asked = {
        "query": f"predict_linear({NAMED}[250s:50ms], 5)",
        "start": start_s,
        "end": start_s + 250,
        "step": 0.05,
        "timeout": "1h",
    }
    return f"/api/v1/query_range?{urllib.parse.urlencode(asked)}"


class Viewers:
    """Threads that ask small questions until they are told to stop."""

    def __init__(self, running, count=4):
        self._running, self._stop = running, threading.Event()
        self.laps, self.bad = [], []
        self._threads = [threading.Thread(target=self._view) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _view(self):
        while not self._stop.is_set():
            for path in SMALL:
                begin = time.monotonic()
                status, body = self._running.get(path)
                self.laps.append(time.monotonic() - begin)
                if status != 200:
                    self.bad.append((status, body))


def queries_running(running):
    found = running.query('prometheus_engine_queries{job="self"}')
    return max(found.values(), default=1.0)


def test_abusive_queries_are_stopped_and_viewers_do_not_notice(server):
    running = server(f"--query.timeout={TIMEOUT_S}s", "--query.max-samples=100000000")
    running.configure({"self": f"127.0.0.1:{running.port}"}, interval="250ms")
    running.start()
    until(lambda: running.query('up{job="self"} == 1'), "the first scrape")
    start_s = time.time()
    # What the slow machine did at the start is over before anything is timed.
    with Viewers(running) as warm:
        until(lambda: len(warm.laps) > 100, "viewers to be answered")
    with Viewers(running) as viewers:
        begin = time.monotonic()
        status, body = running.get(heavy(start_s))
        assert (status, json.loads(body)["errorType"]) == (503, "timeout"), body
        assert time.monotonic() - begin < TIMEOUT_S + PATIENCE_S / 2
        status, body = running.get("/api/v1/query?query=sum_over_time({job=%22self%22}[1000s:1ms])")
        assert (status, json.loads(body)["errorType"]) == (422, "execution")
        assert "too many samples" in json.loads(body)["error"]
        gone = []
        for _ in range(6):
            gone.append(socket.create_connection(("127.0.0.1", running.port)))
            gone[-1].sendall(f"GET {heavy(start_s)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(1.0)
        for each in gone:
            each.close()
        count = len(viewers.laps)
        until(lambda: len(viewers.laps) > count + 50, "viewers to be answered")
    assert viewers.bad == []
    assert statistics.median(viewers.laps) < 1
    assert max(viewers.laps) < PATIENCE_S / 4
    until(lambda: queries_running(running) <= 1, "the queries of those who left to end")
    running.stop()
    assert "Traceback" not in running.log
