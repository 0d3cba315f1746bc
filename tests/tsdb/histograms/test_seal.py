"""The head's histograms, in columns and sealed, against a dict of (slot, time)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.histogram_models import (
    NOT_RESET,
    hinted,
    histograms,
    to_columns,
    to_histogram,
)
from tsdb.histograms import buffer as histogram_buffer
from tsdb.histograms.buffer import HistogramBuffer, read_histograms
from tsdb.histograms.columns import digests
from tsdb.histograms.run import HistogramRun
from tsdb.histograms.seal import SealedRun, restored, seal

KEYS = np.array([0x1234567, 0x89ABCDEF1], dtype=np.uint64)
TIME_MAX = 60


def run_of(model) -> HistogramRun:
    """A run of {(slot, time): histogram}."""
    keys = sorted(model)
    columns = to_columns(model[key] for key in keys)
    slots = np.array([slot for slot, _ in keys], dtype=np.int32)
    times = np.array([time for _, time in keys], dtype=np.int64)
    return HistogramRun.of(slots, times, digests(columns, KEYS), columns)


def read(runs, slots, starts, ends):
    """What the rows have: a list of {time: histogram}."""
    asked = (np.array(slots, np.int32), np.array(starts, np.int64), np.array(ends, np.int64))
    found = read_histograms(tuple(runs), *asked)
    if found is None:
        return [{} for _ in slots]
    return [
        {
            int(found.times[at]): to_histogram(found.columns, at)
            for at in range(found.start[row], found.start[row] + found.count[row])
        }
        for row in range(len(slots))
    ]


def expected(model, slots, starts, ends):
    return [
        {
            time: each
            for (owner, time), each in sorted(model.items())
            if owner == slot and start <= time <= end
        }
        for slot, start, end in zip(slots, starts, ends, strict=True)
    ]


stored = histograms().map(lambda each: hinted(each, 0) if each[1] == NOT_RESET else each)
models = st.dictionaries(
    st.tuples(st.integers(0, 4), st.integers(0, TIME_MAX)), stored, min_size=1, max_size=15
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("seal")),
        st.tuples(st.just("save")),
        st.tuples(st.just("delete"), st.sets(st.integers(0, 5)), st.integers(0, 60), st.just(9)),
        st.tuples(st.just("split"), st.integers(0, TIME_MAX + 1)),
        st.tuples(st.just("add"), models),
    ),
    max_size=8,
)
questions = st.lists(
    st.tuples(st.integers(0, 5), st.integers(-1, TIME_MAX), st.integers(-1, TIME_MAX + 1)),
    min_size=1,
    max_size=14,
)


@pytest.fixture(autouse=True, scope="module")
def _seal_little():
    before, histogram_buffer.SEAL_BYTES = histogram_buffer.SEAL_BYTES, 1
    yield
    histogram_buffer.SEAL_BYTES = before


@settings(max_examples=60, deadline=None)
@given(models, steps, questions)
def test_a_buffer_holds_what_was_added_and_not_taken(tmp_path_factory, model, steps, questions):
    buffer, held = HistogramBuffer(), dict(model)
    buffer.add(run_of(model))
    for what, *how in steps:
        if what == "add":
            new = {key: each for key, each in how[0].items() if key not in held}
            if new:
                buffer.add(run_of(new))
                held |= new
        elif what == "seal":
            chosen = buffer.settle()
            if chosen:
                directory = tmp_path_factory.getbasetemp()
                buffer.replace(chosen, seal(chosen, directory, KEYS))
                assert all(isinstance(run, SealedRun) for run in buffer.runs)
        elif what == "save":
            buffer = restored(buffer.save())
        elif what == "delete":
            slots, start, size = how
            end = start + size
            buffer.delete(np.array(sorted(slots), np.int32), start, end)
            held = {
                key: each
                for key, each in held.items()
                if key[0] not in slots or not start <= key[1] <= end
            }
        else:
            older, buffer = buffer.split(how[0])
            old = {key: each for key, each in held.items() if key[1] < how[0]}
            held = {key: each for key, each in held.items() if key[1] >= how[0]}
            slots = list(range(6))
            everything = (slots, [-1] * 6, [100] * 6)
            assert read(older.runs, *everything) == expected(old, *everything)
            assert all(run.max_time_ms < how[0] for run in older.runs)
            windows = {window for run in older.runs for window in run.windows(10)}
            assert windows >= {time // 10 for _, time in old}
    slots, starts, ends = zip(*questions, strict=True)
    assert read(buffer.runs, slots, starts, ends) == expected(held, slots, starts, ends)
    asked = np.array(slots, np.int32), np.array(starts, np.int64), np.array(ends, np.int64)
    weight = histogram_buffer.weigh_histograms(buffer.runs, *asked)
    assert weight >= 11 * sum(map(len, expected(held, slots, starts, ends)))
    found, words = buffer.find(asked[0], asked[1])
    for slot, time, here, word in zip(slots, starts, found.tolist(), words.tolist(), strict=True):
        assert here == ((slot, time) in held)
        if here:
            assert word == int(digests(to_columns([held[slot, time]]), KEYS)[0])
    assert {slot for slot, _ in held} <= set(buffer.slots().tolist())


def test_little_is_left_alone_and_much_is_sealed_again_only_when_it_doubles():
    row = (3, 0, False, 0, 0, 0, 0, (), (), ())
    buffer = HistogramBuffer()
    counts = []
    for number in range(8):
        buffer.add(run_of({(slot, number): row for slot in range(10)}))
        buffer.replace(chosen := buffer.settle(), seal(chosen, None, KEYS))
        counts.append([run.count for run in buffer.runs])
    assert counts[:4] == [[10], [20], [20, 10], [40]]
    assert counts[-1] == [80]
    histogram_buffer.SEAL_BYTES, before = 1 << 20, histogram_buffer.SEAL_BYTES
    buffer.add(run_of({(0, 100): row}))
    assert buffer.settle() == ()
    histogram_buffer.SEAL_BYTES = before
