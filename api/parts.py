"""What every handler may use, and how it finds it: `request.app[PARTS]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.access import Access
    from api.gate import Gate
    from api.receivers.pushing import PushAppender
    from api.request_stats import RequestCounter
    from api.views import ApiOptions, AppView
    from promql.engine import Engine
    from tsdb.interface import SeriesReader, Storage


@dataclass(frozen=True, slots=True)
class Parts:
    """The engines, the app's views, and the API's own state.

    `now` is the clock, in seconds. `paths` are the routes without parameters, with the prefix.
    `access` is None where everybody may ask. `reader` is what queries read from: storage, and
    maybe others behind it.
    """

    storage: Storage
    reader: SeriesReader
    engine: Engine
    view: AppView
    options: ApiOptions
    gate: Gate
    pushes: PushAppender
    requests: RequestCounter
    now: Callable[[], float]
    paths: frozenset[str] = frozenset()
    access: Access | None = None

    @property
    def now_ms(self) -> int:
        """The clock in milliseconds."""
        return int(self.now() * 1000)


PARTS: web.AppKey[Parts] = web.AppKey("PARTS", Parts)
