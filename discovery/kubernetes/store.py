"""The groups of one namespace (or of the whole cluster), and which object each is made of.

From: `watches.py`.   To: `discovery.py`.

A group is built by a pure function of its role, which may ask for neighbours: a pod's node, an
endpoints' pods. What it asked for is noted, found or not, so that a change of any object names
exactly the groups to build again: no index is kept by hand for any pair of kinds.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.groups import TargetGroup
from discovery.kubernetes import endpoints, endpointslice, ingress, node, pod, service
from discovery.kubernetes.objects import key
from discovery.kubernetes.watches import WatchRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from discovery.kubernetes.labels import Neighbours
    from discovery.kubernetes.objects import Object
    from discovery.kubernetes.settings import AttachMetadata, KubernetesSettings
    from discovery.kubernetes.watches import Watch, Watches

    Reference = tuple[str, str]
    Build = Callable[[Object, Neighbours], TargetGroup]

_log = logging.getLogger(__name__)

_BREATHE = 200
"""Groups built in one go; then the event loop serves others, since each takes up to 0.1 ms."""

_ROLES: Mapping[str, tuple[Build, Callable[[str], str]]] = {
    "node": (node.group, node.source),
    "service": (service.group, service.source),
    "pod": (pod.group, pod.source),
    "endpoints": (endpoints.group, endpoints.source),
    "endpointslice": (endpointslice.group, endpointslice.source),
    "ingress": (ingress.group, ingress.source),
}


@dataclass(slots=True)
class Uses:
    """Which group was made of which objects, both ways. Names: a group's key, (kind, key)."""

    _of: dict[str, set[Reference]] = field(default_factory=dict)
    _users: dict[Reference, set[str]] = field(default_factory=dict)

    def users(self, reference: Reference) -> set[str]:
        """Return the groups that asked for an object."""
        return self._users.get(reference, set())

    def replace(self, user: str, used: set[Reference]) -> None:
        """Note what a group asked for this time."""
        before = self._of.get(user, set())
        for reference in before - used:
            users = self._users[reference]
            users.discard(user)
            if not users:
                del self._users[reference]
        for reference in used - before:
            self._users.setdefault(reference, set()).add(user)
        if used:
            self._of[user] = used
        else:
            self._of.pop(user, None)


@dataclass(slots=True)
class _Neighbours:
    """What is known while one group is built; notes what it is asked for."""

    attach: AttachMetadata
    _watches: Mapping[str, Watch]
    asked: set[Reference] = field(default_factory=set)

    def watches(self, kind: str) -> bool:
        return kind in self._watches

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        watch = self._watches.get(kind)
        if watch is None:
            return None
        name = key(namespace, name)
        self.asked.add((kind, name))
        return watch.objects.get(name)


class Scope:
    """One role in one namespace ("": in all). `wake` is called when there may be news."""

    def __init__(
        self,
        settings: KubernetesSettings,
        namespace: str,
        watches: Watches,
        *,
        wake: Callable[[], None],
        count: Callable[[str, str], None],
    ) -> None:
        self._settings, self._registry = settings, watches
        self.wake, self._count = wake, count
        self._build, self._source = _ROLES[settings.role]
        self._dirty: dict[str, None] = {}
        self._uses = Uses()
        self._told: dict[str, TargetGroup] = {}
        self._watches = {
            kind: watches.acquire(settings.access, _request(settings, kind, namespace, short), self)
            for kind, short in settings.kinds().items()
        }
        self._kinds = {id(watch): kind for kind, watch in self._watches.items()}
        # A watch that others had begun tells only what changes from now on.
        for name in self._watches[settings.role].objects:
            self._dirty[name] = None
            count("add", settings.role)

    @property
    def ready(self) -> bool:
        """Say whether everything that groups are made of has been listed once."""
        return all(watch.listed for watch in self._watches.values())

    @property
    def settled(self) -> bool:
        """Say whether it is ready, or will not be soon."""
        return all(watch.listed or watch.failing for watch in self._watches.values())

    def watches(self) -> list[Watch]:
        """Return the watches it listens to."""
        return list(self._watches.values())

    def changed(self, watch: Watch, key: str, before: Object | None, after: Object | None) -> None:
        """Note which groups are to be built again."""
        kind = self._kinds[id(watch)]
        event = "add" if before is None else "delete" if after is None else "update"
        self._count(event, kind)
        if kind == self._settings.role:
            self._dirty[key] = None
        for name in self._uses.users((kind, key)):
            self._dirty[name] = None
        if self._dirty:
            self.wake()

    async def take(self) -> list[TargetGroup]:
        """Return the groups that differ from what was taken before; empty ones for those gone."""
        groups: list[TargetGroup] = []
        if not self.ready:
            return groups
        dirty, self._dirty = self._dirty, {}
        for number, name in enumerate(dirty, 1):
            group = self._group(name)
            if group.targets and self._told.get(name) != group:
                self._told[name] = group
                groups.append(group)
            elif not group.targets and self._told.pop(name, None) is not None:
                groups.append(TargetGroup(group.source))
            if number % _BREATHE == 0:
                await asyncio.sleep(0)
        return groups

    async def close(self) -> None:
        """Give all watches back."""
        for watch in self._watches.values():
            await self._registry.release(watch, self)

    def _group(self, name: str) -> TargetGroup:
        item = self._watches[self._settings.role].objects.get(name)
        neighbours = _Neighbours(self._settings.attach, self._watches)
        group = TargetGroup(self._source(name))
        if item is not None:
            try:
                group = self._build(item, neighbours)
            except (KeyError, TypeError, AttributeError, ValueError):
                # A server that breaks its own schema must cost one object, not the discovery.
                _log.exception("Kubernetes %s %s is malformed", self._settings.role, name)
        self._uses.replace(name, neighbours.asked)
        return group


def _request(
    settings: KubernetesSettings, kind: str, namespace: str, metadata_only: bool
) -> WatchRequest:
    selector = settings.selector(kind)
    label, fields = selector.label, selector.field
    if kind == "namespace" and namespace:
        # The one namespace only: rights on it by name are enough for that.
        fields = f"metadata.name={namespace}"
    return WatchRequest(
        kind=kind,
        namespace="" if kind in ("node", "namespace") else namespace,
        label=label,
        field=fields,
        metadata_only=metadata_only,
    )
