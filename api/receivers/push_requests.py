"""What all push receivers do with a request: read its body within limits, and work in a thread.

From: their handlers.   To: `gate.py`.

Whoever pushes must know what to do: 400 for what never succeeds, 413 and 415 for what has to be
sent differently, 503 with `Retry-After` for what is to be sent again as it is. Prometheus as a
sender does not repeat after 429 unless it is told to, so that is not used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from api.gate import WritesBusyError
from api.parts import PARTS
from api.receivers.body_decoding import (
    BODY_BYTES_MAX,
    BodyError,
    BodyTooLargeError,
    UnknownEncodingError,
)
from api.receivers.pushing import RETRY_AFTER_S
from api.replies import text
from api.threads import StoppedError
from api.wire import WireError
from tsdb.errors import ClosedError, WriteFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from api.gate import Gate

T = TypeVar("T")

logger = logging.getLogger(__name__)


class PushRefusedError(Exception):
    """A request of which nothing was stored; `str()` is the client's text."""

    def __init__(self, problem: str, status: int, *, retry_after_s: int | None = None) -> None:
        super().__init__(problem)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """What else the reply says."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def reply(self) -> web.Response:
        """Return the reply in plain text."""
        reply = text(f"{self}\n", self.status)
        reply.headers.update(self.headers)
        return reply


async def _body(request: web.Request, gate: Gate) -> bytes:
    """Return the body, which the gate holds room for. Raises PushRefusedError."""
    parts: list[bytes] = []
    held = 0
    try:
        async for chunk in request.content.iter_any():
            gate.hold(len(chunk), held)
            held += len(chunk)
            parts.append(chunk)
            if held > BODY_BYTES_MAX:
                raise PushRefusedError(f"request body is larger than {BODY_BYTES_MAX} bytes", 413)
    except BaseException as error:
        gate.let_go(held)
        if isinstance(error, WritesBusyError):
            raise PushRefusedError(str(error), 503, retry_after_s=1) from error
        raise
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def pushed(request: web.Request, work: Callable[[bytes], T]) -> T:
    """Return what `work` makes of the body, in a thread. Raises PushRefusedError."""
    gate = request.app[PARTS].gate
    whole = await _body(request, gate)
    try:
        return await gate.write(lambda: work(whole), len(whole))
    except PushRefusedError:
        raise
    except UnknownEncodingError as error:
        raise PushRefusedError(str(error), 415) from error
    except BodyTooLargeError as error:
        raise PushRefusedError(str(error), 413) from error
    except (BodyError, WireError) as error:
        raise PushRefusedError(str(error), 400) from error
    except (ClosedError, StoppedError) as error:
        raise PushRefusedError("storage is closed", 503, retry_after_s=RETRY_AFTER_S) from error
    except WriteFailedError as error:
        # The disk is full or gone. What a sender sends again is found to be there already.
        raise PushRefusedError(str(error), 503, retry_after_s=RETRY_AFTER_S) from error
    except Exception as error:  # whoever pushes reads text, not the envelope of `replies.py`
        logger.exception("unexpected error in a push receiver")
        raise PushRefusedError(
            "internal error: nothing is known of what was stored", 500
        ) from error
