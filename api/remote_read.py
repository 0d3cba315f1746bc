"""POST /api/v1/read: remote read, with the response types SAMPLES and STREAMED_XOR_CHUNKS.

From: Prometheus, Thanos and others that read through us.   To: `tsdb.interface.SeriesReader`.

The first type of the client's list that is known here is answered with.
Source: Prometheus remote read documentation; the answers of 3.5.3.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cramjam
import numpy as np
from aiohttp import web

from api.float_kernels import SLACK_BYTES
from api.parts import PARTS
from api.read_labels import read_labels
from api.receivers.body_decoding import BodyError, decode
from api.remote_read_chunks import FRAME_BYTES_MAX, frames
from api.remote_read_histograms import with_histograms
from api.remote_read_kernels import series_sizes, write_series
from api.replies import text
from api.wire import WireError, fields, message_of, signed, text_of, varint_bytes
from tsdb.errors import BadMatcherError, ClosedError, TooManySamplesError
from tsdb.interface import Matcher, MatchOp, Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.views import ApiOptions
    from tsdb.interface import SeriesBatch, SeriesReader

STREAM_TYPE = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"

SAMPLES, STREAMED_XOR_CHUNKS = 0, 1
_TYPE_NAMES = {0: "SAMPLES", 1: "STREAMED_XOR_CHUNKS"}
_OPERATORS = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.MATCHES, MatchOp.NOT_MATCHES)


class ReadError(Exception):
    """A request that is refused; `str()` is the client's text."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What is asked for: one selection a query, and the response types in order of liking."""

    selections: tuple[Selection, ...]
    accepted: tuple[int, ...]


REQUEST_BYTES_MAX = 2 << 20
"""A request, as sent and as decompressed: selectors of many kilobytes, read field by field."""


def decode_read_request(body: bytes, external_labels: Mapping[str, str]) -> ReadRequest:
    """Return a ReadRequest message as selections. Raises WireError, ReadError.

    An equality matcher that an external label satisfies holds for every series of ours, so it
    asks for the label's absence.
    """
    selections, accepted = [], []
    for number, value in fields(body):
        if number == 1:
            selections.append(_selection(message_of(value), external_labels))
        elif number == 2 and isinstance(value, int):
            accepted.append(value)
        elif number == 2:
            accepted += _packed(message_of(value))
    return ReadRequest(tuple(selections), tuple(accepted))


def _packed(data: bytes) -> list[int]:
    # A packed list is a row of varints; as fields they would need tags.
    found, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(number)
            number = shift = 0
    return found


def _selection(message: bytes, external_labels: Mapping[str, str]) -> Selection:
    start_ms = end_ms = 0
    matchers = []
    for number, value in fields(message):
        if number == 1:
            start_ms = signed(value)
        elif number == 2:
            end_ms = signed(value)
        elif number == 3:
            matcher = _matcher(message_of(value))
            if (
                matcher.op is MatchOp.EQUAL
                and external_labels.get(matcher.name) == matcher.value != ""
            ):
                matcher = Matcher(matcher.name, MatchOp.EQUAL, "")
            matchers.append(matcher)
    return Selection(tuple(matchers), start_ms, end_ms)


def _matcher(message: bytes) -> Matcher:
    kind, name, value = 0, "", ""
    for number, part in fields(message):
        if number == 1:
            kind = signed(part)
        elif number == 2:
            name = text_of(part)
        elif number == 3:
            value = text_of(part)
    if not 0 <= kind < len(_OPERATORS):
        raise ReadError("invalid matcher type")
    return Matcher(name, _OPERATORS[kind], value)


def samples_response(
    reader: SeriesReader,
    request: ReadRequest,
    external_labels: Mapping[str, str],
    samples_max: int | None = None,
) -> bytes:
    """Return the ReadResponse message: one QueryResult a selection, series sorted by labels."""
    # As in Prometheus, no time and no matcher at all select nothing.
    asked = [s for s in request.selections if _selects(s)]
    batches = iter(reader.select(asked, samples_max=samples_max) if asked else ())
    parts: list[bytes] = []
    for selection in request.selections:
        some = _selects(selection)
        result = query_result(next(batches), external_labels) if some else b""
        parts += (b"\x0a", varint_bytes(len(result)), result)
    return b"".join(parts)


def chunks_response(
    reader: SeriesReader,
    request: ReadRequest,
    external_labels: Mapping[str, str],
    samples_max: int | None = None,
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> bytes:
    """Return the frames of all queries, in their order."""
    asked = [(n, s) for n, s in enumerate(request.selections) if _selects(s)]
    selections = [selection for _, selection in asked]
    batches = reader.select(selections, samples_max=samples_max) if asked else []
    return b"".join(
        frames(batch, read_labels(batch, external_labels), number, frame_bytes_max)
        for (number, _), batch in zip(asked, batches, strict=True)
    )


def _response_type(accepted: tuple[int, ...]) -> int:
    """Return the first known type. Raises ReadError."""
    for kind in accepted or (SAMPLES,):
        if kind in _TYPE_NAMES:
            return kind
    names = " ".join(str(kind) for kind in accepted)
    raise ReadError(
        f"server does not support any of the requested response types: [{names}]; "
        "supported: map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]"
    )


def _selects(selection: Selection) -> bool:
    return bool(selection.matchers) and selection.start_ms <= selection.end_ms


def query_result(batch: SeriesBatch, external_labels: Mapping[str, str]) -> bytes:
    """Return the QueryResult message of one batch."""
    labels = read_labels(batch, external_labels)
    order = labels.order
    times = np.ascontiguousarray(batch.times)
    time_start = np.ascontiguousarray(batch.time_start[order])
    value_start = np.ascontiguousarray(batch.value_start[order])
    count = np.ascontiguousarray(batch.count[order])
    sizes = np.empty(count.size, dtype=np.int64)
    series_sizes(labels.texts_of, labels.name_at, labels.text_at, times, time_start, count, sizes)
    # 11 bytes: the series' tag and the longest varint of its length.
    out = np.empty(int(sizes.sum()) + 11 * count.size + SLACK_BYTES, dtype=np.uint8)
    bits = np.ascontiguousarray(batch.values).view(np.uint64)
    length: int = write_series(
        labels.texts_of, labels.names, labels.name_at, labels.texts, labels.text_at, times,
        time_start, bits, value_start, count, sizes, out,
    )  # fmt: skip
    message = out[:length].tobytes()
    if batch.histograms is None:
        return message
    return with_histograms(message, batch.histograms, order)


class ReadSlots(asyncio.Semaphore):
    """Bounds how many remote reads run; the others wait, as in Prometheus.

    `asked` is how many do either.
    """

    asked = 0

    async def __aenter__(self) -> None:
        self.asked += 1
        try:
            await super().__aenter__()
        except BaseException:
            self.asked -= 1
            raise

    async def __aexit__(self, *raised: object) -> None:
        self.asked -= 1
        self.release()


SLOTS: web.AppKey[ReadSlots] = web.AppKey("SLOTS", ReadSlots)


def install(app: web.Application, options: ApiOptions) -> None:
    """Give an application its limit on remote reads at once."""
    app[SLOTS] = ReadSlots(options.read_concurrency_max or sys.maxsize)


async def read(request: web.Request) -> web.Response:
    """Answer /api/v1/read."""
    parts = request.app[PARTS]
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > REQUEST_BYTES_MAX:
            return text(f"request body is larger than {REQUEST_BYTES_MAX} bytes\n", 413)
    external, options = parts.options.external_labels, parts.options
    samples_max = options.read_samples_max or None

    def answer() -> tuple[bytes, dict[str, str]]:
        wanted = decode_read_request(decode(bytes(body), "snappy", REQUEST_BYTES_MAX), external)
        if _response_type(wanted.accepted) == STREAMED_XOR_CHUNKS:
            limits = samples_max, options.read_frame_bytes_max
            frames_of_all = chunks_response(parts.storage, wanted, external, *limits)
            return frames_of_all, {"Content-Type": STREAM_TYPE}
        message = samples_response(parts.storage, wanted, external, samples_max)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        return bytes(cramjam.snappy.compress_raw(message)), headers

    try:
        async with request.app[SLOTS]:
            packed, headers = await parts.gate.read(answer)
    except (BodyError, WireError, ReadError, BadMatcherError) as error:
        return text(f"{error}\n", 400)
    except TooManySamplesError as error:
        return text(f"exceeded sample limit ({error.limit})\n", 400)
    except ClosedError:
        return text("storage is closed\n", 503)
    return web.Response(body=packed, headers=headers)
