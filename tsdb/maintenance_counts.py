"""What maintenance has done, counted.

From: `maintenance.py`.   To: `DatabaseStats`, and so to telemetry.
Source: bounds and meaning of the `prometheus_tsdb_compaction_*` histograms, as on its `/metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.page_directory import PageSizes

DURATION_BOUNDS_S = tuple(float(2**n) for n in range(14))
PAGE_SAMPLE_BOUNDS = tuple(accumulate([4.0] + [1.5] * 11, mul))
PAGE_BYTE_BOUNDS = tuple(accumulate([32.0] + [1.5] * 11, mul))
PAGE_RANGE_BOUNDS = tuple(accumulate([100.0] + [4.0] * 9, mul))


class Distribution:
    """A histogram: `counts[i]` values fell in (bounds[i - 1], bounds[i]]; the last is above."""

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def add(self, value: float) -> None:
        """Take one value."""
        self.add_all(np.array([value]))

    def add_all(
        self, values: npt.NDArray[np.float64], times: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Take many values, each so many times, or once."""
        if times is None:
            times = np.ones(values.size, dtype=np.int64)
        place = np.searchsorted(self.bounds, values, side="left")
        more = np.bincount(place, weights=times, minlength=len(self.counts))
        self.counts = [old + int(new) for old, new in zip(self.counts, more, strict=True)]
        self.total += float(values @ times)


@dataclass(slots=True)
class MaintenanceCounts:
    """What maintenance has done; durations in seconds. Changed under its lock alone.

    `compaction_runs` are cuts and compactions, `log_truncations` the checkpoint and the removal of
    segments after a cut. `page_*` tell of the pages that cuts wrote: how many samples, which range
    of time in milliseconds, and how many bytes, which are equal shares of their frame's.
    """

    rounds: int = 0
    writing: bool = False
    """Whether a block is being written now."""
    cuts: int = 0
    cuts_failed: int = 0
    cut_s: float = 0.0
    compactions: int = 0
    compactions_failed: int = 0
    compactions_overlapping: int = 0
    compaction_s: float = 0.0
    compaction_runs: Distribution = field(default_factory=lambda: Distribution(DURATION_BOUNDS_S))
    tombstone_cleanups: Distribution = field(default_factory=Distribution)
    log_truncations: Distribution = field(default_factory=Distribution)
    collections: Distribution = field(default_factory=Distribution)
    """Series taken out of the head, how often and how long it took."""
    page_samples: Distribution = field(default_factory=lambda: Distribution(PAGE_SAMPLE_BOUNDS))
    page_bytes: Distribution = field(default_factory=lambda: Distribution(PAGE_BYTE_BOUNDS))
    page_range_ms: Distribution = field(default_factory=lambda: Distribution(PAGE_RANGE_BOUNDS))
    checkpoints: int = 0
    checkpoints_failed: int = 0
    time_retentions: int = 0
    size_retentions: int = 0
    reloads: int = 0
    reloads_failed: int = 0
    head_saves: int = 0
    head_saves_failed: int = 0
    head_save_s: float = 0.0
    tried_again_at: dict[str, float] = field(default_factory=dict)
    """Blocks whose compaction failed, and when (monotonic clock) it may be tried again."""

    def wrote_pages(self, sizes: PageSizes) -> None:
        """Count the pages of a block that a cut wrote."""
        self.page_samples.add_all(sizes.samples, sizes.pages_of_slice)
        self.page_range_ms.add_all(sizes.range_ms, sizes.pages_of_slice)
        self.page_bytes.add_all(sizes.frame_page_bytes, sizes.pages_of_frame)
