"""Warnings and infos of one query: collected with a place, deduplicated, limited.

From: every evaluating module, through `EvalContext.annotations`.   To: the API's `warnings` and
`infos`. Texts are Prometheus' own (`PromQL warning: ... (1:5)`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from promql.errors import place_of

if TYPE_CHECKING:
    from promql.syntax import Span

SHOWN_MAX = 10
"""Prometheus shows ten of each kind and counts the rest."""


class Annotations:
    """What evaluation wants the user to know; one instance a query, used by one thread.

    What is said at several places is told once, of the place where it was said last.
    """

    def __init__(self, query: str) -> None:
        self._query = query
        self._warnings: dict[str, Span | None] = {}
        self._infos: dict[str, Span | None] = {}

    def warn(self, message: str, span: Span) -> None:
        """Add a warning about the expression at `span`; `message` without prefix and place."""
        self._warnings[f"PromQL warning: {message}"] = span

    def warn_of_storage(self, message: str) -> None:
        """Add a warning of whoever brought the samples, as it is."""
        self._warnings[message] = None

    def info(self, message: str, span: Span) -> None:
        """Add an info about the expression at `span`; `message` without prefix and place."""
        self._infos[f"PromQL info: {message}"] = span

    @property
    def warnings(self) -> list[str]:
        """At most ten texts, then how many more there are."""
        return _shown(self._placed(self._warnings), "warning")

    @property
    def infos(self) -> list[str]:
        """At most ten texts, then how many more there are."""
        return _shown(self._placed(self._infos), "info")

    def _placed(self, texts: dict[str, Span | None]) -> list[str]:
        return [
            text if span is None else f"{text} ({place_of(self._query, span.start)})"
            for text, span in texts.items()
        ]


def _shown(texts: list[str], kind: str) -> list[str]:
    shown = texts[:SHOWN_MAX]
    if len(texts) > SHOWN_MAX:
        shown.append(f"{len(texts) - SHOWN_MAX} more {kind} annotations omitted")
    return shown
