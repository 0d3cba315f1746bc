"""Work handed from an event loop to threads, and what comes back."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from api.threads import Threads
from tests.api.conftest import until


def run(scenario, count_max=2):
    async def main():
        threads = Threads(count_max, "test")
        try:
            return await scenario(threads)
        finally:
            await threads.close()

    return asyncio.run(main())


def test_outcomes_come_back():
    async def scenario(threads):
        results = await asyncio.gather(*(threads.submit(lambda n=n: n * n) for n in range(100)))
        assert results == [n * n for n in range(100)]
        with pytest.raises(ZeroDivisionError):
            await threads.submit(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.submit(lambda: next(iter(())))
        name = await threads.submit(lambda: threading.current_thread().name)
        assert name.startswith("test_")

    run(scenario)


@pytest.mark.parametrize("count_max", [1, 3])
def test_no_more_threads_than_allowed_and_no_more_than_needed(count_max):
    seen = set()

    def work():
        seen.add(threading.get_ident())
        time.sleep(0.01)

    async def scenario(threads):
        for _ in range(5):
            await threads.submit(work)
        assert len(seen) == 1
        await asyncio.gather(*(threads.submit(work) for _ in range(12)))
        assert len(seen) == count_max

    run(scenario, count_max)


def test_a_cancelled_wait_leaves_the_work_alone_and_its_end_is_told():
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go.wait(10)
        done.set()

    async def scenario(threads):
        ended = []
        future = threads.submit(work, lambda: ended.append(done.is_set()))
        await until(begun.is_set)
        future.cancel()
        await asyncio.sleep(0.01)
        assert ended == []
        go.set()
        assert await threads.submit(lambda: "next") == "next"
        await until(lambda: ended)
        assert ended == [True]

    run(scenario, 1)


def test_closing_drops_what_has_not_begun():
    begun, go = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go.wait(10)
        return "finished"

    async def main():
        threads = Threads(1, "test")
        ended = []
        first = threads.submit(work, lambda: ended.append("first"))
        second = threads.submit(work, lambda: ended.append("second"))
        await until(begun.is_set)
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0.01)
        go.set()
        await closing
        assert await first == "finished"
        with pytest.raises(RuntimeError, match="stopping"):
            await second
        assert sorted(ended) == ["first", "second"]
        with pytest.raises(RuntimeError, match="have ended"):
            threads.submit(work)

    asyncio.run(main())
    assert not any(thread.name.startswith("test_") for thread in threading.enumerate())


def test_results_are_not_kept_alive_by_an_idle_thread():
    import weakref

    class Large:
        pass

    async def scenario(threads):
        result = await threads.submit(Large)
        seen = weakref.ref(result)
        del result
        await threads.submit(lambda: None)
        assert seen() is None

    run(scenario, 1)


def busy_until(done, pause):
    """Do work that pauses whenever it can, until something is so."""
    deadline = time.monotonic() + 30
    while not done() and time.monotonic() < deadline:
        time.sleep(0.005)
        pause()
    return done()


@pytest.mark.parametrize("running_max", [1, 2])
@pytest.mark.parametrize("long_ones", [1, 2, 5])
def test_long_work_that_pauses_lets_short_work_through(running_max, long_ones):
    short_done = threading.Event()

    async def scenario(threads):
        long = [
            threads.submit(lambda: busy_until(short_done.is_set, threads.pause))
            for _ in range(long_ones)
        ]
        await asyncio.sleep(0.01)
        short = threads.submit(short_done.set)
        assert await asyncio.gather(short, *long) == [None, *[True] * long_ones]

    run(scenario, running_max)


@pytest.mark.parametrize("running_max", [1, 2, 3])
def test_however_much_pauses_no_more_runs_at_once(running_max):
    running, highest, lock = set(), [0], threading.Lock()

    def step():
        with lock:
            running.add(threading.get_ident())
            highest[0] = max(highest[0], len(running))

    def work(threads, laps):
        for _ in range(laps):
            step()
            time.sleep(0.02)
            with lock:
                running.discard(threading.get_ident())
            threads.pause()
        return laps

    async def scenario(threads):
        laps = [1, 9, 2, 8, 3, 7, 4, 6, 5]
        futures = [threads.submit(lambda n=n: work(threads, n)) for n in laps]
        assert await asyncio.gather(*futures) == laps
        assert highest[0] == running_max

    run(scenario, running_max)


def test_work_whose_turn_was_short_does_not_pause():
    order = []

    def long(threads):
        threads.pause()
        order.append("long")

    async def scenario(threads):
        first = threads.submit(lambda: long(threads))
        second = threads.submit(lambda: order.append("short"))
        await asyncio.gather(first, second)
        assert order == ["long", "short"]
        threads.pause()  # of no meaning here: this is not one of its threads

    run(scenario, 1)


def test_work_that_does_not_pause_loses_its_place_to_others_and_gives_it_back():
    go = threading.Event()
    names = []

    async def scenario(threads):
        stuck = threads.submit(lambda: go.wait(30))
        waiting = threads.submit(lambda: names.append(threading.current_thread().name))
        await asyncio.sleep(0.02)
        threads.relieve(30.0)
        await asyncio.sleep(0.02)
        assert not waiting.done()
        async with asyncio.timeout(30):
            while not waiting.done():
                threads.relieve(0.01)
                await asyncio.sleep(0.005)
        go.set()
        assert await stuck
        at_once = threading.Barrier(2)

        def meet():
            try:
                at_once.wait(0.2)
            except threading.BrokenBarrierError:
                return False
            return True

        # One of the two threads that there are now is spare.
        assert await asyncio.gather(threads.submit(meet), threads.submit(meet)) == [False, False]

    run(scenario, 1)
    assert names == ["test_1"]


def test_closing_waits_for_what_has_paused():
    stop = threading.Event()
    begun = []

    def long(threads):
        begun.append(threading.get_ident())
        return busy_until(stop.is_set, threads.pause)

    async def main():
        threads = Threads(1, "test")
        futures = [threads.submit(lambda: long(threads)) for _ in range(4)]
        await until(lambda: len(begun) == 4)
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0.02)
        assert not closing.done()
        stop.set()
        await closing
        assert await asyncio.gather(*futures) == [True] * 4

    asyncio.run(main())
    assert not any(thread.name.startswith("test_") for thread in threading.enumerate())
