"""A few threads that an event loop hands work to, for less than the work of a small query costs.

From: `gate.py`.   To: whatever may block.

`loop.run_in_executor` makes two futures, two locks and a condition for a call, 60 us in all; one
queue and one callback do. All but the work itself happens on the loop's thread, so nothing here
needs a lock.
"""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class StoppedError(RuntimeError):
    """The threads end, so the work was not begun."""


class _Job(NamedTuple):
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    ended: Callable[[], None] | None


class Threads:
    """At most `count_max` threads, made as they are needed. Used from one event loop."""

    def __init__(self, count_max: int, name: str) -> None:
        self._count_max, self._name = count_max, name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._closed = False

    def submit(
        self, work: Callable[[], T], ended: Callable[[], None] | None = None
    ) -> asyncio.Future[T]:
        """Run `work` in a thread; the future has its outcome. Raises StoppedError once closed.

        Cancelling the future does not stop the work. `ended` is called on the loop when the work
        is over, whatever became of the future.
        """
        if self._closed:
            raise StoppedError(f"the {self._name} threads have ended")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        if self._pending > len(self._threads) < self._count_max:
            self._start(loop)
        self._jobs.put(_Job(work, future, ended))
        return future

    async def close(self) -> None:
        """Drop what has not begun, wait for what has, and end the threads."""
        self._closed = True
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                self._settle(job, None, StoppedError("the server is stopping"))
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(loop,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work until told to stop."""
        while (job := self._jobs.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = job.work()
            except BaseException as raised:  # noqa: BLE001 - it is the waiter's, whatever it is
                error = raised
            try:
                loop.call_soon_threadsafe(self._settle, job, result, error)
            except RuntimeError:
                return  # the loop is closed, nobody waits
            # What a query read must not live on until the next one comes.
            del job, result, error

    def _settle(self, job: _Job, result: object, error: BaseException | None) -> None:
        self._pending -= 1
        if job.ended is not None:
            job.ended()
        if job.future.done():  # cancelled meanwhile
            return
        if error is None:
            job.future.set_result(result)
        elif isinstance(error, StopIteration):  # what a future refuses
            job.future.set_exception(RuntimeError("the work raised StopIteration"))
        else:
            job.future.set_exception(error)
