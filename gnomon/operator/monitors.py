"""All entries of `kubernetes_monitor_configs` of a server, over reloads.

From: `server.py`.   To: `follow.py`, one for each entry.
Belongs to the scraper's event loop, where the watches live; what only reads may be called anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.operator.follow import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from discovery.kubernetes.watches import Watches
    from gnomon.config.model import GlobalConfig, JobConfig
    from gnomon.operator.follow import MonitorStatus
    from gnomon.operator.settings import MonitorSettings


class Monitors:
    """The followers that run. `on_change` is called when the jobs of one are others."""

    def __init__(self, watches: Watches, on_change: Callable[[], None]) -> None:
        self._watches, self._on_change = watches, on_change
        self._followers: list[Follower] = []

    async def configure(self, entries: Sequence[MonitorSettings], defaults: GlobalConfig) -> None:
        """Follow exactly these entries; those that are as before go on, with their jobs."""
        before, kept = self._followers, []
        for settings in entries:
            known = next(
                (f for f in before if f.settings == settings and f.defaults == defaults), None
            )
            if known is None:
                known = Follower(settings, defaults, self._watches, self._on_change)
                known.start()
            else:
                before = [follower for follower in before if follower is not known]
            kept.append(known)
        self._followers = kept
        for follower in before:
            await follower.stop()

    async def close(self) -> None:
        """End all."""
        followers, self._followers = self._followers, []
        for follower in followers:
            await follower.stop()

    def jobs(self, taken: Sequence[JobConfig] = ()) -> list[JobConfig]:
        """Return the jobs of all objects, without names that are taken or come twice."""
        names = {job.job.job_name for job in taken}
        found = []
        for follower in self._followers:
            for job in follower.jobs():
                if job.job.job_name not in names:
                    names.add(job.job.job_name)
                    found.append(job)
        return found

    def status(self) -> list[MonitorStatus]:
        """Return what became of each object."""
        return [one for follower in self._followers for one in follower.status()]

    def followers(self) -> list[Follower]:
        """Return the followers, for what they count."""
        return list(self._followers)
