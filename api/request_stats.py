"""Counts of requests by handler: how many, how long, how large.

From: the middleware in `replies.py`.   To: `gnomon/telemetry.py`, by `stats()`.
Source: the `prometheus_http_*` metrics of Prometheus, whose bounds these are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

DURATION_BOUNDS_S = (0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0)
SIZE_BOUNDS_BYTES = (1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)


@dataclass(slots=True)
class Distribution:
    """A histogram: `counts[i]` observations fell in (bounds[i - 1], bounds[i]]; last is above."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class HandlerStats:
    """One handler's distributions, not cumulative; `counts` sum to the number of requests."""

    handler: str
    duration_bounds_s: tuple[float, ...]
    duration_counts: tuple[int, ...]
    duration_total_s: float
    size_bounds_bytes: tuple[float, ...]
    size_counts: tuple[int, ...]
    size_total_bytes: float


@dataclass(frozen=True, slots=True)
class RequestStats:
    """All handlers; `by_code` holds (handler, status code, requests)."""

    handlers: tuple[HandlerStats, ...]
    by_code: tuple[tuple[str, int, int], ...]


class RequestCounter:
    """Counts requests; one event loop writes, any thread may read."""

    def __init__(self) -> None:
        self._codes: Counter[tuple[str, int]] = Counter()
        self._durations: dict[str, Distribution] = {}
        self._sizes: dict[str, Distribution] = {}

    def count(self, handler: str, code: int, *, seconds: float, size_bytes: int) -> None:
        """Count one answered request."""
        if handler not in self._durations:
            self._sizes[handler] = Distribution(SIZE_BOUNDS_BYTES)
            self._durations[handler] = Distribution(DURATION_BOUNDS_S)
        self._codes[handler, code] += 1
        self._durations[handler].observe(seconds)
        self._sizes[handler].observe(size_bytes)

    def stats(self) -> RequestStats:
        """Return the counts so far."""
        handlers = []
        for handler, durations in list(self._durations.items()):
            sizes = self._sizes[handler]
            handlers.append(
                HandlerStats(
                    handler=handler,
                    duration_bounds_s=durations.bounds,
                    duration_counts=tuple(durations.counts),
                    duration_total_s=durations.total,
                    size_bounds_bytes=sizes.bounds,
                    size_counts=tuple(sizes.counts),
                    size_total_bytes=sizes.total,
                )
            )
        codes = tuple((handler, code, n) for (handler, code), n in list(self._codes.items()))
        return RequestStats(tuple(handlers), codes)
