"""POST /api/v1/otlp/v1/metrics: metrics as OpenTelemetry sends them.

From: OpenTelemetry SDKs and collectors, by OTLP over HTTP: protobuf or JSON, plain or compressed.
To:   `pushing.py`, in a thread.

By the protocol a request is answered 200 where anything of it was stored, with a count of the data
points that were not; 400 says that all of it is bad, 503 that it is to be sent again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import web

from api.json_text import dumps
from api.parts import PARTS
from api.receivers.body_decoding import OBJECT_BYTES_MAX, decode
from api.receivers.otlp_deltas import DeltaStreams
from api.receivers.otlp_messages import decode_json, decode_protobuf
from api.receivers.otlp_translation import translate
from api.receivers.push_requests import PushRefusedError, pushed
from api.receivers.pushing import PROBLEMS_MAX, refusal_text, refused
from api.receivers.remote_write_extras import columns
from api.replies import text
from api.wire import varint_bytes
from tsdb.interface import LabelSpans

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from api.receivers.otlp_settings import OtlpSettings
    from api.receivers.otlp_translation import Translated
    from api.receivers.pushing import PushAppender

PROTOBUF, JSON = "application/x-protobuf", "application/json"


@dataclass(frozen=True, slots=True)
class OtlpStats:
    """What came in since the start."""

    requests: int = 0
    failed_requests: int = 0
    points: int = 0
    refused_points: int = 0


@dataclass(frozen=True, slots=True)
class OtlpOutcome:
    """What came of a request: its data points, those that were refused, and why."""

    points: int
    refused: int
    problem: str


class OtlpReceiver:
    """Stores requests and counts what came of them. Threads may call it at once."""

    def __init__(self, pushes: PushAppender, settings: Callable[[], OtlpSettings]) -> None:
        self._pushes, self._settings = pushes, settings
        self._deltas = DeltaStreams()
        self._lock = threading.Lock()
        self._stats = OtlpStats()

    def stats(self) -> OtlpStats:
        """Return counts at this moment."""
        return self._stats

    def receive(self, body: bytes, encoding: str, media: str) -> OtlpOutcome:
        """Store one request. Raises BodyError and WireError for one of which nothing was stored."""
        try:
            plain = decode(body, encoding, OBJECT_BYTES_MAX)
            request = decode_json(plain) if media == JSON else decode_protobuf(plain)
            settings = self._settings()
            if settings.accumulate_deltas:
                self._deltas.accumulate(request)
            found = translate(request, settings)
        except Exception:
            self._count(OtlpStats(requests=1, failed_requests=1))
            raise
        outcome = self._store(found)
        failed = 1 if outcome.points and outcome.refused == outcome.points else 0
        self._count(OtlpStats(1, failed, outcome.points - outcome.refused, outcome.refused))
        return outcome

    def _store(self, found: Translated) -> OtlpOutcome:
        problems, bad_points = found.problems, set()
        batch = found.pushed()
        points = np.array(found.points, dtype=np.int64)
        _, statuses = self._pushes.floats(batch, _starts(found.starts_ms))
        # `target_info` is said again and again, by each body that a resource is in.
        bad = [sample for sample in refused(statuses).tolist() if points[sample] >= 0]
        bad_points.update(points[bad].tolist())
        problems += [refusal_text(batch, n, int(statuses[n])) for n in bad[:PROBLEMS_MAX]]
        if found.histograms:
            outcome = self._pushes.histograms(
                batch.labels,
                np.array(found.histogram_series, dtype=np.int64),
                np.array(found.histogram_times, dtype=np.int64),
                columns(found.histograms),
                _starts(found.histogram_starts_ms),
            )
            problems += outcome.problems
            bad_points.update(found.histogram_points[n] for n in outcome.refused_numbers)
        if found.exemplar_values:
            # As in Prometheus an exemplar that is not taken is no reason to complain.
            self._pushes.exemplars(
                batch.labels,
                np.array(found.exemplar_series, dtype=np.int64),
                np.array(found.exemplar_times, dtype=np.int64),
                np.array(found.exemplar_values, dtype=np.float64),
                LabelSpans.from_labels(found.exemplar_labels),
            )
        if found.metadata:
            self._pushes.storage.append_metadata(list(found.metadata.values()))
        return OtlpOutcome(
            found.point_count,
            len(bad_points) + found.dropped,
            "; ".join(problems[:PROBLEMS_MAX]),
        )

    def _count(self, more: OtlpStats) -> None:
        with self._lock:
            old = self._stats
            self._stats = OtlpStats(
                old.requests + more.requests,
                old.failed_requests + more.failed_requests,
                old.points + more.points,
                old.refused_points + more.refused_points,
            )


def _starts(starts_ms: list[int]) -> npt.NDArray[np.int64] | None:
    """Return when counting began, None where nobody says so of any sample."""
    return np.array(starts_ms, dtype=np.int64) if any(starts_ms) else None


OTLP: web.AppKey[OtlpReceiver] = web.AppKey("OTLP", OtlpReceiver)


async def metrics(request: web.Request) -> web.Response:
    """Answer /api/v1/otlp/v1/metrics."""
    parts = request.app[PARTS]
    if not parts.options.enable_otlp_receiver:
        return text(
            "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n", 404
        )
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media not in (PROTOBUF, JSON):
        return text(f"unsupported content type: {media}, supported: [{JSON}, {PROTOBUF}]\n", 415)
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    try:
        outcome = await pushed(
            request, lambda body: request.app[OTLP].receive(body, encoding, media)
        )
    except PushRefusedError as error:
        return _failed(str(error), error.status, media, error.headers)
    if outcome.refused and outcome.refused == outcome.points:
        return _failed(outcome.problem, 400, media, {})
    return _done(outcome, media)


def _done(outcome: OtlpOutcome, media: str) -> web.Response:
    """Return an ExportMetricsServiceResponse; without refusals and warnings it is empty."""
    if media == JSON:
        told = {}
        if outcome.refused or outcome.problem:
            told["partialSuccess"] = {
                "rejectedDataPoints": str(outcome.refused),
                "errorMessage": outcome.problem,
            }
        return web.Response(body=dumps(told), content_type=JSON)
    message = b""
    if outcome.refused or outcome.problem:
        problem = outcome.problem.encode()
        message = b"\x08" + varint_bytes(outcome.refused)
        message += b"\x12" + varint_bytes(len(problem)) + problem
        message = b"\x0a" + varint_bytes(len(message)) + message
    return web.Response(body=message, content_type=PROTOBUF)


def _failed(problem: str, status: int, media: str, headers: dict[str, str]) -> web.Response:
    """Return a google.rpc.Status, as OTLP has it for failures."""
    code = {400: 3, 415: 3, 413: 8, 503: 14}.get(status, 13)
    if media == JSON:
        body = dumps({"code": code, "message": problem})
    else:
        encoded = problem.encode()
        body = b"\x08" + varint_bytes(code) + b"\x12" + varint_bytes(len(encoded)) + encoded
    return web.Response(body=body, status=status, content_type=media, headers=headers)
