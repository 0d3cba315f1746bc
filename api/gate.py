"""Event loop -> threads: the one way by which handlers reach the engines.

From: handlers.   To: `promql.engine` and storage, in threads.

At most `concurrency_max` queries are begun at once; the others wait, and the wait counts
against their timeout. What is begun shares a thread for each core with label calls: the scraper has
to have its turns as well, see `threads.py`. A client that goes away cancels its query: the
transports are looked at while queries run, since aiohttp says nothing to a handler that does not
write.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from api.quick_work import QuickWork
from api.threads import Threads
from promql.errors import CanceledError, QueryTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from aiohttp import web

T = TypeVar("T")

POLL_S = 0.1
"""How long a gone client goes unnoticed."""

READ_THREADS_MAX = 4
"""Threads for queries and label calls, if there are as many cores. Their kernels use all cores
anyway, and of what is Python one runs at a time. With two, 100 targets scraped each second missed
nothing beside dashboards that kept two cores busy; with twenty, nine scrapes in ten."""

CALL_THREADS = 2
"""Threads for what may wait for something, or tells of the server itself."""

RELIEF_S = 0.5
"""How long a thread may be kept without a pause before another takes its place."""

WRITE_THREADS = 2
"""Threads for what is pushed. Storage takes one batch at a time, so that more would only queue
there; and they are their own, so that a crowd of senders cannot hold up readers."""


WRITE_BYTES_MAX = 192 << 20
"""Bodies that come in, or wait to be stored, may take so much memory together; one is taken at any
time."""


_NOT_CANCELED = threading.Event()


class WritesBusyError(Exception):
    """Too much is waiting to be stored; nothing was done, try it again."""

    def __init__(self) -> None:
        super().__init__("too many writes are waiting, try again later")


@dataclass(frozen=True, slots=True)
class GateStats:
    """Queries being evaluated, waiting, and ended so far by what ended them; writes sent away."""

    running: int
    waiting: int
    concurrency_max: int
    evaluated: int
    canceled: int
    timed_out_waiting: int
    writes_refused: int = 0


class Gate:
    """The threads of the API and the limit on queries at once. Used from one event loop."""

    def __init__(self, concurrency_max: int) -> None:
        self._concurrency_max = max(1, concurrency_max)
        self._slots = asyncio.Semaphore(self._concurrency_max)
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        self._read_threads = Threads(max(2, min(cores, READ_THREADS_MAX)), "query")
        self._call_threads = Threads(CALL_THREADS, "api")
        self._write_threads = Threads(WRITE_THREADS, "write")
        self._quick = QuickWork()
        self._running: dict[threading.Event, web.Request] = {}
        self._watching: asyncio.TimerHandle | None = None
        self._write_bytes = self._writes_refused = 0
        self._waiting = self._evaluated = self._canceled = self._timed_out = 0

    def stats(self) -> GateStats:
        """Return counts at this moment."""
        return GateStats(
            running=len(self._running),
            waiting=self._waiting,
            concurrency_max=self._concurrency_max,
            evaluated=self._evaluated,
            canceled=self._canceled,
            timed_out_waiting=self._timed_out,
            writes_refused=self._writes_refused,
        )

    async def query(
        self,
        request: web.Request,
        evaluate: Callable[[threading.Event, float, float], T],
        timeout_s: float,
        key: Hashable = None,
    ) -> T:
        """Evaluate in a thread as soon as there is a slot; at once where `key` was quick before.

        `evaluate(canceled, timeout_s, queue_s)` gets what is left of the timeout, and how long
        it waited; it calls `pause` now and then. Raises what it raises, QueryTimeoutError when the
        wait was too long, and CanceledError when the client went away.
        """
        if self._is_quick(key):
            return self._quick.timed(key, lambda: self._at_once(evaluate, timeout_s))()
        begin = time.monotonic()
        if self._slots.locked():
            await self._wait_for_slot(request, timeout_s)
        else:
            await self._slots.acquire()
        canceled = threading.Event()

        def work() -> T:
            queue_s = time.monotonic() - begin
            return evaluate(canceled, timeout_s - queue_s, queue_s)

        try:
            # The slot is free when the thread is, which may be after this handler was cancelled.
            running = self._read_threads.submit(
                self._quick.timed(key, work), lambda: self._ended(canceled)
            )
        except BaseException:
            self._slots.release()
            raise
        self._running[canceled] = request
        self._look_later()
        try:
            return await running
        except asyncio.CancelledError:
            canceled.set()
            raise
        finally:
            del running  # it holds what was raised, whose traceback holds this frame

    def pause(self) -> None:
        """Let others have their turn; for long work of `query` and `read`, in the middle of it."""
        self._read_threads.pause()

    async def read(self, work: Callable[[], T], key: Hashable = None) -> T:
        """Run something that reads storage or makes a reply, in a thread and in its turn.

        Where `key` was quick before it is run at once.
        """
        work = self._quick.timed(key, work)
        if self._is_quick(key):
            return work()
        running = self._read_threads.submit(work)
        self._look_later()
        try:
            return await running
        finally:
            del running

    def begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin what `read` runs, in its turn; several may be begun before the first is over."""
        running = self._read_threads.submit(work)
        self._look_later()
        return running

    async def call(self, work: Callable[[], T]) -> T:
        """Run something that may block, and neither reads samples nor writes, in a thread."""
        return await self._call_threads.submit(work)

    def hold(self, body_bytes: int, held: int = 0) -> None:
        """Make room for so many more bytes of a body of which `held` are there.

        Raises WritesBusyError where there is too much beside it.
        """
        others = self._write_bytes - held
        if others and self._write_bytes + body_bytes > WRITE_BYTES_MAX:
            self._writes_refused += 1
            raise WritesBusyError
        self._write_bytes += body_bytes

    def let_go(self, body_bytes: int) -> None:
        """Give back the room of a body that is not written."""
        self._write_bytes -= body_bytes

    async def write(self, work: Callable[[], T], body_bytes: int = 0) -> T:
        """Run something that stores what was pushed in a thread.

        `body_bytes` are those that it holds room for, which is given back when the work is over,
        whatever becomes of who waits for it.
        """
        try:
            writing = self._write_threads.submit(work, lambda: self.let_go(body_bytes))
        except BaseException:
            self.let_go(body_bytes)
            raise
        try:
            return await writing
        finally:
            # Else what it raised, this frame and the body would live on in a circle.
            del writing

    def _is_quick(self, key: Hashable) -> bool:
        """Whether work may be done on the loop: it was quick, and nobody uses the threads."""
        return self._quick.knows(key) and not self._read_threads.pending

    def _at_once(
        self, evaluate: Callable[[threading.Event, float, float], T], timeout_s: float
    ) -> T:
        try:
            return evaluate(_NOT_CANCELED, timeout_s, 0.0)
        finally:
            self._evaluated += 1

    def cancel_all(self) -> None:
        """Cancel every running query: the server stops."""
        for canceled in self._running:
            canceled.set()

    async def close(self) -> None:
        """Cancel what runs and end the threads."""
        self.cancel_all()
        for threads in (self._read_threads, self._call_threads, self._write_threads):
            await threads.close()
        if self._watching is not None:
            self._watching.cancel()

    def _look_later(self) -> None:
        if self._watching is None:
            self._watching = asyncio.get_running_loop().call_later(POLL_S, self._watch)

    def _watch(self) -> None:
        """Cancel the queries whose clients are gone; look again as long as anything runs."""
        self._watching = None
        self._read_threads.relieve(RELIEF_S)
        for canceled, request in self._running.items():
            if _gone(request):
                canceled.set()
        if self._read_threads.pending:
            self._look_later()

    async def _wait_for_slot(self, request: web.Request, timeout_s: float) -> None:
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

    def _ended(self, canceled: threading.Event) -> None:
        del self._running[canceled]
        self._evaluated += 1
        self._canceled += canceled.is_set()
        self._slots.release()


def _gone(request: web.Request) -> bool:
    transport = request.transport
    return transport is None or transport.is_closing()
