"""A TCP connection as asyncio's transport, for half of what accepting one costs otherwise.

From: `listening.py`, with what it accepted.   To: the protocol of a connection.

Clients that open a connection for each request are many, and asyncio's own transport takes them a
task, a future and five more turns of the event loop. This one reads as soon as it is made, since
the request is mostly there by then, and asks the loop to watch the socket only while the connection
is open a turn later. TLS is not for here. Used from the loop's thread alone, as every transport.
Source: Python documentation, asyncio's transports and protocols: what calls what, and when.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 18
HIGH_WATER_BYTES = 1 << 16
"""The protocol is asked to pause when so much waits to be sent, unless it sets another limit."""


class PlainTransport(asyncio.Transport):
    """One accepted, non-blocking connection. It closes the socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        accepted: socket.socket,
        peer: object,
        protocol: asyncio.Protocol,
    ) -> None:
        """Begin: calls `protocol.connection_made`, and `data_received` if there is something."""
        super().__init__({"socket": accepted, "peername": peer})
        self._loop, self._socket, self._protocol = loop, accepted, protocol
        self._file = accepted.fileno()
        self._waiting = bytearray()
        self._high, self._low = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4
        self._closing = self._lost = self._watched = self._held = False
        self._protocol_paused = self._eof_due = False
        protocol.connection_made(self)
        if not self._closing:
            self._read()
        if not self._closing:
            loop.call_soon(self._watch)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return the socket, or one of its names; None of what TLS would know."""
        if name == "sockname":
            return self._socket.getsockname()
        return super().get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who is told of what comes."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell another from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    # ------------------------------------------------------------------------------- reading

    def is_reading(self) -> bool:
        """Say whether what comes is read."""
        return not self._closing and not self._held

    def pause_reading(self) -> None:
        """Let what comes wait in the kernel."""
        self._held = True
        self._unwatch()

    def resume_reading(self) -> None:
        """Read again."""
        self._held = False
        self._watch()

    def _watch(self) -> None:
        if not (self._watched or self._closing or self._held):
            self._watched = True
            self._loop.add_reader(self._file, self._read)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._file)

    def _read(self) -> None:
        """Take what is there. An end of input ends the connection, if the protocol agrees."""
        if self._closing or self._held:
            return
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        try:
            if data:
                self._protocol.data_received(data)
            elif self._protocol.eof_received():
                self._held = True
                self._unwatch()
            else:
                self.close()
        except Exception as error:  # a bug of the protocol's, and this connection's end
            logger.exception("unexpected error reading a connection")
            self._end(error)

    # ------------------------------------------------------------------------------- writing

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send now what the kernel takes, the rest when it takes more."""
        if self._lost or self._eof_due or not data:
            return
        if not self._waiting:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._file, self._send_more)
        self._waiting += data
        self._look_at_limit()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send pieces as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Say that it can."""
        return True

    def write_eof(self) -> None:
        """Tell the peer that nothing more comes, once all is sent; reading goes on."""
        if not self._closing and not self._eof_due:
            self._eof_due = True
            if not self._waiting:
                self._shut_down()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return len(self._waiting)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return how many bytes resume and pause the protocol."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how many bytes pause and resume the protocol. Raises ValueError."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._look_at_limit()

    def _look_at_limit(self) -> None:
        size = len(self._waiting)
        if size > self._high and not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()
        elif size <= self._low and self._protocol_paused:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def _send_more(self) -> None:
        try:
            sent = self._socket.send(self._waiting)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._waiting[:sent]
        self._look_at_limit()
        if not self._waiting:
            self._loop.remove_writer(self._file)
            if self._closing:
                self._end(None)
            elif self._eof_due:
                self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._end(error)

    # ------------------------------------------------------------------------------- ending

    def is_closing(self) -> bool:
        """Say whether the end has begun."""
        return self._closing

    def close(self) -> None:
        """Read no more, send what waits, then end."""
        if self._closing:
            return
        self._closing = True
        self._unwatch()
        if not self._waiting:
            self._end(None)

    def abort(self) -> None:
        """End at once, whatever waits to be sent."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        """Have the protocol told, in the loop's next turn, and the socket closed then."""
        if self._lost:
            return
        self._closing = self._lost = True
        self._unwatch()
        if self._waiting:
            self._loop.remove_writer(self._file)
            self._waiting.clear()
        self._loop.call_soon(self._tell_end, error)

    def _tell_end(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()
