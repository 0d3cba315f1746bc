"""What every push receiver tells its senders when it cannot take anything now."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from api.gate import WRITE_BYTES_MAX, Gate, WritesBusyError
from tests.api.receivers.write_requests import NOW_MS, named, one, send
from tests.protobuf import ld as field
from tests.protobuf import varint
from tsdb.errors import ClosedError, WriteFailedError
from tsdb.interface import MetricMetadata


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(WriteFailedError("no space left"), "no space left\n", id="a full disk"),
        pytest.param(ClosedError("closed"), "storage is closed\n", id="a closed database"),
    ],
)
def test_senders_are_told_when_to_come_again(api, monkeypatch, error, text):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(api.storage, "append", fail)
    reply = send(api, one(named("m")))
    assert (reply.status, reply.text, reply.headers["Retry-After"]) == (503, text, "5")


def test_too_much_at_once_is_sent_away_and_one_body_is_always_taken():
    async def crowd():
        gate, go = Gate(1), threading.Event()
        try:
            gate.hold(WRITE_BYTES_MAX)
            gate.hold(WRITE_BYTES_MAX, held=WRITE_BYTES_MAX)  # of one body, by itself
            first = asyncio.create_task(gate.write(go.wait, 2 * WRITE_BYTES_MAX))
            await asyncio.sleep(0)
            with pytest.raises(WritesBusyError):
                gate.hold(1)
            go.set()
            await first
            gate.hold(1)
            assert await gate.write(lambda: "stored", 1) == "stored"
            gate.hold(WRITE_BYTES_MAX)
            gate.let_go(WRITE_BYTES_MAX)
            gate.hold(1)
            return gate.stats().writes_refused
        finally:
            go.set()
            await gate.close()

    assert asyncio.run(crowd()) == 1


def test_work_that_nobody_waits_for_keeps_its_room_until_it_is_over():
    async def gone():
        gate, go = Gate(1), threading.Event()
        try:
            gate.hold(WRITE_BYTES_MAX)
            waiting = asyncio.create_task(gate.write(go.wait, WRITE_BYTES_MAX))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            with pytest.raises(WritesBusyError):
                gate.hold(1)
            go.set()
            while True:
                with contextlib.suppress(WritesBusyError):
                    gate.hold(1)
                    return
                await asyncio.sleep(0.01)
        finally:
            go.set()
            await gate.close()

    asyncio.run(asyncio.wait_for(gone(), 30))


def test_what_was_refused_takes_no_room(api, monkeypatch):
    monkeypatch.setattr("api.receivers.push_requests.BODY_BYTES_MAX", 10)
    monkeypatch.setattr("api.gate.WRITE_BYTES_MAX", 100)
    for _ in range(3):
        assert send(api, one(named("m"), ((NOW_MS, 1.0),))).status == 413


def test_a_crowd_of_writes_is_told_to_come_again(api, monkeypatch):
    def busy(*_args):
        raise WritesBusyError

    monkeypatch.setattr(Gate, "hold", busy)
    reply = send(api, one(named("m")))
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert reply.text == "too many writes are waiting, try again later\n"


def described(name, kind, text, unit):
    return field(
        3,
        b"\x08" + varint(kind) + field(2, name) + field(4, text) + field(5, unit),
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            described(b"up", 2, b"Is it up?", b""),
            [MetricMetadata("up", "gauge", "", "Is it up?")],
            id="all of it",
        ),
        pytest.param(
            described(b"up", 1, b"", b"s") + described(b"up", 2, b"", b""),
            [MetricMetadata("up", "gauge")],
            id="the last counts",
        ),
        pytest.param(
            described(b"up", 99, b"\xff", b""),
            [MetricMetadata("up", "unknown", "", "�")],
            id="what is broken or unknown is told as such",
        ),
        pytest.param(described(b"", 1, b"x", b""), [], id="a family needs a name"),
    ],
)
def test_metadata_of_remote_write_1_is_stored(api, message, expected):
    assert send(api, message + one(named("m"), ((NOW_MS, 1.0),))).status == 204
    assert list(api.storage.families.values()) == expected
