"""An event loop that runs in a thread of its own, for work that shall wait for nobody else.

From: `thread.py`; `forwarding` and `remote_read` of the app.   To: asyncio.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class LoopThread:
    """Runs from when it is made until `end`. All may be called from any thread but its own."""

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._ready.set()
            self._loop.run_forever()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Have the loop run something; the future is for threads."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the loop run something, and wait for it on another loop."""
        return await asyncio.wrap_future(self.begin(work))

    def end(self) -> None:
        """End the loop, which cancels what still runs on it, and the thread; waits for both."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
