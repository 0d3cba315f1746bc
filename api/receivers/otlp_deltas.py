"""Deltas of OpenTelemetry to running totals, where the feature `otlp-deltatocumulative` is on.

From: `otlp_messages.py`, a request as dictionaries.   To: `otlp_translation.py`, the same request.

What each stream has counted so far is held in memory, by what tells streams apart: resource, scope,
metric and attributes. A total begins with the first point that is seen, and with that point's start
timestamp; it is forgotten, and begins anew, after five minutes without a point, and with a restart:
a counter that was reset, as readers see it. Points that come late or again are left out in
silence, for they cannot be told from repetitions.
Source: OpenTelemetry's data model, "Sums: Delta-to-Cumulative"; Prometheus' feature flags.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.receivers.otlp_messages import Message

DELTA, CUMULATIVE = 1, 2
NO_RECORDED_VALUE = 1

STALE_S = 300.0
"""How long a stream without points is held."""

BUCKETS_MAX = 160
"""An exponential histogram whose buckets spread wider than this loses resolution."""

_KINDS = ("sum", "histogram", "exponentialHistogram")
_NOT_COUNTED = ("attributes", "exemplars", "flags", "timeUnixNano", "startTimeUnixNano")


@dataclass(slots=True)
class _Stream:
    """What one stream has counted: `total` has the fields of a point, all of them its own."""

    total: Message
    start_ns: int
    newest_ns: int
    seen_s: float


class DeltaStreams:
    """The totals of all streams. Threads may call it at once."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._streams: dict[tuple[Any, ...], _Stream] = {}
        self._lock = threading.Lock()
        self._swept_s = clock_s()

    def __len__(self) -> int:
        """How many streams are held."""
        return len(self._streams)

    def accumulate(self, request: Message) -> None:
        """Turn every delta of a request into the total of its stream, in place."""
        with self._lock:
            now_s = self._clock_s()
            self._sweep(now_s)
            for resource in request.get("resourceMetrics", ()):
                attributes = _attributes(resource.get("resource", {}))
                for scope in resource.get("scopeMetrics", ()):
                    said = scope.get("scope", {})
                    key = (attributes, said.get("name"), said.get("version"), _attributes(said))
                    metrics = scope.get("metrics", [])
                    scope["metrics"] = [
                        metric for metric in metrics if self._metric(metric, key, now_s)
                    ]

    def _metric(self, metric: Message, scope: tuple[Any, ...], now_s: float) -> bool:
        """Accumulate the points of one metric; say whether anything is left of it."""
        kind = next((kind for kind in _KINDS if kind in metric), "")
        data: Message = metric.get(kind, {})
        points = data.get("dataPoints")
        if not points or data.get("aggregationTemporality") != DELTA:
            return True
        data["aggregationTemporality"] = CUMULATIVE
        key = (*scope, metric.get("name"), metric.get("unit"), kind, data.get("isMonotonic", False))
        data["dataPoints"] = [
            point
            for point in points
            if self._point(point, (*key, _attributes(point)), _ADDERS[kind], now_s)
        ]
        return bool(data["dataPoints"])

    def _point(
        self,
        point: Message,
        key: tuple[Any, ...],
        add: Callable[[Message, Message], Message],
        now_s: float,
    ) -> bool:
        """Add one point to its stream and make it the total; False for one that is left out."""
        time_ns = point.get("timeUnixNano", 0)
        start_ns = point.get("startTimeUnixNano", 0)
        stream = self._streams.get(key)
        if point.get("flags", 0) & NO_RECORDED_VALUE:
            return True  # it says that there is nothing, and becomes a stale marker
        if stream is None:
            stream = self._streams[key] = _Stream(_counted(point), start_ns, time_ns, now_s)
        elif start_ns < stream.start_ns or time_ns <= stream.newest_ns:
            return False
        else:
            stream.total = add(stream.total, _counted(point))
            stream.newest_ns, stream.seen_s = time_ns, now_s
        for name in [*point]:
            if name not in _NOT_COUNTED:
                del point[name]
        point.update(_copied(stream.total))
        point["startTimeUnixNano"] = stream.start_ns
        return True

    def _sweep(self, now_s: float) -> None:
        """Forget what had no points for a while; looked at every minute."""
        if now_s - self._swept_s < STALE_S / 5:
            return
        self._swept_s = now_s
        old = [key for key, stream in self._streams.items() if now_s - stream.seen_s > STALE_S]
        for key in old:
            del self._streams[key]


def _attributes(message: Message) -> tuple[Any, ...]:
    return tuple(sorted(message.get("attributes", ())))


def _counted(point: Message) -> Message:
    """Return what a point counts, apart from when and by whom."""
    return {name: held for name, held in point.items() if name not in _NOT_COUNTED}


def _copied(total: Message) -> Message:
    """Return a total that the translation may change: lists are not shared with the stream."""
    return {
        name: dict(held) if isinstance(held, dict) else [*held] if isinstance(held, list) else held
        for name, held in total.items()
    }


def _number(point: Message) -> int | float:
    value: int | float = point["asInt"] if "asInt" in point else point.get("asDouble", 0.0)
    return value


def _add_numbers(total: Message, more: Message) -> Message:
    name = "asInt" if "asInt" in total and "asInt" in more else "asDouble"
    return {name: _number(total) + _number(more)}


def _add_shared(total: Message, more: Message) -> Message:
    """Return count and sum of two distributions; a sum only where both have one."""
    out: Message = {"count": total.get("count", 0) + more.get("count", 0)}
    if "sum" in total and "sum" in more:
        out["sum"] = total["sum"] + more["sum"]
    return out


def _add_histograms(total: Message, more: Message) -> Message:
    bounds = total.get("explicitBounds", [])
    if bounds != more.get("explicitBounds", []):
        return more  # no way to tell what was counted by the new bounds before: it begins anew
    counts, others = total.get("bucketCounts", []), more.get("bucketCounts", [])
    size = max(len(counts), len(others))
    counts, others = [[*each, *[0] * (size - len(each))] for each in (counts, others)]
    return {
        **_add_shared(total, more),
        "explicitBounds": bounds,
        "bucketCounts": [a + b for a, b in zip(counts, others, strict=True)],
    }


def _add_exponential(total: Message, more: Message) -> Message:
    scale = min(total.get("scale", 0), more.get("scale", 0))
    sides = {
        name: [_buckets(each, name, scale) for each in (total, more)]
        for name in ("positive", "negative")
    }
    down = max(_too_wide(*pair) for pair in sides.values())
    threshold = max(total.get("zeroThreshold", 0.0), more.get("zeroThreshold", 0.0))
    zero = total.get("zeroCount", 0) + more.get("zeroCount", 0)
    out: Message = {**_add_shared(total, more), "scale": scale - down}
    for name, pair in sides.items():
        merged: dict[int, int] = {}
        for index, count in (item for each in pair for item in each.items()):
            merged[index >> down] = merged.get(index >> down, 0) + count
        swallowed = [index for index in merged if _lower(index, scale - down) < threshold]
        # Where the zero bucket has grown, what it reaches into is its own.
        zero += sum(merged.pop(index) for index in swallowed)
        if merged:
            first, last = min(merged), max(merged)
            counts = [merged.get(index, 0) for index in range(first, last + 1)]
            out[name] = {"offset": first, "bucketCounts": counts}
    out["zeroCount"] = zero
    if threshold:
        out["zeroThreshold"] = threshold
    return out


def _buckets(point: Message, side: str, scale: int) -> dict[int, int]:
    """Return {index: count} of a side's buckets that hold anything, at a lower scale."""
    held, down = point.get(side, {}), point.get("scale", 0) - scale
    out: dict[int, int] = {}
    for index, count in enumerate(held.get("bucketCounts", ()), held.get("offset", 0)):
        if count:
            out[index >> down] = out.get(index >> down, 0) + count
    return out


def _too_wide(some: dict[int, int], more: dict[int, int]) -> int:
    """Return by how much the scale must fall for the buckets of both to be few enough."""
    indices = [*some, *more]
    down = 0
    while indices and (max(indices) >> down) - (min(indices) >> down) >= BUCKETS_MAX:
        down += 1
    return down


def _lower(index: int, scale: int) -> float:
    """Return the lower bound of an exponential bucket."""
    exponent = index * 2.0**-scale
    return 2.0**exponent if exponent < 1024 else float("inf")


_ADDERS: dict[str, Callable[[Message, Message], Message]] = {
    "sum": _add_numbers,
    "histogram": _add_histograms,
    "exponentialHistogram": _add_exponential,
}
