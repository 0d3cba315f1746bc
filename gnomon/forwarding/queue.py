"""One end that is written to: follow the log, gather a window, deliver it, remember how far.

From: `tsdb/wal_tail.py`.   To: `delivery.py`.

A window is what was read since the last one: at least a request's worth, or what came within
`batch_send_deadline`, and no more than `capacity` for each shard. Sorted by series, its labels are
sent once for all samples of a series in a request: catching up is cheaper than keeping up. The
position is saved when all of a window was answered, so after a crash at most one window is sent
again, and nothing is left out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from discovery.redaction import without_password
from gnomon.forwarding.delivery import Delivery, GaveUpError
from gnomon.forwarding.messages import Exemplars, Floats, Histograms
from gnomon.forwarding.messages_v1 import WriterV1
from gnomon.forwarding.messages_v2 import WriterV2
from gnomon.forwarding.sender import Sender
from gnomon.forwarding.series_table import COMPANION, DROPPED, UNKNOWN, SeriesTable
from gnomon.forwarding.settings import V2_MESSAGE
from gnomon.forwarding.start_times import Starts, starts_of
from gnomon.forwarding.stats import QueueCounts
from scraper.relabel import compile_rules
from tsdb.wal import choose_series
from tsdb.wal_tail import (
    LoggedExemplars,
    LoggedHistograms,
    LoggedMetadata,
    LoggedSamples,
    LoggedSeries,
    WalPosition,
    WalTail,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from gnomon.forwarding.messages import MessageWriter
    from gnomon.forwarding.positions import PositionFile
    from gnomon.forwarding.settings import RemoteWriteSettings
    from tsdb.interface import Ints, MetricMetadata
    from tsdb.label_kernels import Words
    from tsdb.wal_hold import HeldLog
    from tsdb.wal_tail import Logged

    Entries = npt.NDArray[np.int32]

_log = logging.getLogger(__name__)

POLL_S = 0.2
"""How often the end of the log is looked at."""
WINDOW_MAX = 1 << 17
"""Samples of a window at most: 3 MB, whatever capacity and shards are."""
CATCH_UP_S = 10.0
"""Shards are as many as would send what waits within this time."""
_DESCRIBE_FIRST_S = 2.0
_IDLE_SAVE_S = 1.0
"""How often the position is saved where nothing is to be sent."""


@dataclass(slots=True)
class _Window:
    """What was read and is not delivered yet, in the order of the log."""

    began: float = 0.0
    count: int = 0
    floats: list[Floats] = field(default_factory=list)
    histograms: list[Histograms] = field(default_factory=list)
    exemplars: list[Exemplars] = field(default_factory=list)
    starts: list[Starts] = field(default_factory=list)

    def note(self, count: int) -> None:
        """Count what was added; the first of it begins the window."""
        if not self.count:
            self.began = time.monotonic()
        self.count += count


class Queue:
    """One queue. `run` ends when `end` was called and what could be delivered is."""

    def __init__(
        self,
        settings: RemoteWriteSettings,
        external_labels: Mapping[str, str],
        log: HeldLog,
        position_file: PositionFile,
        metadata: Callable[[], Sequence[MetricMetadata]],
    ) -> None:
        self.settings, self.external_labels = settings, dict(external_labels)
        self.position_file = position_file
        self.counts = QueueCounts(settings.shown_name, without_password(settings.url))
        self._metadata = metadata
        rules = settings.write_relabel_rules
        by_ids = settings.protobuf_message == V2_MESSAGE
        self._table = SeriesTable(
            compile_rules(rules) if rules else None, external_labels, by_ids=by_ids
        )
        self._writer: MessageWriter = WriterV2(self._table) if by_ids else WriterV1(self._table)
        self._tail = WalTail(log, WalPosition(0))
        self._log_files = log
        self._ending = False
        self._delivery: Delivery | None = None
        self._shards = settings.queue.min_shards
        self._rate = self._seconds_each = 0.0
        self._saved_at = 0.0
        self._checkpoint = -1
        self._last_starts: list[Starts] = []
        self.delivered = WalPosition(0)
        """Everything before it was delivered, or needs no delivery."""
        queue = settings.queue
        self.counts.shards_max, self.counts.shards_min = queue.max_shards, queue.min_shards
        self.counts.shard_capacity = queue.capacity
        self.counts.samples_per_send_max = queue.max_samples_per_send

    async def run(self, position: WalPosition) -> None:
        """Deliver what the log has from the position on."""
        self._tail.move(position)
        self.delivered = position
        self._save(now=True)
        sender = Sender(self.settings, self._writer.headers)
        self._delivery = Delivery(self.settings.queue, sender, self._writer, self.counts)
        self._delivery.ending = self._ending
        about_metadata = None
        try:
            # Labels of a hundred thousand series take a while; other queues go on meanwhile.
            await asyncio.to_thread(self._learn_known)
            if self.settings.metadata.send:
                by_itself = self._writer.sends_metadata
                about_metadata = asyncio.create_task(
                    self._send_metadata(self._delivery) if by_itself else self._describe()
                )
            while await self._one_window(self._delivery):
                pass
        except GaveUpError:
            pass
        finally:
            self._save(now=True)
            self._tail.close()
            try:
                if about_metadata is not None:
                    about_metadata.cancel()
                    await asyncio.gather(about_metadata, return_exceptions=True)
            finally:
                # It may have been ending by itself when it was ended.
                await asyncio.shield(sender.close())

    def end(self) -> None:
        """Have `run` deliver what is in the log by now, if the other side takes it, and return."""
        self._ending = True
        if self._delivery is not None:
            self._delivery.ending = True

    def left_behind(self, first_kept: int, samples: int) -> None:
        """Be told that segments before `first_kept` are let go of, unread; of so many samples."""
        self.counts.kinds["samples"].drop("left_log", samples)
        _log.error(
            "%d samples were not delivered in time and have left the log",
            samples,
            extra={"fields": {"remote_name": self.counts.name, "url": self.counts.url}},
        )
        if self._tail.position.segment < first_kept:
            self._tail.move(WalPosition(first_kept))
            self._learn_known()

    @property
    def tail_position(self) -> WalPosition:
        """How far it has read; delivered is what is before `delivered`."""
        return self._tail.position

    def _learn_known(self) -> None:
        for item in self._tail.known_series():
            self._take_definitions(item)

    def _take_definitions(self, item: LoggedSeries | LoggedMetadata) -> None:
        if isinstance(item, LoggedSeries):
            self._table.learn(item.refs, item.labels)
        else:
            self._table.describe(item.entries)

    async def _one_window(self, delivery: Delivery) -> bool:
        """Gather and deliver one window; False where there is none and the queue ends."""
        window = await self._gather()
        if window is None:
            return False
        began, waited = time.monotonic(), delivery.seconds
        if window.floats:
            floats = _sorted_floats(window.floats)
            starts = starts_of(floats.entries, floats.times, window.starts)
            await delivery.deliver(replace(floats, starts=starts), self._shards)
        for histograms in window.histograms:
            starts = starts_of(histograms.entries, histograms.times, window.starts)
            await delivery.deliver(replace(histograms, starts=starts), self._shards)
        for exemplars in window.exemplars:
            await delivery.deliver(exemplars, 1)
        self.delivered = self._tail.position
        self._save(now=True)
        self._adapt(window, time.monotonic() - began, delivery.seconds - waited)
        self._forget_old_series()
        return True

    async def _gather(self) -> _Window | None:
        """Read until there is enough to send, or it has waited long enough."""
        queue = self.settings.queue
        most = min(WINDOW_MAX, max(queue.max_samples_per_send, queue.capacity * self._shards))
        window = _Window(starts=self._last_starts)
        while True:
            found = self._tail.read()
            self._note_position()
            for item in found:
                self._take(item, window)
            # Those of histograms stand before them, which may be in what is read next.
            self._last_starts = window.starts[-1:] if found else self._last_starts
            if window.count >= most:
                return window
            if found:
                await asyncio.sleep(0)
                continue
            ending = self._ending
            if not window.count:
                self.delivered = self._tail.position
                self._save()
                if ending:
                    return None
            waited_s = time.monotonic() - window.began
            enough = window.count >= queue.max_samples_per_send
            if window.count and (
                ending or enough or waited_s * 1000 >= queue.batch_send_deadline_ms
            ):
                return window
            await asyncio.sleep(POLL_S)

    def _note_position(self) -> None:
        self.counts.segment = self._tail.position.segment
        self.counts.records_damaged = self._tail.damaged

    def _take(self, item: Logged, window: _Window) -> None:
        """Put a record where it belongs."""
        match item:
            case LoggedSeries() | LoggedMetadata():
                self._take_definitions(item)
            case LoggedSamples(refs, times, bits):
                entries, kept = self._entries(refs, "samples")
                if kept is not None:
                    self._take_starts(entries, times, bits, window)
                    entries, times, bits = entries[kept], times[kept], bits[kept]
                if entries.size:
                    window.floats.append(Floats(entries, times, bits))
                    window.note(entries.size)
            case LoggedHistograms() if self.settings.send_native_histograms:
                self._take_histograms(item, window)
            case LoggedExemplars() if self.settings.send_exemplars:
                self._take_exemplars(item, window)
            case _:
                pass

    def _take_starts(self, entries: Entries, times: Ints, bits: Words, window: _Window) -> None:
        """Keep the start timestamps among samples until the samples are sent that they are of."""
        held = np.flatnonzero(entries <= COMPANION)
        if held.size:
            starts = bits[held].view(np.float64).astype(np.int64)
            window.starts.append(Starts(COMPANION - entries[held], times[held], starts))

    def _entries(self, refs: Ints, kind: str) -> tuple[Entries, Ints | None]:
        """Return the entry of each ref, and which of them are to be sent; None is all of them."""
        entries = self._table.entries_of(refs)
        if not entries.size or entries.min() >= 0:
            return entries, None
        outcomes = self.counts.kinds[kind]
        outcomes.drop("dropped_series", int(np.count_nonzero(entries == DROPPED)))
        outcomes.drop("unknown_series", int(np.count_nonzero(entries == UNKNOWN)))
        return entries, np.flatnonzero(entries >= 0)

    def _take_histograms(self, item: LoggedHistograms, window: _Window) -> None:
        entries, kept = self._entries(item.refs, "histograms")
        rows = np.arange(entries.size) if kept is None else kept
        waiting = Histograms(entries, item.times, np.arange(entries.size), item.columns).part(rows)
        if not self._writer.takes_listed_bounds:
            listed = waiting.listed_bounds()
            count = int(np.count_nonzero(listed))
            self.counts.kinds["histograms"].drop("nhcb_in_rw1_not_supported", count)
            waiting = waiting.part(np.flatnonzero(~listed))
        if waiting.entries.size:
            order = np.argsort(waiting.entries, kind="stable")
            window.histograms.append(waiting.part(order))
            window.note(waiting.entries.size)

    def _take_exemplars(self, item: LoggedExemplars, window: _Window) -> None:
        entries, kept = self._entries(item.refs, "exemplars")
        bits, labels, times = item.values.view(np.uint64), item.labels, item.times
        if kept is not None:
            entries, bits, times = entries[kept], bits[kept], times[kept]
            labels = choose_series(labels, kept)
        if entries.size:
            window.exemplars.append(Exemplars(entries, times, bits, labels))
            window.note(entries.size)

    def _adapt(self, window: _Window, took_s: float, waited_s: float) -> None:
        """Choose how many shards the next window gets."""
        queue, counts = self.settings.queue, self.counts
        each = waited_s / window.count
        before = self._seconds_each or each
        self._seconds_each = 0.8 * before + 0.2 * each
        behind = self._tail.bytes_behind()
        counts.bytes_behind = behind
        # A sample takes some four bytes of the log.
        backlog = behind / 4
        rate = window.count / max(took_s, POLL_S)
        self._rate = 0.8 * self._rate + 0.2 * rate if backlog < window.count else self._rate
        desired = self._seconds_each * (self._rate + backlog / CATCH_UP_S)
        counts.shards_desired = desired
        self._shards = min(queue.max_shards, max(queue.min_shards, math.ceil(desired)))
        counts.shards = self._shards

    def _forget_old_series(self) -> None:
        """Forget series that the log no longer defines, when a checkpoint is passed."""
        checkpoint = self._log_files.checkpoint(self._tail.position.segment)
        if checkpoint is None or checkpoint == self._checkpoint:
            return
        if self._checkpoint >= 0:
            refs = [
                item.refs for item in self._tail.known_series() if isinstance(item, LoggedSeries)
            ]
            self._table.keep_only(np.unique(np.concatenate([*refs, np.empty(0, np.int64)])))
            self._last_starts = []  # entries have other numbers now
        self._checkpoint = checkpoint

    def _save(self, *, now: bool = False) -> None:
        moment = time.monotonic()
        if now or moment - self._saved_at >= _IDLE_SAVE_S:
            self.position_file.save(self.delivered)
            self._saved_at = moment

    async def _send_metadata(self, delivery: Delivery) -> None:
        """Send what metrics are, all of it, at intervals; for 1.0."""
        settings = self.settings.metadata
        size = max(1, settings.max_samples_per_send)
        while True:
            entries = await asyncio.to_thread(self._metadata)
            for begin in range(0, len(entries), size):
                try:
                    await delivery.deliver_metadata(entries[begin : begin + size])
                except GaveUpError:
                    return
            await asyncio.sleep(settings.send_interval_ms / 1000)

    async def _describe(self) -> None:
        """Learn at intervals what metrics are: by 2.0 it goes along with their samples."""
        wait_s = min(_DESCRIBE_FIRST_S, self.settings.metadata.send_interval_ms / 1000)
        while True:
            self._table.describe(await asyncio.to_thread(self._metadata))
            await asyncio.sleep(wait_s)
            # After a start there are no scrapes to know it from.
            wait_s = min(2 * wait_s, self.settings.metadata.send_interval_ms / 1000)


def _sorted_floats(parts: Sequence[Floats]) -> Floats:
    """Return floats by entry, in the order of the log within one."""
    if len(parts) == 1:
        entries, times, bits = parts[0].entries, parts[0].times, parts[0].bits
    else:
        entries = np.concatenate([part.entries for part in parts])
        times = np.concatenate([part.times for part in parts])
        bits = np.concatenate([part.bits for part in parts])
    if (entries[1:] >= entries[:-1]).all():
        return Floats(entries, times, bits)
    order = np.argsort(entries, kind="stable")
    return Floats(entries[order], times[order], bits[order])
