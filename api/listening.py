"""Listening sockets -> connections that aiohttp serves, so many at once and none for ever.

From: `gnomon/server.py`.   To: aiohttp's request handlers.

A connection beyond the limit waits in the kernel, unaccepted, as behind Go's LimitListener; all
sites of one `Connections` share the limit. A TLS handshake runs beside accepting. A sweep over the
open connections cuts off who sends or reads too slowly: no request pays for a timer of its own.
Source: Prometheus' flags --web.max-connections and --web.read-timeout; Go, net/http.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from api.connection import Connection
from api.plain_transport import PlainTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

logger = logging.getLogger(__name__)

HANDSHAKE_S_MAX = 60.0
"""How long a TLS handshake may take, whatever the read timeout."""

STALL_S_MAX = 60.0
"""How long a client may leave a reply unread without taking a byte of it."""

LEAVE_S_MAX = 2.0
"""How long the same may take, and a request to come in, when the server stops."""

SWEEP_S_MAX = 1.0
PAUSE_S = 0.5
"""How long to wait when the process is out of file descriptors."""


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Connections at this moment, and counts so far; `cut_off` were too slow or too large."""

    open: int
    accepted: int
    closed: int
    cut_off: int


class Connections:
    """All connections of a server, over all its sites. Used from one event loop.

    The connections that `close` leaves are ended by the runner's cleanup, and the sweep with them.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        connections_max: int = 512,
        read_timeout_s: float = 300.0,
        stall_s: float = STALL_S_MAX,
    ) -> None:
        """Take limits; times and counts of 0 or less are none, as in Go."""
        self._server = server
        self._connections_max = connections_max
        self._read_timeout_s = read_timeout_s
        self._stall_s = stall_s
        self._open: set[Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._full: set[Callable[[], None]] = set()
        self._accepted = self._closed = self.cut_off = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def stats(self) -> ConnectionStats:
        """Return counts at this moment."""
        return ConnectionStats(len(self._open), self._accepted, self._closed, self.cut_off)

    @property
    def open(self) -> AbstractSet[Connection]:
        """The connections that have been accepted and not ended."""
        return self._open

    @property
    def full(self) -> bool:
        """Whether the next connection has to wait."""
        return len(self._open) >= self._connections_max > 0

    def when_free(self, resume: Callable[[], None]) -> None:
        """Call `resume`, once, when a connection has ended."""
        self._full.add(resume)

    def forget(self, resume: Callable[[], None]) -> None:
        """Do not call `resume` any more."""
        self._full.discard(resume)

    def serve(self, accepted: socket.socket, peer: object, context: ssl.SSLContext | None) -> None:
        """Serve an accepted connection."""
        connection = Connection(self, self._server, max(self._read_timeout_s, 0.0))
        self._accepted += 1
        self._open.add(connection)
        loop = asyncio.get_running_loop()
        if context is None:
            PlainTransport(loop, accepted, peer, connection)
        else:
            task = loop.create_task(self._shake_hands(connection, accepted, context))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._sweep_s, self._sweep)

    def lost(self, connection: Connection) -> None:
        """Count a connection out, and accept those who waited for it."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._closed += 1
        waiting, self._full = self._full, set()
        for resume in waiting:
            resume()

    def close(self) -> None:
        """Break off handshakes; the server stops, so who is slow has seconds from now on."""
        for task in self._serving:
            task.cancel()
        shortest = min(LEAVE_S_MAX, self._stall_s)
        self._stall_s = shortest
        self._read_timeout_s = (
            min(shortest, self._read_timeout_s) if self._read_timeout_s > 0 else shortest
        )
        for connection in self._open:
            connection.wait_anew()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweep()

    @property
    def _sweep_s(self) -> float:
        shortest = min(self._stall_s, self._read_timeout_s if self._read_timeout_s > 0 else 1e9)
        return min(SWEEP_S_MAX, shortest / 8)

    async def _shake_hands(
        self, connection: Connection, accepted: socket.socket, context: ssl.SSLContext
    ) -> None:
        limit_s = self._read_timeout_s if self._read_timeout_s > 0 else HANDSHAKE_S_MAX
        handshake_s = min(HANDSHAKE_S_MAX, limit_s)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, accepted, ssl=context, ssl_handshake_timeout=handshake_s
            )
        except BaseException as error:
            accepted.close()
            self.lost(connection)
            if not isinstance(error, (OSError, TimeoutError)):  # ssl.SSLError is an OSError
                raise
            logger.debug("connection ended before its first request: %s", error)

    def _sweep(self) -> None:
        self._sweeping = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        read_timeout_s = self._read_timeout_s if self._read_timeout_s > 0 else float("inf")
        for connection in list(self._open):
            if connection.overdue(now_s, read_timeout_s, self._stall_s):
                self.cut_off += 1
                connection.abort()
        if self._open:
            self._sweeping = loop.call_later(self._sweep_s, self._sweep)


class Site(web.BaseSite):
    """One address that is listened at; `web.TCPSite` with `Connections`' limits."""

    __slots__ = ("_connections", "_host", "_listeners", "_port", "_retry")

    def __init__(
        self,
        runner: web.BaseRunner,
        connections: Connections,
        host: str | None,
        port: int,
        *,
        backlog: int = 1024,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(runner, backlog=backlog, ssl_context=ssl_context)
        self._connections, self._host, self._port = connections, host, port
        self._listeners: list[socket.socket] = []
        self._retry: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The address as a URL."""
        scheme = "https" if self._ssl_context else "http"
        return f"{scheme}://{self._host or '0.0.0.0'}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        # asyncio knows how to resolve, bind and listen; only accepting is ours.
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol,
            self._host,
            self._port,
            backlog=self._backlog,
            start_serving=False,
        )
        self._server = server
        for shown in server.sockets:
            listener = socket.fromfd(shown.fileno(), shown.family, shown.type)
            listener.setblocking(False)
            listener.listen(self._backlog)
            self._listeners.append(listener)
        self._resume()

    async def stop(self) -> None:
        """Stop listening; connections go on."""
        self._pause()
        self._connections.forget(self._resume)
        if self._retry is not None:
            self._retry.cancel()
        while self._listeners:
            self._listeners.pop().close()
        await super().stop()

    def _resume(self) -> None:
        loop = asyncio.get_running_loop()
        self._retry = None
        for listener in self._listeners:
            loop.add_reader(listener.fileno(), self._accept, listener)

    def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        # One at a time: requests on open connections must have their turn.
        if self._connections.full:
            self._pause()
            self._connections.when_free(self._resume)
            return
        try:
            accepted, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            logger.error("cannot accept connections: %s", error)
            self._pause()
            self._retry = asyncio.get_running_loop().call_later(PAUSE_S, self._resume)
            return
        accepted.setblocking(False)
        self._connections.serve(accepted, peer, self._ssl_context)
