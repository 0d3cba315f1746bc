"""An event loop in a thread: what is handed to it, and how it ends."""

import asyncio
import threading

import pytest

from scraper.loop_thread import LoopThread


@pytest.fixture
def loop():
    made = LoopThread("apart")
    yield made
    if made._thread.is_alive():
        made.end()


async def where():
    return threading.current_thread().name


async def refuse():
    raise ValueError("no")


def test_work_runs_in_the_thread_and_its_result_comes_back_to_threads_and_loops(loop):
    assert loop.begin(where()).result(30) == "apart"
    assert asyncio.run(loop.call(where())) == "apart"


def test_an_error_comes_back_too(loop):
    with pytest.raises(ValueError, match="no"):
        asyncio.run(loop.call(refuse()))


def test_the_end_cancels_what_still_runs_and_ends_the_thread(loop):
    begun, cancelled = threading.Event(), threading.Event()

    async def wait():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    loop.begin(wait())
    assert begun.wait(30)
    loop.end()
    assert cancelled.is_set()
    assert not loop._thread.is_alive()
