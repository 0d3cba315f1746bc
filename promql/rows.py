"""Kernels over many series: in chunks, on the cores that are free, with the brakes on.

From: `rate.py`, `over_time.py`, `windows.py`.   To: the kernels, which release the GIL.

A chunk is a range of rows. Between chunks the caller's `check` may end the query.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

CHUNK_COST = 1 << 19
"""Work of one chunk, in cells or samples: 5 to 50 ms; so often is the deadline looked at."""

PARALLEL_COST = 1 << 18
"""Less work than this is done by the caller alone: handing it over would cost more."""


class RowRunner:
    """Runs a function over row ranges, with helpers from an executor where there is one."""

    def __init__(self, executor: Executor | None = None, helpers: int = 0) -> None:
        self._executor, self._helpers = executor, helpers

    def run(
        self,
        rows: int,
        cost: int,
        work: Callable[[int, int], object],
        check: Callable[[], None],
        *,
        rows_min: int = 1,
    ) -> None:
        """Call `work(low, high)` for ranges that together are 0 to `rows`, in no given order.

        `cost` is that of all rows; no range but the last is of fewer than `rows_min`. Raises what
        `work` or `check` raises first, after all that was begun has ended.
        """
        chunk_rows = max(1, rows * CHUNK_COST // max(cost, 1))
        helpers = 0
        if self._executor is not None and cost >= PARALLEL_COST and rows > 1:
            helpers = self._helpers
            chunk_rows = min(chunk_rows, -(-rows // (2 * (helpers + 1))))
        chunk_rows = max(chunk_rows, rows_min)
        if rows <= chunk_rows:
            check()
            if rows:
                work(0, rows)
            return
        chunks = iter(range(0, rows, chunk_rows))
        lock = threading.Lock()
        failed = threading.Event()

        def drain() -> None:
            while not failed.is_set():
                with lock:
                    low = next(chunks, None)
                if low is None:
                    return
                try:
                    check()
                    work(low, min(low + chunk_rows, rows))
                except BaseException:
                    failed.set()
                    raise

        futures = [self._executor.submit(drain) for _ in range(helpers)] if self._executor else []
        try:
            drain()
        finally:
            # A helper that never got a thread has nothing left to do: take it back.
            for future in futures:
                if not future.cancel():
                    future.exception()
        for future in futures:
            if not future.cancelled():
                future.result()
