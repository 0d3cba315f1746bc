"""Which loops run: jobs and what discovery finds become loops, and follow every change.

From: the app (`apply` at start and at each reload) and `discovery/combine.py`.   To: `loop.py`.

A reload touches only what it changes. A target that stays, by labels and URL, keeps its loop, its
phase and its series cache; one that goes is marked stale after its second slot, and one that comes
back before that goes on as if it had never been away.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from discovery.combine import combine
from discovery.http_requests import RequestOptions, new_session
from scraper.duration import format_duration_ms
from scraper.ingest import ScrapeAppender, TargetIngest
from scraper.labelling import Labelling
from scraper.loop import LoopContext, TargetLoop
from scraper.plain_http import PlainClient
from scraper.relabel import compile_rules
from scraper.stats import Durations, OutcomeCounts, PoolStats, ScrapeStats
from scraper.targets import DroppedTarget, TargetMaker, Targets, TargetSet, stable_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    import aiohttp

    from discovery.groups import Discoverer, TargetGroup
    from scraper.job import ScrapeJob
    from scraper.metadata import FamilyMetadata
    from scraper.outcome import Outcome
    from scraper.relabel import CompiledRules
    from scraper.targets import Target

_log = logging.getLogger(__name__)

_BREATHE = 100
"""Loops begun in one go; then the event loop serves others, since each takes some 50 us."""

USER_AGENT = "Prometheus/3.5.3"
"""Exporters know this name and answer it as they answer Prometheus."""


def untold(_file: Path, _message: str, _job_name: str, _url: str) -> None:
    """Keep no log of scrapes that failed."""


class Scraper:
    """All pools of a server. Used within one event loop; `stop` ends it.

    What only reads (`targets`, `stats` and so on) may be called from any thread.

    `external_labels` and the host's name shift the phases of all targets, so that replicas of one
    configuration do not scrape at the same moment. `failed` writes a job's log of failed scrapes.
    """

    def __init__(
        self,
        appender: ScrapeAppender,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.time,
        external_labels: Mapping[str, str] | None = None,
        user_agent: str = USER_AGENT,
        failed: Callable[[Path, str, str, str], None] = untold,
    ) -> None:
        self._appender = appender
        self._counts = OutcomeCounts()
        self._intervals: dict[int, Durations] = {}
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._pools: dict[str, JobPool] = {}
        self._removed: dict[str, JobPool] = {}
        self._pools_failed = self._pools_begun = 0
        self._pool_reloads = self._pool_reloads_failed = 0
        self._plain = PlainClient()
        self._context = LoopContext(
            session_for=self._session,
            plain=self._plain,
            executor=executor,
            clock=clock,
            user_agent=user_agent,
            phase_seed=_seed(external_labels or {}),
            record=self._record,
            failed=failed,
            intervals=self._intervals,
        )

    async def apply(self, jobs: Sequence[tuple[ScrapeJob, Sequence[Discoverer]]]) -> None:
        """Run exactly these jobs from now on. Job names are unique.

        Discoverers that equal those of before go on running; the new ones are then not used.
        Returns at once: targets appear as discovery finds them. A job whose rules do not compile
        is logged, counted and left as it was.
        """
        wanted = dict.fromkeys(job.job_name for job, _ in jobs)
        self._removed = {n: p for n, p in self._removed.items() if not p.ended}
        for name in [name for name in self._pools if name not in wanted]:
            pool = self._removed[name] = self._pools.pop(name)
            await pool.remove()
        for job, discoverers in jobs:
            name = job.job_name
            known = self._pools.get(name) or self._removed.pop(name, None)
            self._pool_reloads += known is not None
            self._pools_begun += known is None
            try:
                pool = known or JobPool(job, self._appender, self._context)
                self._pools[name] = pool
                await pool.apply(job, tuple(discoverers))
            except ValueError as e:
                self._pools_failed += known is None
                self._pool_reloads_failed += known is not None
                _log.error("scrape pool %s: %s", job.job_name, e)

    async def stop(self) -> None:
        """Stop all loops and discoverers; write no stale markers: a restart continues series."""
        pools = [*self._pools.values(), *self._removed.values()]
        await asyncio.gather(*(pool.stop() for pool in pools))
        self._pools, self._removed = {}, {}
        await asyncio.gather(*(session.close() for session in self._sessions.values()))
        self._sessions = {}
        self._plain.close()

    def targets(self) -> Targets:
        """Return active and dropped targets of all pools, ordered by pool."""
        pools = [pool for _, pool in sorted(self._pools.items())]
        return Targets(
            active=[loop.view() for pool in pools for loop in list(pool.loops.values())],
            dropped=[target for pool in pools for target in pool.dropped],
            dropped_counts={pool.job.job_name: pool.dropped_count for pool in pools},
        )

    def metadata(self) -> list[tuple[Mapping[str, str], Sequence[FamilyMetadata]]]:
        """Return for each active target its labels and what it said of its metrics."""
        return [
            (loop.target.labels, list(loop.ingest.metadata.families.values()))
            for _, pool in sorted(self._pools.items())
            for loop in list(pool.loops.values())
        ]

    def scrape_pools(self) -> list[str]:
        """Return the names of the pools, sorted."""
        return sorted(self._pools)

    def discoverers(self) -> dict[str, Sequence[Discoverer]]:
        """Return the running discoverers of each job, for their own `stats()`."""
        return {name: pool.discoverers for name, pool in sorted(self._pools.items())}

    def stats(self) -> ScrapeStats:
        """Return all counts, for telemetry."""
        return self._counts.stats(
            {name: pool.stats() for name, pool in list(self._pools.items())},
            {format_duration_ms(ms): d.summary() for ms, d in list(self._intervals.items())},
            pools_failed=self._pools_failed,
            pools_begun=self._pools_begun,
            pool_reloads=self._pool_reloads,
            pool_reloads_failed=self._pool_reloads_failed,
        )

    def _record(self, _job: ScrapeJob, outcome: Outcome) -> None:
        self._counts.add(outcome)

    def _session(self, unix_socket: str) -> aiohttp.ClientSession:
        session = self._sessions.get(unix_socket)
        if session is None:
            session = self._sessions[unix_socket] = new_session(unix_socket=unix_socket)
        return session


class JobPool:
    """The loops of one job."""

    def __init__(self, job: ScrapeJob, appender: ScrapeAppender, context: LoopContext) -> None:
        self.job = job
        self.discoverers: tuple[Discoverer, ...] = ()
        self.loops: dict[str, TargetLoop] = {}
        self.dropped: Sequence[DroppedTarget] = ()
        self.dropped_count = 0
        self._ending: dict[str, TargetLoop] = {}
        self._appender, self._context = appender, context
        self._rules, self._metric_rules = _compiled(job)
        self._options = RequestOptions(job.http_client)
        self._target_maker = TargetMaker()
        # The job as targets with settings of their own see it: few variants of one job.
        self._variants: dict[tuple[tuple[str, bool], ...], ScrapeJob] = {}
        self._groups: list[TargetGroup] | None = None
        self._task: asyncio.Task[None] | None = None
        # One sync at a time: a reload may meet an update of discovery.
        self._sync_lock = asyncio.Lock()
        self._sync_durations = Durations()
        self._sync_failed = self._exceeded_target_limit = self._updates = 0

    async def apply(self, job: ScrapeJob, discoverers: tuple[Discoverer, ...]) -> None:
        """Take a job and its discoverers, changing only what differs. Raises ValueError."""
        if job != self.job:
            rules, metric_rules = _compiled(job)
            if job.http_client != self.job.http_client:
                self._options = RequestOptions(job.http_client)
            self._rules, self._metric_rules, self.job = rules, metric_rules, job
            self._variants = {}
            if self._groups is not None:
                await self._sync(self._groups)
        if self._task is None or discoverers != self.discoverers:
            await self._end_discovery()
            self.discoverers = discoverers
            self._task = asyncio.create_task(self._follow(), name=f"discover {job.job_name}")

    async def remove(self) -> None:
        """End all loops of a job that is gone; they mark their series stale in time."""
        await self._end_discovery()
        self._groups = None
        async with self._sync_lock:
            for key, loop in self.loops.items():
                loop.end()
                self._ending[key] = loop
            self.loops, self.dropped, self.dropped_count = {}, (), 0

    async def stop(self) -> None:
        """Stop at once, without stale markers."""
        await self._end_discovery()
        loops = [*self.loops.values(), *self._ending.values()]
        await asyncio.gather(*(loop.stop() for loop in loops))

    @property
    def ended(self) -> bool:
        """Say whether a removed job has nothing left to do."""
        return not self.loops and all(loop.ended for loop in self._ending.values())

    def stats(self) -> PoolStats:
        """Return the pool's numbers."""
        ingests = [loop.ingest for loop in list(self.loops.values())]
        return PoolStats(
            targets=len(ingests),
            target_limit=self.job.limits.target_limit,
            syncs=self._sync_durations.count,
            sync_failed=self._sync_failed,
            exceeded_target_limit=self._exceeded_target_limit,
            sync_length=self._sync_durations.summary(),
            discovered_targets=sum(len(group.targets) for group in self._groups or ()),
            updates_received=self._updates,
            series_cached=sum(ingest.cache.count for ingest in ingests),
            cache_bytes=sum(ingest.cache.memory_bytes for ingest in ingests),
            metadata_families=sum(len(ingest.metadata.families) for ingest in ingests),
        )

    async def _end_discovery(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self) -> None:
        async with aclosing(combine(self.discoverers)) as updates:
            async for groups in updates:
                self._updates += 1
                self._groups = groups
                await self._sync(groups)

    async def _sync(self, groups: Sequence[TargetGroup]) -> None:
        """Make the loops those of these groups."""
        async with self._sync_lock:
            began = time.monotonic()
            loop = asyncio.get_running_loop()
            job, rules = self.job, self._rules
            # Relabelling ten thousand targets takes a third of a second: not on the event loop.
            found = await loop.run_in_executor(
                self._context.executor, self._target_maker.targets, job, rules, groups
            )
            await self._take(found)
            self._sync_durations.add(time.monotonic() - began)

    async def _take(self, found: TargetSet) -> None:
        for failure in found.failures:
            _log.error("Creating target failed: scrape_pool=%s %s", self.job.job_name, failure)
        self._sync_failed += len(found.failures)
        self.dropped, self.dropped_count = found.dropped, found.dropped_count
        wanted = {target.key: target for target in found.active}
        self._ending = {key: loop for key, loop in self._ending.items() if not loop.ended}
        for key in [key for key in self.loops if key not in wanted]:
            loop = self._ending[key] = self.loops.pop(key)
            loop.end()
        limit = self.job.limits.target_limit
        forced = ""
        if limit and len(wanted) > limit:
            forced = f"target_limit exceeded (number of targets: {len(wanted)}, limit: {limit})"
            self._exceeded_target_limit += 1
        for number, (key, target) in enumerate(wanted.items()):
            if number % _BREATHE == 0:
                await asyncio.sleep(0)
            current = self.loops.get(key) or self._ending.pop(key, None)
            if current is None:
                self.loops[key] = self._start(target, forced)
                continue
            self._continue(current, target, forced, revive=key not in self.loops)
            self.loops[key] = current

    def _job_of(self, target: Target) -> ScrapeJob:
        """Return the job as a target sees it; the same object for the same settings."""
        if not target.settings:
            return self.job
        key = tuple(target.settings.items())
        job = self._variants.get(key)
        if job is None:
            job = self._variants[key] = target.job_of(self.job)
        return job

    def _start(self, target: Target, forced: str) -> TargetLoop:
        job = self._job_of(target)
        ingest = TargetIngest(
            self._appender,
            Labelling(job, target.labels, self._metric_rules),
            timeout_ms=target.timeout_ms,
        )
        loop = TargetLoop(target, job, ingest, self._options, self._context)
        loop.forced_error = forced
        loop.start()
        return loop

    def _continue(self, loop: TargetLoop, target: Target, forced: str, *, revive: bool) -> None:
        """Carry a loop over to the job as it is now."""
        loop.forced_error = forced
        job = self._job_of(target)
        if loop.target != target or loop.job is not job:
            labelling = Labelling(job, target.labels, self._metric_rules)
            ingest = loop.ingest
            if _labels_alike(loop.job, job):
                ingest.labelling, ingest.timeout_ms = labelling, target.timeout_ms
            else:
                ingest = ingest.relabelled(labelling, timeout_ms=target.timeout_ms)
            loop.update(target, job, ingest, self._options)
        if revive:
            loop.revive()


def _compiled(job: ScrapeJob) -> tuple[CompiledRules, CompiledRules]:
    """Return a job's rules for targets and for samples. Raises ValueError."""
    legacy = job.metric_name_validation_scheme == "legacy"
    return (
        compile_rules(job.relabel_rules, legacy_names=legacy),
        compile_rules(job.metric_relabel_rules, legacy_names=legacy),
    )


def _labels_alike(old: ScrapeJob, new: ScrapeJob) -> bool:
    """Say whether a body means the same series, or the same refusal, under both jobs."""
    return (
        old.honor_labels == new.honor_labels
        and old.metric_relabel_rules == new.metric_relabel_rules
        and old.metric_name_validation_scheme == new.metric_name_validation_scheme
        and old.convert_classic_histograms == new.convert_classic_histograms
        and _label_limits(old) == _label_limits(new)
    )


def _label_limits(job: ScrapeJob) -> object:
    return replace(
        job.limits,
        sample_limit=0,
        target_limit=0,
        body_size_limit=0,
        keep_dropped_targets=0,
    )


def _seed(external_labels: Mapping[str, str]) -> int:
    return stable_hash(socket.gethostname() + repr(sorted(external_labels.items())))
