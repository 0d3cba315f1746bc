"""The objects of one entry followed: listed and watched, or read from files, and made into jobs.

From: `discovery/kubernetes/watches.py`, `files.py`.   To: `monitors.py`.

Only what changed is translated again. Secrets are read by name, since the right to list all of
them should not be needed; they are read again at every refresh.
Invariant: a broken object costs itself alone; an API server that is away costs nothing that was
known, secrets included.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.kubernetes.access import namespaces
from discovery.kubernetes.client import ApiError
from discovery.kubernetes.kubeconfig import AccessError
from discovery.kubernetes.settings import KubernetesSettings
from discovery.kubernetes.watches import WatchRequest
from gnomon.operator.fields import MonitorError
from gnomon.operator.files import ObjectFiles, texts_of
from gnomon.operator.jobs import Secrets, jobs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from discovery.kubernetes.watches import Watch, Watches, WatchStats
    from gnomon.config.model import GlobalConfig, JobConfig
    from gnomon.operator.fields import Object
    from gnomon.operator.files import FileObjects, Key
    from gnomon.operator.jobs import Reference
    from gnomon.operator.settings import MonitorSettings

_log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""Changes that come together are applied together."""

FILES_S = 2.0
"""How often files are looked at."""

RETRY_S = 30.0
_RESOURCES = {"Secret": "secrets", "ConfigMap": "configmaps"}
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class MonitorStatus:
    """What became of one object: its jobs, or why there are none, and since when."""

    kind: str
    name: str
    jobs: tuple[str, ...]
    error: str
    since_s: float


@dataclass(slots=True)
class _Made:
    """An object as it was translated, and what it came to."""

    item: Object
    used: frozenset[Reference]
    jobs: tuple[JobConfig, ...] = ()
    error: str = ""
    since_s: float = field(default_factory=time.time)


@dataclass(slots=True)
class Follower:
    """One entry at work, within one event loop. `on_change` is called when jobs are others."""

    settings: MonitorSettings
    defaults: GlobalConfig
    watches: Watches
    on_change: Callable[[], None]
    config_error: str = ""
    _made: dict[Key, _Made] = field(default_factory=dict)
    _secrets: dict[Reference, Mapping[str, str] | None] = field(default_factory=dict)
    _watching: dict[str, list[Watch]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="kubernetes monitors")

    async def stop(self) -> None:
        """End and give all watches back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def jobs(self) -> list[JobConfig]:
        """Return the jobs of all objects, by kind and name."""
        return [job for _, made in sorted(self._made.items()) for job in made.jobs]

    def status(self) -> list[MonitorStatus]:
        """Return what became of each object."""
        return [
            MonitorStatus(
                kind,
                name,
                tuple(job.job.job_name for job in made.jobs),
                made.error,
                made.since_s,
            )
            for (kind, name), made in sorted(self._made.items())
        ]

    def watch_stats(self) -> list[WatchStats]:
        """Return how the watches do."""
        return [watch.stats() for group in self._watching.values() for watch in group]

    # A listener of watches.

    def changed(self, watch: Watch, key: str, before: Object | None, after: Object | None) -> None:
        """Take note that there are news."""
        self._news.set()

    def wake(self) -> None:
        """Take note that a list is complete, or that it failed."""
        self._news.set()

    # ------------------------------------------------------------------------------- at work

    async def _run(self) -> None:
        while True:
            try:
                if self.settings.files:
                    await self._follow_files()
                else:
                    await self._follow_server()
            except AccessError as e:
                if str(e) != self.config_error:
                    _log.error("Monitors cannot be watched: err=%s", e)
                self.config_error = str(e)
            except Exception:  # noqa: BLE001 - what is known stays, and we try again
                _log.exception("following monitors failed")
            await asyncio.sleep(RETRY_S)

    async def _follow_files(self) -> None:
        files = ObjectFiles(self.settings)
        while True:
            found: FileObjects | None = await asyncio.to_thread(files.read)
            if found is not None:
                self._secrets = dict(found.secrets)
                await self._translate(found.monitors, fresh=True)
            await asyncio.sleep(FILES_S)

    async def _follow_server(self) -> None:
        settings = self.settings
        where = KubernetesSettings(
            "pod",
            access=settings.access,
            namespaces=settings.namespaces,
            own_namespace=settings.own_namespace,
        )
        names = await asyncio.to_thread(namespaces, where)
        self.config_error = ""
        requests = [
            WatchRequest(kind.lower(), name, settings.selector)
            for kind in settings.kinds
            for name in names
        ]
        if settings.namespace_selector:
            requests.append(WatchRequest("namespace", "", settings.namespace_selector))
        try:
            for request in requests:
                watch = self.watches.acquire(settings.access, request, self)
                self._watching.setdefault(request.kind, []).append(watch)
            await self._follow_watches()
        finally:
            watching, self._watching = self._watching, {}
            for watch in [watch for group in watching.values() for watch in group]:
                await self.watches.release(watch, self)

    async def _follow_watches(self) -> None:
        loop = asyncio.get_running_loop()
        refresh_at = loop.time() + self.settings.refresh_interval_s
        while True:
            fresh = False
            try:
                async with asyncio.timeout_at(refresh_at):
                    await self._news.wait()
            except TimeoutError:
                fresh = True
                refresh_at = loop.time() + self.settings.refresh_interval_s
            await asyncio.sleep(SETTLE_S)
            self._news.clear()
            watches = [watch for group in self._watching.values() for watch in group]
            if not all(watch.listed or watch.failing for watch in watches):
                continue
            await self._translate(self._selected(), fresh=fresh)

    def _selected(self) -> dict[Key, Object]:
        """Return the objects that are selected; those of a list that failed stay as they were."""
        allowed = None
        if self.settings.namespace_selector:
            allowed = {name for watch in self._watching["namespace"] for name in watch.objects}
        found: dict[Key, Object] = {}
        for kind in self.settings.kinds:
            for watch in self._watching.get(kind.lower(), ()):
                for name, item in watch.objects.items():
                    namespace = item["metadata"].get("namespace") or "default"
                    if allowed is None or namespace in allowed:
                        found[kind, name] = item
        return found

    async def _translate(self, monitors: Mapping[Key, Object], *, fresh: bool) -> None:
        """Make jobs of what changed; with `fresh`, of what uses secrets that changed as well."""
        stale = await self._refresh() if fresh and not self.settings.files else set()
        made: dict[Key, _Made] = {}
        changed = self._made.keys() != monitors.keys()
        for key, item in monitors.items():
            known = self._made.get(key)
            same = known is not None and known.item is item and not (known.used & stale)
            if known is not None and same and not (fresh and (known.error or self.settings.files)):
                made[key] = known
                continue
            made[key] = new = await self._make(key, item)
            differs = known is None or known.jobs != new.jobs or known.error != new.error
            changed |= differs
            if not differs and known is not None:
                new.since_s = known.since_s
            if differs and new.error:
                _log.error("Monitor is not used: kind=%s name=%s err=%s", *key, new.error)
        self._made = made
        used = {reference for each in made.values() for reference in each.used}
        if not self.settings.files:
            self._secrets = {r: data for r, data in self._secrets.items() if r in used}
        if changed:
            self.on_change()

    async def _make(self, key: Key, item: Object) -> _Made:
        secrets = Secrets(dict(self._secrets))
        try:
            while True:
                secrets.wanted, secrets.used = set(), set()
                jobs = jobs_of(key[0], item, self.settings, secrets, self.defaults)
                if not secrets.wanted:
                    return _Made(item, frozenset(secrets.used), jobs)
                for reference in sorted(secrets.wanted):
                    secrets.known[reference] = await self._read(reference)
                self._secrets.update(secrets.known)
        except (MonitorError, ApiError, AccessError) as e:
            return _Made(item, frozenset(secrets.used), error=str(e))

    async def _read(self, reference: Reference) -> Mapping[str, str] | None:
        """Return what a secret holds, None if it does not exist. Raises ApiError."""
        kind, namespace, name = reference
        if self.settings.files:
            return None
        path = f"/api/v1/namespaces/{namespace}/{_RESOURCES[kind]}/{name}"
        try:
            item = await self.watches.client(self.settings.access).page(
                path, {}, "application/json"
            )
        except ApiError as e:
            if e.status == _NOT_FOUND:
                return None
            raise
        return texts_of(kind, item)

    async def _refresh(self) -> set[Reference]:
        """Read all secrets again; return those that changed. One that cannot be read stays."""
        changed = set()
        for reference, before in list(self._secrets.items()):
            try:
                after = await self._read(reference)
            except ApiError as e:
                _log.warning("A secret cannot be read again: %s %s/%s: %s", *reference, e)
                continue
            if after != before:
                self._secrets[reference] = after
                changed.add(reference)
        return changed
