"""A window of samples to those who wait for it: cut into requests, sent by shards, until answered.

From: `queue.py`.   To: `sender.py`.

The requests of a window are of series that differ, so shards can send them beside each other; a
series that is too long for one request has its requests one behind the other in one shard. What
cannot be delivered now is tried again, for ever: nothing else is read meanwhile, so an outage costs
no memory. What the other side refuses for good is counted and told, and left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

import cramjam
import numpy as np

from gnomon.forwarding.messages import Exemplars, Floats, Histograms

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gnomon.forwarding.messages import MessageWriter, Waiting
    from gnomon.forwarding.sender import Reply, Sender
    from gnomon.forwarding.settings import QueueSettings
    from gnomon.forwarding.stats import QueueCounts
    from tsdb.interface import MetricMetadata

_LOG_INTERVAL_S = 30.0
_KINDS = {Floats: "samples", Histograms: "histograms", Exemplars: "exemplars"}
_WRITTEN_PLACE = {"samples": 0, "histograms": 1, "exemplars": 2}


class GaveUpError(Exception):
    """The other side cannot be reached, and the queue is to end."""


class Delivery:
    """Sends what a queue read. On the queue's event loop."""

    def __init__(
        self, settings: QueueSettings, sender: Sender, writer: MessageWriter, counts: QueueCounts
    ) -> None:
        self._settings, self._sender, self._writer = settings, sender, writer
        self._counts = counts
        self.ending = False
        """Whether to give up where something would have to be sent again."""
        self.seconds = 0.0
        """Time spent waiting for answers, all shards together."""
        self._told: dict[str, float] = {}

    async def deliver(self, waiting: Waiting, shards: int) -> None:
        """Send all of it. Raises `GaveUpError`, and only while `ending`."""
        kind = self._counts.kinds[_KINDS[type(waiting)]]
        kind.pending += waiting.entries.size
        left = waiting.entries.size
        try:
            cuts = cut(waiting.entries, self._settings.max_samples_per_send)
            groups = share(waiting.entries, cuts, shards)

            async def send_group(group: Sequence[tuple[int, int]]) -> None:
                nonlocal left
                for begin, stop in group:
                    await self._deliver_one(waiting.part(slice(begin, stop)))
                    kind.pending -= stop - begin
                    left -= stop - begin

            if len(groups) == 1:
                await send_group(groups[0])
            else:
                await _together([send_group(group) for group in groups])
        finally:
            kind.pending -= left

    async def deliver_metadata(self, entries: Sequence[MetricMetadata]) -> None:
        """Send messages of metadata alone. Raises `GaveUpError`."""
        kind = self._counts.kinds["metadata"]
        body = bytes(cramjam.snappy.compress_raw(self._writer.metadata(entries)))
        reply = await self._until_answered(body, "metadata", len(entries))
        if reply.ok:
            kind.sent += len(entries)
            self._counts.metadata_bytes += len(body)
        else:
            kind.failed += len(entries)
            self._tell("metadata", f"refused {len(entries)} entries of metadata: {reply.problem}")

    async def _deliver_one(self, waiting: Waiting) -> None:
        name = _KINDS[type(waiting)]
        kind = self._counts.kinds[name]
        limit_ms = self._settings.sample_age_limit_ms
        attempt = 0
        body = b""
        while True:
            if limit_ms:
                young, old = _young(waiting, limit_ms)
                kind.drop("too_old", old)
                if old:
                    waiting, body = young, b""
                if not young.entries.size:
                    return
            if not body:
                message = waiting.encoded(self._writer).data
                body = bytes(cramjam.snappy.compress_raw(message))
            reply = await self._send(body, attempt)
            if not reply.retry:
                break
            await self._before_retry(reply, name, waiting.entries.size, attempt)
            attempt += 1
        count = waiting.entries.size
        if reply.ok:
            newest = int(waiting.times.max())
            self._counts.highest_sent_ms = max(self._counts.highest_sent_ms, newest)
            self._counts.sent_bytes += len(body)
        self._count(name, count, reply)

    def _count(self, name: str, count: int, reply: Reply) -> None:
        """Count what an answer says of one request."""
        kind = self._counts.kinds[name]
        sent = count if reply.ok else 0
        problem = reply.problem
        if self._writer.confirms:
            if reply.written is not None:
                sent = min(count, reply.written[_WRITTEN_PLACE[name]])
            elif reply.ok:
                sent, problem = 0, "it does not say what it wrote: it may not know version 2.0"
        kind.sent += sent
        kind.failed += count - sent
        if sent < count:
            self._tell("refused", f"{count - sent} of {count} {name} were refused: {problem}")

    async def _until_answered(self, body: bytes, name: str, count: int) -> Reply:
        attempt = 0
        while True:
            reply = await self._send(body, attempt)
            if not reply.retry:
                return reply
            await self._before_retry(reply, name, count, attempt)
            attempt += 1

    async def _send(self, body: bytes, attempt: int) -> Reply:
        began = time.monotonic()
        reply = await self._sender.send(body, attempt)
        took = time.monotonic() - began
        self.seconds += took
        self._counts.took(took)
        self._counts.requests += 1
        return reply

    async def _before_retry(self, reply: Reply, name: str, count: int, attempt: int) -> None:
        """Wait before the next attempt, longer each time. Raises `GaveUpError`."""
        self._counts.kinds[name].retried += count
        if self.ending:
            raise GaveUpError
        self._tell("retry", f"failed to send, will be tried again: {reply.problem}")
        settings = self._settings
        backoff_ms = min(settings.max_backoff_ms, settings.min_backoff_ms << min(attempt, 20))
        # Half of it by chance: shards that failed together do not come back together.
        wait_s = backoff_ms / 1000 * random.uniform(0.5, 1.0)
        await asyncio.sleep(max(wait_s, reply.retry_after_s))
        if self.ending:
            raise GaveUpError

    def _tell(self, about: str, text: str) -> None:
        """Log, but not the same every moment of a long outage."""
        now = time.monotonic()
        if now - self._told.get(about, -_LOG_INTERVAL_S) >= _LOG_INTERVAL_S:
            self._told[about] = now
            fields = {"remote_name": self._counts.name, "url": self._counts.url}
            _log.warning(text, extra={"fields": fields})


_log = logging.getLogger(__name__)


async def _together(work: Sequence[object]) -> None:
    """Run all; where one fails the others are ended, and its error is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]  # type: ignore[call-overload]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cut(entries: npt.NDArray[np.int32], size_max: int) -> list[tuple[int, int]]:
    """Return where requests of sorted entries begin and stop: between series, where that goes.

    >>> cut(np.array([1, 1, 2, 2, 3], np.int32), 3)
    [(0, 2), (2, 5)]
    >>> cut(np.array([1, 1, 1, 1, 2], np.int32), 3)
    [(0, 3), (3, 5)]
    """
    changes = np.flatnonzero(np.diff(entries)) + 1
    edges = np.concatenate([changes, np.array([entries.size])])
    cuts, begin = [], 0
    while begin < entries.size:
        stop = begin + size_max
        if stop >= entries.size:
            stop = entries.size
        else:
            edge = int(edges[np.searchsorted(edges, stop, side="right") - 1])
            # The first edge may lie behind `stop`: then searchsorted gives the last, behind all.
            stop = edge if begin < edge <= stop else stop
        cuts.append((begin, stop))
        begin = stop
    return cuts


def share(
    entries: npt.NDArray[np.int32], cuts: list[tuple[int, int]], shards: int
) -> list[list[tuple[int, int]]]:
    """Share requests out among shards: runs of neighbours, those of one series together."""
    wanted = -(-len(cuts) // max(1, shards))
    groups: list[list[tuple[int, int]]] = [[]]
    for begin, stop in cuts:
        splits_series = begin > 0 and entries[begin] == entries[begin - 1]
        if len(groups[-1]) >= wanted and not splits_series:
            groups.append([])
        groups[-1].append((begin, stop))
    return groups


def _young(waiting: Waiting, limit_ms: int) -> tuple[Waiting, int]:
    """Return what is not too old to be sent, and how many are."""
    young = waiting.times >= time.time() * 1000 - limit_ms
    old = int(np.count_nonzero(~young))
    if not old or isinstance(waiting, Exemplars):
        # Exemplars go along with their samples, which are looked at.
        return waiting, 0
    return waiting.part(np.flatnonzero(young)), old
