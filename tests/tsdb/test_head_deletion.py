"""Deletions from the head: what they hide, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb.database import Database
from tsdb.head_deletion import DeletedSlots, any_covers, mask_rows
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(retention_ms=None, background=False, min_block_ms=1000)
UP = (Matcher("__name__", MatchOp.EQUAL, "up"),)
STORED, DUPLICATE = AppendStatus.STORED, AppendStatus.DUPLICATE


def append(database: Database, times: list[int], value: float) -> list[int]:
    ref = database.resolve(LabelSpans.from_labels([{"__name__": "up"}]))
    return [int(database.append(ref, np.array([at]), np.array([value]))[0]) for at in times]


def samples(database: Database) -> dict[int, float]:
    (batch,) = database.select([Selection(UP, -(1 << 40), 1 << 40)])
    if not batch.series_count:
        return {}
    time, value, count = batch.time_start[0], batch.value_start[0], batch.count[0]
    return dict(
        zip(
            batch.times[time : time + count].tolist(),
            batch.values[value : value + count].tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        pytest.param([3], {0: 1, 1: 1, 3: 2}, id="an older one is taken again"),
        pytest.param([99], {0: 1, 1: 1, 99: 2}, id="the newest one is taken again"),
        pytest.param([150], {0: 1, 1: 1, 150: 2}, id="one that the range would have covered stays"),
        pytest.param([50, 99, 120], {0: 1, 1: 1, 50: 2, 99: 2, 120: 2}, id="some of each"),
    ],
)
@pytest.mark.parametrize("value", [1.0, 2.0], ids=["the same value", "another value"])
def test_what_was_deleted_can_be_written_again(tmp_path, again, expected, value):
    expected = {at: value if old == 2 else 1.0 for at, old in expected.items()}
    database = Database.open(tmp_path, OPTIONS)
    append(database, list(range(100)), 1.0)
    database.delete([UP], 2, 500)
    assert samples(database) == {0: 1.0, 1: 1.0}
    assert append(database, again, value) == [STORED] * len(again)
    assert append(database, again, value) == [DUPLICATE] * len(again)
    assert samples(database) == expected
    database.close()
    database = Database.open(tmp_path, OPTIONS)
    assert samples(database) == expected
    database.flush()
    assert samples(database) == expected
    database.close()
    database = Database.open(tmp_path, OPTIONS)
    assert samples(database) == expected
    database.close()


def test_late_samples_are_deleted_too_and_only_those_in_the_range(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    append(database, [100, 10, 20, 30], 1.0)
    database.delete([UP], 15, 25)
    assert samples(database) == {10: 1.0, 30: 1.0, 100: 1.0}
    assert append(database, [20], 5.0) == [STORED]
    database.flush()
    assert samples(database) == {10: 1.0, 20: 5.0, 30: 1.0, 100: 1.0}
    database.close()


ranges = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 30))), min_size=1, max_size=6),
    st.lists(st.tuples(st.sets(st.integers(0, 5)), ranges), min_size=1, max_size=3),
)
def test_masking_equals_the_definition(rows, deletions):
    newest = np.arange(6, dtype=np.int64) * 5
    deleted = [
        DeletedSlots.of(
            np.array(list(slots), np.int32), newest[list(slots)], start_ms=low, end_ms=high
        )
        for slots, (low, high) in deletions
    ]
    slots = np.array([slot for slot, _ in rows], np.int32)
    runs = [sorted(times) for _, times in rows]
    count = np.array([len(run) for run in runs], np.int64)
    start = np.cumsum(count) - count
    times = np.array([at for run in runs for at in run], np.int64)

    def is_deleted(slot: int, at: int) -> bool:
        return any(
            slot in chosen and low <= at <= min(high, newest[slot])
            for chosen, (low, high) in deletions
        )

    of_row = np.repeat(slots, count)
    covered = any_covers(deleted, of_row, times)
    assert covered.tolist() == [
        is_deleted(int(slot), int(at)) for slot, at in zip(of_row, times, strict=True)
    ]
    left = mask_rows(deleted, slots, times, start, start + 7, count)
    expected = [
        [at for at in run if not is_deleted(s, at)] for (s, _), run in zip(rows, runs, strict=True)
    ]
    got = [list(run) for run in runs]
    if left is not None:
        for at, row in enumerate(left.rows.tolist()):
            first, size = left.time_start[at], left.count[at]
            got[row] = left.times[first : first + size].tolist()
            picks = left.picks[left.value_start[at] : left.value_start[at] + size] - 7
            assert times[picks].tolist() == got[row]
    assert got == expected
