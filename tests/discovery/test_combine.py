import asyncio
from contextlib import aclosing

from discovery.combine import combine
from discovery.groups import TargetGroup
from discovery.static import StaticDiscovery


def group(source, *targets):
    return TargetGroup(source, tuple({"__address__": t} for t in targets))


class Scripted:
    """A discoverer that says what the test puts into its queue."""

    def __init__(self):
        self.updates = asyncio.Queue()
        self.ended = False

    async def changes(self):
        try:
            while True:
                update = await self.updates.get()
                if isinstance(update, Exception):
                    raise update
                yield update
        finally:
            self.ended = True


async def latest(updates):
    return await asyncio.wait_for(anext(updates), 5)


def test_all_groups_of_all_discoverers_come_at_once():
    async def body():
        parts = [StaticDiscovery((group("0", "a"),)), StaticDiscovery((group("0", "b"),))]
        async with aclosing(combine(parts)) as updates:
            assert await latest(updates) == [group("0", "a"), group("0", "b")]

    asyncio.run(body())


def test_no_discoverers_are_no_groups():
    async def body():
        assert [update async for update in combine([])] == [[]]

    asyncio.run(body())


def test_a_group_replaces_that_of_its_source_and_an_empty_one_removes_it():
    async def body():
        one = Scripted()
        async with aclosing(combine([one], settle_s=0.01)) as updates:
            one.updates.put_nowait([group("x", "a"), group("y", "b")])
            assert await latest(updates) == [group("x", "a"), group("y", "b")]
            one.updates.put_nowait([group("x", "c")])
            assert await latest(updates) == [group("x", "c"), group("y", "b")]
            one.updates.put_nowait([group("y")])
            assert await latest(updates) == [group("x", "c")]
        assert one.ended

    asyncio.run(body())


def test_a_storm_is_gathered():
    async def body():
        one = Scripted()
        async with aclosing(combine([one], settle_s=0.05, interval_s=0.4)) as updates:
            one.updates.put_nowait([group("x", "0")])
            assert await latest(updates) == [group("x", "0")]
            received = []

            async def read():
                async for update in updates:
                    received.append(update)  # noqa: PERF401 - read until cancelled

            reader = asyncio.create_task(read())
            for n in range(100):
                one.updates.put_nowait([group("x", str(n))])
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.6)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            assert 1 <= len(received) <= 6
            assert received[-1] == [group("x", "99")]

    asyncio.run(body())


def test_one_that_breaks_keeps_what_it_said_and_leaves_the_others(caplog):
    async def body():
        one, two = Scripted(), Scripted()
        async with aclosing(combine([one, two], settle_s=0.01)) as updates:
            one.updates.put_nowait([group("x", "a")])
            two.updates.put_nowait([group("x", "b")])
            assert await latest(updates) == [group("x", "a"), group("x", "b")]
            one.updates.put_nowait(OSError("gone"))
            two.updates.put_nowait([group("x", "c")])
            assert await latest(updates) == [group("x", "a"), group("x", "c")]

    asyncio.run(body())
    assert "gone" in caplog.text


def test_one_that_is_silent_does_not_hold_up_the_others():
    async def body():
        parts = [Scripted(), StaticDiscovery((group("0", "a"),))]
        async with aclosing(combine(parts, settle_s=0.01)) as updates:
            assert await latest(updates) == [group("0", "a")]

    asyncio.run(body())
