"""POST /api/v1/import/prometheus: text in Prometheus' exposition formats, pushed.

From: whatever writes such text, and the tools of VictoriaMetrics, whose endpoint this is.
To:   `import_receiver.py`.

The scraper's kernels read it. A body that they refuse is halved until what is wrong stands alone,
so that a bad line costs nothing but itself. Samples without timestamps are of now, or of the
parameter `timestamp` (milliseconds); `extra_label=name=value` sets a label of all series.
Source: VictoriaMetrics documentation; Prometheus text formats.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import web

from api.receivers.import_lines import TIME_MS_MAX, Batch, Import
from api.receivers.import_receiver import extra_labels, receive
from api.receivers.push_requests import PushRefusedError
from api.receivers.pushing import Pushed
from scraper.exposition import parse
from scraper.job import ScrapeJob
from scraper.labelling import Labelling
from scraper.media_type import OPENMETRICS
from scraper.metadata import TargetMetadata
from scraper.new_series import NewSeries, find_new
from scraper.relabel import CompiledRules
from scraper.tokens import ParseError
from tsdb.interface import LabelSpans, MetricMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

_MILLISECONDS = re.compile(r"-?\d{1,18}", re.ASCII)


def read_text(
    body: bytes, time_ms: int, labels: Mapping[str, str], *, openmetrics: bool = False
) -> Import:
    """Return what a text says; `time_ms` is that of samples without a time."""
    found = Import()
    pending = [(body, 1)]
    while pending:
        text, line = pending.pop()
        try:
            _read_whole(text, line, time_ms, labels, found, openmetrics=openmetrics)
        except ParseError as error:
            middle = -1 if openmetrics else _middle(text)
            if middle < 0:
                found.faults.add(line, str(error))
                continue
            pending.append((text[middle:], line + text.count(b"\n", 0, middle)))
            pending.append((text[:middle], line))
    return found


def _middle(text: bytes) -> int:
    """Return where a line begins near the middle of a text, -1 if there is but one line."""
    middle = text.rfind(b"\n", 0, len(text) // 2) + 1 or text.find(b"\n") + 1
    return middle if 0 < middle < len(text) else -1


def _read_whole(
    text: bytes,
    line: int,
    time_ms: int,
    labels: Mapping[str, str],
    found: Import,
    *,
    openmetrics: bool,
) -> None:
    """Read a text of which all is good. Raises ParseError."""
    metadata = TargetMetadata()
    exposition = parse(text, openmetrics=openmetrics, metadata=metadata)
    new = find_new(exposition, _labelling(labels), metadata, np.empty(0, dtype=np.int64))
    exposition.teach(metadata)
    for family, said in metadata.families.items():
        found.metadata[family] = MetricMetadata(family, said.type, said.unit, said.help)
    times = np.where(exposition.explicit, exposition.times_ms, time_ms)

    def batch(spans: LabelSpans, chosen: Mask) -> Batch:
        """Return the samples of the texts `chosen`, bool[K], whose labels are `spans`."""
        place = np.cumsum(chosen) - 1
        inside = chosen[new.numbers]
        samples = new.samples[inside]
        starts = exposition.spans[0, samples]
        return Batch(
            Pushed(
                labels=spans,
                times_ms=np.ascontiguousarray(times[samples]),
                values=np.ascontiguousarray(exposition.values[samples]),
                series_of=place[new.numbers[inside]],
            ),
            lambda sample: line + text.count(b"\n", 0, int(starts[sample])),
        )

    found.batches += _batches(new, batch)


def _batches(
    new: NewSeries,
    batch: Callable[[LabelSpans, Mask], Batch],
) -> list[Batch]:
    made = []
    if new.spans is not None:
        made.append(batch(new.spans, new.kept & new.plain))
    if new.others:
        made.append(batch(LabelSpans.from_labels(new.others), new.kept & ~new.plain))
    return made


def _labelling(labels: Mapping[str, str]) -> Labelling:
    """Return a labelling that sets some labels, whatever a series says."""
    job = ScrapeJob("import")
    if not labels:
        return Labelling(job, {}, CompiledRules((), by_metric_name=True))

    def put(held: dict[str, str]) -> bool:
        held.update(labels)
        return True

    return Labelling(job, {}, CompiledRules((put,)))


def _default_time(request: web.Request) -> int | None:
    text = request.query.get("timestamp", "")
    if not text:
        return None
    if _MILLISECONDS.fullmatch(text) is None or abs(int(text)) >= TIME_MS_MAX:
        raise PushRefusedError(f"timestamp must be milliseconds, got {text!r}", 400)
    return int(text)


async def import_text(request: web.Request) -> web.Response:
    """Answer /api/v1/import/prometheus."""
    openmetrics = request.headers.get("Content-Type", "").startswith(OPENMETRICS)
    try:
        labels, given_ms = extra_labels(request), _default_time(request)
        outcome = await receive(
            request,
            "prometheus",
            lambda body, now_ms: read_text(
                body, now_ms if given_ms is None else given_ms, labels, openmetrics=openmetrics
            ),
        )
    except PushRefusedError as error:
        return error.reply()
    if outcome.dropped:
        return PushRefusedError(outcome.text, 400).reply()
    return web.Response(status=204)
