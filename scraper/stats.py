"""What scraping did, as numbers for telemetry.

From: `pool.py` and `loop.py`.   To: the app, which makes metrics of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scraper.outcome import Outcome

QUANTILES = (0.01, 0.05, 0.5, 0.9, 0.99)
"""Those of `prometheus_target_interval_length_seconds`."""


@dataclass(frozen=True, slots=True)
class SummaryStats:
    """Count, sum and quantiles of a duration, in seconds; quantiles are of recent values."""

    count: int
    sum_s: float
    quantiles: Mapping[float, float]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One job's pool. Times in seconds, memory in bytes; counters since the pool began."""

    targets: int
    target_limit: int
    syncs: int
    sync_failed: int
    exceeded_target_limit: int
    sync_length: SummaryStats
    discovered_targets: int
    updates_received: int
    series_cached: int
    cache_bytes: int
    metadata_families: int


@dataclass(frozen=True, slots=True)
class ScrapeStats:
    """All of scraping since the start. `intervals` has the configured interval as text."""

    scrapes: int
    scrapes_failed: int
    samples_scraped: int
    exceeded_sample_limit: int
    exceeded_label_limits: int
    exceeded_body_size: int
    duplicate_samples: int
    out_of_order_samples: int
    out_of_bounds_samples: int
    out_of_order_exemplars: int
    pools: Mapping[str, PoolStats]
    pools_failed: int
    pools_begun: int
    pool_reloads: int
    pool_reloads_failed: int
    exceeded_bucket_limit: int
    intervals: Mapping[str, SummaryStats]


@dataclass(slots=True)
class Durations:
    """Durations as they come; remembers the newest `len(recent_s)` for quantiles."""

    count: int = 0
    sum_s: float = 0.0
    recent_s: list[float] = field(default_factory=list)
    recent_max: int = 1024

    def add(self, duration_s: float) -> None:
        """Take one duration."""
        if len(self.recent_s) < self.recent_max:
            self.recent_s.append(duration_s)
        else:
            self.recent_s[self.count % self.recent_max] = duration_s
        self.count += 1
        self.sum_s += duration_s

    def summary(self) -> SummaryStats:
        """Return the summary now; NaN quantiles if there is nothing yet."""
        ordered = sorted(self.recent_s)
        last = len(ordered) - 1
        quantiles = {q: ordered[round(q * last)] if ordered else float("nan") for q in QUANTILES}
        return SummaryStats(self.count, self.sum_s, quantiles)


class OutcomeCounts:
    """Sums of outcomes; used on the event loop only."""

    def __init__(self) -> None:
        self._exceeded: Counter[str] = Counter()
        self._samples: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of one scrape."""
        counts = self._samples
        counts["scrapes"] += 1
        counts["failed"] += bool(outcome.error)
        counts["scraped"] += outcome.scraped
        counts["duplicates"] += outcome.duplicates
        counts["out_of_order"] += outcome.out_of_order
        counts["out_of_bounds"] += outcome.out_of_bounds
        counts["late_exemplars"] += outcome.exemplars_out_of_order
        if outcome.exceeded:
            self._exceeded[outcome.exceeded] += 1

    def stats(
        self,
        pools: Mapping[str, PoolStats],
        intervals: Mapping[str, SummaryStats],
        *,
        pools_failed: int,
        pools_begun: int,
        pool_reloads: int,
        pool_reloads_failed: int,
    ) -> ScrapeStats:
        """Return everything as one value."""
        counts, exceeded = self._samples, self._exceeded
        return ScrapeStats(
            scrapes=counts["scrapes"],
            scrapes_failed=counts["failed"],
            samples_scraped=counts["scraped"],
            exceeded_sample_limit=exceeded["sample"],
            exceeded_label_limits=exceeded["label"],
            exceeded_body_size=exceeded["body_size"],
            duplicate_samples=counts["duplicates"],
            out_of_order_samples=counts["out_of_order"],
            out_of_bounds_samples=counts["out_of_bounds"],
            out_of_order_exemplars=counts["late_exemplars"],
            pools=pools,
            pools_failed=pools_failed,
            pools_begun=pools_begun,
            pool_reloads=pool_reloads,
            pool_reloads_failed=pool_reloads_failed,
            exceeded_bucket_limit=exceeded["bucket"],
            intervals=intervals,
        )
