"""GET /api/v1/notifications and its live form: what whoever runs the server should know now.

From: `routes.py`.   To: `views.AppView`.

The live form is a stream of server-sent events. The app is asked what holds as long as somebody
listens, several times a second; what is new, or holds no more, is told to all who listen.
Source: the answers of Prometheus 3.5.3; HTML standard, server-sent events.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from api.json_text import dumps
from api.parts import PARTS
from api.replies import set_cors, success
from api.times import format_rfc3339

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.views import AppView, Notification

LOOK_S = 0.25
"""How old news may be."""

COMMENT_S = 20.0
"""How often something is said in any case: proxies, and we ourselves, notice dead connections."""

WAITING_MAX = 1000
"""Events that wait for a slow reader; more are dropped."""


@dataclass(frozen=True, slots=True)
class NotificationStats:
    """Who listens now, and events so far."""

    subscribers: int
    sent: int
    dropped: int


class LiveNotifications:
    """Those who listen. Used from one event loop."""

    def __init__(self, view: AppView, subscribers_max: int) -> None:
        self._view, self._subscribers_max = view, subscribers_max
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._told: dict[str, Notification] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._sent = self._dropped = 0
        self._closed = False

    def stats(self) -> NotificationStats:
        """Return counts at this moment."""
        return NotificationStats(len(self._queues), self._sent, self._dropped)

    def subscribe(self) -> asyncio.Queue[bytes | None] | None:
        """Return a queue of events, its first ones what holds now; None where too many listen.

        None in the queue is the end: the server stops.
        """
        if self._closed or len(self._queues) >= self._subscribers_max:
            return None
        self._look()
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MAX)
        self._queues.add(queue)
        for notification in self._told.values():
            self._put(queue, _event(notification, active=True))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[bytes | None]) -> None:
        """Forget a queue."""
        self._queues.discard(queue)
        if not self._queues and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def close(self) -> None:
        """Tell the last news, and end all streams."""
        self._closed = True
        self._look()
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look_again(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)
        self._look()

    def _look(self) -> None:
        # By text: the date of what lasts may move.
        holding = {each.text: each for each in self._view.notifications()}
        events = [
            *(_event(old, active=False) for text, old in self._told.items() if text not in holding),
            *(_event(new, active=True) for text, new in holding.items() if text not in self._told),
        ]
        self._told = {text: self._told.get(text, each) for text, each in holding.items()}
        for queue in self._queues:
            for event in events:
                self._put(queue, event)

    def _put(self, queue: asyncio.Queue[bytes | None], event: bytes) -> None:
        try:
            queue.put_nowait(event)
        except asyncio.QueueFull:
            self._dropped += 1
        else:
            self._sent += 1


def _members(notification: Notification, *, active: bool) -> dict[str, object]:
    date = format_rfc3339(notification.since_s)
    return {"text": notification.text, "date": date, "active": active}


def _event(notification: Notification, *, active: bool) -> bytes:
    return b"data: %b\n\n" % dumps(_members(notification, active=active))


LIVE: web.AppKey[LiveNotifications] = web.AppKey("LIVE", LiveNotifications)


def install(app: web.Application, view: AppView, subscribers_max: int) -> None:
    """Let an application know its listeners, and end their streams when it stops."""
    live = app[LIVE] = LiveNotifications(view, subscribers_max)

    async def end(_app: web.Application) -> None:
        live.close()

    app.on_shutdown.append(end)


async def notifications(request: web.Request) -> web.Response:
    """Answer /api/v1/notifications."""
    found = request.app[PARTS].view.notifications()
    return success(request, [_members(each, active=True) for each in found])


async def live(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/notifications/live until the client goes or the server stops."""
    listeners = request.app[LIVE]
    queue = listeners.subscribe()
    if queue is None:
        return web.Response(status=204)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    set_cors(request, response)
    access = request.app[PARTS].access
    if access is not None:
        response.headers.update(access.rules.headers)
    try:
        await response.prepare(request)
        async for event in _events(request, queue):
            await response.write(event)
        await response.write_eof()
    except ConnectionError:
        pass  # the client went away
    finally:
        listeners.unsubscribe(queue)
    return response


async def _events(request: web.Request, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    """Yield what is to be written. Nothing tells a handler that its client went: it looks."""
    quiet_s = 0.0
    while True:
        try:
            async with asyncio.timeout(1.0):
                event = await queue.get()
        except TimeoutError:
            if request.transport is None or request.transport.is_closing():
                return
            quiet_s += 1.0
            if quiet_s >= COMMENT_S:
                quiet_s = 0.0
                yield b": still here\n\n"
            continue
        if event is None:
            return
        quiet_s = 0.0
        yield event
