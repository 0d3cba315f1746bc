"""A large answer as parts, made apart from each other and sent in their order.

From: `json_writer.py`.   To: `streaming.py`, which makes several at once.

A part is a run of series. It is written into a room that its maker lends it, one after the other
into the same one, so that no answer takes fresh memory for every chunk: the kernel's page faults
cost more than writing the text does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]


class Part(Protocol):
    """A run of series; used by one thread at a time."""

    def more(self, room: Bytes) -> tuple[bytes | memoryview, bool]:
        """Return the next chunk, which may lie in `room`, and whether others follow it."""
        ...


@dataclass(frozen=True, slots=True)
class Body:
    """What a reply says: `head`, what the parts give, `tail`. `room_bytes` is what a part needs.

    What is small is all in `head` and `tail`.
    """

    head: bytes
    parts: Sequence[Part]
    tail: bytes
    room_bytes: int = 0


class SeriesRun:
    """Series that a kernel writes. Invariant of `_state`: see `json_kernels.py`."""

    __slots__ = ("_state", "_write")

    def __init__(self, write: Callable[[Ints, Bytes], int], first: int, stop: int) -> None:
        self._write = write
        self._state = np.array([first, 0, stop], dtype=np.int64)

    def more(self, room: Bytes) -> tuple[memoryview, bool]:
        """Write as much as the room holds."""
        length = self._write(self._state, room)
        ended = bool(self._state[0] == self._state[2])
        assert length > 0 or ended, "the room holds at least one series' head"
        return room[:length].data, not ended


class ChunkRun:
    """Chunks that somebody else makes, one when the one before is gone."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def more(self, room: Bytes) -> tuple[bytes, bool]:
        """Return the next one; the last one is empty."""
        chunk = next(self._chunks, b"")
        return chunk, bool(chunk)


def whole_chunks(body: Body) -> Iterator[bytes]:
    """Yield the whole reply, head and tail joined to the first and the last chunk."""
    if not body.parts:
        yield body.head + body.tail
        return
    room = np.empty(body.room_bytes, dtype=np.uint8)
    held = body.head
    begun = False
    for part in body.parts:
        more = True
        while more:
            chunk, more = part.more(room)
            if not chunk:
                continue
            if begun:
                yield held
                held = bytes(chunk)
            else:
                held += chunk
                begun = True
    yield held + body.tail
