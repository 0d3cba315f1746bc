"""A few threads that an event loop hands work to, for less than the work of a small query costs.

From: `gate.py`.   To: whatever may block or computes for long.

`loop.run_in_executor` makes two futures, two locks and a condition for a call, 60 us in all; one
queue and one callback do. Work is begun in the order it came.

So many threads run at once and no more: each that runs Python waits for the GIL as often as the
others let go of it, and with twenty of them the scraper, which needs it a few times a scrape, gets
it too late. Long work may therefore `pause`: when its turn has lasted and other work waits, it goes
to the end of the queue, and a spare thread takes its place. Work that does not come to pause, as it
waits for the network or is in the middle of a long kernel, loses its place to others by
`relieve`, and gives up another's once it is done.
Invariant: threads that neither wait nor were relieved are at most `running_max`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

TURN_S = 0.05
"""How long work may run while other work waits, before it pauses when it can."""

_NEVER = float("inf")


class StoppedError(RuntimeError):
    """The threads end, so the work was not begun."""


class _Job(NamedTuple):
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    ended: Callable[[], None] | None


class _Paused(NamedTuple):
    """Work in the queue that was begun before; its own thread goes on once `go` is released."""

    go: threading.Lock


class _Worker:
    """A thread's turn: since when it works, and whether its place was given to another."""

    __slots__ = ("began_s", "relieved", "thread")

    def __init__(self) -> None:
        self.thread: threading.Thread
        self.began_s = _NEVER
        self.relieved = False


class Threads:
    """Threads that are made as they are needed. `submit` and `close` are for one event loop."""

    def __init__(self, running_max: int, name: str) -> None:
        """Let at most `running_max` run at once, but for work that was relieved."""
        self._running_max, self._name = running_max, name
        self._jobs: SimpleQueue[_Job | _Paused | None] = SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        self._places = self._pending = self._started = 0
        # Of all that follows; what a job does without pausing needs no lock.
        self._lock = threading.Lock()
        self._closed = False
        self._spare = 0
        self._woken: SimpleQueue[bool] = SimpleQueue()

    @property
    def pending(self) -> int:
        """How much work has not ended."""
        return self._pending

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
        if self._pending > self._places < self._running_max:
            self._places += 1
            with self._lock:
                self._start(loop)
        self._jobs.put(_Job(work, future, ended))
        return future

    def pause(self) -> None:
        """Let others have their turn, if they wait and this thread's has lasted.

        Called by work in the middle of what it does; from other threads than these it does nothing.
        """
        worker = self._workers.get(threading.get_ident())
        if worker is None or self._jobs.empty() or time.monotonic() - worker.began_s < TURN_S:
            return
        go = threading.Lock()
        go.acquire()
        with self._lock:
            if self._closed:
                return
            self._jobs.put(_Paused(go))
            if worker.relieved:
                worker.relieved = False
            else:
                self._fill_place()
        worker.began_s = _NEVER
        go.acquire()
        worker.began_s = time.monotonic()

    def relieve(self, after_s: float) -> None:
        """Have other threads take the places of those whose turn is longer than that, if need be.

        Called on the event loop, every now and then.
        """
        longest = time.monotonic() - after_s
        for worker in list(self._workers.values()):
            if worker.began_s < longest and not worker.relieved and not self._jobs.empty():
                with self._lock:
                    if self._closed:
                        return
                    # Should it end just now, its thread does one more job before it is spare.
                    worker.relieved = True
                    self._fill_place()

    async def close(self) -> None:
        """Drop what has not begun, wait for what has, and end the threads."""
        waiting: list[_Job | _Paused | None] = []
        with self._lock:
            self._closed = True
            with contextlib.suppress(Empty):
                while True:
                    waiting.append(self._jobs.get_nowait())
            for job in waiting:
                if isinstance(job, _Paused):
                    self._jobs.put(job)
            threads = [worker.thread for worker in self._workers.values()]
            for _ in threads:
                self._jobs.put(None)
                self._woken.put(False)
        for job in waiting:
            if isinstance(job, _Job):
                self._settle(job, None, StoppedError("the server is stopping"))
        for thread in threads:
            await asyncio.to_thread(thread.join)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a thread that takes the next job. The caller holds the lock."""
        worker = _Worker()
        name = f"{self._name}_{self._started}"
        self._started += 1
        worker.thread = threading.Thread(
            target=self._serve, args=(loop, worker), name=name, daemon=True
        )
        self._loop = loop
        worker.thread.start()
        assert worker.thread.ident is not None
        self._workers[worker.thread.ident] = worker

    def _fill_place(self) -> None:
        """Have a spare thread, or a new one, take the next job. The caller holds the lock."""
        if self._spare:
            self._spare -= 1
            self._woken.put(True)
        else:
            self._start(self._loop)

    def _wait_for_place(self) -> bool:
        """Wait until there is a place again; False when the threads end."""
        with self._lock:
            self._spare += 1
        return self._woken.get()

    def _serve(self, loop: asyncio.AbstractEventLoop, worker: _Worker) -> None:
        """Work until told to stop."""
        while (job := self._jobs.get()) is not None:
            if isinstance(job, _Paused):
                job.go.release()
                if not self._wait_for_place():
                    return
                continue
            result: Any = None
            error: BaseException | None = None
            worker.began_s = time.monotonic()
            try:
                result = job.work()
            except BaseException as raised:  # noqa: BLE001 - it is the waiter's, whatever it is
                error = raised
            worker.began_s = _NEVER
            try:
                loop.call_soon_threadsafe(self._settle, job, result, error)
            except RuntimeError:
                return  # the loop is closed, nobody waits
            # What a query read must not live on until the next one comes.
            del job, result, error
            if worker.relieved:
                worker.relieved = False
                if not self._wait_for_place():
                    return

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
