"""POST /api/v1/write: remote write 1.0 and 2.0.

From: Prometheus, agents, every program that speaks remote write.
To:   `tsdb.interface.Appender`, in a thread.

A body becomes columns in two kernel passes; no Python object is made for a series or a sample.
What is sound is stored even where something else in the body is not: the reply is then 400 and
names the first refused series, so that no sender repeats the body for ever. As Prometheus does,
series without a name, with a label twice or with broken text are left out, counted and logged,
and the reply stays 204, by 1.0; by 2.0 each is told, and headers count what was written. Exemplars
that storage refuses are complained of by 2.0 alone, as by Prometheus; metadata is stored of 2.0.
"""

from __future__ import annotations

import logging
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
from api.remote_write_v2 import decode_request
from api.replies import text
from api.wire import WireError
from api.write_batch import decode_write_request, refused_series_text, series_text
from promql.float_text import general_text
from tsdb.errors import ClosedError, WriteFailedError
from tsdb.interface import AppendStatus, ExemplarStatus, LabelSpans

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from api.remote_write_extras import Extras
    from api.remote_write_v2 import Request
    from api.write_batch import WriteBatch
    from tsdb.interface import Storage

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

AHEAD_MS_MAX = 600_000
"""Prometheus' own bound on samples from the future."""

RESOLVE_TRIES = 3
"""A series may be collected between resolving and appending; three times running, hardly."""

PROBLEMS_MAX = 10
"""So many refusals of a kind are told in one reply."""

EXEMPLAR_PROBLEM = "out of order exemplar"

LOG_INTERVAL_S = 30.0
"""Refused series are logged at most so often: a sender repeats its mistake with every body."""

V1_MESSAGE = "prometheus.WriteRequest"
V2_MESSAGE = "io.prometheus.write.v2.Request"

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

    def __init__(self, appender: Storage, now: Callable[[], float]) -> None:
        self._appender, self._now = appender, now
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
                request = decode_request(plain)
                batch, extras = request.batch, request.extras
            else:
                batch = decode_write_request(plain)
                extras = read_extras(plain) if batch.exemplars or batch.histograms else None
        except (BodyError, WireError):
            self._count(WriteStats(requests=1, failed_requests=1))
            raise
        refs, statuses = self._append(batch)
        bad = np.flatnonzero(statuses > AppendStatus.DUPLICATE)
        # By 1.0 a sender hears nothing of these; by 2.0 it hears of whatever is not written.
        repeated = _repeated(refs, batch.times_ms, statuses) if request is None else bad[:0]
        told = np.setdiff1d(bad, repeated)
        problems = [
            _refusal(batch, sample, AppendStatus(int(statuses[sample])))
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
            if request.metadata:
                self._appender.append_metadata(request.metadata)
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
                metadata_ignored=batch.metadata if request is None else 0,
            )
        )
        self._log(batch if request is None else None, problem)
        return WriteOutcome(problem, stored, more.histograms, more.exemplars)

    def _append_extras(self, extras: Extras) -> tuple[WriteStats, list[str]]:
        """Store exemplars and histograms; return the counts, and the refusals' texts."""
        labels, problems = extras.labels, [extras.problem] if extras.problem else []
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
            for each in bad[:PROBLEMS_MAX].tolist():
                reason = _REASONS[AppendStatus(int(statuses[each]))].format(
                    time=times_ms[each], value="(a histogram)"
                )
                problems.append(f"{reason} for series {series_text(labels, int(series[each]))}")
        if extras.exemplar_values:
            # After the samples: their series are there by now.
            found = self._appender.append_exemplars(
                refs[np.array(extras.exemplar_series, dtype=np.int64)],
                np.array(extras.exemplar_times, dtype=np.int64),
                np.array(extras.exemplar_values, dtype=np.float64),
                LabelSpans.from_labels(extras.exemplar_labels),
            )
            kept = int(np.count_nonzero(found <= ExemplarStatus.DUPLICATE))
            late = np.flatnonzero(found == ExemplarStatus.OUT_OF_ORDER)[:PROBLEMS_MAX].tolist()
            problems += [
                f"{EXEMPLAR_PROBLEM} for series {series_text(labels, extras.exemplar_series[each])}"
                for each in late
            ]
        return WriteStats(
            invalid_labels_samples=extras.unnamed,
            exemplars=kept,
            exemplars_ignored=len(extras.exemplar_values) - kept,
            histograms=stored,
            histograms_refused=refused + extras.refused,
        ), problems

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
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return text(f"request body is larger than {BODY_BYTES_MAX} bytes\n", 413)
    try:
        outcome = await parts.gate.write(
            lambda: parts.writes.receive(bytes(body), encoding, message)
        )
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
