"""A server survives what nobody should send: it answers, it says no 500, and it does not grow."""

import resource
from pathlib import Path

import pytest

from tests.end_to_end.processes import Server, until
from tests.fuzz.attack import attack
from tests.fuzz.request_maker import make

pytestmark = pytest.mark.timeout(600)

SEED = 1
WARM, COUNTED = 1000, 2000
GROWTH_BYTES_MAX = 150 << 20
"""The allocator keeps some of the largest bodies, and series are made of what is pushed."""


@pytest.fixture
def running(tmp_path):
    server = Server(
        tmp_path,
        "--web.enable-remote-write-receiver",
        "--web.enable-otlp-receiver",
        "--web.enable-import-receivers",
        "--enable-feature=search-api",
    )
    server.configure({})
    server.start()
    yield server
    server.end()


def test_a_number_always_makes_the_same_request():
    assert [make(SEED, n) for n in range(200)] == [make(SEED, n) for n in range(200)]


@pytest.mark.slow
def test_thousands_of_made_up_requests(running):
    address = "127.0.0.1", running.port
    process = Path(f"/proc/{running.process.pid}")

    def resident_bytes():
        pages = int((process / "statm").read_text().split()[1])
        return pages * resource.getpagesize()

    found = attack(address, SEED, range(WARM))
    before = resident_bytes()
    found_then = attack(address, SEED, range(WARM, WARM + COUNTED))
    assert found.wrong + found_then.wrong == []
    assert found_then.statuses[200] > COUNTED / 10
    assert resident_bytes() - before < GROWTH_BYTES_MAX
    until(lambda: len(list((process / "fd").iterdir())) < 100, "connections to be closed")
    assert "Traceback" not in running.log
    assert running.query("vector(1)") == {"": 1.0}
    assert running.stop() == 0
