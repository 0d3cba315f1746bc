"""Exemplars and native histograms of a WriteRequest: protobuf to columns, in plain Python.

From: `remote_write.py`, for bodies that have any.   To: `tsdb.interface`.

They are few beside float samples: an exemplar for some of the series, a histogram in place of a
dozen of them. 20 us an exemplar and 50 us a histogram are paid by those bodies alone.
Source: Prometheus' `types.proto`, and its native histogram specification for what is sound.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from api.wire import WireError, fields, message_of, read_varint, signed
from promql.float_text import general_text
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, METRIC_NAME, HistogramColumns, LabelSpans

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

SCHEMA_MIN, SCHEMA_MAX = -4, 8


class BadHistogramError(Exception):
    """A histogram that contradicts itself; the text is Prometheus'."""


@dataclass(slots=True)
class Extras:
    """What a body holds besides floats, in its order. Lists are aligned within their kind."""

    series: list[dict[str, str]] = field(default_factory=list)
    exemplar_series: list[int] = field(default_factory=list)
    exemplar_times: list[int] = field(default_factory=list)
    exemplar_values: list[float] = field(default_factory=list)
    exemplar_labels: list[dict[str, str]] = field(default_factory=list)
    histogram_series: list[int] = field(default_factory=list)
    histogram_times: list[int] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)
    problem: str = ""
    """Why the first refused histogram was refused, "" if none was."""
    refused: int = 0
    unnamed: int = 0
    """Exemplars and histograms of series whose labels are not sound."""

    @property
    def labels(self) -> LabelSpans:
        """The labels of the series."""
        return LabelSpans.from_labels(self.series)


@dataclass(slots=True)
class Histogram:
    """One native histogram; buckets are (index, count), bounds those of a custom schema."""

    schema: int
    hint: int
    is_float: bool
    count: float
    sum: float
    zero_threshold: float
    zero_count: float
    positive: list[tuple[int, float]]
    negative: list[tuple[int, float]]
    bounds: list[float]
    start_ms: int = 0
    """When what it counts began; 0 if nobody knows."""


def read_extras(body: bytes) -> Extras:
    """Return the exemplars and histograms of a body. Raises WireError."""
    found = Extras()
    for number, series in fields(body):
        if number == 1:
            _read_series(message_of(series), found)
    return found


def _read_series(message: bytes, found: Extras) -> None:
    labels: list[bytes] = []
    exemplars: list[bytes] = []
    histograms: list[bytes] = []
    for number, value in fields(message):
        if number == 1:
            labels.append(message_of(value))
        elif number == 3:
            exemplars.append(message_of(value))
        elif number == 4:
            histograms.append(message_of(value))
    if not exemplars and not histograms:
        return
    pairs = _labels(labels)
    if pairs is None or not pairs.get(METRIC_NAME):
        found.unnamed += len(exemplars) + len(histograms)
        return
    series = len(found.series)
    found.series.append(pairs)
    for each in exemplars:
        _read_exemplar(each, series, found)
    for each in histograms:
        try:
            time_ms, histogram = read_histogram(each)
        except BadHistogramError as error:
            found.problem = found.problem or str(error)
            found.refused += 1
            continue
        found.histogram_series.append(series)
        found.histogram_times.append(time_ms)
        found.histograms.append(histogram)


def _labels(messages: list[bytes]) -> dict[str, str] | None:
    """Return a label set without empty values, None if a name comes twice or is no text."""
    out: dict[str, str] = {}
    names = set()
    for message in messages:
        parts = dict(fields(message))
        try:
            name = message_of(parts.get(1, b"")).decode()
            value = message_of(parts.get(2, b"")).decode()
        except UnicodeDecodeError:
            return None
        if not name or name in names:
            return None
        names.add(name)
        if value:
            out[name] = value
    return out


def _read_exemplar(message: bytes, series: int, found: Extras) -> None:
    labels: list[bytes] = []
    value, time_ms = 0.0, 0
    for number, part in fields(message):
        if number == 1:
            labels.append(message_of(part))
        elif number == 2:
            value = double_of(part)
        elif number == 3:
            time_ms = signed(part)
    pairs = _labels(labels)
    if pairs is None:
        found.unnamed += 1
        return
    found.exemplar_series.append(series)
    found.exemplar_times.append(time_ms)
    found.exemplar_values.append(value)
    found.exemplar_labels.append(pairs)


def double_of(part: int | bytes) -> float:
    """Return a double field's value. Raises WireError."""
    raw = message_of(part)
    if len(raw) != 8:
        raise WireError("proto: wrong wireType for a double")
    number: float = struct.unpack("<d", raw)[0]
    return number


def _doubles(part: int | bytes) -> list[float]:
    raw = message_of(part)
    if len(raw) % 8:
        raise WireError("unexpected EOF")
    return list(struct.unpack(f"<{len(raw) // 8}d", raw))


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def varints_of(part: int | bytes) -> list[int]:
    """Return a repeated varint's values, packed or one."""
    if isinstance(part, int):
        return [part]
    out, at = [], 0
    while at < len(part):
        at, number = read_varint(part, at)
        out.append(number)
    return out


def _whole(part: int | bytes) -> int:
    if isinstance(part, bytes):
        raise WireError("proto: wrong wireType = 2 for an integer field")
    return part


def read_histogram(message: bytes) -> tuple[int, Histogram]:
    """Return the time and the buckets of one message. Raises WireError, BadHistogramError."""
    found = Histogram(0, 0, False, 0.0, 0.0, 0.0, 0.0, [], [], [])
    time_ms = 0
    spans: dict[int, list[tuple[int, int]]] = {8: [], 11: []}
    counts: dict[int, list[float]] = {9: [], 10: [], 12: [], 13: []}
    for number, part in fields(message):
        match number:
            case 1:
                found.count, found.is_float = float(_whole(part)), False
            case 2:
                found.count, found.is_float = double_of(part), True
            case 3:
                found.sum = double_of(part)
            case 4:
                found.schema = _zigzag(_whole(part))
            case 5:
                found.zero_threshold = double_of(part)
            case 6:
                found.zero_count = float(_whole(part))
            case 7:
                found.zero_count = double_of(part)
            case 8 | 11:
                parts = dict(fields(message_of(part)))
                spans[number].append((_zigzag(_whole(parts.get(1, 0))), _whole(parts.get(2, 0))))
            case 9 | 12:
                counts[number] += [_zigzag(each) for each in varints_of(part)]
            case 10 | 13:
                counts[number] += _doubles(part)
            case 14:
                found.hint = _whole(part) & 3
            case 15:
                time_ms = signed(part)
            case 16:
                found.bounds += _doubles(part)
            case 17:
                found.start_ms = signed(part)
    found.negative = _buckets(spans[8], counts[9], counts[10], found, "negative")
    found.positive = _buckets(spans[11], counts[12], counts[13], found, "positive")
    check_histogram(found)
    return time_ms, found


def _buckets(
    spans: list[tuple[int, int]],
    deltas: list[float],
    absolute: list[float],
    histogram: Histogram,
    side: str,
) -> list[tuple[int, float]]:
    """Return (index, count) of each bucket. Raises BadHistogramError."""
    counts = absolute if histogram.is_float else list(accumulate(deltas))
    needed = sum(length for _, length in spans)
    if needed != len(counts):
        raise BadHistogramError(
            f"{side} side: spans need {needed} buckets, have {len(counts)} buckets: "
            "histogram spans specify different number of buckets than provided"
        )
    out: list[tuple[int, float]] = []
    index = 0
    for number, (offset, length) in enumerate(spans):
        if number and offset < 0:
            raise BadHistogramError(
                f"{side} side: span number {number + 1} with offset {offset}: "
                "histogram has a span whose offset is negative"
            )
        index += offset
        if abs(index) + length > _INDEX_MAX:
            raise BadHistogramError(f"{side} side: a bucket's index is out of range")
        for _ in range(length):
            out.append((index, counts[len(out)]))
            index += 1
    for number, (_, count) in enumerate(out):
        if count < 0:
            raise BadHistogramError(
                f"{side} side: bucket number {number + 1} has observation count of "
                f"{general_text(count)}: histogram has a bucket whose observation count is negative"
            )
    return out


def check_histogram(found: Histogram) -> None:
    """Raise BadHistogramError if a histogram contradicts itself."""
    if found.schema == CUSTOM_BUCKETS_SCHEMA:
        _check_custom(found)
    elif not SCHEMA_MIN <= found.schema <= SCHEMA_MAX:
        raise BadHistogramError(
            f"schema {found.schema}: histogram has an invalid schema, which must be between "
            f"{SCHEMA_MIN} and {SCHEMA_MAX} for exponential buckets, or {CUSTOM_BUCKETS_SCHEMA} "
            "for custom buckets"
        )
    elif found.bounds:
        raise BadHistogramError("histogram with exponential schema must not have custom bounds")
    if struct.pack("<d", found.sum) == _STALE:
        return
    seen = math.fsum([c for _, c in found.positive] + [c for _, c in found.negative])
    seen += found.zero_count
    if found.is_float:
        return
    if seen > found.count or (seen != found.count and not math.isnan(found.sum)):
        raise BadHistogramError(
            f"{general_text(seen)} observations found in buckets, but the Count field is "
            f"{general_text(found.count)}: histogram's observation count should be "
            + (
                "at least the number of observations found in the buckets"
                if math.isnan(found.sum)
                else "equal to the number of observations found in the buckets (in absence of NaN)"
            )
        )


def _check_custom(found: Histogram) -> None:
    rising = all(a < b for a, b in pairwise(found.bounds))
    if not rising or not all(math.isfinite(bound) for bound in found.bounds):
        raise BadHistogramError(
            "histogram custom bounds must be finite and in strictly increasing order"
        )
    if found.negative or found.zero_count or found.zero_threshold:
        raise BadHistogramError("custom buckets: must have neither zero nor negative buckets")
    if found.positive and not 0 <= found.positive[0][0] <= found.positive[-1][0] <= len(
        found.bounds
    ):
        raise BadHistogramError("histogram custom bounds are too few")


def columns(histograms: list[Histogram]) -> HistogramColumns:
    """Return the histograms as columns, in their order."""

    def side(of: list[list[tuple[int, float]]]) -> tuple[Ints, npt.NDArray[np.int32], Floats]:
        start = np.array([0, *accumulate(map(len, of))], dtype=np.int64)
        index = np.array([i for buckets in of for i, _ in buckets], dtype=np.int32)
        count = np.array([c for buckets in of for _, c in buckets], dtype=np.float64)
        return start, index, count

    positive_start, positive_index, positive_count = side([h.positive for h in histograms])
    negative_start, negative_index, negative_count = side([h.negative for h in histograms])
    bounds_count = np.array([len(h.bounds) for h in histograms], dtype=np.int64)

    def floats(name: str) -> Floats:
        return np.array([getattr(h, name) for h in histograms], dtype=np.float64)

    return HistogramColumns(
        schema=np.array([h.schema for h in histograms], dtype=np.int8),
        hint=np.array([h.hint for h in histograms], dtype=np.int8),
        is_float=np.array([h.is_float for h in histograms], dtype=np.bool_),
        count=floats("count"),
        sum=floats("sum"),
        zero_threshold=floats("zero_threshold"),
        zero_count=floats("zero_count"),
        positive_start=positive_start,
        positive_index=positive_index,
        positive_count=positive_count,
        negative_start=negative_start,
        negative_index=negative_index,
        negative_count=negative_count,
        bounds_start=np.cumsum(bounds_count) - bounds_count,
        bounds_count=bounds_count,
        bounds=np.array([b for h in histograms for b in h.bounds], dtype=np.float64),
    )


_INDEX_MAX = 1 << 30
_STALE = struct.pack("<Q", 0x7FF0000000000002)
