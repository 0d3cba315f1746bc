"""Body bytes to sample columns: the protobuf format, length-delimited `MetricFamily` messages.

From: `fetch.py` (bytes).   To: `ingest.py`, as `exposition.py` does for the text formats.

One kernel pass counts and checks, another makes the columns. Python reads what is new: the text of
new series, which from there on go the way of text, new exemplars, changed metadata. A refused body
gives nothing at all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scraper.columns import Columns
from scraper.exemplar_text import Exemplar
from scraper.exposition import BODY_BYTES_MAX, Exposition
from scraper.labelling import normal_float
from scraper.native_kernels import (
    DAMAGED,
    INDEX,
    MISMATCH,
    NEGATIVE,
    OFFSET,
    read_natives,
)
from scraper.protobuf_kernels import (
    BUCKET,
    COUNT,
    EXEMPLARS,
    FAMILIES,
    HEADER_HASH,
    NATIVES,
    NO_ROOM,
    QUANTILE,
    SAMPLES,
    STATE_SIZE,
    SUM,
    look_up,
    read_field,
    walk,
)
from scraper.protobuf_text_kernels import write_texts
from scraper.resolution import SCHEMA_MAX, SCHEMA_MIN, limit_buckets, schema_of_factor
from scraper.series_cache import HASH_KEYS, SeriesCache
from scraper.start_time_kernels import read_starts
from scraper.text_kernels import PADDING
from scraper.tokens import METRIC_NAME, ParseError, go_quote, is_utf8
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, HistogramColumns, ResetHint
from tsdb.staleness import NORMAL_NAN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from scraper.metadata import TargetMetadata

    Int32s = npt.NDArray[np.int32]

SCHEMA_RESERVED_MAX = 52
"""Schemas finer than `SCHEMA_MAX` may come up to this one, and are made coarser."""

_TYPES = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")
_SUFFIXES = {COUNT: b"_count", SUM: b"_sum", BUCKET: b"_bucket"}
_BOUNDS = {BUCKET: b"le", QUANTILE: b"quantile"}
_ZEROS = bytes(PADDING)
_ROOM_SPARE = 64
"""Samples more than last time that a body may show before it is walked twice."""

_TEXT_SPARE = 32
"""What the text of a series has beside name, labels and bound: suffix, `quantile=""`, braces."""

_NONE = np.empty(0, np.int32)
_ESCAPES = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n"}
_REASONS = {
    -DAMAGED: "proto: the message of a histogram is damaged",
    -MISMATCH: "histogram spans specify different number of buckets than provided",
    -OFFSET: "histogram has a span whose offset is negative",
    -NEGATIVE: "histogram has a bucket whose observation count is negative",
    -INDEX: "histogram has a bucket whose index is out of range",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtobufExposition(Exposition):
    """One body as columns. `data` holds the text of new series only, `body` the messages.

    Shapes: `where` int32[4, N], `bounds` float64[N], `families` int32[8, F], see
    `protobuf_kernels.walk`; `native_samples` int32[H], the samples that are `histograms`.
    """

    body: npt.NDArray[np.uint8]
    where: Int32s
    bounds: npt.NDArray[np.float64]
    families: Int32s
    native_samples: Int32s
    histograms: HistogramColumns | None
    label_texts: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)

    def series_text(self, sample: int) -> bytes:
        """Return the series of one sample as text 0.0.4 would expose it. Raises ParseError."""
        start, stop, family, part = self.where[:, sample].tolist()
        name_start, name_stop = self.families[:2, family].tolist()
        name = self.body[name_start:name_stop].tobytes() + _SUFFIXES.get(part, b"")
        pairs = self.label_texts.get(start)
        if pairs is None:
            pairs = self.label_texts[start] = list(self._pairs(start, stop, 1))
        label = _BOUNDS.get(part)
        if label:
            number = normal_float(repr(float(self.bounds[sample])))
            pairs = [*pairs, (label, number.encode())]
        return text_of_series(name, pairs)

    def family(self, number: int) -> tuple[str, str]:
        """Return name and type of one family."""
        row = self.families[:, number].tolist()
        return self.body[row[0] : row[1]].tobytes().decode(errors="replace"), _TYPES[row[6]]

    def start_times_ms(self) -> npt.NDArray[np.int64] | None:
        """Return when each sample began to count, 0 where it does not say; None if none does.

        Raises ParseError.
        """
        starts = np.empty(self.sample_count, np.int64)
        if read_starts(self.body, self.where, self.families, starts) >= 0:
            raise ParseError("proto: a start timestamp is damaged")
        return starts if starts.any() else None

    def teach(self, metadata: TargetMetadata) -> None:
        """Tell the metadata of the target what the families say of themselves."""
        metadata.take(self._said(), self.comment_hash)

    def exemplar_text(self, number: int) -> bytes:
        """Return the message of one exemplar."""
        return self.body[self.exemplar_start[number] : self.exemplar_stop[number]].tobytes()

    def read_exemplar(self, text: bytes) -> Exemplar:
        """Return what the message of an exemplar says. Raises ParseError."""
        data = np.frombuffer(text + _ZEROS, np.uint8)
        labels, value, time_ms = {}, 0.0, None
        for number, wire, start, stop in _fields(data, 0, len(text)):
            if number == 2 and wire == 1:
                (value,) = struct.unpack_from("<d", text, start)
            elif number == 3 and wire == 2:
                seconds = nanos = 0
                for part, inner, amount, _ in _fields(data, start, stop):
                    if inner == 0:
                        seconds = amount if part == 1 else seconds
                        nanos = amount if part == 2 else nanos
                time_ms = max(-(1 << 63), min((1 << 63) - 1, seconds * 1000 + nanos // 1_000_000))
            elif number == 1 and wire == 2:
                name, label = _pair(data, start, stop)
                labels[name.decode()] = label.decode()
        return Exemplar(labels, value, time_ms)

    def _pairs(self, start: int, stop: int, wanted: int) -> Iterator[tuple[bytes, bytes]]:
        for number, _, begin, end in _fields(self.body, start, stop):
            if number == wanted:
                yield _pair(self.body, begin, end)

    def _said(self) -> dict[str, dict[str, str]]:
        """Return type, unit and help of each family with samples. Raises ParseError."""
        body = self.body.tobytes()
        said = {}
        shown = np.unique(self.where[2]).tolist()
        for row in self.families[:, shown].T.tolist():
            name, text, unit = (body[row[k] : row[k + 1]] for k in (0, 2, 4))
            if not name or not is_utf8(name):
                raise ParseError(f"invalid metric name: {go_quote(name)}")
            if not is_utf8(text):
                raise ParseError(f"invalid help for metric {go_quote(name)}: {go_quote(text)}")
            kind = _TYPES[row[6]]
            stem = name.removesuffix(b"_total") if kind == "counter" else name
            if unit and not stem.endswith(b"_" + unit):
                raise ParseError(f"unit {go_quote(unit)} not a suffix of metric {go_quote(name)}")
            said[name.decode()] = {"type": kind, "help": text.decode(), "unit": unit.decode()}
        return said


def parse_protobuf(
    body: bytes,
    *,
    native: bool = True,
    classic: bool = False,
    buckets_max: int = 0,
    bucket_factor_min: float = 0.0,
    cache: SeriesCache | None = None,
    metadata: TargetMetadata | None = None,
    columns: Columns | None = None,
) -> ProtobufExposition:
    """Return the columns of a body. Raises ParseError.

    `native`: native histograms are kept, otherwise all are read as classic ones; `classic`: those
    that are both give both. Native ones are made coarser until they have at most `buckets_max`
    buckets, each `bucket_factor_min` times the one before at least (0: no limit).
    The other arguments are those of `exposition.parse`.
    """
    cache = cache if cache is not None else SeriesCache()
    columns = columns if columns is not None else Columns()
    if len(body) > BODY_BYTES_MAX:
        raise ParseError(f"body of {len(body)} bytes exceeds {BODY_BYTES_MAX}")
    data = np.frombuffer(body + _ZEROS, np.uint8)
    state = np.zeros(STATE_SIZE, np.uint64)
    columns.begin(exemplars=False)
    # What the target showed before, and some more: mostly that is enough, and nobody counts first.
    room = cache.count + cache.count // 8 + _ROOM_SPARE
    n, f, h, e = room, room, room, 2 * room
    for emit in (True, False, True):
        while emit and columns.room < n:
            columns.grow()
        bounds = np.empty(n)
        sizes = ((4, n), (8, f), (4, h), (3, e))
        where, families, natives, exemplars = [np.empty(size, np.int32) for size in sizes]
        bad = walk(
            data,
            len(body),
            native,
            classic,
            emit,
            HASH_KEYS,
            state,
            columns.low,
            columns.high,
            columns.flags,
            columns.values,
            columns.times,
            where,
            bounds,
            families,
            natives,
            exemplars,
        )
        if bad >= 0:
            raise ParseError(f"proto: illegal data or unexpected EOF at byte {bad}")
        if bad != NO_ROOM:
            n, f, h, e = (int(state[k]) for k in (SAMPLES, FAMILIES, NATIVES, EXEMPLARS))
            if emit:
                break
    assert bad != NO_ROOM, "what was counted has room for what is written"
    where, families, natives, exemplars = (
        np.ascontiguousarray(table[:, :size])
        for table, size in ((where, n), (families, f), (natives, h), (exemplars, e))
    )
    bounds = bounds[:n]
    values = columns.values[:n]
    values[np.isnan(values)] = NORMAL_NAN
    entries, seen_before = columns.entries[:n], columns.seen_before[:n]
    flags = columns.flags[:n]
    unknown = look_up(
        columns.low[:n],
        columns.high[:n],
        cache.table,
        cache.low,
        cache.high,
        cache.seen,
        np.int32(cache.generation),
        cache.count,
        entries,
        seen_before,
        flags,
    )
    histograms = _histograms(data, natives) if h else None
    if histograms is not None and (buckets_max or bucket_factor_min):
        histograms = limit_buckets(
            histograms, buckets_max=buckets_max, schema_max=schema_of_factor(bucket_factor_min)
        )
    found = ProtobufExposition(
        data=data[:0],
        openmetrics=False,
        spans=columns.spans,
        low=columns.low[:n],
        high=columns.high[:n],
        entries=entries,
        unknown=int(unknown),
        seen_before=seen_before,
        flags=flags,
        values=values,
        times_ms=columns.times[:n],
        comment_start=_NONE,
        comment_stop=_NONE,
        comment_sample=_NONE,
        comment_hash=int(state[HEADER_HASH]),
        exemplar_start=exemplars[0],
        exemplar_stop=exemplars[1],
        exemplar_sample=exemplars[2],
        body=data,
        where=where,
        bounds=bounds,
        families=families,
        native_samples=natives[2],
        histograms=histograms,
    )
    if metadata is None or not metadata.knows(found.comment_hash):
        found._said()  # to have it refused before anything is stored
    if not unknown:
        return found
    return _with_texts(found)


def _with_texts(found: ProtobufExposition) -> ProtobufExposition:
    """Write the text of each new series where the labelling of new series reads it."""
    samples = np.flatnonzero(found.entries < 0)
    bounds, bound_of = np.unique(found.bounds[samples], return_inverse=True)
    shown = [normal_float(repr(bound)).encode() for bound in bounds.tolist()]
    begin = np.zeros(len(shown) + 1, np.int64)
    np.cumsum([len(text) for text in shown], out=begin[1:])
    start, stop, family, _ = found.where[:, samples].astype(np.int64)
    names = np.diff(found.families[:2].astype(np.int64), axis=0)[0]
    longest = int(np.diff(begin).max()) + _TEXT_SPARE
    room = int((stop - start + names[family]).sum()) + samples.size * longest
    if room > BODY_BYTES_MAX:
        raise ParseError(f"labels exceed {BODY_BYTES_MAX} bytes")
    out = np.empty(room, np.uint8)
    pool = np.frombuffer(b"".join(shown), np.uint8)
    bound_of = bound_of.astype(np.int64)
    at = write_texts(
        found.body, found.where, found.families, samples, pool, begin, bound_of, out, found.spans
    )
    chunks = [out[:at].tobytes()]
    for sample in samples[found.spans[0, samples] < 0].tolist():
        text = found.series_text(sample)
        chunks.append(text)
        found.spans[:2, sample] = at, at + len(text)
        at += len(text)
        if at > BODY_BYTES_MAX:
            raise ParseError(f"labels exceed {BODY_BYTES_MAX} bytes", sample)
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    fields["data"] = np.frombuffer(b"".join(chunks) + _ZEROS, np.uint8)
    return ProtobufExposition(**fields)  # by name


def _histograms(data: npt.NDArray[np.uint8], natives: Int32s) -> HistogramColumns:
    """Return the native histograms of a body. Raises ParseError for one that contradicts itself."""
    count = natives.shape[1]
    room = int((natives[1] - natives[0]).sum(dtype=np.int64))
    plain, numbers = np.empty((2, count), np.int64), np.empty((4, count))
    starts = np.empty((2, count + 1), np.int64)
    index, amount = np.empty((2, room), np.int32), np.empty((2, room))
    bad = int(
        read_natives(
            data,
            natives,
            plain,
            numbers,
            starts[0],
            index[0],
            amount[0],
            starts[1],
            index[1],
            amount[1],
        )
    )
    if bad >= 0:
        raise ParseError(_REASONS[bad % 8], int(natives[2, bad // 8]) + 1)
    schema, is_float = plain[0], plain[1] != 0
    ends = starts[:, -1].tolist()
    custom = schema == CUSTOM_BUCKETS_SCHEMA
    bad_schema = ((schema < SCHEMA_MIN) | (schema > SCHEMA_RESERVED_MAX)) & ~custom
    for h in np.flatnonzero(bad_schema).tolist():
        raise ParseError(f"histogram has an invalid schema: {schema[h]}", int(natives[2, h]) + 1)
    for h in np.flatnonzero(custom).tolist():
        # The format has no field for their bounds: at most the bucket up to +Inf is possible.
        last = int(starts[0, h + 1])
        length = int(index[0, last - 1]) + 1 if last > starts[0, h] else 0
        if length > 1:
            raise ParseError(
                "custom buckets: only 0 custom bounds defined which is insufficient to cover "
                f"total span length of {length}: histogram custom bounds are too few",
                int(natives[2, h]) + 1,
            )
        if length < 0 or starts[1, h + 1] > starts[1, h] or numbers[2:, h].any():
            raise ParseError(
                "custom buckets: must have neither zero nor negative buckets",
                int(natives[2, h]) + 1,
            )
    running = np.concatenate(([0.0], np.cumsum(amount[0, : ends[0]])))
    seen = np.diff(running[starts[0]])
    running = np.concatenate(([0.0], np.cumsum(amount[1, : ends[1]])))
    seen += np.diff(running[starts[1]]) + numbers[3]
    wrong = ~is_float & ((seen > numbers[0]) | ((seen != numbers[0]) & ~np.isnan(numbers[1])))
    for h in np.flatnonzero(wrong).tolist():
        raise ParseError(
            f"{seen[h]:.0f} observations found in buckets, but the Count field is "
            f"{numbers[0, h]:.0f}: histogram's observation count should equal the number of "
            "observations found in the buckets (in absence of NaN)",
            int(natives[2, h]) + 1,
        )
    hint = np.where(natives[3] != 0, ResetHint.GAUGE, ResetHint.UNKNOWN).astype(np.int8)
    found = HistogramColumns(
        schema=schema.astype(np.int8),
        hint=hint,
        is_float=is_float,
        count=numbers[0],
        sum=numbers[1],
        zero_threshold=numbers[2],
        zero_count=numbers[3],
        positive_start=starts[0],
        positive_index=index[0, : ends[0]],
        positive_count=amount[0, : ends[0]],
        negative_start=starts[1],
        negative_index=index[1, : ends[1]],
        negative_count=amount[1, : ends[1]],
        bounds_start=np.zeros(count, np.int64),
        bounds_count=np.zeros(count, np.int64),
        bounds=np.empty(0),
    )
    return limit_buckets(found, buckets_max=0, schema_max=SCHEMA_MAX)


def text_of_series(name: bytes, pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Return a series as text 0.0.4 exposes it."""
    plain = METRIC_NAME.fullmatch(name)
    parts = [] if plain else [_quoted(name)]
    for label, value in pairs:
        simple = METRIC_NAME.fullmatch(label) and b":" not in label
        parts.append((label if simple else _quoted(label)) + b"=" + _quoted(value))
    listed = b"{" + b",".join(parts) + b"}" if parts else b""
    return (name if plain else b"") + listed


def _quoted(text: bytes) -> bytes:
    for char, escape in _ESCAPES.items():
        text = text.replace(char, escape)
    return b'"' + text + b'"'


def _pair(data: npt.NDArray[np.uint8], start: int, stop: int) -> tuple[bytes, bytes]:
    """Return one `LabelPair`. Raises ParseError if it is damaged or no UTF-8."""
    pair = {1: b"", 2: b""}
    for number, wire, begin, end in _fields(data, start, stop):
        if number in pair:
            if wire != 2:
                raise ParseError("proto: wrong wire type in a label")
            pair[number] = data[begin:end].tobytes()
    if not pair[1] or not is_utf8(pair[1]):
        raise ParseError(f"invalid label name: {go_quote(pair[1])}")
    if not is_utf8(pair[2]):
        raise ParseError(f"invalid UTF-8 label value: {go_quote(pair[2])}")
    return pair[1], pair[2]


def _fields(
    data: npt.NDArray[np.uint8], start: int, stop: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, value or start, and stop of each field. Raises ParseError."""
    one = np.zeros(5, np.int64)
    while start < stop:
        if not read_field(data, start, stop, one):
            raise ParseError("proto: illegal data or unexpected EOF")
        number, wire, value, end, start = one.tolist()
        yield number, wire, value, end
