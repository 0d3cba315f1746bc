"""A naive model of blocks: {labels: {time: bits of the value}}, and ways into and out of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from tsdb.interface import LabelColumns, Matcher, MatchOp, SeriesBatch
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tsdb.block import Block
    from tsdb.errors import CorruptFileError
    from tsdb.symbols import SymbolTable

Labels = tuple[tuple[str, str], ...]
Model = dict[Labels, dict[int, int]]


def bits(value: float) -> int:
    return int(np.float64(value).view(np.uint64))


def to_batch(model: Model, symbols: SymbolTable, *, share: bool = True) -> SeriesBatch:
    """The model as columns; series with equal times share one run if `share`."""
    series = [(labels, samples) for labels, samples in model.items() if samples]
    names = sorted({name for labels, _ in series for name, _ in labels})
    ids = np.zeros((len(names), len(series)), dtype=np.uint32)
    times: list[int] = []
    values: list[int] = []
    runs: dict[tuple[int, ...], int] = {}
    time_start, value_start, count = [], [], []
    for at, (labels, samples) in enumerate(series):
        for name, value in labels:
            ids[names.index(name), at] = symbols.intern(value)
        run = tuple(sorted(samples))
        if not share or run not in runs:
            runs[run] = len(times)
            times.extend(run)
        time_start.append(runs[run])
        value_start.append(len(values))
        values.extend(samples[time] for time in run)
        count.append(len(run))
    return SeriesBatch(
        LabelColumns(tuple(names), ids, symbols),
        np.array(times, dtype=np.int64),
        np.array(time_start, dtype=np.int64),
        np.array(values, dtype=np.uint64).view(np.float64),
        np.array(value_start, dtype=np.int64),
        np.array(count, dtype=np.int64),
    )


def from_batch(batch: SeriesBatch | None) -> Model:
    """The columns as a model; checks what every batch promises on the way."""
    model: Model = {}
    if batch is None:
        return model
    names = batch.labels.names
    assert list(names) == sorted(set(names))
    assert batch.series_count == 0 or batch.labels.ids.any(axis=1).all()
    for at in range(batch.series_count):
        t, v, n = (int(c[at]) for c in (batch.time_start, batch.value_start, batch.count))
        assert n > 0
        run = batch.times[t : t + n]
        assert (np.diff(run) > 0).all()
        labels = tuple(sorted(batch.labels.row(at).items()))
        assert labels not in model
        words = batch.values[v : v + n].view(np.uint64)
        model[labels] = dict(zip(run.tolist(), words.tolist(), strict=True))
    return model


def merged(models: Iterable[Model]) -> Model:
    """All samples of all models; of equal times the first model's."""
    result: Model = {}
    for model in models:
        for labels, samples in model.items():
            mine = result.setdefault(labels, {})
            for time, word in samples.items():
                mine.setdefault(time, word)
    return {labels: samples for labels, samples in result.items() if samples}


def matches(labels: Labels, matchers: Sequence[Matcher]) -> bool:
    have = dict(labels)
    for matcher in matchers:
        text = have.get(matcher.name, "")
        if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
            passes = text == matcher.value
        else:
            passes = re.fullmatch(matcher.value, text, re.DOTALL) is not None
        if passes == (matcher.op in (MatchOp.NOT_EQUAL, MatchOp.NOT_MATCHES)):
            return False
    return True


def selected(model: Model, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Model:
    result = {
        labels: {time: word for time, word in samples.items() if start_ms <= time <= end_ms}
        for labels, samples in model.items()
        if matches(labels, matchers)
    }
    return {labels: samples for labels, samples in result.items() if samples}


def select(
    block: Block,
    matchers: Sequence[Matcher],
    start_ms: int,
    end_ms: int,
    **on_corrupt: Callable[[CorruptFileError], None],
) -> SeriesBatch | None:
    """All matching series of a block with their samples in [start_ms, end_ms]."""
    return block.select_rows(block.match(matchers), start_ms, end_ms, **on_corrupt)


def without(model: Model, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Model:
    return {
        labels: (
            {time: word for time, word in samples.items() if not start_ms <= time <= end_ms}
            if matches(labels, matchers)
            else samples
        )
        for labels, samples in model.items()
    }


TIME_MAX = 400
_texts = {
    "__name__": ["up", "down", "µs", "up_total"],
    "job": ["", "a", "b", "ab"],
    "le": ["", "1", "+Inf"],
    "é": ["", "ü", "\x00"],
}
label_sets = st.fixed_dictionaries(
    {name: st.sampled_from(texts) for name, texts in _texts.items()}
).map(lambda labels: tuple(sorted((n, v) for n, v in labels.items() if v)))
words = st.one_of(
    st.integers(0, 20).map(bits),
    st.integers(0, 2**64 - 1),
    st.sampled_from([bits(-0.0), bits(float("inf")), int(STALE_NAN.view(np.uint64))]),
    st.floats(0, 10).map(lambda value: bits(round(value, 2))),
)


@st.composite
def models(draw, *, low: int = 0, high: int = TIME_MAX, max_series: int = 8) -> Model:
    """A few series of which some share their times, some almost."""
    scrapes = sorted(draw(st.sets(st.integers(low, high - 1), min_size=1, max_size=12)))
    model: Model = {}
    for labels in draw(st.lists(label_sets, unique=True, max_size=max_series)):
        kind = draw(st.sampled_from(["scraped", "part", "own"]))
        times = scrapes
        if kind == "part":
            first = draw(st.integers(0, len(scrapes)))
            times = scrapes[first : draw(st.integers(first, len(scrapes)))]
        elif kind == "own":
            times = sorted(draw(st.sets(st.integers(low, high - 1), max_size=10)))
        model[labels] = {time: draw(words) for time in times}
    return model


matcher_lists = st.lists(
    st.one_of(
        st.builds(
            Matcher,
            st.sampled_from([*_texts, "nope"]),
            st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]),
            st.sampled_from(["", "up", "a", "b", "1", "ü", "other"]),
        ),
        st.builds(
            Matcher,
            st.sampled_from([*_texts, "nope"]),
            st.sampled_from([MatchOp.MATCHES, MatchOp.NOT_MATCHES]),
            st.sampled_from(["", ".*", ".+", "a|b", "up.*", "[^u]*", "(a|)", "ü?"]),
        ),
    ),
    max_size=3,
)
ranges = st.tuples(st.integers(-5, TIME_MAX + 5), st.integers(-5, TIME_MAX + 5)).map(sorted)
