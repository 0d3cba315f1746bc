"""Event loop -> threads: the one way by which handlers reach the engines.

From: handlers.   To: `promql.engine` and storage, in threads.

At most `concurrency_max` queries are evaluated at once; the others wait, and the wait counts
against their timeout. A client that goes away cancels its query: the transport is looked at while
the thread runs, since aiohttp says nothing to a handler that does not write.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from promql.errors import CanceledError, QueryTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

T = TypeVar("T")

POLL_S = 0.1
"""How long a gone client goes unnoticed."""

CALL_THREADS = 8
"""Threads for label calls, chunks of replies and the like. A guess, not measured."""

WRITE_THREADS = 2
"""Threads for what is pushed. Storage takes one batch at a time, so that more would only queue
there; and they are their own, so that a crowd of senders cannot hold up readers."""


@dataclass(frozen=True, slots=True)
class GateStats:
    """Queries being evaluated, waiting, and ended so far by what ended them."""

    running: int
    waiting: int
    concurrency_max: int
    evaluated: int
    canceled: int
    timed_out_waiting: int


class Gate:
    """The threads of the API and the limit on queries at once. Used from one event loop."""

    def __init__(self, concurrency_max: int) -> None:
        self._concurrency_max = max(1, concurrency_max)
        self._slots = asyncio.Semaphore(self._concurrency_max)
        self._query_threads = ThreadPoolExecutor(self._concurrency_max, "query")
        self._call_threads = ThreadPoolExecutor(CALL_THREADS, "api")
        self._write_threads = ThreadPoolExecutor(WRITE_THREADS, "write")
        self._cancels: set[threading.Event] = set()
        self._waiting = self._evaluated = self._canceled = self._timed_out = 0

    def stats(self) -> GateStats:
        """Return counts at this moment."""
        return GateStats(
            running=len(self._cancels),
            waiting=self._waiting,
            concurrency_max=self._concurrency_max,
            evaluated=self._evaluated,
            canceled=self._canceled,
            timed_out_waiting=self._timed_out,
        )

    async def query(
        self,
        request: web.Request,
        evaluate: Callable[[threading.Event, float, float], T],
        timeout_s: float,
    ) -> T:
        """Evaluate in a thread as soon as there is a slot.

        `evaluate(canceled, timeout_s, queue_s)` gets what is left of the timeout, and how long
        it waited. Raises what it raises, QueryTimeoutError when the wait was too long, and
        CanceledError when the client went away.
        """
        begin = time.monotonic()
        await self._take_slot(request, timeout_s)
        queue_s = time.monotonic() - begin
        canceled = threading.Event()
        try:
            running = asyncio.get_running_loop().run_in_executor(
                self._query_threads, evaluate, canceled, timeout_s - queue_s, queue_s
            )
        except BaseException:
            self._slots.release()
            raise
        self._cancels.add(canceled)
        # The slot is free when the thread is, which may be after this handler was cancelled.
        running.add_done_callback(lambda _: self._finished(canceled))
        try:
            while True:
                done, _ = await asyncio.wait({running}, timeout=POLL_S)
                if done:
                    break
                if _gone(request):
                    canceled.set()
        except asyncio.CancelledError:
            canceled.set()
            running.add_done_callback(_retrieve)
            raise
        return running.result()

    async def call(self, work: Callable[[], T]) -> T:
        """Run something that may block, and is neither query nor write, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._call_threads, work)

    async def write(self, work: Callable[[], T]) -> T:
        """Run something that stores what was pushed in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._write_threads, work)

    def cancel_all(self) -> None:
        """Cancel every running query: the server stops."""
        for canceled in list(self._cancels):
            canceled.set()

    async def close(self) -> None:
        """Cancel what runs and end the threads."""
        self.cancel_all()
        for threads in (self._query_threads, self._call_threads, self._write_threads):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    async def _take_slot(self, request: web.Request, timeout_s: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        self._waiting += 1
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    self._timed_out += 1
                    raise QueryTimeoutError("query queue")
                if _gone(request):
                    self._canceled += 1
                    raise CanceledError("query queue")
                try:
                    async with asyncio.timeout(min(POLL_S, left_s)):
                        await self._slots.acquire()
                    return
                except TimeoutError:
                    continue
        finally:
            self._waiting -= 1

    def _finished(self, canceled: threading.Event) -> None:
        self._cancels.discard(canceled)
        self._evaluated += 1
        self._canceled += canceled.is_set()
        self._slots.release()


def _gone(request: web.Request) -> bool:
    transport = request.transport
    return transport is None or transport.is_closing()


def _retrieve(running: asyncio.Future[T]) -> None:
    """Look at the outcome nobody waits for, so that asyncio does not complain of it."""
    if not running.cancelled():
        running.exception()
