"""One `kubernetes_sd_configs` entry at work.

From: `store.py`, a scope for each namespace.   To: `discovery/combine.py`.
Invariant: only groups that changed are told, and no failure of the server takes one away.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.kubernetes.access import namespaces
from discovery.kubernetes.kubeconfig import AccessError
from discovery.kubernetes.store import Scope
from discovery.kubernetes.watches import Watches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from discovery.groups import TargetGroup
    from discovery.kubernetes.settings import KubernetesSettings
    from discovery.kubernetes.watches import WatchStats

_log = logging.getLogger(__name__)

RETRY_S = 30.0
"""How long until a way to the server is looked for again, if there was none."""


@dataclass(frozen=True, slots=True)
class KubernetesStats:
    """What one discovery did. `events` counts by (add, update or delete; kind of object).

    `failures` is of all discoveries that share the watches; `watches` are this one's.
    `config_error` says why no server can be asked at all, or is "".
    """

    role: str
    events: Mapping[tuple[str, str], int]
    failures: int
    watches: tuple[WatchStats, ...]
    config_error: str


@dataclass(slots=True)
class _State:
    scopes: list[Scope] = field(default_factory=list)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    config_error: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesDiscovery:
    """Follows the objects of one role. Equal settings make equal discoverers."""

    settings: KubernetesSettings
    watches: Watches = field(default_factory=Watches, compare=False, repr=False)
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield all groups once they are known, then those that change. Runs until cancelled."""
        state, news = self._state, asyncio.Event()
        names = await self._namespaces()
        if state.config_error:
            yield []
        while names is None:
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.0))
            names = await self._namespaces()

        def count(event: str, kind: str) -> None:
            state.events[event, kind] += 1

        scopes = state.scopes = [
            Scope(self.settings, name, self.watches, wake=news.set, count=count) for name in names
        ]
        news.set()
        begun = False
        try:
            while True:
                await news.wait()
                news.clear()
                if not begun and not all(scope.settled for scope in scopes):
                    continue
                groups = [group for scope in scopes for group in await scope.take()]
                if groups or (not begun and all(scope.ready for scope in scopes)):
                    begun = True
                    yield groups
        finally:
            state.scopes = []
            for scope in scopes:
                await scope.close()

    def stats(self) -> KubernetesStats:
        """Return what happened so far."""
        state = self._state
        return KubernetesStats(
            role=self.settings.role,
            events=dict(state.events),
            failures=self.watches.failures.count,
            watches=tuple(watch.stats() for scope in state.scopes for watch in scope.watches()),
            config_error=state.config_error,
        )

    async def _namespaces(self) -> tuple[str, ...] | None:
        """Return what is to be watched, None if there is no way to a server."""
        state = self._state
        try:
            names = await asyncio.to_thread(namespaces, self.settings)
        except AccessError as e:
            if str(e) != state.config_error:
                _log.error("Cannot create service discovery: type=kubernetes err=%s", e)
            state.config_error = str(e)
            return None
        state.config_error = ""
        return names
