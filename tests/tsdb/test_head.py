"""The head's kernels against plain lists: admit, place, seal, walk, decode, share."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb import head_collection
from tsdb.head import NEVER_MS, Head
from tsdb.head_collection import collect, end_rest, survivors
from tsdb.head_view import read_view, take_view
from tsdb.interface import LabelSpans
from tsdb.kernels import CONFLICT, DUPLICATE, LATE, NO_TIME, SLAB, STORED, TOO_FAR_AHEAD, UNKNOWN

ALL = (1 << 62, NO_TIME, NO_TIME, STORED, NO_TIME)
EVERYTHING = (-(1 << 62), 1 << 62)


def make_head(series: int, **options) -> Head:
    head = Head(**({"pages": None, "reserve": 0, "window_ms": 1000} | options))
    head.pages.prepare()
    labels = LabelSpans.from_labels({"series": str(n + 1)} for n in range(series))
    slots = head.fresh_slots(series)
    head.index.claim(*head.index.hash(labels), slots)
    head.take_slots(slots)
    head.add_series(slots, *head.symbols.intern_spans(labels), labels.first)
    return head


def forget(head: Head, time_ms: int) -> int:
    """Forget the series without a sample since then."""
    left = survivors(head, time_ms)
    with head.lock:
        return collect(head, time_ms, left)


def append(head: Head, slots, times, values, limits=ALL) -> list[int]:
    refs = head.refs(np.array(slots, np.int32))
    bits = np.array(values, np.float64).view(np.uint64)
    times = np.array(times, np.int64)
    status, counts, _ = head.admit(refs, times, bits, limits)
    assert counts.tolist() == np.bincount(status, minlength=9).tolist()
    head.place(refs, times, bits, status)
    return status.tolist()


def read(head: Head, slots, start=EVERYTHING[0], end=EVERYTHING[1]):
    """Return the samples of each slot as a dict from time to bits."""
    slots = np.array(slots, np.int32)
    with head.lock:
        view = take_view(head, slots)
    starts, ends = np.full(slots.size, start), np.full(slots.size, end)
    found = read_view(head, view, starts, ends)
    result = []
    for row in range(slots.size):
        first, value, count = found.time_start[row], found.value_start[row], found.count[row]
        times = found.times[first : first + count]
        assert (np.diff(times) > 0).all()
        bits = found.values[value : value + count].view(np.uint64)
        result.append(dict(zip(times.tolist(), bits.tolist(), strict=True)))
    return result, found


floats = st.one_of(
    st.integers(-1000, 1000).map(lambda n: n / 100),
    st.integers(-(1 << 60), 1 << 60).map(float),
    st.integers(0, (1 << 64) - 1).map(lambda word: float(np.uint64(word).view(np.float64))),
    st.sampled_from([0.0, -0.0, 1e22, 0.1, 1e-7, float("nan"), float("inf")]),
)


@st.composite
def runs(draw):
    """Series that follow a rule for a while, as scraped ones do: mostly alike, some aberrant."""
    kind = draw(st.sampled_from(["constant", "counter", "decimal", "noise", "any"]))
    size = draw(st.integers(1, 110))
    seed = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    if kind == "constant":
        values = np.full(size, draw(floats))
    elif kind == "counter":
        values = np.cumsum(seed.integers(0, 1 << draw(st.integers(0, 50)), size)).astype(float)
    elif kind == "decimal":
        values = seed.integers(-9999, 9999, size) / 10 ** draw(st.integers(0, 6))
    elif kind == "noise":
        values = seed.random(size) - 0.5
    else:
        values = np.array([draw(floats) for _ in range(size)])
    if draw(st.booleans()):
        values[draw(st.integers(0, size - 1))] = draw(floats)
    gaps = seed.integers(1, draw(st.sampled_from([2, 3, 1000, 1 << 40])), size)
    return np.cumsum(gaps) + draw(st.integers(-(1 << 40), 1 << 40)), values


@settings(deadline=None)
@given(st.lists(runs(), min_size=1, max_size=4), st.data())
def test_every_run_comes_back_bit_for_bit(series, data):
    head = make_head(len(series))
    for slot, (times, values) in enumerate(series):
        assert set(append(head, [slot] * times.size, times, values)) == {STORED}
    got, _ = read(head, range(len(series)))
    for (times, values), found in zip(series, got, strict=True):
        bits = values.view(np.uint64).tolist()
        assert found == dict(zip(times.tolist(), bits, strict=True))
    edges = np.concatenate([times for times, _ in series])
    start, end = sorted(data.draw(st.sampled_from(edges.tolist())) for _ in range(2))
    got, _ = read(head, range(len(series)), start, end)
    for (times, values), found in zip(series, got, strict=True):
        inside = (times >= start) & (times <= end)
        bits = values[inside].view(np.uint64).tolist()
        assert found == dict(zip(times[inside].tolist(), bits, strict=True))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4), st.lists(st.integers(0, 9), max_size=8)),
        max_size=120,
    )
)
def test_slots_share_times_however_they_are_scraped(scrapes):
    # Targets of overlapping series, some of which are missing now and then.
    head, model, now = make_head(10), [{} for _ in range(10)], 0
    for target, gap, missing in scrapes:
        now += gap
        slots = [s for s in range(10) if s % 3 == target and s not in missing]
        assert set(append(head, slots, [now] * len(slots), [now + s for s in slots])) <= {STORED}
        for slot in slots:
            model[slot][now] = int(np.float64(now + slot).view(np.uint64))
        assert read(head, range(10))[0] == model
    assert head.time_block_count <= 10 + len(scrapes)


def test_series_of_a_target_cost_one_time_block():
    head = make_head(1000)
    for k in range(5 * SLAB + 7):
        append(head, range(1000), [k * 15] * 1000, np.arange(1000) * k)
    _, found = read(head, range(1000))
    assert head.time_block_count <= 2
    assert found.times.size == 5 * SLAB + 7
    assert len(set(found.time_start.tolist())) == 1
    assert head.page_count == 5000


def test_two_targets_that_begin_together_part_ways():
    head = make_head(200)
    append(head, range(200), [0] * 200, [0] * 200)
    for k in range(1, 20):
        append(head, range(100), [k * 10] * 100, [k] * 100)
        append(head, range(100, 200), [k * 10 + 3] * 100, [k] * 100)
    assert head.time_block_count <= 3
    got, _ = read(head, [0, 99, 100, 199])
    assert list(got[0]) == list(got[1]) == [k * 10 for k in range(20)]
    assert list(got[2]) == list(got[3]) == [0, *(k * 10 + 3 for k in range(1, 20))]


@pytest.mark.parametrize(
    ("time", "value", "status"),
    [
        pytest.param(101, 1.0, STORED, id="newer"),
        pytest.param(100, 5.0, DUPLICATE, id="the newest once more"),
        pytest.param(100, 6.0, CONFLICT, id="the newest with another value"),
        pytest.param(99, 5.0, LATE, id="older than the newest"),
        pytest.param(1001, 5.0, TOO_FAR_AHEAD, id="past the limit of the call"),
        pytest.param(9, 5.0, 5, id="before what is kept"),
        pytest.param(19, 5.0, 4, id="before what is taken late"),
    ],
)
def test_statuses(time, value, status):
    head = make_head(1)
    append(head, [0], [100], [5.0])
    assert append(head, [0], [time], [value], (1000, 10, 20, 4, NO_TIME)) == [status]


def test_equal_is_equal_by_bits():
    head = make_head(1)
    nan, other = np.array([0x7FF8000000000001, 0x7FF8000000000002], np.uint64).view(np.float64)
    append(head, [0], [1], [nan])
    assert append(head, [0, 0], [1, 1], [nan, other]) == [DUPLICATE, CONFLICT]
    append(head, [0], [2], [0.0])
    assert append(head, [0, 0], [2, 2], [-0.0, 0.0]) == [CONFLICT, DUPLICATE]


def test_refs_that_were_never_given_are_unknown():
    head = make_head(2)
    refs = np.array([2, -1, 1 << 40, (1 << 32) | 1, 1], np.int64)
    status, _, _ = head.admit(refs, np.full(5, 7), np.zeros(5, np.uint64), ALL)
    assert status.tolist() == [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, STORED]


def test_revoking_leaves_no_trace():
    head = make_head(3)
    append(head, [0, 1], [5, 5], [1.0, 2.0])
    refs = head.refs(np.array([0, 0, 1, 2, 0], np.int32))
    times, bits = np.array([6, 7, 5, 1, 4]), np.arange(5).astype(np.uint64)
    newest = head.newest_time.array[:3].tolist()
    status, _, prior = head.admit(refs, times, bits, ALL)
    assert status.tolist() == [STORED, STORED, CONFLICT, STORED, LATE]
    head.revoke(refs, status, prior)
    assert head.newest_time.array[:3].tolist() == newest
    assert append(head, [0], [5], [1.0]) == [DUPLICATE]
    assert append(head, [0], [6], [9.0]) == [STORED]


def test_pages_fill_segments_and_are_dropped_when_old(tmp_path):
    head = make_head(2, pages=tmp_path / "head")
    rng = np.random.default_rng(3)
    values = rng.random(400_000)
    model = {}
    for first in range(0, values.size, 100_000):
        times = np.arange(first, first + 100_000)
        append(head, [0] * times.size, times * 3, values[times])
        words = values[times].view(np.uint64).tolist()
        model |= dict(zip((times * 3).tolist(), words, strict=True))
    assert read(head, [0, 1])[0] == [model, {}]
    assert len(head.pages.segments) == 1
    assert len(list((tmp_path / "head").iterdir())) == 1
    head.drop_before(600_000)
    assert read(head, [0])[0] == [{t: b for t, b in model.items() if t >= 600_000}]
    assert head.min_time_ms == 600_000
    head.close()
    assert list((tmp_path / "head").iterdir()) == []


def test_pages_go_to_memory_when_the_disk_is_full(tmp_path, monkeypatch):
    import os

    head = make_head(1, pages=tmp_path / "head")
    times = np.arange(5000)
    append(head, [0] * 2000, times[:2000], times[:2000] * 0.7)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    append(head, [0] * 3000, times[2000:], times[2000:] * 0.7)
    (got,) = read(head, [0])[0]
    assert got == dict(zip(times.tolist(), (times * 0.7).view(np.uint64).tolist(), strict=True))
    head.close()


def test_collected_slots_rest_and_then_serve_again_under_other_refs():
    head = make_head(3)
    append(head, [0, 1, 2], [10, 100, 100], [1, 2, 3])
    assert forget(head, 50) == 1
    old = np.array([0], np.int64)
    assert head.admit(old, old + 200, np.zeros(1, np.uint64), ALL)[0].tolist() == [UNKNOWN]
    assert head.fresh_slots(2).tolist() == [3, 4]
    forget(head, 50)
    assert head.fresh_slots(2).tolist() == [0, 3]
    head.take_slots(np.array([0], np.int32))
    assert head.refs(np.array([0], np.int32)).tolist() == [1 << 32]
    assert read(head, [0, 1])[0][0] == {}
    assert (head.series_created, head.series_removed) == (3, 1)


def test_new_series_without_samples_stay_once():
    head = make_head(3)
    append(head, [1], [100], [1])
    assert forget(head, 50) == 0, "who resolved them may be about to append"
    assert forget(head, 50) == 2
    assert head.rows.slots.tolist() == [1]


def test_slots_rest_no_longer_than_any_read_takes(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(head_collection.time, "monotonic", lambda: now)
    head = make_head(2)
    append(head, [0, 1], [10, 100], [1, 2])
    assert forget(head, 50) == 1
    now += head_collection.REST_S - 1
    end_rest(head)
    assert head.fresh_slots(1).tolist() == [2]
    now += 2
    end_rest(head)
    assert head.fresh_slots(1).tolist() == [0]
    assert head.resting == []


def test_an_empty_head_has_no_times():
    head = make_head(1)
    assert (head.min_time_ms, head.oldest_ms) == (NEVER_MS, NEVER_MS)
    assert (head.max_time_ms, head.newest_ms) == (NO_TIME, NO_TIME)


def test_a_reader_beside_a_writer_sees_whole_scrapes():
    series, scrapes = 300, 900
    head = make_head(series)
    slots = np.arange(series, dtype=np.int32)
    refs = head.refs(slots)
    done = threading.Event()
    problems: list[str] = []

    def look() -> None:
        seen = 0
        while not done.is_set() or seen < scrapes:
            with head.lock:
                view = take_view(head, slots)
            found = read_view(
                head, view, np.full(series, EVERYTHING[0]), np.full(series, EVERYTHING[1])
            )
            counts = set(found.count.tolist())
            if len(counts) != 1:
                problems.append(f"half a scrape: {counts}")
                return
            seen = counts.pop()
            expected = np.arange(seen)
            for row in range(0, series, 50):
                first, value = found.time_start[row], found.value_start[row]
                times, values = found.times[first : first + seen], found.values[value:][:seen]
                if not (times == expected * 10).all() or not (values == expected + row).all():
                    problems.append(f"wrong samples in row {row}")
                    return

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for k in range(scrapes):
        times, bits = np.full(series, k * 10), (slots + float(k)).view(np.uint64)
        with head.lock:
            status, _, _ = head.admit(refs, times, bits, ALL)
            head.place(refs, times, bits, status)
    done.set()
    for reader in readers:
        reader.join()
    assert problems == []


def test_time_blocks_of_collected_series_serve_others():
    head = make_head(50)
    for generation in range(1, 20):
        slots = head.rows.slots
        # Each series at times of its own: nothing is shared.
        for slot in slots.tolist():
            times = np.arange(5) * 100 + generation * 1000 + slot
            append(head, [slot] * 5, times, [1.0] * 5)
        forget(head, 1 << 40)
        forget(head, 1 << 40)
        labels = LabelSpans.from_labels({"n": f"{generation}-{n}"} for n in range(50))
        slots = head.fresh_slots(50)
        head.index.claim(*head.index.hash(labels), slots)
        head.take_slots(slots)
        head.add_series(slots, *head.symbols.intern_spans(labels), labels.first)
    assert head.slot_count <= 150
    assert head.time_block_count <= 150


def test_symbols_that_nobody_uses_any_more_go(monkeypatch):
    monkeypatch.setattr("tsdb.head_collection.SYMBOLS_MIN", 100)
    head = make_head(0)
    for generation in range(4):
        labels = [{"pod": f"{generation}-{n}", "zone": "a"} for n in range(200)]
        spans = LabelSpans.from_labels(labels)
        slots = head.fresh_slots(200)
        head.index.claim(*head.index.hash(spans), slots)
        head.take_slots(slots)
        head.add_series(slots, *head.symbols.intern_spans(spans), spans.first)
        append(head, slots, [generation * 100] * 200, [1] * 200)
        before = head.rows.labels(head.rows.slots)
        forget(head, generation * 100)
        found = head.rows.labels(head.rows.slots)
        rows = [found.row(at) for at in range(found.series_count)]
        assert rows[-200:] == labels
        assert before.row(before.series_count - 1) == labels[-1]
        assert head.index.find(*head.index.hash(spans)).tolist() == slots.tolist()
    assert len(head.symbols) < 700
