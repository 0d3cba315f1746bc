"""A large answer, made by several threads at once and sent in its order.

From: `replies.py`, with the parts of an answer.   To: the connection.

A few parts are made ahead of the one that is being sent, each as one turn in the threads that all
queries share, so that a small query beside it waits for a part, not for the answer. Each is written
into a room of its own, compressed by the same thread if it has to be, and goes to the socket from
there. Invariant: no more than LOOK_AHEAD rooms exist, and nothing is begun for a client that is
gone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import ClientConnectionResetError
from aiohttp.http import StreamWriter

from api.piece_packing import STREAMS, Piece, packed_piece
from api.plain_transport import PlainTransport

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from api.answer_parts import Body, Bytes, Part
    from api.gate import Gate

LOOK_AHEAD = 4
"""Parts that are made or wait to be sent; two threads have one each in hand, and one in reserve."""

_BEFORE, _AFTER = 10, 2
"""What HTTP has around a chunk: eight digits and the end of a line before it, one after it."""

_LINE_END = np.frombuffer(b"\r\n", dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class _Made:
    """A chunk of a part: packed, or text; `framed` is the text with HTTP's frame, if it has one."""

    piece: Piece | None
    text: bytes | memoryview
    framed: memoryview | None
    more: bool


class PartSender:
    """Sends one answer. Its methods are the event loop's but for `_make`."""

    def __init__(
        self, gate: Gate, request: web.Request, response: web.StreamResponse, body: Body
    ) -> None:
        self._gate, self._request, self._response, self._body = gate, request, response, body
        self._stream = STREAMS[encoding]() if (encoding := _encoding(response)) else None
        self._rooms: list[Bytes] = []
        self._stopped = False
        self._writer = response._payload_writer  # what `prepare` returned
        self._transport = request.transport

    async def send(self) -> None:
        """Send everything; the response is prepared. Raises ConnectionError, and what a part does.

        However it ends, no further part is made.
        """
        ahead: deque[tuple[Part, Bytes, asyncio.Future[_Made]]] = deque()
        parts = iter(self._body.parts)
        try:
            await self._begin()
            while True:
                while len(ahead) < LOOK_AHEAD and (part := next(parts, None)) is not None:
                    room = self._room()
                    ahead.append((part, room, self._start(part, room)))
                if not ahead:
                    break
                part, room, making = ahead[0]
                made = await making
                await self._write(made)
                if made.more:
                    ahead[0] = (part, room, self._start(part, room))
                else:
                    ahead.popleft()
                    self._rooms.append(room)
            await self._end()
        finally:
            self._stopped = True
            for _, _, making in ahead:
                making.cancel()

    def _room(self) -> Bytes:
        if self._rooms:
            return self._rooms.pop()
        return np.empty(self._body.room_bytes + _BEFORE + _AFTER, dtype=np.uint8)

    def _start(self, part: Part, room: Bytes) -> asyncio.Future[_Made]:
        return self._gate.begin(lambda: self._make(part, room))

    def _make(self, part: Part, room: Bytes) -> _Made:
        """Make the next chunk of a part. A thread's work."""
        if self._stopped:
            return _Made(None, b"", None, more=False)
        text, more = part.more(room[_BEFORE:-_AFTER])
        if self._stream is not None:
            piece = packed_piece(text, self._stream.checksum) if text else None
            return _Made(piece, b"", None, more)
        if not isinstance(text, memoryview) or not text:
            return _Made(None, text, None, more)
        stop = _BEFORE + len(text)
        room[:_BEFORE] = np.frombuffer(b"%08x\r\n" % len(text), dtype=np.uint8)
        room[stop : stop + _AFTER] = _LINE_END
        return _Made(None, text, room[: stop + _AFTER].data, more)

    async def _begin(self) -> None:
        if self._stream is None:
            await self._response.write(self._body.head)
            return
        piece = packed_piece(self._body.head, self._stream.checksum)
        self._stream.add(piece)
        await self._response.write(self._stream.head + piece.data)

    async def _end(self) -> None:
        if self._stream is None:
            await self._response.write(self._body.tail)
            return
        piece = packed_piece(self._body.tail, self._stream.checksum)
        self._stream.add(piece)
        await self._response.write(piece.data + self._stream.tail())

    async def _write(self, made: _Made) -> None:
        if made.piece is not None:
            assert self._stream is not None
            self._stream.add(made.piece)
            await self._response.write(made.piece.data)
        elif made.framed is not None and self._takes_frames():
            await self._write_framed(made.framed)
        elif made.text:
            # Others than ours may keep what they are given, and the room is used again.
            await self._response.write(bytes(made.text))

    def _takes_frames(self) -> bool:
        writer = self._writer
        return (
            isinstance(writer, StreamWriter)
            and writer.chunked
            and isinstance(self._transport, PlainTransport)
        )

    async def _write_framed(self, framed: memoryview) -> None:
        """Send a chunk from where it is; our transport copies what the kernel does not take."""
        writer, transport = self._writer, self._transport
        assert isinstance(writer, StreamWriter)
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        writer.output_size += len(framed)
        transport.write(framed)
        await writer.drain()


def _encoding(response: web.StreamResponse) -> str:
    return response.headers.get("Content-Encoding", "")
