"""A remote write 2.0 body to columns, with what it says besides floats.

From: `remote_write.py`.   To: `remote_write_v2_kernels.py`; `tsdb.interface`.

Labels and floats are decoded by kernels. Histograms and exemplars are read in plain Python, by
the bodies' series that have any; metadata once for each family of a body.
Source: remote write 2.0 specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from api.receivers.metadata_memo import MetadataMemo
from api.receivers.pushed_label_kernels import SERIES_BAD_REFS, SERIES_DUPLICATE, SERIES_EMPTY
from api.receivers.remote_write_extras import (
    BadHistogramError,
    Extras,
    double_of,
    read_histogram,
    varints_of,
)
from api.receivers.remote_write_metadata import type_name
from api.receivers.remote_write_v2_kernels import count_request, read_request
from api.receivers.write_batch import WriteBatch, fault_text, labels_text
from api.wire import WireError, fields, message_of, signed
from tsdb.interface import LabelSpans, MetricMetadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Spans = npt.NDArray[np.int32]

_SUFFIXES = {
    "histogram": ("_bucket", "_sum", "_count"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "summary": ("_sum", "_count"),
}
"""What a family's series are called besides the family."""


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded body. `problems` has a text for every series that is not sound."""

    batch: WriteBatch
    extras: Extras | None
    metadata: list[MetricMetadata]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class _Symbols:
    """The texts that a body's references mean."""

    data: npt.NDArray[np.uint8]
    places: Spans

    def raw(self, number: int) -> bytes:
        """Return one; what is not there is told as such."""
        if not 0 <= number < len(self.places):
            return b"(no symbol %d)" % number
        start, stop = self.places[number].tolist()
        return self.data[start:stop].tobytes()

    def pairs(self, refs: list[int]) -> list[tuple[bytes, bytes]]:
        """Return labels; an odd reference at the end is left out."""
        return [
            (self.raw(name), self.raw(value))
            for name, value in zip(refs[::2], refs[1::2], strict=False)
        ]

    def labels(self, refs: list[int]) -> dict[str, str] | None:
        """Return labels without empty values, None where they are not sound."""
        if len(refs) % 2 or not all(0 <= ref < len(self.places) for ref in refs):
            return None
        try:
            texts = [(n.decode(), v.decode()) for n, v in self.pairs(refs)]
        except UnicodeDecodeError:
            return None
        names = {name for name, _ in texts}
        if len(names) < len(texts) or "" in names:
            return None
        return {name: value for name, value in texts if value}


def decode_request(body: bytes, memo: MetadataMemo | None = None) -> Request:
    """Return the columns of an `io.prometheus.write.v2.Request`. Raises WireError.

    Metadata that the memo knows is left out.
    """
    data = np.frombuffer(body, dtype=np.uint8)
    counts, fault = np.zeros(7, dtype=np.int64), np.zeros(4, dtype=np.int64)
    if count_request(data, counts, fault) < 0:
        raise WireError(fault_text(*fault.tolist()))
    series, ref_bytes, samples, histograms, exemplars, described, symbol_count = counts.tolist()
    places = np.empty((symbol_count, 2), dtype=np.int32)
    spans = np.empty((ref_bytes // 2 + 1, 4), dtype=np.int32)
    first = np.empty(series + 1, dtype=np.int64)
    times, bits = np.empty(samples, dtype=np.int64), np.empty(samples, dtype=np.uint64)
    starts = np.empty(samples, dtype=np.int64)
    series_of = np.empty(samples, dtype=np.int64)
    refused = np.empty((series, 3), dtype=np.int32)
    with_extras = np.empty((series, 2), dtype=np.int32)
    rows = np.empty((described, 4), dtype=np.int64)
    totals = np.zeros(7, dtype=np.int64)
    traits, refs = np.empty(symbol_count, dtype=np.uint8), np.empty(ref_bytes, dtype=np.int64)
    if (
        read_request(
            data, places, traits, refs, spans, first, times, starts, bits, series_of, refused,
            with_extras, rows, totals, fault,
        )
        < 0
    ):  # fmt: skip
        raise WireError(fault_text(*fault.tolist()))
    kept, labels, stored, bad, bad_samples, extra, metadata = totals.tolist()
    symbols = _Symbols(data, places)
    batch = WriteBatch(
        labels=LabelSpans(data=data, spans=spans[:labels], first=first[: kept + 1]),
        times_ms=times[:stored],
        values=bits[:stored].view(np.float64),
        series_of=series_of[:stored],
        refused=refused[:bad, :2],
        refused_samples=bad_samples,
        exemplars=exemplars,
        histograms=histograms,
        metadata=described,
        start_times_ms=starts[:stored] if starts[:stored].any() else None,
    )
    problems = [
        _series_problem(data[start:stop].tobytes(), verdict, symbols)
        for start, stop, verdict in refused[:bad].tolist()
    ]
    extras = _read_extras(data, with_extras[:extra], symbols, problems) if extra else None
    said = list(_metadata(rows[:metadata], symbols, memo or MetadataMemo()))
    return Request(batch, extras, said, problems)


def _refs(message: bytes) -> list[int]:
    return [ref for number, part in fields(message) if number == 1 for ref in varints_of(part)]


def _series_problem(message: bytes, verdict: int, symbols: _Symbols) -> str:
    refs = _refs(message)
    if verdict == SERIES_BAD_REFS:
        return f"parsing labels for series {refs}: {_refs_problem(refs, symbols)}"
    pairs = symbols.pairs(refs)
    shown = labels_text(sorted(pairs))
    if verdict == SERIES_EMPTY:
        return f"TimeSeries must contain at least one sample or histogram for series {shown}"
    if verdict == SERIES_DUPLICATE:
        names = sorted(name for name, _ in pairs)
        twice = next(a for a, b in pairwise(names) if a == b)
        name = twice.decode("utf-8", "surrogateescape")
        return f"invalid labels for series, labels {shown}, duplicated label {name}"
    return f"invalid metric name or labels, got {shown}"


def _refs_problem(refs: list[int], symbols: _Symbols) -> str:
    if len(refs) % 2:
        return f"invalid labelRefs length {len(refs)}"
    known = len(symbols.places)
    place = next(n for n, ref in enumerate(refs) if not 0 <= ref < known)
    kind = "value" if place % 2 else "name"
    return f"labelRefs {place} ({kind}) = {refs[place]} outside of symbols table (size {known})"


def _read_extras(
    data: npt.NDArray[np.uint8], places: Spans, symbols: _Symbols, problems: list[str]
) -> Extras:
    """Read the histograms and exemplars of sound series; what is not sound goes to `problems`."""
    found = Extras()
    for start, stop in places.tolist():
        message = data[start:stop].tobytes()
        series = len(found.series)
        pairs = symbols.labels(_refs(message))
        assert pairs is not None, "the kernel has judged it"
        found.series.append(pairs)
        parts = list(fields(message))
        created = next((signed(part) for number, part in reversed(parts) if number == 6), 0)
        for number, part in parts:
            if number == 4:
                _read_exemplar(message_of(part), series, symbols, found, problems)
            if number != 3:
                continue
            try:
                time_ms, histogram = read_histogram(message_of(part))
            except BadHistogramError as error:
                problems.append(f"{error} for series {_shown(pairs)}")
                found.refused += 1
                continue
            histogram.start_ms = histogram.start_ms or created
            found.histogram_series.append(series)
            found.histogram_times.append(time_ms)
            found.histograms.append(histogram)
    return found


def _shown(labels: dict[str, str]) -> str:
    return labels_text([(name.encode(), value.encode()) for name, value in labels.items()])


def _read_exemplar(
    message: bytes,
    series: int,
    symbols: _Symbols,
    found: Extras,
    problems: list[str],
) -> None:
    value, time_ms = 0.0, 0
    for number, part in fields(message):
        if number == 2:
            value = double_of(part)
        elif number == 3:
            time_ms = signed(part)
    pairs = symbols.labels(_refs(message))
    if pairs is None:
        shown = _shown(found.series[series])
        problems.append(f"parsing exemplar for series {shown}: invalid labels")
        found.unnamed += 1
        return
    found.exemplar_series.append(series)
    found.exemplar_times.append(time_ms)
    found.exemplar_values.append(value)
    found.exemplar_labels.append(pairs)


def _metadata(rows: Ints, symbols: _Symbols, memo: MetadataMemo) -> Iterator[MetricMetadata]:
    """Yield what is said of each family and was not said before; the last of it counts."""
    known = len(symbols.places)
    refs = rows[:, [0, 3, 2]]
    # What refers to nothing says nothing, as symbol 0 does.
    places = symbols.places[np.where((refs >= 0) & (refs < known), refs, 0)]
    kinds = np.ascontiguousarray(rows[:, 1])
    fresh = memo.fresh(symbols.data, places, kinds) if kinds.size else []
    seen = {}
    for row in fresh:
        kind = int(kinds[row])
        name, unit, text = (
            symbols.data[start:stop].tobytes().decode(errors="replace")
            for start, stop in places[row].tolist()
        )
        kind_name = type_name(kind)
        for suffix in _SUFFIXES.get(kind_name, ()):
            if name.endswith(suffix) and name != suffix:
                name = name.removesuffix(suffix)
                break
        seen[name] = MetricMetadata(name, kind_name, unit, text)
    yield from seen.values()
