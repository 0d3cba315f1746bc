"""The scraper on an event loop of its own, in a thread of its own.

From: the app.   To: `pool.py`.

Scrapes of known targets are stored right on the loop (see `loop.py`), which may then wait for the
disk or for a lock of storage; and a query must wait for neither. Discovery runs there as well.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from scraper.loop_thread import LoopThread
from scraper.pool import Scraper, untold

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from discovery.groups import Discoverer
    from scraper.ingest import ScrapeAppender
    from scraper.job import ScrapeJob
    from scraper.metadata import FamilyMetadata
    from scraper.stats import ScrapeStats
    from scraper.targets import Targets

T = TypeVar("T")


class ScraperThread:
    """What `Scraper` offers, from another event loop or from any thread. `stop` ends the thread."""

    def __init__(
        self,
        appender: ScrapeAppender,
        executor: Executor,
        *,
        external_labels: Mapping[str, str] | None = None,
        failed: Callable[[Path, str, str, str], None] = untold,
    ) -> None:
        """Start the thread; nothing is scraped before `apply`. `failed`: see `Scraper`."""
        self._scraper = Scraper(appender, executor, external_labels=external_labels, failed=failed)
        self._loop = LoopThread("scraper")

    async def apply(self, jobs: Sequence[tuple[ScrapeJob, Sequence[Discoverer]]]) -> None:
        """Run exactly these jobs from now on; see `Scraper.apply`."""
        await self._loop.call(self._scraper.apply(jobs))

    async def stop(self, *closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Stop all loops and discoverers, then the thread.

        Before the thread ends its loop runs `closing`: of what the discoverers share.
        """
        await self._loop.call(self._scraper.stop())
        for close in closing:
            await self._loop.call(close())
        await asyncio.to_thread(self._loop.end)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the scraper's event loop, beside its discoverers."""
        return await self._loop.call(work)

    # Reading takes no lock: pools and loops are listed in one step, each is shown as it is then.

    def targets(self) -> Targets:
        """Return active and dropped targets of all pools, ordered by pool."""
        return self._scraper.targets()

    def metadata(self) -> list[tuple[Mapping[str, str], Sequence[FamilyMetadata]]]:
        """Return for each active target its labels and what it said of its metrics."""
        return self._scraper.metadata()

    def scrape_pools(self) -> list[str]:
        """Return the names of the pools, sorted."""
        return self._scraper.scrape_pools()

    def discoverers(self) -> dict[str, Sequence[Discoverer]]:
        """Return the running discoverers of each job, for their own `stats()`."""
        return self._scraper.discoverers()

    def stats(self) -> ScrapeStats:
        """Return all counts, for telemetry."""
        return self._scraper.stats()
