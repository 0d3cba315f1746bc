"""POST /api/v1/write: remote write 1.0 and 2.0.

From: Prometheus, agents, every program that speaks remote write.
To:   `tsdb.interface.Appender`, in a thread.

A body becomes columns in two kernel passes; no Python object is made for a series or a sample. One
of 1.0 whose series all came before takes a single pass, see `known_series.py`.
What is sound is stored even where something else in the body is not: the reply is then 400 and
names the first refused series, so that no sender repeats the body for ever. As Prometheus does,
series without a name, with a label twice or with broken text are left out, counted and logged,
and the reply stays 204, by 1.0; by 2.0 each is told, and headers count what was written. Exemplars
that storage refuses are complained of by 2.0 alone, as by Prometheus.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import web

from api.parts import PARTS
from api.receivers.body_decoding import (
    BodyError,
    decode,
)
from api.receivers.known_series import KnownSeries
from api.receivers.metadata_memo import MetadataMemo
from api.receivers.push_requests import PushRefusedError, pushed
from api.receivers.pushing import (
    EXEMPLAR_PROBLEM,
    PROBLEMS_MAX,
    Outcome,
    refusal_text,
    refused,
)
from api.receivers.remote_write_extras import columns, read_extras
from api.receivers.remote_write_metadata import read_metadata
from api.receivers.remote_write_v2 import decode_request
from api.receivers.write_batch import decode_write_request, refused_series_text
from api.replies import text
from api.wire import WireError
from tsdb.interface import AppendStatus, LabelSpans

if TYPE_CHECKING:
    import numpy.typing as npt

    from api.receivers.known_series import KnownSamples
    from api.receivers.pushing import PushAppender
    from api.receivers.remote_write_extras import Extras
    from api.receivers.remote_write_v2 import Request
    from api.receivers.write_batch import WriteBatch
    from tsdb.interface import MetricMetadata

    Ints = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0
"""Refused series are logged at most so often: a sender repeats its mistake with every body."""

V1_MESSAGE = "prometheus.WriteRequest"
V2_MESSAGE = "io.prometheus.write.v2.Request"


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


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What came of one body: the text of what was refused, "" if nothing was, and the stored."""

    problem: str
    samples: int
    histograms: int
    exemplars: int

    def headers(self) -> dict[str, str]:
        """Return what a sender of 2.0 is told."""
        return {
            "X-Prometheus-Remote-Write-Samples-Written": str(self.samples),
            "X-Prometheus-Remote-Write-Histograms-Written": str(self.histograms),
            "X-Prometheus-Remote-Write-Exemplars-Written": str(self.exemplars),
        }


class WriteReceiver:
    """Stores bodies and counts what came of them. Threads may call it at once."""

    def __init__(self, pushes: PushAppender) -> None:
        self._pushes = pushes
        self._memo = MetadataMemo()
        self._known = KnownSeries()
        self._lock = threading.Lock()
        self._stats = WriteStats()
        self._logged_s = float("-inf")

    def stats(self) -> WriteStats:
        """Return counts at this moment."""
        return self._stats

    def receive(self, body: bytes, encoding: str, message: str = V1_MESSAGE) -> WriteOutcome:
        """Store one body, of the given protobuf message.

        Raises BodyError and WireError for a body of which nothing was stored.
        """
        request: Request | None = None
        try:
            plain = decode(body, encoding)
            if message == V2_MESSAGE:
                request = decode_request(plain, self._memo)
                batch, extras, metadata = request.batch, request.extras, request.metadata
            else:
                known = self._known.read(plain)
                if known is not None:
                    return self._store_known(known, plain)
                batch = decode_write_request(plain)
                extras = read_extras(plain) if batch.exemplars or batch.histograms else None
                metadata = read_metadata(plain) if batch.metadata else []
        except (BodyError, WireError):
            self._count(WriteStats(requests=1, failed_requests=1))
            raise
        try:
            refs, statuses = self._pushes.floats(batch, batch.start_times_ms)
            if request is None and not batch.refused.size:
                starts = np.searchsorted(batch.series_of, np.arange(batch.labels.series_count))
                self._known.learn(plain, refs[starts])
            return self._finish(batch, refs, statuses, extras, metadata, request)
        except BaseException:
            self._memo.forget()
            raise

    def _store_known(self, known: KnownSamples, plain: bytes) -> WriteOutcome:
        """Store floats of series that came before; their labels are read for complaints alone."""
        pushes, refs = self._pushes, known.refs
        statuses = pushes.storage.append(
            refs, known.times_ms, known.values, time_max_ms=pushes.time_max_ms
        )
        if not refused(statuses).size:
            self._count(WriteStats(requests=1, samples=int(statuses.size)))
            return WriteOutcome("", int(statuses.size), 0, 0)
        batch = decode_write_request(plain)
        if (statuses == AppendStatus.UNKNOWN_SERIES).any():
            self._known.forget()
            refs, statuses = pushes.again(refs, statuses, batch)
        return self._finish(batch, refs, statuses, None, [], None)

    def _finish(
        self,
        batch: WriteBatch,
        refs: Ints,
        statuses: npt.NDArray[np.uint8],
        extras: Extras | None,
        metadata: list[MetricMetadata],
        request: Request | None,
    ) -> WriteOutcome:
        """Store what comes after the floats, and say what became of all; `request`: of 2.0."""
        told = bad = refused(statuses)
        if bad.size and request is None:
            # By 1.0 a sender hears nothing of these; by 2.0 it hears of whatever is not written.
            told = np.setdiff1d(bad, _repeated(refs, batch.times_ms, statuses))
        problems = [
            refusal_text(batch, sample, int(statuses[sample]))
            for sample in told[: 1 if request is None else PROBLEMS_MAX].tolist()
        ]
        if told.size > len(problems):
            problems[-1] += f" (and {told.size - len(problems)} more samples)"
        more = WriteStats()
        if extras is not None:
            more, trouble = self._append_extras(extras)
            if request is not None:
                problems += trouble
            elif not problems:
                problems = [each for each in trouble if not each.startswith(EXEMPLAR_PROBLEM)][:1]
        if request is not None:
            problems += request.problems[:PROBLEMS_MAX]
        if metadata:
            self._pushes.storage.append_metadata(metadata)
        problem = "\n".join(problems)
        stored = int(statuses.size - bad.size)
        self._count(
            WriteStats(
                requests=1,
                failed_requests=1 if problem else 0,
                samples=stored,
                refused_samples=int(bad.size),
                invalid_labels_samples=batch.refused_samples + more.invalid_labels_samples,
                exemplars=more.exemplars,
                exemplars_ignored=more.exemplars_ignored,
                histograms=more.histograms,
                histograms_refused=more.histograms_refused,
            )
        )
        self._log(batch if request is None else None, problem)
        return WriteOutcome(problem, stored, more.histograms, more.exemplars)

    def _append_extras(self, extras: Extras) -> tuple[WriteStats, list[str]]:
        """Store exemplars and histograms; return the counts, and the refusals' texts."""
        labels, problems = extras.labels, [extras.problem] if extras.problem else []
        histograms, exemplars = Outcome(), Outcome()
        if extras.histograms:
            histograms = self._pushes.histograms(
                labels,
                np.array(extras.histogram_series, dtype=np.int64),
                np.array(extras.histogram_times, dtype=np.int64),
                columns(extras.histograms),
                np.array([each.start_ms for each in extras.histograms], dtype=np.int64),
            )
        if extras.exemplar_values:
            exemplars = self._pushes.exemplars(
                labels,
                np.array(extras.exemplar_series, dtype=np.int64),
                np.array(extras.exemplar_times, dtype=np.int64),
                np.array(extras.exemplar_values, dtype=np.float64),
                LabelSpans.from_labels(extras.exemplar_labels),
            )
        return WriteStats(
            invalid_labels_samples=extras.unnamed,
            exemplars=exemplars.stored,
            exemplars_ignored=exemplars.refused,
            histograms=histograms.stored,
            histograms_refused=histograms.refused + extras.refused,
        ), problems + histograms.problems + exemplars.problems

    def _count(self, more: WriteStats) -> None:
        with self._lock:
            self._stats = WriteStats(*map(add, _numbers(self._stats), _numbers(more)))

    def _log(self, batch: WriteBatch | None, problem: str) -> None:
        """Log, not too often; of a batch also the refused series, which its sender is not told."""
        refused = 0 if batch is None else len(batch.refused)
        if not problem and not refused:
            return
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._logged_s < LOG_INTERVAL_S:
                return
            self._logged_s = now_s
        if batch is not None and refused:
            logger.warning(
                "remote write: left out %d series with invalid labels, the first is %s",
                refused,
                refused_series_text(batch, 0),
            )
        if problem:
            logger.warning("remote write: %s", problem)


_numbers = attrgetter(*(field.name for field in fields(WriteStats)))


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


WRITES: web.AppKey[WriteReceiver] = web.AppKey("WRITES", WriteReceiver)


async def write(request: web.Request) -> web.Response:
    """Answer /api/v1/write."""
    parts = request.app[PARTS]
    if not parts.options.enable_remote_write_receiver:
        return text(
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n",
            404,
        )
    try:
        message = _message_of_type(request.headers.get("Content-Type", ""))
        if message not in parts.options.remote_write_messages:
            raise _MediaTypeError(
                f"{message} protobuf message is not accepted by this server; "
                f"only accepts {', '.join(parts.options.remote_write_messages)}"
            )
    except _MediaTypeError as error:
        return text(f"{error}\n", 415)
    # Prometheus takes a missing encoding for snappy.
    encoding = request.headers.get("Content-Encoding", "") or "snappy"
    try:
        outcome = await pushed(
            request, lambda body: request.app[WRITES].receive(body, encoding, message)
        )
    except PushRefusedError as error:
        return error.reply()
    reply = text(f"{outcome.problem}\n", 400) if outcome.problem else web.Response(status=204)
    if message == V2_MESSAGE:
        reply.headers.update(outcome.headers())
    return reply


class _MediaTypeError(Exception):
    """A Content-Type that is not taken; `str()` is the client's text."""


def _message_of_type(content_type: str) -> str:
    """Return the protobuf message a Content-Type names. None at all is remote write 1.0."""
    if not content_type:
        return V1_MESSAGE
    media, *parameters = content_type.split(";")
    if media.strip().lower() != "application/x-protobuf":
        raise _MediaTypeError(
            "expected application/x-protobuf as the first (media) part, "
            f"got {content_type} content-type"
        )
    for parameter in parameters:
        name, equals, value = parameter.strip().partition("=")
        if not equals:
            raise _MediaTypeError(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to "
                f"be key-values, got {parameter.strip()} in {content_type} content-type"
            )
        if name == "proto":
            if value not in (V1_MESSAGE, V2_MESSAGE):
                raise _MediaTypeError(
                    f"got {content_type} content type; unknown remote write protobuf message "
                    f"{value}, supported: {V1_MESSAGE}, {V2_MESSAGE}"
                )
            return value
    return V1_MESSAGE
