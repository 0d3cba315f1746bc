"""Target groups from ZooKeeper: one for each znode that holds an endpoint.

From: `serverset_sd_configs`, `nerve_sd_configs`; a ZooKeeper ensemble.   To: `combine.py`.
Source: Prometheus documentation, `serverset_sd_config` and `nerve_sd_config`; ZooKeeper
Programmer's Guide, "ZooKeeper Watches".

The client works in threads of its own; one more reads the trees, level by level, all znodes of a
level at once. Watches of ZooKeeper fire once and end with a session: a znode of which one fired
is read again with all below it, and after each new connection everything is.
Invariant: a group goes only when its znode is seen to be gone; a lost connection keeps all.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from discovery.groups import TargetGroup
from discovery.zookeeper_settings import SERVERSET, ZooKeeperStats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from discovery.zookeeper_settings import ZooKeeperSettings

_log = logging.getLogger(__name__)

RETRY_S = 10.0
"""How long until trees that could not be read are read again, as in Prometheus."""

_ANSWER_S = 30.0
_OUTSIDE = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(slots=True)
class _State:
    nodes: int = 0
    failures: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ZooKeeperDiscovery:
    """Follows the trees of one entry. Equal settings make equal discoverers."""

    settings: ZooKeeperSettings
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield all groups once they are known, then those that change. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[list[TargetGroup]] = asyncio.Queue()

        def tell(groups: list[TargetGroup]) -> None:
            loop.call_soon_threadsafe(news.put_nowait, groups)

        trees = _Trees(self.settings, self._state, tell)
        trees.start()
        try:
            while True:
                yield await news.get()
        finally:
            await asyncio.shield(asyncio.to_thread(trees.stop))

    def stats(self) -> ZooKeeperStats:
        """Return the counts so far."""
        state = self._state
        return ZooKeeperStats(state.nodes, state.failures, state.last_error)


class _Trees:
    """The znodes of all paths and what is known of them; read in a thread of its own."""

    def __init__(
        self,
        settings: ZooKeeperSettings,
        state: _State,
        tell: Callable[[list[TargetGroup]], None],
    ) -> None:
        self._settings, self._state, self._tell = settings, state, tell
        self._client = KazooClient(
            hosts=",".join(settings.servers),
            timeout=settings.timeout_s,
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, max_delay=RETRY_S),
        )
        self._client.add_listener(self._connection)
        # Paths to read again; None ends the thread.
        self._work: queue.Queue[str | None] = queue.Queue()
        self._data: dict[str, bytes] = {}
        self._told: dict[str, TargetGroup] = {}
        self._begun = False
        self._thread = threading.Thread(target=self._run, name="zookeeper discovery", daemon=True)

    def start(self) -> None:
        """Connect and read, without waiting."""
        self._thread.start()
        self._client.start_async()

    def stop(self) -> None:
        """End the session and the thread. Blocking."""
        self._work.put(None)
        self._client.stop()
        self._client.close()
        self._thread.join()

    def _connection(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            # The watches of before are gone, or went unheard.
            for path in self._settings.paths:
                self._work.put(path)

    def _fired(self, event: Any) -> None:  # noqa: ANN401 - kazoo has no types
        if event.path:
            self._work.put(event.path)

    # -------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        wait_s: float | None = None
        waiting: set[str] = set()
        while True:
            try:
                path = self._work.get(timeout=wait_s)
            except queue.Empty:
                paths = waiting
            else:
                if path is None:
                    return
                paths = {path} | waiting
                # What came in together is read together.
                while not self._work.empty():
                    path = self._work.get()
                    if path is None:
                        return
                    paths.add(path)
            waiting = self._read_again(paths)
            wait_s = RETRY_S if waiting else None

    def _read_again(self, paths: set[str]) -> set[str]:
        """Read these znodes and all below them; return those that could not be read."""
        tops = {path for path in paths if not any(_below(path, other) for other in paths)}
        try:
            found = self._read(tops)
        except (KazooException, KazooTimeoutError, ConnectionClosedError) as e:
            self._state.failures += 1
            reason = str(e) or type(e).__name__
            if reason != self._state.last_error:
                _log.error("Error reading ZooKeeper: servers=%s %s", self._settings.servers, reason)
            self._state.last_error = reason
            return tops
        self._state.last_error = ""
        kept = {
            path: data
            for path, data in self._data.items()
            if path not in tops and not any(_below(path, top) for top in tops)
        }
        self._data = kept | found
        self._state.nodes = len(self._data)
        self._tell_changes()
        return set()

    def _read(self, tops: set[str]) -> dict[str, bytes]:
        """Return the data of znodes by path, each watched from now on. Raises KazooException."""
        client, found = self._client, {}
        for path in tops & set(self._settings.paths):
            # A root may be made later; of other znodes their parents tell.
            client.exists_async(path, self._fired).get(timeout=_ANSWER_S)
        level = sorted(tops)
        while level:
            # One watch for data, one for children: asked for together, answered in turn.
            asked = [
                (
                    path,
                    client.get_async(path, self._fired),
                    client.get_children_async(path, self._fired),
                )
                for path in level
            ]
            level = []
            for path, data, children in asked:
                try:
                    found[path] = data.get(timeout=_ANSWER_S)[0] or b""
                    names = children.get(timeout=_ANSWER_S)
                except NoNodeError:
                    found.pop(path, None)
                    continue
                level += [f"{path.rstrip('/')}/{name}" for name in sorted(names)]
        return found

    def _tell_changes(self) -> None:
        groups = {}
        for path, data in self._data.items():
            group = _group(self._settings.kind, path, data)
            if group.targets:
                groups[path] = group
        changed = [group for path, group in groups.items() if self._told.get(path) != group]
        changed += [TargetGroup(path) for path in self._told.keys() - groups.keys()]
        self._told = groups
        if changed or not self._begun:
            self._begun = True
            self._tell(changed)


def _below(path: str, top: str) -> bool:
    return path != top and path.startswith(top.rstrip("/") + "/")


def _group(kind: str, path: str, data: bytes) -> TargetGroup:
    """Return the group of one znode, an empty one for data that is no endpoint."""
    try:
        member = orjson.loads(data)
        labels = _serverset(member, path) if kind == SERVERSET else _nerve(member, path)
    except (ValueError, KeyError, TypeError, AttributeError):
        if data:
            _log.debug("no endpoint of kind %s: path=%s", kind, path)
        return TargetGroup(path)
    return TargetGroup(path, (dict(labels),))


def _serverset(member: dict[str, Any], path: str) -> Iterable[tuple[str, str]]:
    main = member["serviceEndpoint"]
    start = "__meta_serverset_"
    yield "__address__", _joined(main["host"], main["port"])
    yield f"{start}path", path
    yield f"{start}endpoint_host", main["host"]
    yield f"{start}endpoint_port", str(main["port"])
    for name, other in (member.get("additionalEndpoints") or {}).items():
        label = _OUTSIDE.sub("_", name)
        yield f"{start}endpoint_host_{label}", other["host"]
        yield f"{start}endpoint_port_{label}", str(other["port"])
    yield f"{start}status", str(member.get("status", ""))
    yield f"{start}shard", str(member.get("shard", 0))


def _nerve(member: dict[str, Any], path: str) -> Iterable[tuple[str, str]]:
    start = "__meta_nerve_"
    yield "__address__", _joined(member["host"], member["port"])
    yield f"{start}path", path
    yield f"{start}endpoint_host", member["host"]
    yield f"{start}endpoint_port", str(member["port"])
    yield f"{start}endpoint_name", str(member.get("name", ""))


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
