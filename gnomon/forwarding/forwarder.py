"""All queues of a server, on an event loop of their own, in a thread of their own.

From: `server.py`, at start, reload and stop.   To: `queue.py`.

A queue goes on over a reload that does not change it. One that is changed goes on from where it
was: it is known by its name, or else by its URL. One that is new begins with what comes in from
now on; one that is gone is forgotten. Below the data directory `forwarding/` has the position of
each queue, and in `log/` second names of the log's files (see `tsdb/wal_hold.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gnomon.forwarding import histogram_kernels, v1_kernels, v2_kernels
from gnomon.forwarding.positions import DIRECTORY, PositionFile
from gnomon.forwarding.queue import POLL_S, Queue
from scraper.loop_thread import LoopThread
from tsdb.kernel_compilation import kernels_of
from tsdb.wal_hold import HeldLog
from tsdb.wal_tail import WalPosition, count_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gnomon.forwarding.settings import RemoteWriteSettings
    from gnomon.forwarding.stats import QueueCounts
    from tsdb.interface import MetricMetadata

_RESTART_S = 5.0

_log = logging.getLogger(__name__)

BACKLOG_BYTES_DEFAULT = 8 << 30
"""How much of the log is kept for ends that cannot be reached, beside what storage itself keeps."""


@dataclass(slots=True)
class _Running:
    queue: Queue
    task: asyncio.Task[None]


class Forwarder:
    """What the server sees of forwarding. Methods may be called from any event loop or thread."""

    def __init__(
        self,
        data_path: Path,
        metadata: Callable[[], Sequence[MetricMetadata]],
        *,
        backlog_bytes: int = BACKLOG_BYTES_DEFAULT,
    ) -> None:
        """Start the thread; nothing is sent before `apply`. Raises OSError."""
        for module in (v1_kernels, v2_kernels, histogram_kernels):
            for kernel in kernels_of(module.__name__):
                kernel.load()
        self._directory = data_path / DIRECTORY
        self._directory.mkdir(parents=True, exist_ok=True)
        self._files = HeldLog(data_path / "wal", self._directory / "log", bytes_max=backlog_bytes)
        self._metadata = metadata
        self._running: dict[str, _Running] = {}
        self._holding: asyncio.Task[None] | None = None
        self._loop = LoopThread("forwarding")

    async def apply(
        self, entries: Sequence[RemoteWriteSettings], external_labels: Mapping[str, str]
    ) -> None:
        """Have exactly these queues from now on."""
        await self._loop.call(self._apply(entries, external_labels))

    async def stop(self, flush_s: float) -> None:
        """Deliver what the log has, for so long at most and where nothing fails, then end all."""
        await self._loop.call(self._stop(flush_s))
        await asyncio.to_thread(self._loop.end)

    def stats(self) -> list[QueueCounts]:
        """Return the counts of all queues; a moment's view of numbers that move on."""
        return [replace(running.queue.counts) for running in [*self._running.values()]]

    # On the loop

    async def _apply(
        self, entries: Sequence[RemoteWriteSettings], external_labels: Mapping[str, str]
    ) -> None:
        wanted = dict(zip(_keys(entries), entries, strict=True))
        positions = {}
        for key, running in [*self._running.items()]:
            queue = running.queue
            same = queue.external_labels == dict(external_labels)
            if wanted.get(key) == queue.settings and same:
                continue
            await _end_now(running)
            del self._running[key]
            if key in wanted:
                positions[key] = queue.delivered
            else:
                queue.position_file.remove()
        for key, entry in wanted.items():
            if key not in self._running:
                self._begin(key, entry, external_labels, positions.get(key))
        self._hold()
        if self._holding is None:
            self._holding = asyncio.create_task(self._keep_holding(), name="forwarding-log")

    def _begin(
        self,
        key: str,
        entry: RemoteWriteSettings,
        external_labels: Mapping[str, str],
        position: WalPosition | None,
    ) -> None:
        file = PositionFile(self._directory, key)
        position = self._checked(position or file.load())
        queue = Queue(entry, external_labels, self._files, file, self._metadata)
        queue.delivered = position
        task = asyncio.create_task(_supervised(queue), name=f"forwarding {key}")
        self._running[key] = _Running(queue, task)

    def _checked(self, position: WalPosition | None) -> WalPosition:
        """Return a position that the log has; the end of the log for a queue that has none."""
        newest = self._files.newest()
        if newest is None:
            return WalPosition(0)
        path = self._files.segment(newest)
        now = WalPosition(newest, path.stat().st_size) if path is not None else WalPosition(newest)
        if position is None:
            return now
        if position.segment > newest:
            _log.warning("a queue was further than the log is: it goes on from the log's end")
            return now
        path = self._files.segment(position.segment)
        if path is None:
            # Its series are those that the log knew there: no reading on from a gap.
            following = self._files.following(position.segment)
            return now if following is None else WalPosition(following)
        if position.offset > path.stat().st_size:
            # A power failure took the log's end: what is written there now is something else.
            _log.warning("a queue was further than segment %d is long", position.segment)
            return WalPosition(position.segment)
        return position

    async def _stop(self, flush_s: float) -> None:
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        for running in self._running.values():
            running.queue.end()
        tasks = [running.task for running in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=flush_s)
        for running in self._running.values():
            await _end_now(running)
        self._hold()

    async def _keep_holding(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self._hold()

    def _hold(self) -> None:
        """Keep the files of the log that queues still need."""
        queues = [running.queue for running in self._running.values()]
        oldest = min((queue.delivered.segment for queue in queues), default=None)
        try:
            self._files.update(oldest, self._lose)
        except OSError as error:
            _log.error("cannot hold the log for forwarding: %s", error)

    def _lose(self, first_kept: int) -> None:
        """Tell queues what they will not get any more."""
        for running in self._running.values():
            queue = running.queue
            begin = max(queue.delivered, queue.tail_position)
            samples = 0
            number: int | None = begin.segment
            while number is not None and number < first_kept:
                path = self._files.segment(number)
                if path is not None:
                    with contextlib.suppress(OSError):
                        from_byte = begin.offset if number == begin.segment else 8
                        samples += count_samples(path, from_byte)
                number = self._files.following(number)
            if begin.segment < first_kept:
                queue.left_behind(first_kept, samples)


def _keys(entries: Sequence[RemoteWriteSettings]) -> list[str]:
    """Return what each queue is known by over restarts and reloads."""
    keys: list[str] = []
    for entry in entries:
        key = f"name {entry.name}" if entry.name else f"url {entry.url}"
        number = keys.count(key) + sum(each.startswith(f"{key} #") for each in keys)
        keys.append(f"{key} #{number + 1}" if number else key)
    return keys


async def _end_now(running: _Running) -> None:
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)


async def _supervised(queue: Queue) -> None:
    """Run a queue; after a fault of ours, or of the disk, it goes on from what was delivered."""
    while True:
        try:
            await queue.run(queue.delivered)
        except Exception:  # noqa: BLE001  # nobody else would start it again
            _log.exception("forwarding failed and begins again in %g s", _RESTART_S)
            await asyncio.sleep(_RESTART_S)
        else:
            return
