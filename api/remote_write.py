"""POST /api/v1/write: remote write 1.0.

From: Prometheus, agents, every program that speaks remote write.
To:   `tsdb.interface.Appender`, in a thread.

A body becomes columns in two kernel passes; no Python object is made for a series or a sample.
What is sound is stored even where something else in the body is not: the reply is then 400 and
names the first refused series, so that no sender repeats the body for ever. As Prometheus does,
series without a name, with a label twice or with broken text are left out, counted and logged,
and the reply stays 204. Exemplars that storage refuses are not complained of, as by Prometheus;
metadata is not stored.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import web

from api.body_decoding import (
    BODY_BYTES_MAX,
    BodyError,
    BodyTooLargeError,
    UnknownEncodingError,
    decode,
)
from api.parts import PARTS
from api.remote_write_extras import columns, read_extras
from api.remote_write_kernels import (
    FAULT_END_GROUP,
    FAULT_EOF,
    FAULT_OVERFLOW,
    FAULT_TAG,
    FAULT_WIRE_TYPE,
    count_write_request,
    read_write_request,
)
from api.replies import text
from api.wire import WireError, fields, message_of
from promql.float_text import general_text
from promql.quoting import quote
from tsdb.errors import ClosedError, WriteFailedError
from tsdb.interface import AppendStatus, ExemplarStatus, LabelSpans

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from api.remote_write_extras import Extras
    from tsdb.interface import Storage

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

AHEAD_MS_MAX = 600_000
"""Prometheus' own bound on samples from the future."""

RESOLVE_TRIES = 3
"""A series may be collected between resolving and appending; three times running, hardly."""

LOG_INTERVAL_S = 30.0
"""Refused series are logged at most so often: a sender repeats its mistake with every body."""

_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

V1_MESSAGE = "prometheus.WriteRequest"
V2_MESSAGE = "io.prometheus.write.v2.Request"

_MESSAGES = ("WriteRequest", "TimeSeries", "Label", "Sample")
_FIELDS = {
    (0, 1): "Timeseries", (0, 3): "Metadata",
    (1, 1): "Labels", (1, 2): "Samples", (1, 3): "Exemplars", (1, 4): "Histograms",
    (2, 1): "Name", (2, 2): "Value",
    (3, 1): "Value", (3, 2): "Timestamp",
}  # fmt: skip

_REASONS = {
    AppendStatus.CONFLICT: "duplicate sample for timestamp {time}; overrides not allowed: "
    "new value {value}",
    AppendStatus.OUT_OF_ORDER: "out of order sample",
    AppendStatus.TOO_OLD: "too old sample",
    AppendStatus.OUT_OF_BOUNDS: "out of bounds",
    AppendStatus.TOO_FAR_AHEAD: "out of bounds: timestamp is too far in the future",
    AppendStatus.UNKNOWN_SERIES: "series was deleted while the sample was appended",
}


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """A decoded body. `series_of` int64[N] numbers the series of `labels` for each sample.

    `refused` int32[R, 2] tells where in the body the messages of refused series stand.
    """

    labels: LabelSpans
    times_ms: Ints
    values: Floats
    series_of: Ints
    refused: npt.NDArray[np.int32]
    refused_samples: int
    exemplars: int
    histograms: int
    metadata: int


@dataclass(frozen=True, slots=True)
class WriteStats:
    """What came in since the start."""

    requests: int = 0
    failed_requests: int = 0
    samples: int = 0
    refused_samples: int = 0
    invalid_labels_samples: int = 0
    exemplars: int = 0
    exemplars_ignored: int = 0
    histograms: int = 0
    histograms_refused: int = 0
    metadata_ignored: int = 0


def decode_write_request(body: bytes) -> WriteBatch:
    """Return the columns of a WriteRequest. Raises WireError."""
    data = np.frombuffer(body, dtype=np.uint8)
    counts, fault = np.zeros(6, dtype=np.int64), np.zeros(4, dtype=np.int64)
    if count_write_request(data, counts, fault) < 0:
        raise WireError(_fault_text(*fault.tolist()))
    series, labels, samples, exemplars, histograms, metadata = counts.tolist()
    spans = np.empty((labels + 1, 4), dtype=np.int32)
    first = np.empty(series + 1, dtype=np.int64)
    times, values = np.empty(samples, dtype=np.int64), np.empty(samples, dtype=np.float64)
    series_of = np.empty(samples, dtype=np.int64)
    refused = np.empty((series, 2), dtype=np.int32)
    totals = np.zeros(5, dtype=np.int64)
    bits = values.view(np.uint64)
    if read_write_request(data, spans, first, times, bits, series_of, refused, totals, fault) < 0:
        raise WireError(_fault_text(*fault.tolist()))
    kept, kept_labels, kept_samples, refused_series, refused_samples = totals.tolist()
    return WriteBatch(
        labels=LabelSpans(data=data, spans=spans[:kept_labels], first=first[: kept + 1]),
        times_ms=times[:kept_samples],
        values=values[:kept_samples],
        series_of=series_of[:kept_samples],
        refused=refused[:refused_series],
        refused_samples=refused_samples,
        exemplars=exemplars,
        histograms=histograms,
        metadata=metadata,
    )


def _fault_text(kind: int, message: int, field: int, wire: int) -> str:
    match kind:
        case _ if kind == FAULT_EOF:
            return "unexpected EOF"
        case _ if kind == FAULT_OVERFLOW:
            return "proto: integer overflow"
        case _ if kind == FAULT_WIRE_TYPE:
            name = _FIELDS[message, field]
            return f"proto: wrong wireType = {wire} for field {name}"
        case _ if kind == FAULT_TAG:
            return f"proto: {_MESSAGES[message]}: illegal tag {field} (wire type {wire})"
    assert kind == FAULT_END_GROUP
    return f"proto: {_MESSAGES[message]}: wiretype end group for non-group"


class WriteReceiver:
    """Stores bodies and counts what came of them. Threads may call it at once."""

    def __init__(self, appender: Storage, now: Callable[[], float]) -> None:
        self._appender, self._now = appender, now
        self._lock = threading.Lock()
        self._stats = WriteStats()
        self._logged_s = float("-inf")

    def stats(self) -> WriteStats:
        """Return counts at this moment."""
        return self._stats

    def receive(self, body: bytes, encoding: str) -> str:
        """Store one body; return "" or the text of what was refused.

        Raises BodyError and WireError for a body of which nothing was stored.
        """
        try:
            plain = decode(body, encoding)
            batch = decode_write_request(plain)
            extras = read_extras(plain) if batch.exemplars or batch.histograms else None
        except (BodyError, WireError):
            self._count(WriteStats(requests=1, failed_requests=1))
            raise
        refs, statuses = self._append(batch)
        bad = np.flatnonzero(statuses > AppendStatus.DUPLICATE)
        problem = ""
        repeated = _repeated(refs, batch.times_ms, statuses)
        bad = np.setdiff1d(bad, repeated)
        if bad.size:
            problem = _refusal(batch, int(bad[0]), AppendStatus(int(statuses[bad[0]])))
            if bad.size > 1:
                problem += f" (and {bad.size - 1} more samples)"
        more = WriteStats()
        if extras is not None:
            more, trouble = self._append_extras(extras)
            problem = problem or trouble
        self._count(
            WriteStats(
                requests=1,
                failed_requests=1 if problem else 0,
                samples=statuses.size - bad.size - repeated.size,
                refused_samples=bad.size + repeated.size,
                invalid_labels_samples=batch.refused_samples + more.invalid_labels_samples,
                exemplars=more.exemplars,
                exemplars_ignored=more.exemplars_ignored,
                histograms=more.histograms,
                histograms_refused=more.histograms_refused,
                metadata_ignored=batch.metadata,
            )
        )
        self._log(batch, problem)
        return problem

    def _append_extras(self, extras: Extras) -> tuple[WriteStats, str]:
        """Store exemplars and histograms; return the counts, and the first refusal's text."""
        labels, problem = extras.labels, extras.problem
        time_max_ms = int(self._now() * 1000) + AHEAD_MS_MAX
        stored = refused = kept = 0
        refs = self._appender.resolve(labels)
        if extras.histograms:
            series = np.array(extras.histogram_series, dtype=np.int64)
            times_ms = np.array(extras.histogram_times, dtype=np.int64)
            histograms = columns(extras.histograms)
            for _ in range(RESOLVE_TRIES):
                statuses = self._appender.append_histograms(
                    refs[series], times_ms, histograms, time_max_ms=time_max_ms
                )
                if not (statuses == AppendStatus.UNKNOWN_SERIES).any():
                    break
                # What was stored before is a duplicate now.
                refs = self._appender.resolve(labels)
            bad = np.flatnonzero(statuses > AppendStatus.DUPLICATE)
            stored, refused = statuses.size - bad.size, bad.size
            if bad.size and not problem:
                reason = _REASONS[AppendStatus(int(statuses[bad[0]]))].format(
                    time=times_ms[bad[0]], value="(a histogram)"
                )
                problem = f"{reason} for series {series_text(labels, int(series[bad[0]]))}"
        if extras.exemplar_values:
            # After the samples: their series are there by now.
            found = self._appender.append_exemplars(
                refs[np.array(extras.exemplar_series, dtype=np.int64)],
                np.array(extras.exemplar_times, dtype=np.int64),
                np.array(extras.exemplar_values, dtype=np.float64),
                LabelSpans.from_labels(extras.exemplar_labels),
            )
            kept = int(np.count_nonzero(found <= ExemplarStatus.DUPLICATE))
        return WriteStats(
            invalid_labels_samples=extras.unnamed,
            exemplars=kept,
            exemplars_ignored=len(extras.exemplar_values) - kept,
            histograms=stored,
            histograms_refused=refused + extras.refused,
        ), problem

    def _append(self, batch: WriteBatch) -> tuple[Ints, npt.NDArray[np.uint8]]:
        """Return the ref and the status of every sample."""
        time_max_ms = int(self._now() * 1000) + AHEAD_MS_MAX
        if not batch.series_of.size:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8)
        refs = self._appender.resolve(batch.labels)[batch.series_of]
        statuses = self._appender.append(
            refs, batch.times_ms, batch.values, time_max_ms=time_max_ms
        )
        for _ in range(RESOLVE_TRIES - 1):
            lost = np.flatnonzero(statuses == AppendStatus.UNKNOWN_SERIES)
            if not lost.size:
                break
            refs[lost] = self._appender.resolve(batch.labels)[batch.series_of[lost]]
            statuses = statuses.copy()
            statuses[lost] = self._appender.append(
                refs[lost], batch.times_ms[lost], batch.values[lost], time_max_ms=time_max_ms
            )
        return refs, statuses

    def _count(self, more: WriteStats) -> None:
        with self._lock:
            self._stats = WriteStats(
                **{
                    name: getattr(self._stats, name) + getattr(more, name)
                    for name in WriteStats.__dataclass_fields__
                }
            )

    def _log(self, batch: WriteBatch, problem: str) -> None:
        if not problem and not batch.refused.size:
            return
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._logged_s < LOG_INTERVAL_S:
                return
            self._logged_s = now_s
        if batch.refused.size:
            logger.warning(
                "remote write: left out %d series with invalid labels, the first is %s",
                len(batch.refused),
                refused_series_text(batch, 0),
            )
        if problem:
            logger.warning("remote write: %s", problem)


def _repeated(refs: Ints, times_ms: Ints, statuses: npt.NDArray[np.uint8]) -> Ints:
    """Return the samples that conflict with an earlier one of the same body.

    Prometheus drops them without a word: the body as a whole was taken.
    """
    conflicts = np.flatnonzero(statuses == AppendStatus.CONFLICT)
    if not conflicts.size:
        return conflicts
    taken: set[tuple[int, int]] = set()
    repeated = []
    for sample in np.flatnonzero(np.isin(refs, refs[conflicts])).tolist():
        key = (int(refs[sample]), int(times_ms[sample]))
        if statuses[sample] <= AppendStatus.DUPLICATE:
            taken.add(key)
        elif key in taken:
            repeated.append(sample)
    return np.array(repeated, dtype=np.int64)


def _refusal(batch: WriteBatch, sample: int, status: AppendStatus) -> str:
    reason = _REASONS[status].format(
        time=batch.times_ms[sample], value=general_text(float(batch.values[sample]))
    )
    return f"{reason} for series {series_text(batch.labels, int(batch.series_of[sample]))}"


def series_text(labels: LabelSpans, series: int) -> str:
    """Return one series' labels as Prometheus prints them: `{__name__="up", job="a"}`."""
    rows = labels.spans[labels.first[series] : labels.first[series + 1]].tolist()
    data = labels.data
    return _labels_text([(data[a:b].tobytes(), data[c:d].tobytes()) for a, b, c, d in rows])


def refused_series_text(batch: WriteBatch, number: int) -> str:
    """Return the labels of a refused series as they came."""
    start, stop = batch.refused[number].tolist()
    message = batch.labels.data[start:stop].tobytes()
    pairs = []
    for field, label in fields(message):
        if field == 1:
            parts = dict(fields(message_of(label)))
            pairs.append((message_of(parts.get(1, b"")), message_of(parts.get(2, b""))))
    return _labels_text(pairs)


def _labels_text(pairs: list[tuple[bytes, bytes]]) -> str:
    texts = []
    for name_bytes, value_bytes in pairs:
        name = name_bytes.decode("utf-8", "surrogateescape")
        value = value_bytes.decode("utf-8", "surrogateescape")
        shown = name if _LEGACY_NAME.fullmatch(name) else quote(name)
        texts.append(f"{shown}={quote(value)}")
    return "{" + ", ".join(texts) + "}"


async def write(request: web.Request) -> web.Response:
    """Answer /api/v1/write."""
    parts = request.app[PARTS]
    if not parts.options.enable_remote_write_receiver:
        return text(
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n",
            404,
        )
    refusal = _media_refusal(request.headers.get("Content-Type", ""))
    if refusal:
        return text(refusal + "\n", 415)
    # Prometheus takes a missing encoding for snappy.
    encoding = request.headers.get("Content-Encoding", "") or "snappy"
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return text(f"request body is larger than {BODY_BYTES_MAX} bytes\n", 413)
    try:
        problem = await parts.gate.write(lambda: parts.writes.receive(bytes(body), encoding))
    except UnknownEncodingError as error:
        return text(f"{error}\n", 415)
    except BodyTooLargeError as error:
        return text(f"{error}\n", 413)
    except (BodyError, WireError) as error:
        return text(f"{error}\n", 400)
    except ClosedError:
        return text("storage is closed\n", 503)
    except WriteFailedError as error:
        # The disk is full or gone. What a sender sends again is found to be there already.
        return text(f"{error}\n", 503)
    except Exception:  # senders read text, not the envelope of `replies.py`
        logger.exception("unexpected error in remote write")
        return text("internal error: nothing is known of what was stored\n", 500)
    return text(f"{problem}\n", 400) if problem else web.Response(status=204)


def _media_refusal(content_type: str) -> str:
    """Return why a Content-Type is not taken, "" if it is. None at all is remote write 1.0."""
    if not content_type:
        return ""
    media, *parameters = content_type.split(";")
    if media.strip().lower() != "application/x-protobuf":
        return (
            "expected application/x-protobuf as the first (media) part, "
            f"got {content_type} content-type"
        )
    for parameter in parameters:
        name, equals, value = parameter.strip().partition("=")
        if not equals:
            return (
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to "
                f"be key-values, got {parameter.strip()} in {content_type} content-type"
            )
        if name == "proto" and value == V2_MESSAGE:
            return (
                f"{V2_MESSAGE} protobuf message is not accepted by this server; "
                f"only accepts {V1_MESSAGE}"
            )
        if name == "proto" and value != V1_MESSAGE:
            return (
                f"got {content_type} content type; unknown remote write protobuf message {value}, "
                f"supported: {V1_MESSAGE}"
            )
    return ""
