"""Threads that help a reader to decode, on the cores that are free.

From: `select.py`, which owns them.   To: the kernels, which release the GIL.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Workers:
    """One thread less than there are cores, made when first needed: the caller works as well."""

    def __init__(self, helpers: int | None = None) -> None:
        """Use so many helpers; by default as many as fit beside the caller."""
        self._helpers = len(os.sched_getaffinity(0)) - 1 if helpers is None else helpers
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End the threads; what is run after this the caller does alone."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Do all tasks, in no given order; each may take some hundred microseconds or more.

        Raises what a task raises first, after all that was begun has ended.
        """
        if len(tasks) == 1 or not self._helpers:
            for task in tasks:
                task()
            return
        waiting = iter(tasks)
        lock = threading.Lock()
        failed = threading.Event()

        def drain() -> None:
            while not failed.is_set():
                with lock:
                    task = next(waiting, None)
                if task is None:
                    return
                try:
                    task()
                except BaseException:
                    failed.set()
                    raise

        with self._lock:
            if self._executor is None and not self._closed:
                self._executor = ThreadPoolExecutor(self._helpers, thread_name_prefix="tsdb-read")
            helping = min(self._helpers, len(tasks) - 1) if self._executor is not None else 0
            executor = self._executor
            futures = [executor.submit(drain) for _ in range(helping)] if executor else []
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
