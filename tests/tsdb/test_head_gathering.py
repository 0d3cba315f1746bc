"""Gathered pages against the files they came from; and how little of these stays mapped."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.test_head import append, make_head
from tsdb import head_gathering
from tsdb.head_gathering import GatheredPages
from tsdb.head_view import read_view, take_view
from tsdb.kernels import SLAB


def samples(found, row: int) -> dict[int, int]:
    first, value, count = found.time_start[row], found.value_start[row], found.count[row]
    bits = found.values[value : value + count].view(np.uint64)
    return dict(zip(found.times[first : first + count].tolist(), bits.tolist(), strict=True))


def read(head, slots, window, pages=None, rows=None):
    """Return the samples of each slot, and how many time runs they share."""
    with head.lock:
        view = take_view(head, slots)
    if pages is not None:
        view = pages.view(view, rows)
    starts, ends = (np.full(slots.size, bound) for bound in window)
    found = read_view(head, view, starts, ends)
    return [samples(found, row) for row in range(slots.size)], found.times.size


def mapped_kb(directory: Path) -> int:
    """Return how much of the files of a directory counts as memory of this process."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = str(directory) in line
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@contextlib.contextmanager
def small(monkeypatch, **sizes: int):
    with monkeypatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(head_gathering, name, size)
        yield


scrapes = st.lists(
    st.tuples(
        st.integers(0, 2),  # which target, of overlapping series
        st.integers(1, 3),  # how much later
        st.integers(1, 50),  # how often
        st.sampled_from(["constant", "counter", "noise"]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(scrapes, scrapes, st.integers(0, 400), st.integers(0, 400), st.sampled_from([64, 1 << 21]))
def test_gathered_pages_show_what_the_files_show(before, after, start, length, part_words):
    head, now, rng = make_head(9), 0, np.random.default_rng(1)

    def scrape(them) -> None:
        nonlocal now
        for target, gap, times, kind in them:
            slots = [slot for slot in range(9) if slot % 3 <= target]
            for _ in range(times):
                now += gap
                of_kind = {
                    "constant": np.full(len(slots), 7.5),
                    "counter": np.arange(len(slots)) * 3.0 + now,
                    "noise": rng.random(len(slots)),
                }
                append(head, slots, [now] * len(slots), of_kind[kind])

    scrape(before)
    window = (start, start + length)
    order = [np.array(slots, np.int32) for slots in ([3, 1, 8], [0], [2, 4, 5, 6, 7])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_gathering, "PART_WORDS", part_words)
        patch.setattr(head_gathering, "BUFFER_WORDS", 600)
        pages = GatheredPages(head, *window)
        seen = []
        for slots, rows in pages.each(order):
            seen += slots.tolist()
            # What is sealed meanwhile is found as well, the second time too.
            scrape(after)
            mixed = np.random.default_rng(len(seen)).permutation(slots.size)
            for _ in range(2):
                got = read(head, slots[mixed], window, pages, rows[mixed])
                expected = read(head, slots[mixed], window)
                assert got[0] == expected[0]
                scrape(after[:1])
    assert seen == [3, 1, 8, 0, 2, 4, 5, 6, 7]


def test_series_that_share_times_share_them_when_gathered():
    head = make_head(1000)
    for k in range(5 * SLAB + 7):
        append(head, range(1000), [k * 15] * 1000, np.arange(1000) * k)
    pages = GatheredPages(head, 0, 1 << 40)
    for slots, rows in pages.each([np.arange(1000, dtype=np.int32)]):
        _, times = read(head, slots, (0, 1 << 40), pages, rows)
        assert times == 5 * SLAB + 7


def noisy_head(directory: Path, series: int, scrapes: int):
    head, rng = make_head(series, pages=directory), np.random.default_rng(5)
    for k in range(scrapes):
        append(head, range(series), [k * 15] * series, rng.random(series))
    return head


def test_no_more_is_gathered_at_once_than_the_buffer_holds(tmp_path, monkeypatch):
    head = noisy_head(tmp_path / "head", 1000, 4 * SLAB)
    order = [np.arange(first, first + 50, dtype=np.int32) for first in range(0, 1000, 50)]
    with small(monkeypatch, BUFFER_WORDS=1 << 15):
        pages = GatheredPages(head, 0, 1 << 40)
        read_samples = 0
        for slots, rows in pages.each(order):
            got, _ = read(head, slots, (0, 1 << 40), pages, rows)
            read_samples += sum(map(len, got))
            assert pages._out.size == 1 << 15
    assert read_samples == 1000 * 4 * SLAB
    head.close()


def test_pages_that_are_larger_than_the_rest_are_gathered_in_fewer_series(tmp_path, monkeypatch):
    # Half of the series take next to nothing, so the others are more than was guessed.
    head, rng = make_head(400), np.random.default_rng(6)
    for k in range(4 * SLAB):
        values = np.concatenate([rng.random(200), np.ones(200)])
        append(head, range(400), [k * 15] * 400, values)
    order = [np.arange(first, first + 20, dtype=np.int32) for first in range(0, 400, 20)]
    with small(monkeypatch, BUFFER_WORDS=10_000):
        pages = GatheredPages(head, 0, 1 << 40)
        total = 0
        for slots, rows in pages.each(order):
            total += sum(map(len, read(head, slots, (0, 1 << 40), pages, rows)[0]))
            assert pages._out.size == 10_000
    assert total == 400 * 4 * SLAB


def test_files_that_were_gone_through_are_not_our_memory(tmp_path):
    head = noisy_head(tmp_path / "head", 4000, 8 * SLAB)
    size_kb = head.pages.size_bytes >> 10
    slots = np.arange(4000, dtype=np.int32)
    expected, _ = read(head, slots, (0, 1 << 40))
    assert mapped_kb(tmp_path) > size_kb // 2
    head.pages.let_go_all()
    assert mapped_kb(tmp_path) == 0
    pages = GatheredPages(head, 0, 1 << 40)
    for some, rows in pages.each([slots]):
        assert mapped_kb(tmp_path) == 0
        assert read(head, some, (0, 1 << 40), pages, rows)[0] == expected
    head.close()
