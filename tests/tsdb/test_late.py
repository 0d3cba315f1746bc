from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.late import LateBuffer, LateRun, late_rows, sorted_run

entries = st.lists(
    st.tuples(st.integers(0, 5), st.integers(-20, 20), st.integers(0, 9)), max_size=30
)


def run_of(samples) -> LateRun:
    columns = np.array(samples, np.int64).reshape(-1, 3)
    return sorted_run(
        columns[:, 0].astype(np.int32), columns[:, 1].copy(), columns[:, 2].astype(np.uint64)
    )


def fill(batches) -> tuple[LateBuffer, dict[tuple[int, int], int]]:
    """A buffer and its model, the first sample of a time staying."""
    buffer, model = LateBuffer(), {}
    for batch in batches:
        run = run_of(batch)
        found, bits = buffer.find(run.slots, run.times)
        keys = list(zip(run.slots.tolist(), run.times.tolist(), strict=True))
        assert found.tolist() == [key in model for key in keys]
        assert bits[found].tolist() == [model[key] for key in keys if key in model]
        buffer.add(run.where(~found))
        for slot, time, word in batch:
            model.setdefault((slot, time), word)
    return buffer, model


@settings(deadline=None)
@given(st.lists(entries, max_size=12), st.integers(-25, 25), st.integers(-25, 25))
def test_the_buffer_is_a_dict(batches, one, other):
    buffer, model = fill(batches)
    assert buffer.count == len(model)
    assert buffer.min_time_ms == min((time for _, time in model), default=None)
    assert buffer.max_time_ms == max((time for _, time in model), default=None)
    assert set(buffer.slots().tolist()) == {slot for slot, _ in model}
    start, end = sorted((one, other))
    slots = np.array([4, 0, 2, 2], np.int32)
    rows = late_rows(buffer.runs, slots, np.full(4, start), np.full(4, end))
    expected = [
        sorted((t, w) for (s, t), w in model.items() if s == slot and start <= t <= end)
        for slot in slots.tolist()
    ]
    if rows is None:
        assert not any(expected)
    else:
        got = [
            list(zip(rows.times[a:b].tolist(), rows.bits[a:b].tolist(), strict=True))
            for a, b in zip(rows.first[:-1].tolist(), rows.first[1:].tolist(), strict=True)
        ]
        assert got == expected


@settings(deadline=None)
@given(st.lists(entries, max_size=12), st.integers(-25, 25))
def test_splitting_loses_and_adds_nothing(batches, time):
    buffer, model = fill(batches)
    older, rest = buffer.split(time)
    assert older.count == sum(1 for _, t in model if t < time)
    assert rest.count == sum(1 for _, t in model if t >= time)
    assert (older.times < time).all()
    whole = LateBuffer((older,) if older.count else ())
    for run in rest.runs:
        whole.add(run)
    keys = np.array(list(model), np.int64).reshape(-1, 2)
    found, bits = whole.find(keys[:, 0].astype(np.int32), keys[:, 1].copy())
    assert found.all()
    assert bits.tolist() == list(model.values())


def test_runs_stay_few():
    buffer = LateBuffer()
    for time in range(3000):
        buffer.add(run_of([(time % 7, time, 1)]))
    assert buffer.count == 3000
    assert len(buffer.runs) <= 12
