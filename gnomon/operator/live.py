"""Monitors beside a running server: their jobs, applied whenever they are others.

From: `server.py`, on its event loop.   To: `monitors.py`, on the scraper's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from discovery.kubernetes.discovery import KubernetesStats
from gnomon.operator.monitors import Monitors
from gnomon.operator.settings import MonitorStats

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from discovery.kubernetes.watches import Watches
    from gnomon.config.model import Config, JobConfig
    from gnomon.operator.follow import MonitorStatus
    from scraper.thread import ScraperThread

_log = logging.getLogger(__name__)


class LiveMonitors:
    """The monitors of a server. Made and used on its event loop."""

    def __init__(
        self,
        scraper: ScraperThread,
        watches: Watches,
        apply: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """`apply` is called when the jobs have changed, and asks for them by `jobs`."""
        self._scraper, self._watches, self._apply = scraper, watches, apply
        self._loop = asyncio.get_running_loop()
        self._monitors = Monitors(watches, self._changed)
        self._applying: asyncio.Task[None] | None = None
        self._again = False

    async def configure(self, config: Config) -> None:
        """Follow what a configuration asks for."""
        await self._scraper.run(self._monitors.configure(config.monitors, config.global_config))

    def jobs(self, config: Config) -> list[JobConfig]:
        """Return the jobs of all monitors, without names that the configuration has."""
        return self._monitors.jobs(config.jobs)

    def status(self) -> list[MonitorStatus]:
        """Return what became of each object."""
        return self._monitors.status()

    async def close(self) -> None:
        """End all. Called on the scraper's event loop."""
        await self._monitors.close()

    def stats(self) -> Sequence[object]:
        """Return what there is to count."""
        objects: dict[tuple[str, bool], int] = {}
        for one in self.status():
            key = one.kind, not one.error
            objects[key] = objects.get(key, 0) + 1
        watching = [
            KubernetesStats(
                role="monitor",
                events={},
                failures=self._watches.failures.count,
                watches=tuple(follower.watch_stats()),
                config_error=follower.config_error,
            )
            for follower in self._monitors.followers()
            if not follower.settings.files
        ]
        return [MonitorStats(objects), *watching]

    def _changed(self) -> None:
        # From the scraper's event loop, to the server's.
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._applying is not None and not self._applying.done():
            self._again = True
            return
        self._applying = self._loop.create_task(self._run(), name="apply monitors")

    async def _run(self) -> None:
        while True:
            self._again = False
            try:
                await self._apply()
            except Exception:  # noqa: BLE001 - the jobs of before go on
                _log.exception("jobs of monitors could not be applied")
            if not self._again:
                return
