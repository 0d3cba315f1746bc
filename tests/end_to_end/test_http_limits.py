"""What arrives over a real socket: limits of the HTTP parser that a test client never meets."""

import json
import socket
import time
import urllib.parse

import pytest

from tests.end_to_end.processes import PATIENCE_S

pytestmark = pytest.mark.timeout(240)


def test_a_query_of_100_kb_fits_into_a_url(server):
    running = server()
    running.configure({})
    running.start()
    query = "1" + "+1" * 50_000
    status, body = running.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    answer = json.loads(body)
    assert status in (200, 400), answer
    assert "parse error" in answer.get("error", "") or answer["data"]["result"][1] == "50001"
    short = running.query("vector(1)" + " " * 20_000)
    assert short == {"": 1.0}


def test_connections_beyond_the_limit_wait_and_slow_ones_are_cut_off(server):
    running = server("--web.max-connections=3", "--web.read-timeout=3s")
    running.configure({})
    running.start()
    address = ("127.0.0.1", running.port)
    begin = time.monotonic()
    slow = [socket.create_connection(address) for _ in range(3)]
    try:
        for each in slow:
            each.sendall(b"GET /api/v1/query?query=1 HTTP/1.1\r\nHost: x\r\nX-")
        # It is answered when the first slow one has been cut off, and not before.
        assert running.get("/-/healthy")[0] == 200
        assert time.monotonic() - begin > 2.5
        for each in slow:
            each.settimeout(PATIENCE_S)
            assert each.recv(100) == b""
    finally:
        for each in slow:
            each.close()
