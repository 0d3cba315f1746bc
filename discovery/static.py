"""Targets written in the configuration itself.

From: `static_configs`.   To: `combine.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from discovery.groups import TargetGroup


@dataclass(frozen=True, slots=True)
class StaticDiscovery:
    """Groups that never change. Equal groups make equal discoverers."""

    groups: tuple[TargetGroup, ...]

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield all groups once, then stay silent until cancelled."""
        yield list(self.groups)
        await asyncio.Event().wait()
