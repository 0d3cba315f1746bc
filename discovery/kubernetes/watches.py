"""What a server has of one kind, kept up to date: list, then watch, for as long as anyone asks.

From: `client.py`.   To: `store.py`, which listens.
Source: Kubernetes documentation, "Efficient detection of changes".

One watch serves everyone who asks for the same thing of the same server.
Invariants: objects are taken away only because the server said so (a deletion, or a whole list
without them), never because of an error. Versions are opaque: never compared, only handed back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from discovery.http_requests import new_session
from discovery.kubernetes.client import PAGE, ApiClient, ApiError, GoneError, SilentError
from discovery.kubernetes.objects import KINDS, key_of
from discovery.redaction import without_password

if TYPE_CHECKING:
    import aiohttp

    from discovery.kubernetes.objects import Object
    from discovery.kubernetes.settings import ApiAccess

_log = logging.getLogger(__name__)

BACKOFF_S = (0.8, 30.0)
"""The first wait after a failure and the longest; each doubles the one before, with jitter."""

_SHORT_S = 1.0
"""A watch that ends sooner and said nothing is no reason to ask again at once."""

_WHOLE = "application/json"
_METADATA = "application/json;as={};g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What is watched. `metadata_only`: the server leaves out all but the metadata."""

    kind: str
    namespace: str = ""
    label: str = ""
    field: str = ""
    metadata_only: bool = False


@dataclass(frozen=True, slots=True)
class WatchStats:
    """How one watch does. `heard_s` since the epoch, 0 if nothing was ever heard.

    `last_error` is "" while all is well.
    """

    server: str
    path: str
    selectors: str
    objects: int
    listed: bool
    heard_s: float
    last_error: str


class Listener(Protocol):
    """Who wants to know. Called on the event loop; must not take long."""

    def changed(self, watch: Watch, key: str, before: Object | None, after: Object | None) -> None:
        """Take note that an object came (no before), changed, or went (no after)."""
        ...

    def wake(self) -> None:
        """Take note that a list is complete, or that it failed."""
        ...


@dataclass(slots=True)
class Failures:
    """How many requests failed, over all watches there ever were."""

    count: int = 0


class Watch:
    """The objects of one request, by key, and the task that keeps them."""

    def __init__(
        self, access: ApiAccess, request: WatchRequest, client: ApiClient, failures: Failures
    ) -> None:
        self.access, self.request = access, request
        self.objects: dict[str, Object] = {}
        self.listed = False
        self.listeners: list[Listener] = []
        self._client, self._failures = client, failures
        self._kind = KINDS[request.kind]
        self._path = self._kind.path(request.namespace)
        self._query = {
            name: text
            for name, text in (
                ("labelSelector", request.label),
                ("fieldSelector", request.field),
            )
            if text
        }
        self._version = ""
        self._failed_in_a_row = self._gone_in_a_row = self._silent_in_a_row = 0
        self._last_error = ""
        self._heard_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def failing(self) -> bool:
        """Say whether the last request failed."""
        return bool(self._last_error)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run(), name=f"watch {self._path}")

    async def stop(self) -> None:
        """End and wait for the end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def stats(self) -> WatchStats:
        """Return how it does."""
        access = self.access
        return WatchStats(
            server=without_password(access.api_server)
            or str(access.kubeconfig_file or "in-cluster"),
            path=self._path,
            selectors="&".join(f"{name}={text}" for name, text in self._query.items()),
            objects=len(self.objects),
            listed=self.listed,
            heard_s=self._heard_s,
            last_error=self._last_error,
        )

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            verb, began = "watch" if self._version else "list", clock()
            heard_s = self._heard_s
            try:
                if not self._version:
                    await self._list()
                    verb, began, heard_s = "watch", clock(), self._heard_s
                await self._follow()
            except GoneError as e:
                self._version = ""
                self._gone_in_a_row += 1
                _log.debug("Kubernetes %s of %s starts again: %s", verb, self._path, e)
                if self._gone_in_a_row > 1:
                    await self._wait(self._gone_in_a_row, e.retry_after_s)
            except ApiError as e:
                await self._failed(verb, e)
            else:
                if self._heard_s == heard_s and clock() - began < _SHORT_S:
                    self._failed_in_a_row += 1
                    await self._wait(self._failed_in_a_row, 0.0)

    async def _list(self) -> None:
        """Read everything, page by page, and put it in the place of what was known."""
        found: dict[str, Object] = {}
        accept = _METADATA.format("PartialObjectMetadataList")
        query = dict(self._query)
        # Pages of a version that the server has forgotten cannot be had: then all at once.
        if self._gone_in_a_row < 2:
            query["limit"] = str(PAGE)
        while True:
            page = await self._client.page(
                self._path, query, accept if self.request.metadata_only else _WHOLE
            )
            try:
                for item in page.get("items") or ():
                    kept = self._kind.trimmed(item)
                    name = key_of(kept)
                    before = self.objects.get(name)
                    found[name] = before if before == kept and before is not None else kept
            except (KeyError, TypeError, AttributeError) as e:
                raise ApiError(f"an object is malformed: {e!r}") from e
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        self._version = page["metadata"].get("resourceVersion") or ""
        if not self._version:
            raise ApiError("the list has no resourceVersion")
        self._heard()
        self._swap(found)

    def _swap(self, found: dict[str, Object]) -> None:
        known, self.objects, self.listed = self.objects, found, True
        for name, after in found.items():
            before = known.get(name)
            if before is not after:
                self._tell(name, before, after)
        for name in known.keys() - found.keys():
            self._tell(name, known[name], None)
        self._wake()

    async def _follow(self) -> None:
        """Apply what happens after the version that is known, until the server ends the watch."""
        accept = _METADATA.format("PartialObjectMetadata")
        query = {**self._query, "resourceVersion": self._version}
        events = self._client.watch(
            self._path, query, accept if self.request.metadata_only else _WHOLE
        )
        try:
            async for event in events:
                try:
                    self._apply(event["type"], event["object"])
                except (KeyError, TypeError, AttributeError) as e:
                    raise ApiError(f"an event is malformed: {e!r}") from e
        finally:
            await events.aclose()  # type: ignore[attr-defined]  # it is an async generator

    def _apply(self, kind: str, item: Object) -> None:
        if kind != "BOOKMARK":
            name = key_of(item)
            before = self.objects.get(name)
            if kind == "DELETED":
                if before is not None:
                    del self.objects[name]
                    self._tell(name, before, None)
            else:
                after = self._kind.trimmed(item)
                if after != before:
                    self.objects[name] = after
                    self._tell(name, before, after)
        self._version = item["metadata"]["resourceVersion"]
        self._gone_in_a_row = 0
        self._heard()

    def _heard(self) -> None:
        """Note that the server speaks: what went wrong before is over."""
        self._heard_s = time.time()
        self._failed_in_a_row = self._silent_in_a_row = 0
        if self._last_error:
            self._last_error = ""
            _log.info("Kubernetes API answers again: path=%s", self._path)

    async def _failed(self, verb: str, error: ApiError) -> None:
        self._failures.count += 1
        self._failed_in_a_row += 1
        # A version from the future (a server restored from a backup) is met with silence, one
        # that is no version with a refusal: neither gets better by asking again.
        if isinstance(error, SilentError):
            self._silent_in_a_row += 1
        if self._silent_in_a_row > 1 or error.status in (400, 500, 504):
            self._version = ""
        reason = str(error)
        if reason != self._last_error:
            _log.error(
                "Kubernetes discovery failed: verb=%s resource=%s namespace=%s path=%s err=%s",
                verb,
                self._kind.resource,
                self.request.namespace or "(all)",
                self._path,
                reason,
            )
        self._last_error = reason
        self._wake()
        await self._wait(self._failed_in_a_row, error.retry_after_s)

    async def _wait(self, times: int, at_least_s: float) -> None:
        first_s, longest_s = BACKOFF_S
        wait_s = min(first_s * 2 ** min(times - 1, 16), longest_s)
        # Half of it is chance: clients that lost their server together do not return together.
        await asyncio.sleep(max(wait_s * random.uniform(0.5, 1.0), at_least_s))

    def _tell(self, name: str, before: Object | None, after: Object | None) -> None:
        for listener in self.listeners:
            listener.changed(self, name, before, after)

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.wake()


@dataclass(slots=True)
class Watches:
    """All watches of a process; hands out the one that is there, and ends it after its last use.

    Used within one event loop. Watches outlive their last use by `linger_s`: a reload that starts a
    job's discovery anew finds them, and so keeps its targets also while the server is away. With
    a `linger_s`, call `close` at the end.
    """

    linger_s: float = 0.0
    failures: Failures = field(default_factory=Failures)
    _running: dict[WatchRequest, list[Watch]] = field(default_factory=dict)
    _clients: list[tuple[ApiAccess, ApiClient]] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None
    _lingering: set[asyncio.Task[None]] = field(default_factory=set)

    def acquire(self, access: ApiAccess, request: WatchRequest, listener: Listener) -> Watch:
        """Return the watch for a request; `listener` hears of every change from now on."""
        # Accesses hold mappings and have no hash; those of one request are few.
        running = self._running.setdefault(request, [])
        for watch in running:
            if watch.access == access:
                watch.listeners.append(listener)
                return watch
        watch = Watch(access, request, self.client(access), self.failures)
        watch.listeners.append(listener)
        running.append(watch)
        watch.start()
        return watch

    async def release(self, watch: Watch, listener: Listener) -> None:
        """Take back what `acquire` gave; after the last one to do so the watch ends."""
        watch.listeners.remove(listener)
        if watch.listeners:
            return
        if not self.linger_s:
            await self._end(watch)
            return
        task = asyncio.create_task(self._end_later(watch), name="lingering watch")
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    async def close(self) -> None:
        """End all watches that nobody uses any more, at once."""
        for task in list(self._lingering):
            task.cancel()
        await asyncio.gather(*self._lingering, return_exceptions=True)
        for watch in [watch for group in self._running.values() for watch in group]:
            if not watch.listeners:
                await self._end(watch)

    async def _end_later(self, watch: Watch) -> None:
        await asyncio.sleep(self.linger_s)
        # It may have been taken again, and even have been ended by an earlier wait than this.
        if not watch.listeners and watch in self._running.get(watch.request, ()):
            await self._end(watch)

    async def _end(self, watch: Watch) -> None:
        running = self._running[watch.request]
        running.remove(watch)
        if not running:
            del self._running[watch.request]
        session = None
        if not self._running:
            session, self._session, self._clients = self._session, None, []
        await watch.stop()
        if session is not None:
            await session.close()

    def stats(self) -> list[WatchStats]:
        """Return how every watch does."""
        return [watch.stats() for group in self._running.values() for watch in group]

    def client(self, access: ApiAccess) -> ApiClient:
        """Return the client of a server, for single objects beside a watch of it that runs."""
        if self._session is None:
            self._session = new_session()
        for known, client in self._clients:
            if known == access:
                return client
        client = ApiClient(access, self._session)
        self._clients.append((access, client))
        return client
