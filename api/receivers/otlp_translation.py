"""OpenTelemetry's metrics to Prometheus' series.

From: `otlp_messages.py`, a request as dictionaries.   To: `otlp.py`, which stores what comes of it.

A resource is a target: `service.namespace/service.name` becomes `job`, `service.instance.id`
becomes `instance`, all else that is known of it the labels of `target_info`. Sums are counters or
gauges, histograms classic ones or native ones with custom buckets, exponential histograms native
ones. What cannot be translated is counted and told; the rest goes on.
Source: OpenTelemetry's compatibility specification; Prometheus' OTLP receiver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from api.receivers.label_pool import pooled_spans
from api.receivers.otlp_names import BadNameError
from api.receivers.pushing import PROBLEMS_MAX, Pushed
from api.receivers.remote_write_extras import BadHistogramError, Histogram, check_histogram
from promql.float_text import fixed_text
from tsdb.interface import (
    CUSTOM_BUCKETS_SCHEMA,
    EXEMPLAR_LABEL_CHARS_MAX,
    METRIC_NAME,
    MetricMetadata,
    ResetHint,
)
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from api.receivers.otlp_messages import Attribute, Message
    from api.receivers.otlp_settings import OtlpSettings

    Ints = npt.NDArray[np.int64]

DELTA, CUMULATIVE = 1, 2
NO_RECORDED_VALUE = 1
ZERO_THRESHOLD_DEFAULT = 1e-128
SCALE_MIN, SCALE_MAX = -4, 8
NO_POINT = -1
"""The point of samples that no point of the request brought: those of `target_info`."""

_STALE = float(STALE_NAN)

_NAMESPACE, _SERVICE, _INSTANCE = "service.namespace", "service.name", "service.instance.id"
IDENTIFYING = (_NAMESPACE, _SERVICE, _INSTANCE)

_KINDS = {
    "gauge": "gauge", "sum": "counter", "histogram": "histogram",
    "exponentialHistogram": "histogram", "summary": "summary",
}  # fmt: skip


@dataclass(slots=True)
class Translated:
    """A request as series. All lists beside each other are aligned; series are numbers of `labels`.

    `points` says which data point a sample or histogram came of, `starts_ms` when what it counts
    began, 0 where nobody knows. `dropped` points were not
    translated, `problems` says why.
    """

    labels: list[dict[str, str]] = field(default_factory=list)
    series: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    starts_ms: list[int] = field(default_factory=list)
    histogram_series: list[int] = field(default_factory=list)
    histogram_times: list[int] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)
    histogram_points: list[int] = field(default_factory=list)
    histogram_starts_ms: list[int] = field(default_factory=list)
    exemplar_series: list[int] = field(default_factory=list)
    exemplar_times: list[int] = field(default_factory=list)
    exemplar_values: list[float] = field(default_factory=list)
    exemplar_labels: list[dict[str, str]] = field(default_factory=list)
    metadata: dict[str, MetricMetadata] = field(default_factory=dict)
    point_count: int = 0
    dropped: int = 0
    problems: list[str] = field(default_factory=list)

    def pushed(self) -> Pushed:
        """Return the floats as columns."""
        return Pushed(
            labels=pooled_spans(self.labels),
            times_ms=np.array(self.times_ms, dtype=np.int64),
            values=np.array(self.values, dtype=np.float64),
            series_of=np.array(self.series, dtype=np.int64),
        )

    def drop(self, points: int, problem: str) -> None:
        """Note that points were not translated."""
        self.dropped += points
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def translate(request: Message, settings: OtlpSettings) -> Translated:
    """Return all series of a request."""
    out = Translated()
    for resource in request.get("resourceMetrics", []):
        _Resource(resource, settings, out).translate()
    return out


class _Resource:
    """One resource with its scopes; writes to `out`."""

    def __init__(self, message: Message, settings: OtlpSettings, out: Translated) -> None:
        self._scopes = message.get("scopeMetrics", [])
        self._settings, self._naming, self._out = settings, settings.naming, out
        self._attributes: dict[str, str] = dict(message.get("resource", {}).get("attributes", []))
        self._target = _target_labels(self._attributes)
        self._promoted: dict[str, str] = {}
        self._scope_labels: dict[str, str] = {}
        self._bases: dict[tuple[Attribute, ...], int] = {}
        self._base_labels: list[dict[str, str]] = []
        self._numbers: dict[tuple[int, str, str], int] = {}
        self._first_ms: int | None = None
        self._last_ms = 0

    def translate(self) -> None:
        """Translate all metrics of the resource, then say what it is."""
        try:
            for name, value in sorted(self._attributes.items()):
                if self._settings.promotes(name):
                    self._promoted.setdefault(self._naming.label(name), value)
        except BadNameError as error:
            points = sum(
                len(_points(metric)) for s in self._scopes for metric in s.get("metrics", [])
            )
            self._out.point_count += points
            self._out.drop(points, str(error))
            return
        for scope in self._scopes:
            self._bases.clear()
            try:
                self._scope_labels = self._labels_of_scope(scope)
            except BadNameError as error:
                points = sum(len(_points(metric)) for metric in scope.get("metrics", []))
                self._out.point_count += points
                self._out.drop(points, str(error))
                continue
            for metric in scope.get("metrics", []):
                self._metric(metric)
        if self._first_ms is not None:
            self._target_info(self._first_ms, self._last_ms)

    def _labels_of_scope(self, message: Message) -> dict[str, str]:
        scope = message.get("scope", {})
        if not self._settings.promote_scope_metadata or not scope.get("name"):
            return {}
        labels = {
            "otel_scope_name": scope["name"],
            "otel_scope_version": scope.get("version", ""),
            "otel_scope_schema_url": message.get("schemaUrl", ""),
        }
        for name, value in scope.get("attributes", []):
            labels[self._naming.label(f"otel_scope_{name}")] = value
        return labels

    def _metric(self, metric: Message) -> None:
        """Translate one metric: name it, then each of its points."""
        out, points = self._out, _points(metric)
        first_point = out.point_count
        out.point_count += len(points)
        kind = next((kind for kind in _KINDS if kind in metric), "")
        name = metric.get("name", "")
        if not kind:
            out.drop(0, f'metric "{name}" has no data')
            return
        if not points:
            out.drop(0, f"empty data points. {name} is dropped")
            return
        data: Message = metric[kind]
        delta = data.get("aggregationTemporality") == DELTA
        if kind not in ("gauge", "summary"):
            known = delta or data.get("aggregationTemporality") == CUMULATIVE
            if not known or (delta and not self._settings.native_delta):
                text = f'invalid temporality and type combination for metric "{name}"'
                out.drop(len(points), text)
                return
        counter = kind == "sum" and data.get("isMonotonic", False)
        gauge = kind == "gauge"
        try:
            family = self._naming.metric(name, metric.get("unit", ""), counter=counter, gauge=gauge)
        except BadNameError as error:
            out.drop(len(points), str(error))
            return
        type_name = "unknown" if delta else _KINDS[kind]
        if kind == "sum" and not counter and not delta:
            type_name = "gauge"
        out.metadata[family] = MetricMetadata(
            family, type_name, metric.get("unit", ""), metric.get("description", "")
        )
        read = {
            "gauge": self._gauge,
            "sum": self._sum if counter or delta else self._gauge,
            "summary": self._summary,
            "exponentialHistogram": self._exponential,
            "histogram": self._custom if self._settings.convert_histograms_to_nhcb
            else self._classic,
        }[kind]  # fmt: skip
        for number, point in enumerate(points, first_point):
            try:
                read(family, point, number, delta=delta)
            except (BadNameError, BadHistogramError) as error:
                out.drop(1, f'{error} in metric "{name}"')

    def _time(self, point: Message) -> int:
        time_ms = int(point.get("timeUnixNano", 0)) // 1_000_000
        self._first_ms = time_ms if self._first_ms is None else min(self._first_ms, time_ms)
        self._last_ms = max(self._last_ms, time_ms)
        return time_ms

    def _base(self, attributes: list[Attribute]) -> int:
        """Return the number of the labels that a point's attributes give it."""
        key = tuple(attributes)
        base = self._bases.get(key)
        if base is None:
            base = self._bases[key] = len(self._base_labels)
            try:
                self._base_labels.append(self._labels(attributes))
            except BadNameError:
                del self._bases[key]
                raise
        return base

    def _labels(self, attributes: Iterable[Attribute]) -> dict[str, str]:
        labels: dict[str, str] = {}
        for name, value in sorted(attributes):
            made = self._naming.label(name)
            labels[made] = f"{labels[made]};{value}" if made in labels else value
        return {**self._promoted, **labels, **self._scope_labels, **self._target}

    def _series(self, base: int, name: str, label: str = "", value: str = "") -> int:
        """Return the number of a series."""
        key = (base, name, value)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._out.labels)
            labels = {**self._base_labels[base], METRIC_NAME: name}
            if label:
                labels[label] = value
            self._out.labels.append(labels)
        return number

    def _put(self, series: int, time_ms: int, value: float, point: int, start_ms: int = 0) -> None:
        out = self._out
        out.starts_ms.append(start_ms)
        out.series.append(series)
        out.times_ms.append(time_ms)
        out.values.append(value)
        out.points.append(point)

    def _gauge(self, family: str, point: Message, number: int, *, delta: bool) -> None:
        del delta  # gauges have no temporality
        self._number(family, point, number, 0)

    def _sum(self, family: str, point: Message, number: int, *, delta: bool) -> None:
        del delta  # stored as it is
        self._number(family, point, number, _start(point))

    def _number(self, family: str, point: Message, number: int, start_ms: int) -> None:
        series = self._series(self._base(point.get("attributes", [])), family)
        if point.get("flags", 0) & NO_RECORDED_VALUE:
            value = _STALE
        else:
            value = point["asInt"] if "asInt" in point else point.get("asDouble", 0.0)
        self._put(series, self._time(point), value, number, start_ms)
        for exemplar in point.get("exemplars", ()):
            self._exemplar(series, exemplar)

    def _sum_and_count(self, family: str, base: int, point: Message, number: int) -> float | None:
        """Put the two series that distributions share; return the stale marker where it is due."""
        time_ms, start_ms = self._time(point), _start(point)
        marker = _STALE if point.get("flags", 0) & NO_RECORDED_VALUE else None
        if "sum" in point:
            value = point["sum"] if marker is None else marker
            self._put(self._series(base, f"{family}_sum"), time_ms, value, number, start_ms)
        count = float(point.get("count", 0)) if marker is None else marker
        self._put(self._series(base, f"{family}_count"), time_ms, count, number, start_ms)
        return marker

    def _classic(self, family: str, point: Message, number: int, *, delta: bool) -> None:
        del delta
        base = self._base(point.get("attributes", []))
        marker = self._sum_and_count(family, base, point, number)
        time_ms, start_ms, name = self._time(point), _start(point), f"{family}_bucket"
        bounds = point.get("explicitBounds", [])
        series = []
        for bound, count in zip(bounds, accumulate(point.get("bucketCounts", [])), strict=False):
            series.append(self._series(base, name, "le", fixed_text(bound)))
            value = float(count) if marker is None else marker
            self._put(series[-1], time_ms, value, number, start_ms)
        series.append(self._series(base, name, "le", "+Inf"))
        total = float(point.get("count", 0)) if marker is None else marker
        self._put(series[-1], time_ms, total, number, start_ms)
        for exemplar in point.get("exemplars", ()):
            value = _exemplar_value(exemplar)
            place = next(
                (n for n, bound in enumerate(bounds[: len(series) - 1]) if value <= bound),
                len(series) - 1,
            )
            self._exemplar(series[place], exemplar)

    def _summary(self, family: str, point: Message, number: int, *, delta: bool) -> None:
        del delta
        base = self._base(point.get("attributes", []))
        # A summary's sum is no optional field: missing is 0.
        point.setdefault("sum", 0.0)
        marker = self._sum_and_count(family, base, point, number)
        time_ms = self._time(point)
        for each in point.get("quantileValues", ()):
            text = fixed_text(each.get("quantile", 0.0))
            value = each.get("value", 0.0) if marker is None else marker
            self._put(self._series(base, family, "quantile", text), time_ms, value, number)

    def _exponential(self, family: str, point: Message, number: int, *, delta: bool) -> None:
        scale = point.get("scale", 0)
        if scale < SCALE_MIN:
            raise BadHistogramError(
                "cannot convert exponential to native histogram. "
                f"Scale must be >= {SCALE_MIN}, was {scale}"
            )
        down = max(0, scale - SCALE_MAX)
        found = Histogram(
            schema=scale - down,
            hint=ResetHint.GAUGE if delta else ResetHint.UNKNOWN,
            is_float=False,
            count=float(point.get("count", 0)),
            sum=point.get("sum", 0.0),
            zero_threshold=point.get("zeroThreshold", 0.0) or ZERO_THRESHOLD_DEFAULT,
            zero_count=float(point.get("zeroCount", 0)),
            positive=_exponential_buckets(point.get("positive", {}), down),
            negative=_exponential_buckets(point.get("negative", {}), down),
            bounds=[],
        )
        self._put_histogram(family, point, found, number)

    def _custom(self, family: str, point: Message, number: int, *, delta: bool) -> None:
        counts = point.get("bucketCounts", [])
        found = Histogram(
            schema=CUSTOM_BUCKETS_SCHEMA,
            hint=ResetHint.GAUGE if delta else ResetHint.UNKNOWN,
            is_float=False,
            count=float(point.get("count", 0)),
            sum=point.get("sum", 0.0),
            zero_threshold=0.0,
            zero_count=0.0,
            positive=[(n, float(count)) for n, count in enumerate(counts) if count],
            negative=[],
            bounds=list(point.get("explicitBounds", [])),
        )
        if not counts and not found.bounds and found.count:
            # OTLP without buckets knows count and sum: one bucket for everything.
            found.positive = [(0, found.count)]
        self._put_histogram(family, point, found, number)

    def _put_histogram(self, family: str, point: Message, found: Histogram, number: int) -> None:
        """Put a native histogram, or its stale marker, with its exemplars."""
        if point.get("flags", 0) & NO_RECORDED_VALUE:
            found.sum, found.count, found.zero_count = _STALE, 0.0, 0.0
            found.positive, found.negative = [], []
        check_histogram(found)
        out, series = self._out, self._series(self._base(point.get("attributes", [])), family)
        out.histogram_series.append(series)
        out.histogram_times.append(self._time(point))
        out.histograms.append(found)
        out.histogram_points.append(number)
        out.histogram_starts_ms.append(_start(point))
        for exemplar in point.get("exemplars", ()):
            self._exemplar(series, exemplar)

    def _exemplar(self, series: int, message: Message) -> None:
        labels = {
            name: message[key]
            for name, key in (("trace_id", "traceId"), ("span_id", "spanId"))
            if message.get(key, "").strip("0")
        }
        more = {name: value for name, value in message.get("filteredAttributes", ()) if name}
        if sum(map(len, (*labels, *labels.values(), *more, *more.values()))) <= (
            EXEMPLAR_LABEL_CHARS_MAX
        ):
            labels = {**more, **labels}
        out = self._out
        out.exemplar_series.append(series)
        out.exemplar_times.append(int(message.get("timeUnixNano", 0)) // 1_000_000)
        out.exemplar_values.append(_exemplar_value(message))
        out.exemplar_labels.append(labels)

    def _target_info(self, first_ms: int, last_ms: int) -> None:
        """Put `target_info`, often enough to be current wherever the resource's samples are."""
        keep = self._settings.keep_identifying_resource_attributes
        described = {
            name: value
            for name, value in self._attributes.items()
            if keep or name not in IDENTIFYING
        }
        if not self._target or not any(name not in IDENTIFYING for name in self._attributes):
            return
        labels: dict[str, str] = {}
        try:
            for name, value in sorted(described.items()):
                made = self._naming.label(name)
                labels[made] = f"{labels[made]};{value}" if made in labels else value
        except BadNameError as error:
            self._out.drop(0, str(error))
            return
        series = len(self._out.labels)
        self._out.labels.append({**labels, **self._target, METRIC_NAME: "target_info"})
        # A body of hours, sent late, is no reason for thousands of samples a resource.
        step_ms = max(self._settings.target_info_interval_ms, (last_ms - first_ms) // 1000)
        for time_ms in _steps(first_ms, last_ms, step_ms):
            self._put(series, time_ms, 1.0, NO_POINT)
        self._out.metadata["target_info"] = MetricMetadata(
            "target_info", "gauge", "", "Target metadata"
        )


def _points(metric: Message) -> list[Message]:
    data: dict[str, Any] = next((metric[kind] for kind in _KINDS if kind in metric), {})
    points: list[Message] = data.get("dataPoints", [])
    return points


def _start(point: Message) -> int:
    return int(point.get("startTimeUnixNano", 0)) // 1_000_000


def _target_labels(attributes: dict[str, str]) -> dict[str, str]:
    """Return `job` and `instance`, as far as the resource says them."""
    labels = {}
    if service := attributes.get(_SERVICE):
        namespace = attributes.get(_NAMESPACE)
        labels["job"] = f"{namespace}/{service}" if namespace else service
    if instance := attributes.get(_INSTANCE):
        labels["instance"] = instance
    return labels


def _exemplar_value(message: Message) -> float:
    return float(message["asInt"] if "asInt" in message else message.get("asDouble", math.nan))


def _exponential_buckets(side: Message, down: int) -> list[tuple[int, float]]:
    """Return (index, count) of buckets in resolution lowered by `down`.

    OTLP's bucket i covers (base^i, base^(i+1)], Prometheus' is named by its upper bound.
    """
    offset = side.get("offset", 0)
    if abs(offset) > 1 << 30:
        raise BadHistogramError("a bucket's index is out of range")
    merged: dict[int, float] = {}
    for place, count in enumerate(side.get("bucketCounts", ()), offset):
        if count:
            index = (place >> down) + 1
            merged[index] = merged.get(index, 0.0) + float(count)
    return list(merged.items())


def _steps(first_ms: int, last_ms: int, step_ms: int) -> Iterator[int]:
    yield from range(first_ms, last_ms, step_ms)
    yield last_ms
