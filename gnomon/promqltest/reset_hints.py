"""What a reader learns of counter resets from the histograms of a series, as in Prometheus.

From: `loading.py`.   Prometheus' storage compares a counter's histogram with the one before: one
that has the same layout and has not fallen reads back as "not reset", one that begins anew says
"reset" only if its writer said so, and anything else is unknown. Ours keeps the hint it is given,
so a script's histograms are given what they would read back with.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tsdb.interface import ResetHint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gnomon.promqltest.values import Point
    from promql.histogram_columns import HistogramRow


def with_read_hints(
    histograms: Mapping[int, HistogramRow], points: tuple[Point, ...]
) -> dict[int, HistogramRow]:
    """Return the histograms of a series, by place, with the hints that they read back with."""
    out: dict[int, HistogramRow] = {}
    before: HistogramRow | None = None
    for place, point in enumerate(points):
        if place in histograms:
            row = histograms[place]
            out[place] = replace(row, hint=_read_hint(row, before))
            before = out[place]
        elif point is not None:  # a float, or a stale marker
            before = None
    return out


def _read_hint(row: HistogramRow, before: HistogramRow | None) -> ResetHint:
    if row.hint in (ResetHint.GAUGE, ResetHint.RESET):
        return row.hint
    if before is None or before.hint is ResetHint.GAUGE:
        return ResetHint.UNKNOWN
    same_layout = (row.schema, row.zero_threshold, row.bounds) == (
        before.schema,
        before.zero_threshold,
        before.bounds,
    )
    falls = row.count < before.count or row.zero_count < before.zero_count
    falls = falls or _fall(dict(row.positive), dict(before.positive))
    falls = falls or _fall(dict(row.negative), dict(before.negative))
    return ResetHint.NOT_RESET if same_layout and not falls else ResetHint.UNKNOWN


def _fall(now: Mapping[int, float], before: Mapping[int, float]) -> bool:
    return any(
        now.get(index, 0.0) < count for index, count in before.items() if not math.isnan(count)
    )
