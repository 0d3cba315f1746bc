"""Which work is over at once, by what it took the last time, so that no thread is needed for it.

From: `gate.py`.   To: nobody; a memory of times.

Handing work to a thread and back takes about as long as a small query. What took no longer than
that a few seconds ago is done on the event loop itself, which waits for it no longer than it would
for the interpreter's lock. The processor's time is what counts: in a thread, and beside other
programs, small work lasts as long as others have their turns. Work that waits for a disk shows by
the clock. Invariant: what was slow, or failed, goes to a thread the next time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

QUICK_S = 0.001
"""So much of the processor's time: a thread would take it from the loop as well, and as much
for being handed the work."""

WAIT_S = 0.01
"""So much by the clock: who shares two cores with others waits as long for nothing but a turn."""

KNOWN_FOR_S = 10.0
"""So much may come to storage until the work is looked at in a thread again."""

_KNOWN_MAX = 1000


class QuickWork:
    """Times of work, told apart by keys; None is the key of work that is not remembered."""

    def __init__(self) -> None:
        self._until_s: dict[Hashable, float] = {}

    def knows(self, key: Hashable) -> bool:
        """Say whether such work was quick, and not long ago."""
        return key is not None and self._until_s.get(key, 0.0) > time.monotonic()

    def timed(self, key: Hashable, work: Callable[[], T]) -> Callable[[], T]:
        """Return the work, which will tell what it took. May run in any thread."""
        if key is None:
            return work

        def run() -> T:
            begin, begin_cpu = time.monotonic(), time.thread_time()
            try:
                result = work()
            except BaseException:
                self._until_s.pop(key, None)
                raise
            end = time.monotonic()
            quick = time.thread_time() - begin_cpu <= QUICK_S and end - begin <= WAIT_S
            self._note(key, end, quick=quick)
            return result

        return run

    def _note(self, key: Hashable, end_s: float, *, quick: bool) -> None:
        if not quick:
            self._until_s.pop(key, None)
        elif key in self._until_s:
            # Known until then, whatever it takes in between: a thread must have its look.
            if self._until_s[key] <= end_s:
                self._until_s[key] = end_s + KNOWN_FOR_S
        else:
            if len(self._until_s) >= _KNOWN_MAX:
                self._until_s.clear()
            self._until_s[key] = end_s + KNOWN_FOR_S
