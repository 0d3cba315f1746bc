"""Classic histograms of a load -> native ones with custom buckets, as `load_with_nhcb` wants.

From: `loading.py`, with the series of one load.   To: the same, as histograms by place.
Source: the corpus README.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gnomon.promqltest.values import NotationError, number
from promql.histograms.columns import HistogramRow
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gnomon.promqltest.script import SeriesLine

Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Classic:
    """What the parts of one classic histogram say at one place."""

    buckets: dict[float, float] = field(default_factory=dict)
    count: float | None = None
    sum: float = 0.0

    def converted(self) -> HistogramRow:
        """Return the native histogram. Raises NotationError if counts are not cumulative."""
        bounds = sorted(self.buckets)
        count = self.count
        if count is None:
            count = self.buckets[bounds[-1]] if bounds else 0.0
        if not bounds or bounds[-1] != math.inf:
            bounds.append(math.inf)
            self.buckets[math.inf] = count
        before = 0.0
        positive = []
        for index, bound in enumerate(bounds):
            cumulative = self.buckets[bound]
            if cumulative < before:
                raise NotationError(f"bucket counts are not cumulative: {self.buckets}")
            if cumulative > before:
                positive.append((index, cumulative - before))
            before = cumulative
        return HistogramRow(
            schema=CUSTOM_BUCKETS_SCHEMA,
            count=count,
            sum=self.sum,
            positive=tuple(positive),
            bounds=tuple(bounds[:-1]),
        )


def converted(lines: Iterable[SeriesLine]) -> list[tuple[dict[str, str], dict[int, HistogramRow]]]:
    """Return the native histograms of all classic ones: labels, and a histogram by place.

    Raises NotationError for counts that are not cumulative.
    """
    found: dict[Key, dict[int, _Classic]] = {}
    for line in lines:
        base, part = _part(line.labels)
        if part is None:
            continue
        key = tuple(sorted(base.items()))
        for place, point in enumerate(line.points):
            if isinstance(point, float):
                classic = found.setdefault(key, {}).setdefault(place, _Classic())
                if part == "_bucket":
                    classic.buckets[number(line.labels["le"])] = point
                elif part == "_count":
                    classic.count = point
                else:
                    classic.sum = point
    return [
        (dict(key), {place: classic.converted() for place, classic in sorted(places.items())})
        for key, places in found.items()
    ]


def _part(labels: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """Return the labels of the histogram that a series is part of, and which part."""
    name = labels.get(METRIC_NAME, "")
    for suffix in ("_bucket", "_count", "_sum"):
        if name.endswith(suffix) and ("le" in labels) == (suffix == "_bucket"):
            base = {n: v for n, v in labels.items() if n != "le"}
            base[METRIC_NAME] = name.removesuffix(suffix)
            return base, suffix
    return {}, None
