"""The messages of remote read as a client sees them: a question, and both forms of answer.

From: `client.py`.   To: `SeriesBatch`, in a symbol table of the query's own.

An answer of samples is read by the kernels of the remote write receiver, since a QueryResult holds
its series as a WriteRequest does. Chunks are what Prometheus keeps on disk, and read as those are.
Invariant: times of a series strictly increase and lie within the selection, whatever was sent.
Source: Prometheus' `remote.proto` and `types.proto`; remote read documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from api.receivers.remote_write_extras import columns, read_extras
from api.receivers.write_batch import decode_write_request
from api.wire import WireError, fields, message_of, read_varint, text_of, varint_bytes
from gnomon.prometheus.bit_kernels import SLACK_BYTES, crc32c
from gnomon.prometheus.chunks import ENCODINGS, XOR, ChunkData, Places
from tsdb.errors import CorruptFileError
from tsdb.histograms.columns import concat, take
from tsdb.interface import (
    HistogramColumns,
    HistogramRuns,
    LabelColumns,
    LabelSpans,
    MatchOp,
    SeriesBatch,
)
from tsdb.merge import empty_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tsdb.interface import Floats, Ints, Matcher, Selection
    from tsdb.symbols import SymbolTable

SAMPLES, STREAMED_XOR_CHUNKS = 0, 1

_OPERATORS = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.MATCHES, MatchOp.NOT_MATCHES)


def encode_request(selection: Selection, matchers: Sequence[Matcher]) -> bytes:
    """Return a ReadRequest of one query that takes both forms of answer, chunks first."""
    hints = selection.hints
    asked = _field(1, selection.start_ms) + _field(2, selection.end_ms)
    for matcher in matchers:
        asked += _field(
            3,
            _field(1, _OPERATORS.index(matcher.op))
            + _field(2, matcher.name.encode())
            + _field(3, matcher.value.encode()),
        )
    told = _field(1, hints.step_ms) + _field(2, hints.func.encode())
    told += _field(3, selection.start_ms) + _field(4, selection.end_ms)
    told += b"".join(_field(5, label.encode()) for label in hints.grouping)
    told += _field(6, int(hints.by)) + _field(7, hints.range_ms)
    # A list of numbers of which 0 is one: written in full.
    return _field(1, asked + _field(4, told)) + b"\x12\x02" + bytes((STREAMED_XOR_CHUNKS, SAMPLES))


def _field(number: int, value: int | bytes) -> bytes:
    """Return one field, nothing for the default."""
    if isinstance(value, int):
        return varint_bytes(number << 3) + varint_bytes(value) if value else b""
    return varint_bytes(number << 3 | 2) + varint_bytes(len(value)) + value if value else b""


def read_samples(message: bytes) -> Series:
    """Return the series of a ReadResponse, the answer to one query. Raises WireError."""
    found = Series()
    for number, value in fields(message):
        if number == 1:
            _read_result(message_of(value), found)
    return found


@dataclass(slots=True)
class Series:
    """Series as they came: label sets, and their samples in parts, each part of one series.

    A part is (series, times int64[n], values float64[n]) or the same with histograms.
    """

    labels: list[dict[str, str]] = field(default_factory=list)
    floats: list[tuple[int, Ints, Floats]] = field(default_factory=list)
    histograms: list[tuple[Ints, Ints, HistogramColumns]] = field(default_factory=list)
    problem: str = ""
    """Why some histogram could not be taken, "" if all were."""

    @property
    def sample_count(self) -> int:
        """All samples."""
        return sum(times.size for _, times, _ in self.floats) + sum(
            times.size for _, times, _ in self.histograms
        )


def _read_result(message: bytes, found: Series) -> None:
    batch = decode_write_request(message)
    before = len(found.labels)
    found.labels += _label_dicts(batch.labels)
    starts = np.searchsorted(batch.series_of, np.arange(batch.labels.series_count + 1))
    for number in range(batch.labels.series_count):
        part = slice(int(starts[number]), int(starts[number + 1]))
        found.floats.append((before + number, batch.times_ms[part], batch.values[part]))
    if batch.histograms:
        extras = read_extras(message)
        # Prometheus sends custom buckets without their bounds in this form.
        found.problem = found.problem or extras.problem
        if extras.histograms:
            first = len(found.labels)
            found.labels += extras.series
            found.histograms.append(
                (
                    first + np.array(extras.histogram_series, dtype=np.int64),
                    np.array(extras.histogram_times, dtype=np.int64),
                    columns(extras.histograms),
                )
            )


def _label_dicts(spans: LabelSpans) -> Iterator[dict[str, str]]:
    data = spans.data.tobytes()
    rows = spans.spans.tolist()
    first = spans.first.tolist()
    for number in range(spans.series_count):
        yield {
            data[a:b].decode(): data[c:d].decode()
            for a, b, c, d in rows[first[number] : first[number + 1]]
        }


class Frames:
    """The frames of a streamed answer, taken apart as they come in."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are whole by now. Raises WireError."""
        self._rest += data
        at = 0
        try:
            while True:
                try:
                    head, size = read_varint(bytes(self._rest[at : at + 10]), 0)
                except WireError:
                    if len(self._rest) - at >= 10:
                        raise
                    return
                if size > self._frame_bytes_max:
                    raise WireError(f"chunkedReader: message size exceeded the limit {size} bytes")
                begin = at + head + 4
                if len(self._rest) < begin + size:
                    return
                message = bytes(self._rest[begin : begin + size])
                stored = int.from_bytes(self._rest[begin - 4 : begin], "big")
                data_array = np.frombuffer(message, dtype=np.uint8)
                if int(crc32c(data_array, 0, data_array.size)) != stored:
                    raise WireError("chunkedReader: corrupted frame; checksum mismatch")
                at = begin + size
                yield message
        finally:
            del self._rest[:at]

    def end(self) -> None:
        """Say that nothing more comes. Raises WireError where a frame is cut."""
        if self._rest:
            raise WireError("unexpected EOF")


@dataclass(slots=True)
class Chunks:
    """The chunks of a streamed answer: all their bytes together, and whose they are."""

    labels: list[dict[str, str]] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _data: bytearray = field(default_factory=bytearray)
    _series: list[int] = field(default_factory=list)
    _places: list[tuple[int, int, int, int]] = field(default_factory=list)
    sample_count: int = 0

    def add(self, message: bytes) -> None:
        """Take one ChunkedReadResponse. Raises WireError."""
        for number, value in fields(message):
            if number == 1:
                self._add_series(message_of(value))

    def _add_series(self, message: bytes) -> None:
        labels: dict[str, str] = {}
        chunks: list[bytes] = []
        for number, value in fields(message):
            if number == 1:
                parts = dict(fields(message_of(value)))
                labels[text_of(parts.get(1, b""))] = text_of(parts.get(2, b""))
            elif number == 2:
                chunks.append(message_of(value))
        key = repr(sorted(labels.items())).encode("utf-8", "surrogateescape")
        series = self._numbers.get(key)
        if series is None:
            series = self._numbers[key] = len(self.labels)
            self.labels.append(labels)
        for chunk in chunks:
            self._add_chunk(series, chunk)

    def _add_chunk(self, series: int, message: bytes) -> None:
        kind, data = 0, b""
        for number, value in fields(message):
            if number == 3:
                kind = value if isinstance(value, int) else -1
            elif number == 4:
                data = message_of(value)
        if kind not in ENCODINGS:
            raise WireError(f"chunk encoding {kind} is not known")
        if len(data) < 2:
            raise WireError("a chunk without data")
        samples = int.from_bytes(data[:2], "big")
        if samples > 8 * len(data):  # no sample takes less than two bits
            raise WireError("a chunk that does not add up")
        start = len(self._data)
        self._data += data
        self._series.append(series)
        self._places.append((start, len(self._data), kind, samples))
        self.sample_count += samples

    def decoded(self) -> Series:
        """Return the samples of all chunks. Raises WireError."""
        found = Series(self.labels)
        series = np.array(self._series, dtype=np.int64)
        table = np.array(self._places, dtype=np.int64).reshape(-1, 4)
        data = np.frombuffer(bytes(self._data) + bytes(SLACK_BYTES), dtype=np.uint8)
        chunk_data = ChunkData(data)
        is_float = table[:, 2] == XOR
        try:
            if is_float.any():
                places = _places(table[is_float])
                times, values = chunk_data.floats(places)
                ends = np.cumsum(places.samples)
                for number, end, size in zip(
                    series[is_float].tolist(), ends.tolist(), places.samples.tolist(), strict=True
                ):
                    part = slice(end - size, end)
                    found.floats.append((number, times[part], values[part]))
            if not is_float.all():
                places = _places(table[~is_float])
                times, histograms = chunk_data.histograms(places)
                owners = np.repeat(series[~is_float], places.samples)
                found.histograms.append((owners, times, histograms))
        except CorruptFileError as error:
            raise WireError(error.reason) from error
        return found


def _places(table: Ints) -> Places:
    return Places(*(np.ascontiguousarray(table[:, column]) for column in range(4)))


def to_batch(
    found: Series, selection: Selection, dropped: Iterable[str], symbols: SymbolTable
) -> SeriesBatch:
    """Return the samples within the selection, of each series once; `dropped` labels taken off."""
    without = frozenset(dropped)
    numbers: dict[tuple[tuple[str, str], ...], int] = {}
    label_sets: list[dict[str, str]] = []
    place = np.empty(len(found.labels), dtype=np.int64)
    for at, labels in enumerate(found.labels):
        kept = {name: value for name, value in labels.items() if value and name not in without}
        key = tuple(sorted(kept.items()))
        if key not in numbers:
            numbers[key] = len(label_sets)
            label_sets.append(kept)
        place[at] = numbers[key]
    if not label_sets:
        return empty_batch(symbols)
    none = np.zeros(0, dtype=np.int64)
    series = np.concatenate(
        [none, *(np.full(times.size, place[n], dtype=np.int64) for n, times, _ in found.floats)]
    )
    times = np.concatenate([none, *(times for _, times, _ in found.floats)])
    values = np.concatenate([np.zeros(0), *(values for _, _, values in found.floats)])
    order = _ordered(series, times, selection)
    series, times, values = series[order], times[order], values[order]
    count = np.bincount(series, minlength=len(label_sets)).astype(np.int64)
    start = np.cumsum(count) - count
    runs = _histogram_runs(found, place, len(label_sets), selection)
    used = count > 0
    if runs is not None:
        used |= runs.count > 0
    if not used.any():
        return empty_batch(symbols)
    chosen = np.flatnonzero(used)
    if runs is not None:
        runs = HistogramRuns(runs.times, runs.start[chosen], runs.count[chosen], runs.columns)
    labels_of = _columns([label_sets[number] for number in chosen.tolist()], symbols)
    return SeriesBatch(labels_of, times, start[chosen], values, start[chosen], count[chosen], runs)


def _ordered(series: Ints, times: Ints, selection: Selection) -> Ints:
    """Return the samples within the selection by series and time, the first of each time."""
    inside = np.flatnonzero((times >= selection.start_ms) & (times <= selection.end_ms))
    order: Ints = inside[np.lexsort((times[inside], series[inside]))]
    if not order.size:
        return order
    fresh = np.ones(order.size, dtype=np.bool_)
    fresh[1:] = (np.diff(series[order]) != 0) | (np.diff(times[order]) != 0)
    return order[fresh]


def _histogram_runs(
    found: Series, place: Ints, series_count: int, selection: Selection
) -> HistogramRuns | None:
    if not found.histograms:
        return None
    series = place[np.concatenate([series for series, _, _ in found.histograms])]
    times = np.concatenate([times for _, times, _ in found.histograms])
    order = _ordered(series, times, selection)
    if not order.size:
        return None
    count = np.bincount(series[order], minlength=series_count).astype(np.int64)
    columns_of = take(concat([part for _, _, part in found.histograms]), order)
    return HistogramRuns(times[order], np.cumsum(count) - count, count, columns_of)


def _columns(label_sets: list[dict[str, str]], symbols: SymbolTable) -> LabelColumns:
    names = tuple(sorted({name for labels in label_sets for name in labels}))
    ids = np.empty((len(names), len(label_sets)), dtype=np.uint32)
    try:
        for row, name in enumerate(names):
            ids[row] = symbols.intern_many([labels.get(name, "") for labels in label_sets])
    except UnicodeEncodeError as error:
        raise WireError("a label is no valid UTF-8") from error
    return LabelColumns(names, ids, symbols)
