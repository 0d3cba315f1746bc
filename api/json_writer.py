"""Query results -> JSON bytes, without a Python object for each sample.

From: `promql/result.py`, columns.   To: `query.py` and `series.py`, as parts or chunks of bytes.

A chunk is about half a MiB, and the next one is made only when it is asked for, so that a result is
never held twice. Label texts are escaped once for each distinct symbol of a result.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

import numpy as np

from api.answer_parts import Body, ChunkRun, Part, SeriesRun, whole_chunks
from api.float_kernels import SLACK_BYTES
from api.json_histograms import matrix_chunks, raw_chunks, vector_chunks
from api.json_kernels import (
    FRAME_BYTES_MAX,
    FRAME_STRIDE,
    POINT_BYTES_MAX,
    write_frames,
    write_label_sets,
    write_matrix,
    write_raw,
    write_vector,
)
from api.json_text import dumps, is_plain, quoted
from api.label_texts import SLACK, joined, numbered
from promql.float_text import fixed_text, sample_text
from promql.result import (
    MatrixResult,
    QueryStats,
    RawResult,
    ResultValue,
    ScalarResult,
    StringResult,
    VectorResult,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from tsdb.interface import SymbolSource

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]

CHUNK_BYTES = 1 << 19
"""Large beside a system call and a turn of a thread, and a core's cache holds it."""

_POINT_BYTES_ABOUT = 38
"""What a point is taken for when series are dealt out to parts: one of full precision."""

_SMALL_BYTES = 1 << 12

_FEW = 32
"""So few texts are quoted one by one: NumPy's calls would cost more than the texts."""


_FEW_SERIES = 4


@dataclass(frozen=True, slots=True)
class LabelTexts:
    """Label columns made ready for the kernels: see `write_matrix` for the shapes."""

    texts_of: npt.NDArray[np.int32]
    names: Bytes
    name_at: Ints
    texts: Bytes
    text_at: Ints

    @property
    def series_bytes_max(self) -> int:
        """A bound on the length of one series' labels as JSON."""
        longest = int((self.text_at[1:] - self.text_at[:-1]).max(initial=0))
        return int(self.texts_of.shape[0]) * longest + self.names.size + 2

    @property
    def bytes_about(self) -> int:
        """About the length of all labels as JSON, to choose a buffer."""
        count = self.texts_of.shape[1]
        each = self.texts.size // max(1, self.text_at.size - 1) * self.texts_of.shape[0]
        return int(count * (each + self.names.size + FRAME_BYTES_MAX))


def label_texts(
    names: Sequence[str], ids: npt.NDArray[np.uint32], symbols: SymbolSource
) -> LabelTexts:
    """Escape every distinct symbol once. Shapes: `ids` uint32[len(names), S], 0 absent."""
    texts_of, distinct = numbered(ids)
    name_bytes, name_at = _quoted_names(tuple(names))
    text_bytes, text_at = _quoted_texts(symbols.texts(distinct))
    return LabelTexts(texts_of, name_bytes, name_at, text_bytes, text_at)


@lru_cache(maxsize=1000)
def _quoted_names(names: tuple[str, ...]) -> tuple[Bytes, Ints]:
    """Return `"name":` for each, joined, and where each starts. Few sets of names are in use."""
    return joined([quoted(name) + b":" for name in names])


def _quoted_texts(texts: list[str]) -> tuple[Bytes, Ints]:
    """Return `"text",` for each, joined, and where each starts."""
    if len(texts) <= _FEW:
        return joined([quoted(text) + b"," for text in texts])
    whole = "".join(texts)
    if not whole.isascii() or not is_plain(whole):
        return joined([quoted(text) + b"," for text in texts])
    at = np.arange(len(texts) + 1, dtype=np.int64) * 3
    at[1:] += np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
    body = ('"' + '","'.join(texts) + '",').encode() + SLACK
    return np.frombuffer(body, dtype=np.uint8), at


def result_chunks(
    value: ResultValue,
    *,
    stats: QueryStats | None = None,
    per_step: bool = False,
    warnings: Sequence[str] = (),
    infos: Sequence[str] = (),
) -> Iterator[bytes]:
    """Yield the whole success reply of a query. `stats` are shown where given."""
    return whole_chunks(
        result_body(value, stats=stats, per_step=per_step, warnings=warnings, infos=infos)
    )


def result_body(
    value: ResultValue,
    *,
    stats: QueryStats | None = None,
    per_step: bool = False,
    warnings: Sequence[str] = (),
    infos: Sequence[str] = (),
) -> Body:
    """Return the success reply of a query, to be made in parts: see `result_chunks`."""
    tail = b"}"
    if stats is not None:
        tail = b',"stats":%b}' % dumps(stats_members(stats, per_step=per_step))
    tail += annotation_members(warnings, infos) + b"}"
    head = b'{"status":"success","data":{"resultType":"%b","result":'
    match value:
        case ScalarResult():
            return Body(head % b"scalar" + _scalar(value), (), tail)
        case StringResult():
            text = b"[%b,%b]" % (float_seconds(value.time_ms), dumps(value.text))
            return Body(head % b"string" + text, (), tail)
        case VectorResult():
            return _vector(value).framed(head % b"vector" + b"[", b"]" + tail)
        case MatrixResult():
            return _matrix(value).framed(head % b"matrix" + b"[", b"]" + tail)
        case RawResult():
            return _raw(value).framed(head % b"matrix" + b"[", b"]" + tail)
        case _:
            assert_never(value)


def label_set_body(
    names: Sequence[str],
    ids: npt.NDArray[np.uint32],
    symbols: SymbolSource,
    warnings: Sequence[str] = (),
) -> Body:
    """Return the success reply of /series. Shapes: as in `LabelColumns`."""
    labels = label_texts(names, ids, symbols)

    def write(state: Ints, out: Bytes) -> int:
        return write_label_sets(state, *_columns(labels), out)

    tail = b"]" + annotation_members(warnings, ()) + b"}"
    return _Series(write, ids.shape[1], labels, 0).framed(b'{"status":"success","data":[', tail)


def annotation_members(warnings: Sequence[str], infos: Sequence[str]) -> bytes:
    """Return the envelope's `warnings` and `infos` with leading commas, b"" for none."""
    members = b""
    if warnings:
        members += b',"warnings":' + dumps(list(warnings))
    if infos:
        members += b',"infos":' + dumps(list(infos))
    return members


def float_seconds(time_ms: int) -> bytes:
    """Return a time as a plain JSON number, what scalars and strings have.

    >>> float_seconds(1435781451110), float_seconds(4000)
    (b'1435781451.11', b'4')
    """
    seconds, millis = divmod(abs(time_ms), 1000)
    sign = b"-" if time_ms < 0 else b""
    fraction = (b".%03d" % millis).rstrip(b"0") if millis else b""
    return b"%b%d%b" % (sign, seconds, fraction)


def _scalar(value: ScalarResult) -> bytes:
    # Never with an exponent, unlike samples: so Prometheus writes a scalar.
    return b'[%b,"%b"]' % (float_seconds(value.time_ms), fixed_text(value.value).encode())


def _columns(labels: LabelTexts) -> tuple[npt.NDArray[np.int32], Bytes, Ints, Bytes, Ints]:
    return labels.texts_of, labels.names, labels.name_at, labels.texts, labels.text_at


def _bits(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(values).view(np.uint64)


class _Made:
    """Series whose JSON comes in chunks that others make."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def framed(self, head: bytes, tail: bytes) -> Body:
        return Body(head, (ChunkRun(self._chunks),), tail)

    def chunks(self) -> Iterator[bytes]:
        return self._chunks


class _Ready:
    """Series whose JSON is there."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def framed(self, head: bytes, tail: bytes) -> Body:
        return Body(head + self._text, (), tail)

    def chunks(self) -> Iterator[bytes]:
        return iter((self._text,))


class _Series:
    """Series that a kernel writes, and how much room that takes."""

    def __init__(
        self, write: Callable[[Ints, Bytes], int], count: int, labels: LabelTexts, points: int
    ) -> None:
        self._write, self._count = write, count
        wanted = labels.bytes_about + points * POINT_BYTES_MAX + _SMALL_BYTES
        needed = labels.series_bytes_max + FRAME_BYTES_MAX + 2 * POINT_BYTES_MAX
        self._room_bytes = max(min(wanted, CHUNK_BYTES), needed)
        about = (labels.bytes_about + points * _POINT_BYTES_ABOUT) // max(1, count)
        self._run = max(1, self._room_bytes // (about + 1)) if wanted > CHUNK_BYTES else count

    def framed(self, head: bytes, tail: bytes) -> Body:
        """Return a reply of them, in runs that fill about a room each."""
        parts: list[Part] = [
            SeriesRun(self._write, first, min(first + self._run, self._count))
            for first in range(0, self._count, max(1, self._run))
        ]
        return Body(head, parts, tail, self._room_bytes)

    def chunks(self) -> Iterator[bytes]:
        """Yield their JSON, to be part of something else."""
        room = np.empty(self._room_bytes, dtype=np.uint8)
        series = SeriesRun(self._write, 0, self._count)
        more = self._count > 0
        while more:
            chunk, more = series.more(room)
            yield bytes(chunk)


def _vector(value: VectorResult) -> _Series | _Made | _Ready:
    if value.histograms is not None:
        return _Made(vector_chunks(value, lambda part: _vector(part).chunks(), CHUNK_BYTES))
    if value.values.size <= _FEW_SERIES:
        return _Ready(_few_series(value))
    labels = label_texts(value.labels.names, value.labels.ids, value.labels.symbols)
    bits = _bits(value.values)

    def write(state: Ints, out: Bytes) -> int:
        return write_vector(state, value.time_ms, bits, *_columns(labels), out)

    return _Series(write, bits.size, labels, bits.size)


def _few_series(value: VectorResult) -> bytes:
    """Return what `write_vector` writes; for a few series, making its columns costs more."""
    names, text = value.labels.names, value.labels.symbols.text
    stamp = _stamp(value.time_ms)
    return b",".join(
        b'{"metric":{%b},"value":[%b,"%b"]}'
        % (
            b",".join(_member(name, text(at)) for name, at in zip(names, ids, strict=True) if at),
            stamp,
            sample_text(number).encode(),
        )
        for ids, number in zip(value.labels.ids.T.tolist(), value.values.tolist(), strict=True)
    )


@lru_cache(maxsize=4096)
def _member(name: str, text: str) -> bytes:
    return quoted(name) + b":" + quoted(text)


def _stamp(time_ms: int) -> bytes:
    """Return a time as samples have it.

    >>> _stamp(1435781451110), _stamp(-4000)
    (b'1435781451.110', b'-4')
    """
    seconds, millis = divmod(abs(time_ms), 1000)
    sign = b"-" if time_ms < 0 else b""
    return b"%b%d.%03d" % (sign, seconds, millis) if millis else b"%b%d" % (sign, seconds)


def _matrix(value: MatrixResult) -> _Series | _Made:
    if value.histograms is not None:
        return _Made(matrix_chunks(value, lambda part: _matrix(part).chunks(), CHUNK_BYTES))
    labels = label_texts(value.labels.names, value.labels.ids, value.labels.symbols)
    bits, present = _bits(value.values), np.ascontiguousarray(value.present)
    steps = np.ascontiguousarray(value.steps_ms)
    frames = np.empty(steps.size * FRAME_STRIDE + SLACK_BYTES, dtype=np.uint8)
    frame_size = np.empty(steps.size, dtype=np.int64)
    write_frames(steps, frames, frame_size)

    def write(state: Ints, out: Bytes) -> int:
        columns = _columns(labels)
        return write_matrix(state, bits, present, frames, frame_size, *columns, out)

    return _Series(write, bits.shape[0], labels, bits.size)


def _raw(value: RawResult) -> _Series | _Made:
    if value.histograms is not None:
        return _Made(raw_chunks(value, lambda part: _raw(part).chunks(), CHUNK_BYTES))
    labels = label_texts(value.labels.names, value.labels.ids, value.labels.symbols)
    times, bits = np.ascontiguousarray(value.times), _bits(value.values)
    time_start = np.ascontiguousarray(value.time_start)
    value_start = np.ascontiguousarray(value.value_start)
    count = np.ascontiguousarray(value.count)

    def write(state: Ints, out: Bytes) -> int:
        columns = _columns(labels)
        return write_raw(state, times, time_start, bits, value_start, count, *columns, out)

    return _Series(write, count.size, labels, int(count.sum()))


def stats_members(stats: QueryStats, *, per_step: bool) -> dict[str, object]:
    """Return the `stats` member of a reply, with samples of each step if they are wanted."""
    samples: dict[str, object] = {
        "totalQueryableSamples": stats.samples_total,
        "peakSamples": stats.samples_peak,
    }
    if per_step and stats.samples_per_step:
        samples["totalQueryableSamplesPerStep"] = [
            [time_ms / 1000 if time_ms % 1000 else time_ms // 1000, count]
            for time_ms, count in zip(
                itertools.count(stats.start_ms, stats.step_ms), stats.samples_per_step, strict=False
            )
        ]
    return {
        "timings": {
            "evalTotalTime": stats.eval_total_s,
            "resultSortTime": stats.sort_s,
            "queryPreparationTime": stats.prepare_s,
            "innerEvalTime": stats.inner_eval_s,
            "execQueueTime": stats.queue_s,
            "execTotalTime": stats.total_s,
        },
        "samples": samples,
    }
