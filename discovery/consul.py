"""Target groups from Consul: one for each service, its instances.

From: `consul_sd_configs`; the HTTP API of a Consul agent.   To: `combine.py`.
Source: Prometheus documentation, `consul_sd_config`; Consul documentation, "Blocking Queries",
catalog and health endpoints.
Invariant: a service's targets go only when the catalog no longer has it; any failure keeps them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import orjson

from discovery.groups import TargetGroup
from discovery.http_requests import CredentialsError, RequestOptions, new_session
from discovery.redaction import without_password

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from discovery.consul_settings import ConsulSettings

_log = logging.getLogger(__name__)

WAIT_S = 120
"""How long the agent holds a question to which nothing new is known."""

ANSWER_S = WAIT_S + 15.0
RETRY_S = 15.0

_META = "__meta_consul_"
_OUTSIDE = re.compile(r"[^a-zA-Z0-9_]")


class ConsulError(Exception):
    """The agent could not be asked, or refused."""


@dataclass(frozen=True, slots=True)
class ConsulStats:
    """Requests that failed since the start, and why the last one did ("" if it did not)."""

    failures: int
    last_error: str


@dataclass(slots=True)
class _State:
    failures: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ConsulDiscovery:
    """Follows the services of one agent. Equal settings make equal discoverers."""

    settings: ConsulSettings
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield the groups of all services once they are known, then those that change."""
        async with new_session() as session:
            services = _Services(self.settings, _Api(self.settings, session, self._state))
            try:
                while True:
                    yield await services.news()
            finally:
                await services.stop()

    def stats(self) -> ConsulStats:
        """Return the counts so far."""
        return ConsulStats(self._state.failures, self._state.last_error)


class _Api:
    """One agent's HTTP API."""

    def __init__(
        self, settings: ConsulSettings, session: aiohttp.ClientSession, state: _State
    ) -> None:
        self._settings, self._session, self._state = settings, session, state
        self._options = RequestOptions(settings.client)
        prefix = f"/{settings.path_prefix.strip('/')}" if settings.path_prefix.strip("/") else ""
        self._base = f"{settings.scheme}://{settings.server}{prefix}/v1/"

    async def ask(self, path: str, query: list[tuple[str, str]] | None = None) -> tuple[Any, int]:
        """Return an answer and its index (0 if it has none). Raises ConsulError, counted."""
        state = self._state
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._get(self._base + path, query or [])
        except (aiohttp.ClientError, OSError, CredentialsError, ValueError, zlib.error) as e:
            state.failures += 1
            reason = str(e) or type(e).__name__
            if reason != state.last_error:
                shown = without_password(self._base)
                _log.error("Error asking Consul: server=%s path=%s %s", shown, path, reason)
            state.last_error = reason
            raise ConsulError(reason) from e
        state.last_error = ""
        return answer

    async def block(self, path: str, index: int, query: list[tuple[str, str]]) -> tuple[Any, int]:
        """Ask a question that the agent answers when it knows more than at `index`."""
        settings = self._settings
        names = (
            ("dc", settings.datacenter),
            ("ns", settings.namespace),
            ("partition", settings.partition),
        )
        query = [*query, *((name, text) for name, text in names if text)]
        query += [("wait", f"{WAIT_S}s"), ("stale", "")][: 2 if settings.allow_stale else 1]
        if index:
            query.append(("index", str(index)))
        answer, found = await self.ask(path, query)
        # An index that falls means that the agent began anew: so does the waiting.
        return answer, found if found >= index else 0

    async def _get(self, url: str, query: list[tuple[str, str]]) -> tuple[Any, int]:
        arguments, _ = await self._options.arguments(url)
        headers = {"Accept-Encoding": "gzip", **arguments.pop("headers", {})}
        if self._settings.token:
            headers["X-Consul-Token"] = self._settings.token
        async with self._session.get(url, params=query, headers=headers, **arguments) as response:
            body = await response.read()
            if response.headers.get("Content-Encoding") == "gzip":
                body = zlib.decompress(body, 31)
            if response.status != 200:
                if response.status == 401:
                    self._options.refused(headers)
                said = body.decode(errors="replace").strip()[:200]
                raise ValueError(f"Unexpected response code: {response.status} ({said})")
            return orjson.loads(body), int(response.headers.get("X-Consul-Index", "0"))


class _Services:
    """The services that are followed, each by a task of its own, and what is new of them."""

    def __init__(self, settings: ConsulSettings, api: _Api) -> None:
        self._settings, self._api = settings, api
        self._datacenter = settings.datacenter
        self._changed: dict[str, TargetGroup] = {}
        self._told: dict[str, TargetGroup] = {}
        self._event = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unheard: set[str] = set()
        self._catalog_read = False
        self._begun = False
        self._main = asyncio.create_task(self._follow(), name="consul catalog")

    async def news(self) -> list[TargetGroup]:
        """Wait for changes; the first time, until every service was asked for once."""
        while True:
            waiting = asyncio.create_task(self._event.wait())
            await asyncio.wait((waiting, self._main), return_when=asyncio.FIRST_COMPLETED)
            if self._main.done():
                waiting.cancel()
                self._main.result()  # raises what ended it: only a bug can
            self._event.clear()
            if not self._begun and (self._unheard or not self._catalog_read):
                continue
            if self._changed or not self._begun:
                self._begun = True
                changed, self._changed = self._changed, {}
                return list(changed.values())

    async def stop(self) -> None:
        """End all tasks."""
        tasks = [self._main, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while not self._datacenter:
            try:
                agent, _ = await self._api.ask("agent/self")
                self._datacenter = str(agent["Config"]["Datacenter"])
            except (ConsulError, KeyError, TypeError):
                await asyncio.sleep(RETRY_S)
        if not self._settings.follows_catalog:
            self._take(set(self._settings.services))
            await asyncio.Event().wait()
        await self._follow_catalog()

    async def _follow_catalog(self) -> None:
        settings = self._settings
        query = [("node-meta", f"{key}:{value}") for key, value in settings.node_meta.items()]
        if settings.filter:
            query.append(("filter", settings.filter))
        index, clock = 0, asyncio.get_running_loop().time
        while True:
            asked_at = clock()
            try:
                catalog, found = await self._api.block("catalog/services", index, query)
                if not isinstance(catalog, dict):
                    raise ConsulError("the catalog is not a map of services")
            except ConsulError:
                await asyncio.sleep(RETRY_S)
                continue
            if found != index or not found:
                index = found
                self._take({name for name, tags in catalog.items() if self._wanted(name, tags)})
            await asyncio.sleep(asked_at + settings.refresh_interval_s - clock())

    def _wanted(self, name: str, tags: list[str] | None) -> bool:
        settings = self._settings
        return (not settings.services or name in settings.services) and set(settings.tags) <= set(
            tags or ()
        )

    def _take(self, names: set[str]) -> None:
        """Follow exactly these services."""
        for name in self._tasks.keys() - names:
            self._tasks.pop(name).cancel()
            self._unheard.discard(name)
            self._tell(TargetGroup(name))
        for name in sorted(names - self._tasks.keys()):
            self._unheard.add(name)
            self._tasks[name] = asyncio.create_task(self._follow_service(name), name=name)
        self._catalog_read = True
        self._event.set()

    async def _follow_service(self, name: str) -> None:
        settings = self._settings
        query = [("tag", tag) for tag in settings.tags]
        if settings.health_filter:
            query.append(("filter", settings.health_filter))
        index, clock = 0, asyncio.get_running_loop().time
        while True:
            asked_at = clock()
            try:
                path = f"health/service/{quote(name, safe='')}"
                entries, found = await self._api.block(path, index, query)
                if found != index or not found:
                    index = found
                    self._tell(self._group(name, entries))
            except ConsulError:
                wait_s = RETRY_S
            except (KeyError, TypeError, AttributeError):
                _log.exception("Consul's answer for service %s is malformed", name)
                wait_s = RETRY_S
            else:
                # An answer may have been long in coming: then the next question follows at once.
                wait_s = asked_at + settings.refresh_interval_s - clock()
            self._unheard.discard(name)
            self._event.set()
            await asyncio.sleep(wait_s)

    def _tell(self, group: TargetGroup) -> None:
        if self._told.get(group.source) != group:
            self._told[group.source] = self._changed[group.source] = group

    def _group(self, name: str, entries: list[dict[str, Any]]) -> TargetGroup:
        targets = tuple(_target(entry, self._settings.tag_separator) for entry in entries)
        return TargetGroup(name, targets, {_META + "service": name, _META + "dc": self._datacenter})


def _target(entry: dict[str, Any], separator: str) -> dict[str, str]:
    node, service = entry["Node"], entry["Service"]
    host, port = service.get("Address") or node.get("Address") or "", service.get("Port") or 0
    tags = service.get("Tags") or ()
    labels = {
        "__address__": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        _META + "address": node.get("Address") or "",
        _META + "node": node.get("Node") or "",
        # Wrapped, so that `.*,tag,.*` finds the first and the last as well.
        _META + "tags": separator + separator.join(tags) + separator,
        _META + "service_address": service.get("Address") or "",
        _META + "service_port": str(port),
        _META + "service_id": service.get("ID") or "",
        _META + "namespace": service.get("Namespace") or "",
        _META + "partition": service.get("Partition") or "",
        _META + "health": health(entry.get("Checks") or ()),
    }
    for prefix, texts in (
        ("metadata_", node.get("Meta")),
        ("service_metadata_", service.get("Meta")),
        ("tagged_address_", node.get("TaggedAddresses")),
    ):
        for key, text in (texts or {}).items():
            labels[_META + prefix + _OUTSIDE.sub("_", key)] = text
    return labels


def health(checks: list[dict[str, Any]] | tuple[()]) -> str:
    """Return the worst status of all checks; maintenance before all others."""
    found = set()
    for check in checks:
        name = check.get("CheckID") or ""
        if name == "_node_maintenance" or name.startswith("_service_maintenance:"):
            return "maintenance"
        found.add(check.get("Status") or "")
    for status in ("critical", "warning"):
        if status in found:
            return status
    return "passing" if found <= {"passing"} else ""
