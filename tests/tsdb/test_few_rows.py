"""A few series are read as many are: the two ways must never differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.errors import TooManySamplesError
from tsdb.few_rows import read_few, take_few
from tsdb.head import Head
from tsdb.head_view import read_view, take_view
from tsdb.interface import LabelSpans
from tsdb.kernels import NO_TIME, SEGMENT_WORDS, SLAB, STAGE_BASE, STORED
from tsdb.late import sorted_run

SERIES = 5


@pytest.fixture(name="head")
def _head():
    head = make_head()
    yield head
    head.pages.close()


def make_head() -> Head:
    head = Head(pages=None, reserve=0, window_ms=1 << 40)
    head.pages.prepare()
    labels = LabelSpans.from_labels({"series": str(n)} for n in range(SERIES))
    slots = head.fresh_slots(SERIES)
    head.index.claim(*head.index.hash(labels), slots)
    head.take_slots(slots)
    head.add_series(slots, *head.symbols.intern_spans(labels), labels.first)
    return head


def append(head: Head, slots: list[int], time: int, value: float) -> None:
    refs = head.refs(np.array(slots, np.int32))
    bits = np.full(refs.size, value).view(np.uint64)
    times = np.full(refs.size, time, np.int64)
    status, _, _ = head.admit(refs, times, bits, (1 << 62, NO_TIME, NO_TIME, STORED, NO_TIME))
    head.place(refs, times, bits, status)


def begin_segment(head: Head) -> None:
    """Let the next pages go to another segment, as they do after 64 MiB."""
    number = int(head.state[STAGE_BASE]) // SEGMENT_WORDS
    head.state[STAGE_BASE] = (number + 1) * SEGMENT_WORDS


def as_lists(found, rows: int) -> list[list[tuple[int, int]]]:
    result = []
    for row in range(rows):
        time, value, count = (
            int(column[row]) for column in (found.time_start, found.value_start, found.count)
        )
        times = found.times[time : time + count].tolist()
        bits = found.values[value : value + count].view(np.uint64).tolist()
        assert len(times) == len(bits) == count
        result.append(list(zip(times, bits, strict=True)))
    return result


def read_both(head: Head, slots, start, end):
    slots = np.array(slots, np.int32)
    start, end = np.array(start, np.int64), np.array(end, np.int64)
    with head.lock:
        few, view = take_few(head, slots, start, end), take_view(head, slots)
    many = read_view(head, view, start, end)
    found = read_few(few, start, end)
    assert found.values.size == many.values.size
    assert found.times.size == many.times.size, "times are shared as well as they can be"
    assert as_lists(found, slots.size) == as_lists(many, slots.size)
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_what_is_read_for_many(data):
    head = make_head()
    try:
        for time in range(data.draw(st.integers(0, 4 * SLAB))):
            absent = data.draw(st.sampled_from([None, None, None, 0, 3]))
            slots = [n for n in range(SERIES) if n != absent]
            append(head, slots, time * 10, float(time % 7))
            if time % SLAB == 5 and data.draw(st.booleans()):
                begin_segment(head)
        if data.draw(st.booleans()):
            late = np.array([3, 17, 205])
            slots = np.array([0, 1, 1], np.int32)
            head.late.add(sorted_run(slots, late, np.arange(3).astype(np.uint64)))
        if data.draw(st.booleans()):
            head.delete(np.array([1, 2], np.int32), 100, 300)
        head.readable_ms = data.draw(st.sampled_from([NO_TIME, 55, 600]))
        rows = data.draw(st.lists(st.integers(0, SERIES - 1), max_size=8))
        start = [data.draw(st.integers(-20, 1400)) for _ in rows]
        end = [low + data.draw(st.integers(-5, 1400)) for low in start]
        read_both(head, rows, start, end)
    finally:
        head.pages.close()


def test_a_chain_goes_through_as_many_segments_as_the_range_wants(head):
    for time in range(5 * SLAB):
        append(head, [0, 1], time, float(time))
        if time % SLAB == 3:
            begin_segment(head)
    assert len(head.pages.segments) >= 4
    found = read_both(head, [0, 1], [0, 40], [5 * SLAB, 130])
    assert found.count.tolist() == [5 * SLAB, 91]


def test_pages_of_a_segment_that_was_dropped_are_passed_over(head):
    for time in range(3 * SLAB):
        append(head, [0], time, float(time))
        if time % SLAB == 3:
            begin_segment(head)
    head.readable_ms = SLAB
    head.pages.drop_before(SLAB)
    found = read_both(head, [0], [0], [1 << 40])
    assert found.times[0] == SLAB


def test_what_comes_after_the_look_is_not_seen(head):
    for time in range(SLAB - 1):
        append(head, [0], time, float(time))
    slots, start, end = np.zeros(1, np.int32), np.zeros(1, np.int64), np.full(1, 1 << 40)
    with head.lock:
        few = take_few(head, slots, start, end)
    for time in range(SLAB - 1, 2 * SLAB):
        append(head, [0], time, -1.0)
    assert read_few(few, start, end).values.tolist() == list(range(SLAB - 1))


def test_more_samples_than_allowed_are_refused(head):
    for time in range(2 * SLAB):
        append(head, [0], time, 1.0)
    slots, start, end = np.zeros(1, np.int32), np.zeros(1, np.int64), np.full(1, 1 << 40)
    with head.lock:
        few = take_few(head, slots, start, end)
    with pytest.raises(TooManySamplesError):
        read_few(few, start, end, samples_max=2 * SLAB - 1)
