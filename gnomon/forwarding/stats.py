"""What forwarding counts: written by `queue.py`, shown by `gnomon/forwarding_telemetry.py`."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)
"""Prometheus' own buckets of the durations of sending."""
KINDS = ("samples", "exemplars", "histograms", "metadata")


@dataclass(slots=True)
class Outcomes:
    """What became of one kind of things that were to be sent."""

    sent: int = 0
    failed: int = 0
    retried: int = 0
    pending: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """By reason."""

    def drop(self, reason: str, count: int) -> None:
        """Count what is not sent at all."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass(slots=True)
class QueueCounts:
    """Counters and gauges of one queue; changed by its own thread alone."""

    name: str
    url: str
    kinds: dict[str, Outcomes] = field(default_factory=lambda: {k: Outcomes() for k in KINDS})
    sent_bytes: int = 0
    metadata_bytes: int = 0
    requests: int = 0
    highest_sent_ms: int = 0
    shards: int = 0
    shards_max: int = 0
    shards_min: int = 0
    shards_desired: float = 0.0
    shard_capacity: int = 0
    samples_per_send_max: int = 0
    segment: int = -1
    bytes_behind: int = 0
    records_damaged: int = 0
    duration_counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    duration_total_s: float = 0.0

    def took(self, seconds: float) -> None:
        """Count the duration of one request."""
        self.duration_counts[bisect_left(DURATION_BOUNDS_S, seconds)] += 1
        self.duration_total_s += seconds
