"""All samples of a store, metric by metric, a bounded number at a time.

From: a database opened for reading. To: `dump.py`, `parquet.py`, `prometheus/exporting.py`.
Metrics come in order of their names, series of a metric in series order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import re2

from tsdb.errors import TooManySamplesError
from tsdb.interface import METRIC_NAME, Matcher, MatchOp, Selection
from tsdb.series_order import series_order
from tsdb.tombstones import take_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tsdb.interface import SeriesBatch, SeriesReader

    Matchers = Sequence[Matcher]

BATCH_SAMPLES_MAX = 4_000_000


def stored_batches(
    reader: SeriesReader,
    matcher_sets: Sequence[Matchers],
    start_ms: int,
    end_ms: int,
    *,
    samples_max: int = BATCH_SAMPLES_MAX,
) -> Iterator[SeriesBatch]:
    """Yield the series that satisfy any of the sets, each once; no sets means all.

    A batch has at most `samples_max` samples, but a series is never cut. Raises as
    `SeriesReader.select`.
    """
    sets = [tuple(each) for each in matcher_sets] or [()]
    for metric in [
        "",
        *reader.label_values(METRIC_NAME, sets if sets != [()] else [], start_ms, end_ms),
    ]:
        named = Matcher(METRIC_NAME, MatchOp.EQUAL, metric)
        seen: set[tuple[tuple[str, str], ...]] = set()
        for matchers in sets:
            for batch in _bounded(reader, (*matchers, named), start_ms, end_ms, samples_max):
                fresh = batch if len(sets) == 1 else _unseen(batch, seen)
                if fresh.series_count:
                    yield take_series(fresh, series_order(fresh.labels))


def _unseen(batch: SeriesBatch, seen: set[tuple[tuple[str, str], ...]]) -> SeriesBatch:
    """Return the series that no earlier set had."""
    keys = [tuple(batch.labels.row(s).items()) for s in range(batch.series_count)]
    fresh = np.array([s for s, key in enumerate(keys) if key not in seen], np.int64)
    seen.update(keys)
    return take_series(batch, fresh)


def _bounded(
    reader: SeriesReader, matchers: Matchers, start_ms: int, end_ms: int, samples_max: int
) -> Iterator[SeriesBatch]:
    selection = Selection(tuple(matchers), start_ms, end_ms, start_times=True)
    try:
        yield reader.select([selection], samples_max=samples_max)[0]
        return
    except TooManySamplesError:
        labels = reader.series([matchers], start_ms, end_ms)
    counts = [np.unique(column).size for column in labels.ids]
    if not counts or max(counts) < 2:
        # One series that is longer than a batch should be: there is nothing to cut it by.
        yield reader.select([selection])[0]
        return
    widest = counts.index(max(counts))
    symbols = np.unique(labels.ids[widest])
    texts = sorted(labels.symbols.texts(symbols))
    for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :]):
        pattern = "|".join(re2.escape(text) for text in half)
        chosen = Matcher(labels.names[widest], MatchOp.MATCHES, pattern)
        kept = [m for m in matchers if not (m.name == chosen.name and m.op is MatchOp.MATCHES)]
        # Of nested halves the innermost says it all, unless the user asked by that label as well.
        narrowed = (*(matchers if len(kept) == len(matchers) else kept), chosen)
        yield from _bounded(reader, narrowed, start_ms, end_ms, samples_max)
