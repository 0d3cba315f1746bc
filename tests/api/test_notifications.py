from __future__ import annotations

import asyncio
import dataclasses
import json
import time

from aiohttp import ClientTimeout

from api.notifications import LIVE
from api.views import Notification

LIVE_PATH = "/api/v1/notifications/live"
PATIENCE_S = 30.0
FAILED = "Configuration reload has failed."


async def event(response):
    """Return the next event, past comments."""
    while True:
        line = await asyncio.wait_for(response.content.readline(), PATIENCE_S)
        if not line:
            return None
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))


def listener(session, address):
    return session.get(address + LIVE_PATH, timeout=ClientTimeout(total=None))


def test_who_comes_is_told_what_holds_and_then_what_changes(api):
    holding = [Notification(FAILED, 1_795_470_000.5)]
    api.view.notifications = lambda: list(holding)

    async def scenario(session, address):
        async with listener(session, address) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream"
            first = await event(response)
            assert first == {"text": FAILED, "date": "2026-11-23T21:40:00.5Z", "active": True}
            holding.clear()
            assert await event(response) == first | {"active": False}
            holding.append(Notification("Another thing.", 1_795_470_000.0))
            assert (await event(response))["text"] == "Another thing."

    api.run(scenario)


def test_nobody_is_taken_beyond_the_limit_until_one_leaves(api):
    api.options = dataclasses.replace(api.options, notification_subscribers_max=2)

    async def scenario(session, address):
        first, second = listener(session, address), listener(session, address)
        async with first as one, second as two:
            await event(one)
            await event(two)
            async with listener(session, address) as third:
                assert third.status == 204
        deadline = time.monotonic() + PATIENCE_S
        while True:
            async with listener(session, address) as fourth:
                if fourth.status == 200:
                    return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    api.run(scenario)


def test_a_stop_is_the_last_news_and_the_end_of_the_stream(api):
    async def scenario(session, address):
        async with listener(session, address) as response:
            await event(response)
            now = Notification("Shutting down.", 1_795_470_000.0)
            api.view.notifications = lambda: [now]
            await api.app.shutdown()
            told = [await event(response), await event(response)]
            assert {each["text"]: each["active"] for each in told} == {
                FAILED: False,
                "Shutting down.": True,
            }
            assert await event(response) is None
            assert api.app[LIVE].stats().sent == 3

    api.run(scenario)
