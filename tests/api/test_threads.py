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
