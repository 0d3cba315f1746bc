"""GET /federate: the newest sample of each selected series, as a scrape sees them.

From: `routes.py`.   To: `tsdb.interface.SeriesReader`, in a thread; `federation_writer.py`.
Source: Prometheus documentation, federation; the answers of 3.5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from api.exposition_form import Form, Syntax, negotiate
from api.federation_writer import INSTANCE, NewestSamples, write
from api.params import read_form, selector
from api.parts import PARTS
from api.replies import text, whole
from promql.errors import ParseError
from promql.labels import QuerySymbols, SeriesLabels
from tsdb.interface import METRIC_NAME, Matcher, Selection
from tsdb.staleness import is_stale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from tsdb.interface import SeriesBatch, SeriesReader

TEXT = Form(Syntax.TEXT)


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
    wanted = negotiate(request.headers.get("Accept", ""))
    body = await parts.gate.read(
        lambda: exposition(parts.storage, sets, start_ms, end_ms, external, wanted)
    )
    return whole(request, body, content_type=wanted.content_type)


def exposition(
    reader: SeriesReader,
    matcher_sets: Sequence[tuple[Matcher, ...]],
    start_ms: int,
    end_ms: int,
    external_labels: Mapping[str, str],
    form: Form = TEXT,
) -> bytes:
    """Return the newest samples in [start_ms, end_ms], families sorted, stale series left out."""
    selections = [Selection(matchers, start_ms, end_ms) for matchers in matcher_sets]
    batches = reader.select(selections) if selections else []
    found = [_newest(batch, QuerySymbols(batch.labels.symbols)) for batch in batches[:1]]
    for batch in batches[1:]:
        found.append(_newest(batch, found[0].labels.symbols))
    samples = _joined(found) if found else None
    if samples is None:
        samples = _none()
    return write(_with_external(samples, external_labels), form)


def _none() -> NewestSamples:
    labels = SeriesLabels.empty(0, QuerySymbols(None))
    nothing = np.empty(0, dtype=np.int64)
    return NewestSamples(labels, nothing, np.empty(0), nothing, nothing, ())


def _newest(batch: SeriesBatch, symbols: QuerySymbols) -> NewestSamples:
    """Return the newest sample of each named series where it is not stale."""
    times = np.full(batch.count.size, np.iinfo(np.int64).min)
    values = np.full(batch.count.size, np.nan)
    some = batch.count > 0
    times[some] = batch.times[(batch.time_start + batch.count - 1)[some]]
    values[some] = batch.values[(batch.value_start + batch.count - 1)[some]]
    shown = some & ~is_stale(values)
    row = np.full(batch.count.size, -1)
    runs = batch.histograms
    if runs is not None and runs.times.size:
        last = np.maximum(runs.start + runs.count - 1, 0)
        newer = (runs.count > 0) & (runs.times[last] > times)
        row[newer], times[newer] = last[newer], runs.times[last[newer]]
        shown[newer] = ~is_stale(runs.columns.sum[last[newer]])
    labels = SeriesLabels.from_columns(batch.labels, symbols)
    shown &= labels.column(METRIC_NAME) != 0
    pools = () if runs is None else (runs.columns,)
    pool = np.where(row >= 0, 0, -1)
    return NewestSamples(labels, times, values, pool, row, pools).take(np.flatnonzero(shown))


def _joined(parts: Sequence[NewestSamples]) -> NewestSamples:
    """Return the samples of all selections; a series that several select comes once."""
    labels, pools, pool = parts[0].labels, [*parts[0].pools], [parts[0].pool]
    for part in parts[1:]:
        labels = labels.concat(part.labels)
        pool.append(np.where(part.pool >= 0, part.pool + len(pools), -1))
        pools += part.pools
    whole_set = NewestSamples(
        labels,
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate(pool),
        np.concatenate([part.row for part in parts]),
        pools,
    )
    return whole_set if len(parts) == 1 else whole_set.take(labels.group()[1])


def _with_external(samples: NewestSamples, external_labels: Mapping[str, str]) -> NewestSamples:
    """Add the external labels where a series has none of the name, and a column of instances."""
    labels = samples.labels
    for name, value in external_labels.items():
        column = labels.column(name)
        added = np.uint32(labels.symbols.intern(value))
        labels = labels.with_column(name, np.where(column == 0, added, column))
    if INSTANCE not in labels.names:
        labels = labels.aligned(tuple(sorted((*labels.names, INSTANCE))))
    return NewestSamples(
        labels, samples.times, samples.values, samples.pool, samples.row, samples.pools
    )
