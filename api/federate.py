"""GET /federate: the newest sample of each selected series, in text format.

From: `routes.py`.   To: `tsdb.interface.SeriesReader`, in a thread.
Source: Prometheus documentation, federation; the answers of 3.5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from api.params import read_form, selector
from api.parts import PARTS
from api.replies import text, whole
from promql.errors import ParseError
from promql.float_text import general_text
from tsdb.interface import METRIC_NAME, Matcher, Selection
from tsdb.staleness import is_stale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from tsdb.interface import SeriesBatch, SeriesReader

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"


async def federate(request: web.Request) -> web.Response:
    """Answer /federate."""
    parts, form = request.app[PARTS], await read_form(request)
    try:
        sets = [selector(match) for match in form.all("match[]")]
    except ParseError as error:
        return text(f"{error}\n", 400)
    end_ms = parts.now_ms
    start_ms = end_ms - parts.options.lookback_ms + 1
    external = parts.options.external_labels
    body = await parts.gate.call(
        lambda: exposition(parts.storage, sets, start_ms, end_ms, external)
    )
    return whole(request, body, content_type=CONTENT_TYPE)


def exposition(
    reader: SeriesReader,
    matcher_sets: Sequence[tuple[Matcher, ...]],
    start_ms: int,
    end_ms: int,
    external_labels: Mapping[str, str],
) -> bytes:
    """Return the newest samples in [start_ms, end_ms], sorted, stale series left out."""
    if not matcher_sets:
        return b""
    selections = [Selection(matchers, start_ms, end_ms) for matchers in matcher_sets]
    found: dict[tuple[tuple[str, str], ...], tuple[int, float]] = {}
    for batch in reader.select(selections):
        for labels, sample in _newest(batch):
            found.setdefault(tuple(sorted(labels.items())), sample)
    lines: list[str] = []
    last_name = None
    # By name first: a family must stand together.
    for pairs, (time_ms, value) in sorted(
        found.items(), key=lambda item: (dict(item[0]).get(METRIC_NAME, ""), item[0])
    ):
        labels = dict(pairs)
        name = labels.pop(METRIC_NAME, "")
        if not name:
            continue
        labels = {"instance": "", **external_labels, **labels}
        if name != last_name:
            lines.append(f"# TYPE {underscored(name)} untyped")
            last_name = name
        shown = ",".join(
            f'{underscored(label)}="{_escaped(labels[label])}"' for label in sorted(labels)
        )
        lines.append(f"{underscored(name)}{{{shown}}} {general_text(value)} {time_ms}")
    return "".join(f"{line}\n" for line in lines).encode()


def _newest(batch: SeriesBatch) -> list[tuple[dict[str, str], tuple[int, float]]]:
    """Return labels, time and value of each series whose newest sample is a float, not stale.

    Text has no form for native histograms: a series whose newest sample is one is left out.
    """
    series = np.flatnonzero(batch.count)
    times = batch.times[(batch.time_start + batch.count - 1)[series]]
    values = batch.values[(batch.value_start + batch.count - 1)[series]]
    shown = ~is_stale(values)
    runs = batch.histograms
    if runs is not None and runs.times.size:
        some = runs.count[series] > 0
        last = runs.times[np.maximum(runs.start + runs.count - 1, 0)[series]]
        shown &= ~some | (last < times)
    return [
        (batch.labels.row(int(series[at])), (int(times[at]), float(values[at])))
        for at in np.flatnonzero(shown).tolist()
    ]


def underscored(name: str) -> str:
    """Return a name as readers of the old alphabet can take it.

    >>> underscored("http.status"), underscored("up"), underscored("0a")
    ('http_status', 'up', '_a')
    """
    if name.isascii() and name.replace(":", "_").isidentifier():
        return name
    return "".join(
        char
        if char.isascii() and (char.isalpha() or char in "_:" or (char.isdigit() and place))
        else "_"
        for place, char in enumerate(name)
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
