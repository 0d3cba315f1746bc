"""A target group: what discovery tells scraping, and nothing more.

From: `static.py`, `files.py` and every other mechanism.   To: `combine.py`, then `scraper/pool.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets that came from one place. A later group of the same source replaces it whole.

    `source` is unique within its discoverer; a group with no targets removes what was there.
    `labels` hold for every target, a target's own labels win. `__address__` is a target's label.
    """

    source: str
    targets: tuple[Mapping[str, str], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


class Discoverer(Protocol):
    """One configured mechanism. `changes` runs until cancelled.

    It yields lists of groups that are new or changed; the first yield holds all that is known (it
    may be empty). A source out of reach is reported through `problems` and yields nothing: what
    was known before stays.
    """

    def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Iterate over changes; cancelling the task that iterates ends it cleanly."""
        ...
