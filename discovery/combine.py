"""Many discoverers become the one set of groups of a job.

From: `static.py`, `files.py` and every other mechanism.   To: `scraper/pool.py`.
Invariant: a discoverer that fails or falls silent takes nothing away; only a group with no
targets does. Changes are gathered: a storm of them costs the receiver one update per interval.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from discovery.groups import Discoverer, TargetGroup

_log = logging.getLogger(__name__)

SETTLE_S = 0.1
"""The first wait after a change, doubled while changes go on: what Prometheus does since 3.12."""

UPDATE_INTERVAL_S = 5.0
"""Changes reach the receiver at most this often while they go on."""


async def combine(
    discoverers: Sequence[Discoverer],
    *,
    settle_s: float = SETTLE_S,
    interval_s: float = UPDATE_INTERVAL_S,
) -> AsyncGenerator[list[TargetGroup], None]:
    """Yield all groups with targets of all discoverers, again after each change.

    The first yield comes when every discoverer has spoken, or `settle_s` after the first did.
    Cancelling (or closing) the iterator ends every discoverer.
    """
    known: list[dict[str, TargetGroup]] = [{} for _ in discoverers]
    changed = asyncio.Event()
    waiting = set(range(len(discoverers)))
    if not discoverers:
        yield []
        return
    tasks = [
        asyncio.create_task(_follow(number, discoverer, known, waiting, changed))
        for number, discoverer in enumerate(discoverers)
    ]
    wait_s = settle_s
    try:
        while True:
            await changed.wait()
            if waiting:
                await asyncio.sleep(settle_s)
            changed.clear()
            yield [group for groups in known for group in groups.values()]
            await asyncio.sleep(wait_s)
            # Quiet for the whole wait: the next change passes at once again.
            wait_s = min(wait_s * 2, interval_s) if changed.is_set() else settle_s
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(
    number: int,
    discoverer: Discoverer,
    known: list[dict[str, TargetGroup]],
    waiting: set[int],
    changed: asyncio.Event,
) -> None:
    """Keep the latest group of each source of one discoverer."""
    groups = known[number]
    try:
        async for update in discoverer.changes():
            for group in update:
                if group.targets:
                    groups[group.source] = group
                else:
                    groups.pop(group.source, None)
            waiting.discard(number)
            changed.set()
    except Exception:  # noqa: BLE001 - what a plug-in may raise is unknown
        # A broken mechanism must cost neither the targets it knew nor the other mechanisms.
        _log.exception("discovery of type %s stopped", type(discoverer).__name__)
