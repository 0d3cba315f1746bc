"""A stop: what runs is answered, and who is slow holds up nobody."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

import pytest

from gnomon.server import DRAIN_S
from tests.end_to_end.processes import PATIENCE_S, until

pytestmark = pytest.mark.timeout(240)

FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
SLOW = {
    "a head that does not end": b"GET /api/v1/labels HTTP/1.1\r\nHost: x\r\nX-",
    "a body that does not end": b"POST /api/v1/query HTTP/1.1\r\nHost: x\r\n" + FORM
    + b"Content-Length: 1000\r\n\r\nquery=",
    "a push that does not end": b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 100000\r\n\r\nabc",
    "events, for ever": b"GET /api/v1/notifications/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "a reply that nobody reads": b"GET /api/v1/query?query=vector(1)%5B3000000s:1s%5D HTTP/1.1\r\n"
    b"Host: x\r\n\r\n",
    "a connection without a word": b"",
}  # fmt: skip


def test_slow_clients_do_not_hold_up_a_stop(server):
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    running.start()
    with contextlib.ExitStack() as stack:
        for sent in SLOW.values():
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", running.port))
            client.sendall(sent)
        until(lambda: _accepted(running) > len(SLOW), "all of them to be accepted")
        time.sleep(0.5)  # and to have their requests begun
        begin = time.monotonic()
        assert running.stop() == 0
        # Two seconds, and what a busy machine needs; never as long as requests that run may take.
        assert time.monotonic() - begin < DRAIN_S
    assert "See you next time!" in running.log
    assert "Traceback" not in running.log


def test_queries_that_run_are_answered(server):
    running = server()
    running.configure({})
    running.start()
    found = []

    def ask():
        # Twenty million points: seconds of work.
        query = "quantile_over_time(0.5%2C+vector(1)%5B20000000s:1s%5D)"
        found.append(running.get(f"/api/v1/query?query={query}"))

    asking = threading.Thread(target=ask)
    asking.start()
    text = b"prometheus_engine_queries 1\n"
    until(lambda: found or text in running.get("/metrics")[1], "the query to run")
    assert running.stop() == 0
    asking.join(PATIENCE_S)
    status, body = found[0]
    assert (status, b'"success"' in body) == (200, True) or (status, b"canceled" in body) == (
        499,
        True,
    )


def _accepted(running):
    text = running.get("/metrics")[1].decode()
    return int(re.search(r"\nnet_conntrack_listener_conn_accepted_total\{.*\} (\d+)\n", text)[1])
