"""GET over connections that stay open, for the one shape that nearly all scrapes have.

From: `loop.py`, by `fetch.py`.   To: the network.

A request is bytes made once for a target; the answer is HTTP/1.1 with a length or in chunks. This
costs a quarter of what the general client does (0.1 ms a scrape against 0.45), which was most of
a scrape's CPU. Whatever is not of this shape, redirects and connections that cannot be made
included, raises `NotPlainError`: the general client then asks again and has the last word, so
nothing is accepted or described here in two ways.
Source: RFC 9112. Connections are kept as Prometheus keeps them: idle for five minutes at most.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from yarl import URL

from discovery.http_requests import KEEP_ALIVE_S

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    _Key = tuple[str, int, ssl.SSLContext | None, str | None]

HEAD_BYTES_MAX = 1 << 16
"""A longer head of an answer is not for here."""

_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([^\r\n\0]*))?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_SINGLE = (b"content-length", b"transfer-encoding", b"content-encoding", b"content-type")
_FORBIDDEN = re.compile(r"[\r\n\0]")
_SWEEP_S = 30.0


class NotPlainError(Exception):
    """The general client has to ask. `lasting`: it will have to the next time as well."""

    def __init__(self, reason: str, *, lasting: bool) -> None:
        super().__init__(reason)
        self.lasting = lasting


class CutShortError(Exception):
    """The connection ended in the middle of a body."""


class TooLargeError(Exception):
    """The body reached the bound that was given."""


class LateError(Exception):
    """The time was up; `in_body` says whether the body had begun."""

    def __init__(self, *, in_body: bool) -> None:
        super().__init__("deadline exceeded")
        self.in_body = in_body


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """A request as bytes, and whom to send it to."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """What came: `reason` as it was sent, `body` as it was sent."""

    status: int
    reason: str
    content_type: str
    content_encoding: str
    body: bytes


def plain_request(
    url: str, headers: Mapping[str, str], options: Mapping[str, Any]
) -> PlainRequest | None:
    """Return the request for a target, None if it is for the general client.

    `headers` are all that is sent beside Host; `options` are those of `RequestOptions.for_url`.
    """
    if options.keys() - {"headers", "allow_redirects", "ssl", "server_hostname"}:
        return None
    try:
        target = URL(url, encoded=True)
        host, port = target.raw_host, target.port
    except ValueError:
        return None
    secure = target.scheme == "https"
    tls = options.get("ssl")
    if not host or not port or target.scheme not in ("http", "https") or target.user is not None:
        return None
    if secure and (tls is None or isinstance(tls, bool)):
        return None
    fields = {"Host": target.host_port_subcomponent or "", **headers}
    path = target.raw_path_qs
    if any(name.lower() == "host" for name in headers) or any(
        _FORBIDDEN.search(text) for text in (path, *fields, *fields.values())
    ):
        return None
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return PlainRequest(
        host,
        port,
        tls if secure else None,
        (options.get("server_hostname") or host) if secure else None,
        ("\r\n".join(lines) + "\r\n\r\n").encode(),
    )


@dataclass(slots=True)
class PlainClient:
    """Connections by whom they go to. Used within one event loop; `close` ends it."""

    _idle: dict[_Key, list[_Connection]] = field(default_factory=dict)
    _next_sweep: float = 0.0

    async def get(
        self, request: PlainRequest, *, timeout_s: float, body_bytes_max: int
    ) -> PlainAnswer:
        """Send a request and return the answer, whatever its status (3xx apart).

        `body_bytes_max` bounds the body as it arrives, 0: no bound. Raises NotPlainError,
        LateError, TooLargeError, CutShortError.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        key = (request.host, request.port, request.tls, request.server_name)
        connection = self._take(key, loop.time())
        if connection is not None:
            try:
                return await self._exchange(connection, key, request, deadline, body_bytes_max)
            except _UnusedError:
                pass  # it was closed while our request was under way: ask on a new one
        connection = await self._connect(loop, request, deadline)
        try:
            return await self._exchange(connection, key, request, deadline, body_bytes_max)
        except _UnusedError:
            raise NotPlainError("closed without an answer", lasting=False) from None

    def close(self) -> None:
        """Close all idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()

    @property
    def idle_count(self) -> int:
        """How many connections wait for the next request."""
        return sum(map(len, self._idle.values()))

    def _take(self, key: _Key, now: float) -> _Connection | None:
        """Return the connection that was used last and is still good."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if connection.usable(now):
                return connection
            connection.abort()
        return None

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, request: PlainRequest, deadline: float
    ) -> _Connection:
        try:
            async with asyncio.timeout_at(deadline):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    request.host,
                    request.port,
                    ssl=request.tls,
                    server_hostname=request.server_name,
                )
        except TimeoutError:
            raise LateError(in_body=False) from None
        except (OSError, ValueError) as e:
            raise NotPlainError(str(e), lasting=False) from e
        return connection

    async def _exchange(
        self,
        connection: _Connection,
        key: _Key,
        request: PlainRequest,
        deadline: float,
        body_bytes_max: int,
    ) -> PlainAnswer:
        try:
            answer = await connection.exchange(request.data, deadline, body_bytes_max)
        except BaseException:
            connection.abort()
            raise
        if connection.keep:
            self._idle.setdefault(key, []).append(connection)
            self._sweep(connection.idle_since)
        else:
            connection.abort()
        return answer

    def _sweep(self, now: float) -> None:
        """Close now and then what nobody used for long."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_S
        for key, idle in list(self._idle.items()):
            for connection in [c for c in idle if not c.usable(now)]:
                idle.remove(connection)
                connection.abort()
            if not idle:
                del self._idle[key]


class _UnusedError(Exception):
    """The connection ended before any byte of an answer."""


class _Connection(asyncio.Protocol):
    """One connection: a request at a time, its answer read as it arrives."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[PlainAnswer] | None = None
        self._lost = False
        self.keep = False
        self.idle_since = 0.0

    def usable(self, now: float) -> bool:
        """Say whether a request may be sent."""
        return not self._lost and now - self.idle_since < KEEP_ALIVE_S

    def abort(self) -> None:
        """Close at once."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, data: bytes, deadline: float, body_bytes_max: int) -> PlainAnswer:
        """Send one request, return its answer."""
        assert self._transport is not None
        self._waiter = self._loop.create_future()
        self._received = bytearray()
        self._at = 0
        self._head: tuple[int, str, dict[bytes, bytes]] | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._size_max = body_bytes_max
        timer = self._loop.call_at(deadline, self._time_is_up)
        try:
            self._transport.write(data)
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    # ------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on; bytes that nobody asked for end the connection."""
        if self._waiter is None or self._waiter.done():
            self.abort()
            return
        self._received += data
        try:
            self._read()
        except (NotPlainError, TooLargeError) as e:
            self._fail(e)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._lost = True
        if self._waiter is None:
            return
        if self._head is not None:
            self._fail(CutShortError())
        elif self._received:
            self._fail(NotPlainError("closed within the head", lasting=False))
        else:
            self._fail(_UnusedError())

    def _time_is_up(self) -> None:
        self._fail(LateError(in_body=self._head is not None))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # ---------------------------------------------------------------------------- reading

    def _read(self) -> None:
        received = self._received
        if self._head is None:
            end = received.find(b"\r\n\r\n", max(0, self._at - 3))
            if end < 0:
                self._at = len(received)
                if self._at > HEAD_BYTES_MAX:
                    raise NotPlainError("long head", lasting=True)
                return
            self._head = _read_head(bytes(received[:end]))
            self._at = end + 4
        status, _, fields = self._head
        length = fields.get(b"content-length")
        if status != 200:
            # The body does not matter.
            self._finish(keep=False)
        elif length is not None:
            size, have = int(length), len(received) - self._at
            self._bound(have)
            if have >= size:
                self._chunks.append(bytes(received[self._at : self._at + size]))
                self._finish(keep=have == size)
        elif self._read_chunks():
            self._finish(keep=self._at == len(received))

    def _read_chunks(self) -> bool:
        """Take all chunks that are whole; say whether the last one came."""
        received = self._received
        while match := _CHUNK.match(received, self._at):
            size, begin = int(match[1], 16), match.end()
            if size == 0:
                # Trailers, of which there are none as a rule, end with an empty line.
                end = received.find(b"\r\n\r\n", begin - 2)
                if end < 0:
                    break
                self._at = end + 4
                return True
            stop = begin + size
            self._bound(self._size + min(stop, len(received)) - begin)
            if len(received) < stop + 2:
                break
            if received[stop : stop + 2] != b"\r\n":
                raise NotPlainError("malformed chunk", lasting=False)
            self._chunks.append(bytes(received[begin:stop]))
            self._size += size
            self._at = stop + 2
        else:
            line = received.find(b"\r\n", self._at)
            if line >= 0 or len(received) - self._at > HEAD_BYTES_MAX:
                raise NotPlainError("malformed chunk", lasting=False)
        return False

    def _bound(self, size: int) -> None:
        if self._size_max and size >= self._size_max:
            raise TooLargeError

    def _finish(self, *, keep: bool) -> None:
        assert self._head is not None
        status, reason, fields = self._head
        self.keep = keep and b"close" not in fields.get(b"connection", b"").lower()
        self.idle_since = self._loop.time()
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._received, self._chunks = bytearray(), []
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(
                PlainAnswer(
                    status,
                    reason,
                    fields.get(b"content-type", b"").decode("utf-8", "surrogateescape"),
                    fields.get(b"content-encoding", b"").decode("utf-8", "surrogateescape"),
                    body,
                )
            )


def _read_head(head: bytes) -> tuple[int, str, dict[bytes, bytes]]:
    """Return status, reason and fields of an answer's head. Raises NotPlainError."""
    first, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise NotPlainError("not HTTP/1.1", lasting=True)
    status = int(match[1])
    if 300 <= status < 400:
        raise NotPlainError("redirect", lasting=True)
    fields: dict[bytes, bytes] = {}
    for line in lines:
        parts = _FIELD.fullmatch(line)
        if parts is None:
            raise NotPlainError("malformed field", lasting=True)
        name = parts[1].lower()
        if name in fields and name in _SINGLE:
            raise NotPlainError("a field comes twice", lasting=True)
        fields[name] = parts[2] if name not in fields else fields[name] + b"," + parts[2]
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if status == 200:
        chunked = coding is not None and coding.lower() == b"chunked"
        measured = length is not None and length.isdigit() and len(length) < 16
        if not (chunked and length is None) and not (measured and coding is None):
            raise NotPlainError("a body without a plain end", lasting=True)
    return status, (match[2] or b"").decode("utf-8", "surrogateescape"), fields
