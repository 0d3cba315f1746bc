"""Queries at the gate to the engine: who waits, for how long, and who is sent away."""

from __future__ import annotations

import asyncio
import threading

from api.parts import PARTS
from promql.errors import CanceledError
from tests.api.conftest import until
from tests.api.scripted_engine import QUERY, ScriptedEngine, scalar


def test_a_client_that_goes_away_cancels_its_query(api):
    seen = threading.Event()

    def wait(canceled, **_call):
        assert canceled.wait(10)
        seen.set()
        raise CanceledError

    api.engine.close()
    api.engine = ScriptedEngine(wait)

    async def scenario(_session, address):
        host, port = address.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /api/v1/query?query=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        gate = api.app[PARTS].gate
        await until(lambda: gate.stats().running == 1)
        writer.close()
        await until(lambda: seen.is_set() and not gate.stats().running)
        return gate.stats()

    stats = api.run(scenario)
    assert seen.is_set()
    assert (stats.running, stats.canceled, stats.evaluated) == (0, 1, 1)


def test_queries_wait_for_a_slot_and_the_wait_counts(api):
    release = threading.Event()

    def wait(**_call):
        assert release.wait(10)
        return scalar()

    api.engine.close()
    api.engine = ScriptedEngine(wait)
    api.options = type(api.options)(concurrency_max=1)

    async def scenario(session, address):
        async def get(path):
            async with session.get(address + path) as response:
                return response.status, await response.json()

        gate = api.app[PARTS].gate
        first = asyncio.create_task(get(f"{QUERY}?query=1"))
        await until(lambda: gate.stats().running)
        late = await get(f"{QUERY}?query=2&timeout=0.2")
        second = asyncio.create_task(get(f"{QUERY}?query=3&stats=1"))
        await until(lambda: gate.stats().waiting)
        await asyncio.sleep(0.2)  # what is to be seen as the time it waited
        waiting = gate.stats()
        release.set()
        return late, waiting, await first, await second

    late, waiting, first, second = api.run(scenario)
    assert late == (
        503,
        {"status": "error", "errorType": "timeout", "error": "query timed out in query queue"},
    )
    assert (waiting.running, waiting.waiting, waiting.timed_out_waiting) == (1, 1, 1)
    assert first[0] == second[0] == 200
    assert second[1]["data"]["stats"]["timings"]["execQueueTime"] > 0.1


def test_queries_that_are_stuck_hold_up_nobody_for_long(api):
    release = threading.Event()

    def wait(query, **_call):
        assert query == "1" or release.wait(30)
        return scalar()

    api.engine.close()
    api.engine = ScriptedEngine(wait)

    async def scenario(session, address):
        async def get(path):
            async with session.get(address + path) as response:
                return response.status

        gate = api.app[PARTS].gate
        stuck = [asyncio.create_task(get(f"{QUERY}?query=2")) for _ in range(6)]
        await until(lambda: gate.stats().running == len(stuck))
        meanwhile = [await get(f"{QUERY}?query=1"), await get("/api/v1/labels")]
        assert not any(each.done() for each in stuck)
        release.set()
        return meanwhile, await asyncio.gather(*stuck)

    assert api.run(scenario) == ([200, 200], [200] * 6)


def test_stopping_cancels_what_runs(api):
    def wait(canceled, **_call):
        assert canceled.wait(10)
        raise CanceledError

    api.engine.close()
    api.engine = ScriptedEngine(wait)

    async def scenario(session, address):
        gate = api.app[PARTS].gate
        task = asyncio.create_task(session.get(f"{address}{QUERY}?query=1"))
        await until(lambda: gate.stats().running)
        gate.cancel_all()
        response = await task
        return response.status, await response.json()

    status, body = api.run(scenario)
    assert (status, body["errorType"]) == (499, "canceled")
