"""One target's timing: when it is scraped, and what is known of it between scrapes.

From: `pool.py`, which starts, changes and ends loops.   To: `fetch.py` on the event loop, then
`ingest.py` in a worker thread.

Each target has a fixed phase within its interval, tied to absolute time, so that restarts keep it
and servers with other external labels differ. Scrapes never overlap: one task does one after the
other, and a slot that passed meanwhile starts late or is skipped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from discovery.http_requests import CredentialsError, RequestOptions
from scraper.duration import format_duration_ms
from scraper.fetch import (
    DEADLINE,
    FetchError,
    Response,
    fetch,
    fetch_plain,
    read_or_refuse,
    request_headers,
)
from scraper.plain_http import NotPlainError, PlainClient, PlainRequest, plain_request
from scraper.stats import Durations
from scraper.targets import ActiveTarget
from scraper.tokens import ParseError
from tsdb.errors import WriteFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    import aiohttp

    from scraper.ingest import TargetIngest
    from scraper.job import ScrapeJob
    from scraper.outcome import Body, Outcome
    from scraper.targets import Target

T = TypeVar("T")

_log = logging.getLogger(__name__)

ALIGN_MS = 2.0
"""A scrape that starts this soon after its slot, or within 1 % of the interval, gets its time."""

QUICK_BYTES = 1 << 18
QUICK_GZIP_BYTES = 1 << 15
QUICK_SERIES = 4000
"""A body of a known target up to this size is stored on the event loop itself, in 2 ms at most."""
# Handing a scrape of 1000 series to a thread and back cost as much CPU as storing it: 0.3 ms.

END_EXTRA = 0.1
"""Markers of a target that went are written this share of an interval after its second slot."""


@dataclass(frozen=True, slots=True)
class LoopContext:
    """What all loops of a scraper share. `clock` gives seconds since the epoch."""

    session_for: Callable[[str], aiohttp.ClientSession]
    plain: PlainClient
    executor: Executor
    clock: Callable[[], float]
    user_agent: str
    phase_seed: int
    record: Callable[[ScrapeJob, Outcome], None]
    failed: Callable[[Path, str, str, str], None]
    """Told the file to log to, why the request failed, the job's name and the target's URL."""
    intervals: dict[int, Durations]


@dataclass(slots=True)
class _Request:
    """How a target is asked: arguments for the general client, and the plain form if it has one."""

    arguments: dict[str, Any]
    plain: PlainRequest | None
    holds_until: float
    """When its token ends, by the monotonic clock."""


class TargetLoop:
    """Scrapes one target until it is ended or cancelled."""

    def __init__(
        self,
        target: Target,
        job: ScrapeJob,
        ingest: TargetIngest,
        options: RequestOptions,
        context: LoopContext,
    ) -> None:
        self.target, self.job, self.ingest, self._options = target, job, ingest, options
        self._context = context
        self._request: _Request | None = None
        self.forced_error = ""
        self.health, self.last_error = "unknown", ""
        self.last_scrape_s = self.last_duration_s = 0.0
        self._slot_ms: int | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._storing: asyncio.Future[Any] | None = None
        self._ending = False
        self._warned: set[str] = set()

    def start(self) -> None:
        """Begin to scrape. Called within the event loop."""
        self._ending = False
        name = f"scrape {self.target.scrape_pool} {self.target.url}"
        self._task = asyncio.create_task(self._run(), name=name)

    def update(
        self, target: Target, job: ScrapeJob, ingest: TargetIngest, options: RequestOptions
    ) -> None:
        """Go on with another job, timing or labelling; a scrape in progress is completed as it is.

        Takes effect with the next scrape, which keeps its slot unless the interval changed.
        """
        self.target, self.job, self.ingest, self._options = target, job, ingest, options
        self._request = None
        self._wake()

    def end(self) -> None:
        """Stop scraping; write stale markers later, unless the target comes back or we stop."""
        self._ending = True
        self._wake()

    def revive(self) -> None:
        """Take back `end` for a target that came back before its markers were due."""
        if self._task is None or self._task.done():
            self.start()
            return
        self._ending = False
        self._wake()

    async def stop(self) -> None:
        """Stop at once and write nothing: after a restart the series go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._storing is not None:
            # A thread cannot be cancelled: storage may be closed only after it.
            await asyncio.wait([self._storing])

    @property
    def ended(self) -> bool:
        """Say whether the loop has done all it had to."""
        return self._task is None or self._task.done()

    def view(self) -> ActiveTarget:
        """Return what may be shown of the target now."""
        target = self.target
        return ActiveTarget(
            discovered_labels=target.discovered,
            labels=target.labels,
            scrape_pool=target.scrape_pool,
            scrape_url=target.url,
            global_url=target.url,
            last_error=self.last_error,
            last_scrape_s=self.last_scrape_s,
            last_scrape_duration_s=self.last_duration_s,
            health=self.health,
            scrape_interval=format_duration_ms(target.interval_ms),
            scrape_timeout=format_duration_ms(target.timeout_ms),
        )

    # ------------------------------------------------------------------------------- timing

    async def _run(self) -> None:
        while True:
            if self._ending:
                if await self._end_when_due():
                    return
                continue
            slot_ms = self._next_slot()
            if not await self._sleep_until(slot_ms):
                continue  # woken: target, interval or purpose may have changed
            try:
                await self._scrape(slot_ms)
            except WriteFailedError as error:
                # The disk is full or gone: said with every scrape, until one is stored again.
                _log.error("scrape of %s is not stored: %s", self.target.url, error)
                self.health, self.last_error = "down", str(error)
            except Exception:  # noqa: BLE001 - one scrape must never end the loop
                # We have a bug: other targets and the next scrape go on.
                _log.exception("scrape of %s failed", self.target.url)
                self.health, self.last_error = "down", "internal error, see the log"

    def _next_slot(self) -> int:
        """Return the next time of the target's grid; one that passed during a scrape is now."""
        interval = self.target.interval_ms
        phase = (self.target.phase_hash ^ self._context.phase_seed) % interval
        now = int(self._context.clock() * 1000)
        last = self._slot_ms
        slot = now - (now - phase) % interval
        if last is not None and slot > last and (last - phase) % interval == 0:
            return slot
        return slot + interval

    async def _sleep_until(self, time_ms: float) -> bool:
        """Sleep until a time of the clock; return False if woken before."""
        delay_s = time_ms / 1000 - self._context.clock()
        if delay_s <= 0:
            await asyncio.sleep(0)
            return True
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        handle = loop.call_later(delay_s, _wake_up, waiter, True)
        try:
            return bool(await waiter)
        finally:
            handle.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None:
            _wake_up(self._waiter, False)

    async def _end_when_due(self) -> bool:
        """Wait, then mark the target's series as gone; return False if it came back instead."""
        if self.last_scrape_s == 0:
            return True
        interval = self.target.interval_ms
        self._slot_ms = None
        slot = self._next_slot()
        due = slot + interval * (1 + END_EXTRA)
        while self._ending:
            if await self._sleep_until(due):
                await self._in_thread(partial(self.ingest.end, slot))
                return True
        return False

    # ------------------------------------------------------------------------------- scraping

    async def _scrape(self, slot_ms: int) -> None:
        context, target, job, ingest = self._context, self.target, self.job, self.ingest
        started = time.monotonic()
        now_ms = context.clock() * 1000
        tolerance = min(ALIGN_MS, target.interval_ms / 100)
        time_ms = slot_ms if 0 <= now_ms - slot_ms <= tolerance else int(now_ms)
        if self.last_scrape_s:
            lengths = context.intervals.setdefault(target.interval_ms, Durations())
            lengths.add(now_ms / 1000 - self.last_scrape_s)
        result = await self._fetch()
        read = partial(self._read, result, job)
        store = partial(ingest.store, time_ms, read, lambda: time.monotonic() - started)
        if _is_quick(result, job, ingest):
            outcome = store()
        else:
            outcome = await self._in_thread(store)
        self._slot_ms = slot_ms
        self.health = "down" if outcome.error else "up"
        self.last_error = outcome.error
        self.last_scrape_s = now_ms / 1000
        self.last_duration_s = outcome.duration_s
        context.record(job, outcome)
        self._warn(outcome)

    def _read(self, result: Response | FetchError, job: ScrapeJob) -> Body:
        """Return the body as `read_or_refuse` does, and tell the job's log if there is none."""
        try:
            return read_or_refuse(result, job.limits.body_size_limit)
        except ParseError as error:
            if job.failure_log is not None:
                self._context.failed(job.failure_log, str(error), job.job_name, self.target.url)
            raise

    def _warn(self, outcome: Outcome) -> None:
        """Say which samples storage refuses: when that begins, not at every scrape."""
        refused = {
            "samples with different value but same timestamp": outcome.duplicates,
            "out-of-order samples": outcome.out_of_order,
            "samples that are too old or are too far into the future": outcome.out_of_bounds,
        }
        for text, count in refused.items():
            if count and text not in self._warned:
                url = self.target.url
                _log.warning("Error on ingesting %s: target=%s num_dropped=%d", text, url, count)
        self._warned = {text for text, count in refused.items() if count}

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run work in a thread; `stop` waits for it even though this task is cancelled."""
        loop = asyncio.get_running_loop()
        self._storing = storing = loop.run_in_executor(self._context.executor, work)
        return await asyncio.shield(storing)

    async def _fetch(self) -> Response | FetchError:
        """Return the response, or the error that stands for it."""
        if self.forced_error:
            return FetchError(self.forced_error)
        deadline = time.monotonic() + self.target.timeout_ms / 1000
        try:
            return await self._ask(deadline)
        except CredentialsError as e:
            return FetchError(f'Get "{self.target.url}": {e}')
        except FetchError as e:
            request = self._request
            if e.status != 401 or request is None:
                return e
            self._request = None
            if not self._options.refused(request.arguments["headers"]):
                return e
        # Its token was withdrawn before its time: once more, with another.
        try:
            return await self._ask(deadline)
        except CredentialsError as e:
            return FetchError(f'Get "{self.target.url}": {e}')
        except FetchError as e:
            return e

    async def _ask(self, deadline: float) -> Response:
        """Ask the target once. Raises FetchError, CredentialsError."""
        context, target = self._context, self.target
        size_max = self.job.limits.body_size_limit
        request = self._request
        if (
            request is None
            or time.monotonic() >= request.holds_until
            or self._options.blocks(target.url)
        ):
            request = self._request = await self._make_request(deadline)
        if request.plain is not None:
            try:
                return await fetch_plain(
                    context.plain,
                    request.plain,
                    target.url,
                    timeout_s=deadline - time.monotonic(),
                    body_bytes_max=size_max,
                )
            except NotPlainError as e:
                if e.lasting:
                    request.plain = None
        return await fetch(
            context.session_for(target.unix_socket),
            target.url,
            headers=self._headers(),
            options=request.arguments,
            timeout_s=max(0.0, deadline - time.monotonic()),
            body_bytes_max=size_max,
        )

    async def _make_request(self, deadline: float) -> _Request:
        """Make what holds for all scrapes to come, unless files are read for it."""
        target = self.target
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                arguments, holds_until = await self._options.arguments(target.url)
        except TimeoutError:
            raise FetchError(f'Get "{target.url}": {DEADLINE}') from None
        plain = None
        if not target.unix_socket:
            headers = self._headers() | arguments["headers"]
            plain = plain_request(target.url, headers, arguments)
        return _Request(arguments, plain, holds_until)

    def _headers(self) -> dict[str, str]:
        return request_headers(
            self.job, timeout_ms=self.target.timeout_ms, user_agent=self._context.user_agent
        )


def _is_quick(result: Response | FetchError, job: ScrapeJob, ingest: TargetIngest) -> bool:
    """Say whether a scrape is stored within a few milliseconds, so that no thread is needed."""
    if isinstance(result, FetchError):
        # A log of its own may wait for the disk.
        return job.failure_log is None and ingest.cache.count <= QUICK_SERIES
    bound = QUICK_GZIP_BYTES if result.gzipped else QUICK_BYTES
    return ingest.cache.count > 0 and len(result.body) <= bound


def _wake_up(waiter: asyncio.Future[bool], due: bool) -> None:
    if not waiter.done():
        waiter.set_result(due)
