"""Queries that ask for far too much, beside viewers who ask for little: those must not notice."""

from __future__ import annotations

import json
import re
import socket
import statistics
import threading
import time
import urllib.parse
from pathlib import Path

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


def heavy(start_s, query=f"predict_linear({NAMED}[250s:50ms], 5)"):
    """Return the path of a query that takes a minute: lines through two million windows of 5000."""
    asked = {
        "query": query,
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
    # Asked of the server itself: a query that asks for it may be counted as one.
    body = running.get("/metrics")[1]
    text = body if isinstance(body, str) else body.decode()
    return float(re.search(r"^prometheus_engine_queries (\S+)$", text, re.MULTILINE).group(1))


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
    until(lambda: queries_running(running) == 0, "the queries of those who left to end")
    running.stop()
    assert "Traceback" not in running.log


def sent(running, path):
    """Ask and read nothing. A small buffer, so that the kernel does not take much of the answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", running.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def canceled(running):
    return sum(running.query("gnomon_queries_canceled_total").values())


def resident_bytes(running):
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def test_a_query_is_stopped_however_late_its_client_leaves(server):
    running = server("--query.timeout=1h", "--query.max-samples=100000000")
    running.configure({"self": f"127.0.0.1:{running.port}"}, interval="250ms")
    running.start()
    until(lambda: running.query('up{job="self"} == 1'), "the first scrape")
    before = canceled(running)
    # One after the other, so that there is always more to do, however quick each of them is.
    terms = (f"predict_linear({NAMED}[250s:50ms], {n})" for n in range(1, 61))
    path = heavy(time.time(), " + ".join(terms))
    with sent(running, path):
        until(lambda: queries_running(running) >= 1, "the query to be running")
        time.sleep(8)
        assert queries_running(running) >= 1, "the query is too quick for this test"
    until(lambda: queries_running(running) == 0, "the query of who left to end")
    until(lambda: canceled(running) > before, "it to be counted")
    running.stop()
    assert "Traceback" not in running.log


def test_who_does_not_read_holds_an_answer_but_not_its_text(server):
    running = server("--query.max-samples=100000000", "--query.result-cache-size=0B")
    running.configure({"self": f"127.0.0.1:{running.port}"}, interval="250ms")
    running.start()
    until(lambda: running.query('up{job="self"} == 1'), "the first scrape")
    path = heavy(time.time(), query=NAMED)
    with sent(running, path) as one:
        assert one.recv(100).startswith(b"HTTP/1.1 200")  # what is needed once is loaded
    before = resident_bytes(running)
    unread = [sent(running, path) for _ in range(3)]
    for each in unread:
        assert each.recv(100).startswith(b"HTTP/1.1 200")
    time.sleep(3)
    # Some 600 series of 5000 points: 25 MB of numbers for each, and 80 MB of text.
    assert resident_bytes(running) - before < 3 * 50e6
    assert running.get("/api/v1/query?query=up")[0] == 200
    for each in unread:
        each.close()
    until(lambda: queries_running(running) == 0, "the answers to be given up")
    running.stop()
    assert "Traceback" not in running.log
