"""Native histograms as plain tuples, ways into and out of columns, and a model with both kinds.

A histogram is `(schema, hint, is_float, count, sum, zero_threshold, zero_count, positive, negative,
bounds)`; floats are their bits, buckets are tuples of (index, bits), so that equal means equal.
The model is `{labels: {time: bits of a float, or a histogram}}`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from tests.tsdb.block_models import bits, from_batch, label_sets, to_batch
from tsdb.histograms.columns import take_series
from tsdb.interface import (
    CUSTOM_BUCKETS_SCHEMA,
    HistogramColumns,
    HistogramRuns,
    ResetHint,
    SeriesBatch,
)
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tsdb.symbols import SymbolTable

Histogram = tuple
UNKNOWN, RESET, NOT_RESET, GAUGE = ResetHint
STALE = int(STALE_NAN.view(np.uint64))


def to_columns(histograms: Iterable[Histogram]) -> HistogramColumns:
    rows = list(histograms)

    def words(numbers) -> np.ndarray:
        return np.array(list(numbers), dtype=np.uint64).view(np.float64)

    def buckets(at: int):
        start = np.cumsum([0, *(len(row[at]) for row in rows)]).astype(np.int64)
        index = np.array([i for row in rows for i, _ in row[at]], dtype=np.int32)
        return start, index, words(word for row in rows for _, word in row[at])

    bounds_count = np.array([len(row[9]) for row in rows], dtype=np.int64)
    return HistogramColumns(
        np.array([row[0] for row in rows], dtype=np.int8),
        np.array([row[1] for row in rows], dtype=np.int8),
        np.array([row[2] for row in rows], dtype=np.bool_),
        *(words(row[at] for row in rows) for at in (3, 4, 5, 6)),
        *buckets(7),
        *buckets(8),
        np.cumsum(bounds_count) - bounds_count,
        bounds_count,
        words(word for row in rows for word in row[9]),
    )


def to_histogram(columns: HistogramColumns, at: int) -> Histogram:
    def run(start, index, count):
        low, high = int(start[at]), int(start[at + 1])
        assert (np.diff(index[low:high].astype(np.int64)) > 0).all()
        return tuple(
            zip(index[low:high].tolist(), count[low:high].view(np.uint64).tolist(), strict=True)
        )

    first = int(columns.bounds_start[at])
    bounds = columns.bounds[first : first + int(columns.bounds_count[at])]
    return (
        int(columns.schema[at]),
        int(columns.hint[at]),
        bool(columns.is_float[at]),
        *(
            bits(getattr(columns, name)[at])
            for name in ("count", "sum", "zero_threshold", "zero_count")
        ),
        run(columns.positive_start, columns.positive_index, columns.positive_count),
        run(columns.negative_start, columns.negative_index, columns.negative_count),
        tuple(bounds.view(np.uint64).tolist()),
    )


def to_mixed_batch(model, symbols: SymbolTable) -> SeriesBatch:
    """Both kinds as columns; series of histograms only have no floats."""
    model = {labels: samples for labels, samples in model.items() if samples}
    floats = {
        labels: {time: each for time, each in samples.items() if isinstance(each, int)}
        for labels, samples in model.items()
    }
    # `to_batch` leaves out what is empty: such series get a float that is taken away again.
    padded = {labels: samples or {0: 0} for labels, samples in floats.items()}
    batch = to_batch(padded, symbols)
    count = np.array([len(samples) for samples in floats.values()], dtype=np.int64)
    rows = [
        [(time, each) for time, each in sorted(samples.items()) if not isinstance(each, int)]
        for samples in model.values()
    ]
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    runs = None
    if sizes.any():
        flat = [pair for row in rows for pair in row]
        runs = HistogramRuns(
            np.array([time for time, _ in flat], dtype=np.int64),
            np.cumsum(sizes) - sizes,
            sizes,
            to_columns(histogram for _, histogram in flat),
        )
    return replace(batch, count=count, histograms=runs)


def from_mixed_batch(batch: SeriesBatch | None):
    """The columns as a model; checks what every batch promises on the way."""
    if batch is None:
        return {}
    runs = batch.histograms
    has_floats = np.flatnonzero(batch.count)
    if runs is None:
        assert has_floats.size == batch.series_count
    only_floats = replace(
        batch,
        labels=replace(batch.labels, ids=batch.labels.ids),
        histograms=None,
    )
    model = {}
    for at in range(batch.series_count):
        t, v, n = (int(c[at]) for c in (batch.time_start, batch.value_start, batch.count))
        times = batch.times[t : t + n]
        assert (np.diff(times) > 0).all()
        words = batch.values[v : v + n].view(np.uint64).tolist()
        samples = dict(zip(times.tolist(), words, strict=True))
        if runs is not None:
            first, size = int(runs.start[at]), int(runs.count[at])
            assert n + size > 0
            assert (np.diff(runs.times[first : first + size]) > 0).all()
            for k in range(first, first + size):
                time = int(runs.times[k])
                assert time not in samples
                samples[time] = to_histogram(runs.columns, k)
        labels = tuple(sorted(batch.labels.row(at).items()))
        assert labels not in model
        model[labels] = samples
    if runs is None:
        assert from_batch(only_floats) == model
    elif batch.series_count:
        assert take_series(runs, np.arange(batch.series_count)) is not None
    return model


def as_stored(model):
    """The model as blocks hold it: of hints only what a writer says of the histogram itself."""
    return {
        labels: {
            time: each if isinstance(each, int) or each[1] != NOT_RESET else hinted(each, UNKNOWN)
            for time, each in samples.items()
        }
        for labels, samples in model.items()
    }


def as_read(model):
    """The model as a query finds it: hints by the plainest reading of what they mean."""
    found = {}
    for labels, samples in model.items():
        found[labels] = {}
        before = None
        for time, each in sorted(samples.items()):
            found[labels][time] = before = each if isinstance(each, int) else _read(each, before)
    return found


def hinted(histogram: Histogram, hint: int) -> Histogram:
    return (histogram[0], int(hint), *histogram[2:])


def _read(each: Histogram, before) -> Histogram:
    if each[4] == STALE:
        return hinted(each, UNKNOWN)
    if each[1] in (RESET, GAUGE):
        return each
    goes_on = (
        before is not None
        and not isinstance(before, int)
        and before[1] != GAUGE
        and before[4] != STALE
        and (each[0], each[2], each[5], each[9]) == (before[0], before[2], before[5], before[9])
        and not any(number(each[at]) < number(before[at]) for at in (3, 6))
        and not any(_falls(dict(each[at]), dict(before[at])) for at in (7, 8))
    )
    return hinted(each, NOT_RESET if goes_on else UNKNOWN)


def _falls(now: dict, before: dict) -> bool:
    return any(
        number(now[index]) < number(word) if index in now else number(word) != 0
        for index, word in before.items()
    )


def number(word: int) -> float:
    return float(np.uint64(word).view(np.float64))


integers = st.one_of(st.integers(0, 50), st.sampled_from([2**53 - 1, 2**31]))
exact = integers.map(bits)
floats = st.one_of(
    st.floats(0, 100).map(bits),
    st.integers(0, 2**64 - 1),
    st.sampled_from([bits(-0.0), bits(float("nan")), int(STALE_NAN.view(np.uint64))]),
)
index_lists = st.one_of(
    st.sampled_from([(), (0, 1, 2, 3), (-3, -2, 5), (1,), (0, 1, 2, 4)]),
    st.lists(st.integers(-(2**31), 2**31 - 1), unique=True, max_size=5).map(sorted).map(tuple),
)
bound_lists = st.sampled_from([(), (1.0,), (0.1, 0.5, 1.0), (0.1, 0.5, 2.0), (-1.0, 0.0)])


@st.composite
def histograms(draw) -> Histogram:
    """Any histogram that columns can hold, sensible or not."""
    is_float = draw(st.booleans())
    number = floats if is_float else exact
    positive = tuple((index, draw(number)) for index in draw(index_lists))
    total = draw(st.one_of(floats, st.just(int(STALE_NAN.view(np.uint64)))))
    hint = draw(st.integers(0, 3))
    if draw(st.integers(0, 3)) == 0:
        bounds = tuple(bits(bound) for bound in draw(bound_lists))
        schema, negative, threshold, zeros = CUSTOM_BUCKETS_SCHEMA, (), 0, 0
    else:
        schema, bounds = draw(st.integers(-4, 8)), ()
        negative = tuple((index, draw(number)) for index in draw(index_lists))
        threshold, zeros = draw(st.sampled_from([0, bits(1e-128), bits(0.001)])), draw(number)
    count = draw(number)
    if not is_float and draw(st.booleans()):
        known = [zeros, *(word for _, word in positive + negative)]
        total_count = sum(float(np.uint64(word).view(np.float64)) for word in known)
        if total_count < 2**53:
            count = bits(total_count)
    return (
        schema, hint, is_float, count, total, threshold, zeros, positive, negative, bounds,
    )  # fmt: skip


@st.composite
def steady_series(draw, times: list[int]) -> dict:
    """Histograms that grow in the same buckets, as those of one process do."""
    first = draw(histograms())
    is_float, number = first[2], floats if first[2] else exact
    result = {}
    for time in times:
        if draw(st.integers(0, 9)) == 0:
            first = draw(histograms())
            is_float, number = first[2], floats if first[2] else exact
        positive = tuple((index, draw(number)) for index, _ in first[7])
        result[time] = (*first[:3], draw(number), draw(floats), *first[5:7], positive, *first[8:])
        assert result[time][2] is is_float
    return result


@st.composite
def mixed_models(draw, *, low: int = 0, high: int = 400, max_series: int = 6):
    """A few series: of floats, of histograms, of both."""
    model = {}
    words = st.one_of(st.integers(0, 20).map(bits), st.integers(0, 2**64 - 1))
    scrapes = sorted(draw(st.sets(st.integers(low, high - 1), min_size=1, max_size=10)))
    for labels in draw(st.lists(label_sets, unique=True, max_size=max_series)):
        kind = draw(st.sampled_from(["floats", "histograms", "any"]))
        times = scrapes
        if draw(st.booleans()):
            times = sorted(draw(st.sets(st.integers(low, high - 1), max_size=8)))
        if kind == "floats":
            model[labels] = {time: draw(words) for time in times}
        elif kind == "histograms":
            model[labels] = draw(steady_series(times))
        else:
            model[labels] = {time: draw(st.one_of(words, histograms())) for time in times}
    return model
