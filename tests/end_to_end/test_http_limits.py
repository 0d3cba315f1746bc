"""What arrives over a real socket: limits of the HTTP parser that a test client never meets."""

import json
import urllib.parse

import pytest

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
