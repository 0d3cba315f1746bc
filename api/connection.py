"""One connection: what comes in is answered at once where that can be, else in a task.

From: `listening.py`, by its transport.   To: aiohttp's application.

aiohttp makes a task for each request and wakes another for it, three turns of the event loop in
which others are served first. A request without a body on an idle connection is begun in the turn
that it comes in. Most are answered by then: their handlers wait for nothing (`quick_work.py`). One
that does wait goes on in aiohttp's task, as if it had been begun there.
Source: aiohttp's `web_protocol`, whose order of steps `start` this keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import types
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from api.routes import RUNNER_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    _Outcome = tuple[web.StreamResponse, bool]

logger = logging.getLogger(__name__)

HEAD_BYTES_MAX = (1 << 20) + 4096
"""Request line and headers together, what Go allows."""

_REASON_MAX = 100
"""How much of what is wrong with a request its sender is told, who may have sent a megabyte."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"431 Request Header Fields Too Large"
)


_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class Owner(Protocol):
    """Who counts connections."""

    cut_off: int

    def lost(self, connection: Connection) -> None:
        """Count a connection out."""


class _Begun:
    """A coroutine that was begun without a task, and what it waits for."""

    __slots__ = ("_answering", "_waits_for")

    def __init__(self, answering: Coroutine[Any, Any, _Outcome], waits_for: object) -> None:
        self._answering, self._waits_for = answering, waits_for

    @types.coroutine
    def rest(self) -> Generator[Any, Any, _Outcome]:
        """Go on with it, in the task that awaits this."""
        waits_for = self._waits_for
        try:
            while True:
                try:
                    came = yield waits_for
                except BaseException as error:  # noqa: BLE001 - it is for who waits inside
                    waits_for = self._answering.throw(error)
                else:
                    waits_for = self._answering.send(came)
        except StopIteration as done:
            return cast("_Outcome", done.value)

    def give_up(self) -> None:
        """End it as a task that is cancelled does."""
        with contextlib.suppress(StopIteration, asyncio.CancelledError, Exception):
            self._answering.throw(asyncio.CancelledError())
        self._answering.close()


class Connection(RequestHandler):
    """One connection: aiohttp's handler, with eyes for what is overdue."""

    __slots__ = ("_begun", "_connections", "_head_bytes", "_since", "_state", "_wire")

    def __init__(self, connections: Owner, server: web.Server, read_timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=read_timeout_s, **RUNNER_OPTIONS)
        self._connections = connections
        self._wire: asyncio.Transport | None = None
        self._begun: _Begun | None = None
        self._head_bytes = 0
        self._state: object = None
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        # aiohttp forgets the transport when it asks for its end, which a stalled reader prevents.
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for the next connection."""
        super().connection_lost(exc)
        if self._begun is not None:  # no task has come to it
            self._begun.give_up()
            self._begun = None
        self._wire = None
        self._connections.lost(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head beyond all bounds ends the connection before memory does."""
        waiter = self._waiter
        if self._begun is not None or (
            self._request_count if waiter is None else waiter.done()
        ):  # A request is being answered; what comes now is its body, or waits for its turn.
            super().data_received(data)
            self._head_bytes = 0
            return
        # Nobody is told yet of what comes, see `_begin`.
        self._waiter = None
        super().data_received(data)
        self._waiter = waiter
        if self._messages:
            self._head_bytes = 0
            if not self._begin() and waiter is not None and not waiter.done():
                waiter.set_result(None)
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX and self._wire is not None:
            self._connections.cut_off += 1
            self._wire.write(_TOO_LARGE)
            self.force_close()

    def _begin(self) -> bool:
        """Begin to answer what has come, without a task. False where one must go on with it."""
        message, payload = self._messages[0]
        manager, parser, loop = self._manager, self._parser, self._loop
        if (
            len(self._messages) > 1
            or payload is not EMPTY_PAYLOAD
            or not isinstance(message, RawRequestMessage)
            or message.method not in _WITHOUT_BODY
            or message.upgrade
            or self._upgraded
            or self._close
            or self._force_close
            or manager is None
            or parser is None
            or asyncio.current_task(loop) is not None
        ):
            return False
        assert self._request_factory is not None
        assert self._request_handler is not None
        assert self._task_handler is not None
        request = self._request_factory(
            message, payload, self, StreamWriter(self, loop), self._task_handler
        )
        answering = super()._handle_request(request, None, self._request_handler)
        # What looks for the task it runs in, as timeouts do, finds the one that will go on with it.
        task = self._task_handler
        asyncio.tasks._enter_task(loop, task)
        try:
            waits_for = answering.send(None)
        except StopIteration as done:
            response, broken = done.value
        except ConnectionError:
            broken = True
        except Exception:
            logger.exception("unexpected error answering a request")
            broken = True
        else:
            self._begun = _Begun(answering, waits_for)
            return False
        finally:
            asyncio.tasks._leave_task(loop, task)
        self._messages.popleft()
        parser.message_consumed()
        manager.requests_count += 1
        request._task = None  # type: ignore[assignment]  # as aiohttp: it makes a cycle
        if broken or not response.keep_alive or self._close:
            # What is not sent yet leaves before the end.
            self.force_close()
            return True
        self._keepalive = True
        self._next_keepalive_close_time = loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        return True

    async def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """Answer a request, or go on with the one that was begun."""
        begun, self._begun = self._begun, None
        if begun is None:
            return await super()._handle_request(request, start_time, request_handler)
        return await begun.rest()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP: in a line, and without a traceback in the log for each."""
        if isinstance(exc, UnicodeEncodeError):
            # Not of our handlers: aiohttp fails to tell the client its own header.
            status, message = 400, "a header is not UTF-8"
        elif isinstance(exc, ConnectionError):
            status, message = 400, "the connection ended"  # nobody reads it
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        said = (message or "").strip().partition("\n")[0][:_REASON_MAX]
        reason = "".join(each if each.isprintable() else "?" for each in said)
        logger.debug("bad request from %s: %s", request.remote, reason)
        response = web.Response(status=status, text=f"{status} Bad Request: {reason}\n")
        response.force_close()
        return response

    def overdue(self, now_s: float, read_timeout_s: float, stall_s: float) -> bool:
        """Whether the peer has let us wait for too long. Asked every now and then.

        Waiting for a request, idle or in the middle of its head, is timed by aiohttp itself.
        """
        wire, request = self._wire, self._current_request
        if wire is None:
            return False
        unread = wire.get_write_buffer_size()
        state: object
        if unread or wire.is_closing():
            state, limit_s = unread, stall_s
        elif request is not None and not request.content.is_eof():
            state, limit_s = request, read_timeout_s
        else:
            self._state = None
            return False
        if state is not self._state and state != self._state:
            self._state, self._since = state, now_s
        return now_s - self._since >= limit_s

    def wait_anew(self) -> None:
        """Count the time that the peer lets us wait from now on."""
        self._state = None

    def abort(self) -> None:
        """End it without waiting for the peer."""
        if self._wire is not None:
            self._wire.abort()
