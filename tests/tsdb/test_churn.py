"""Series that come and go: what is kept does not grow with all that ever were."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from tsdb import head_collection
from tsdb.database import Database
from tsdb.head_collection import collect, survivors
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(retention_ms=4000, background=False, min_block_ms=1000)


def labels_of(first: int, stop: int) -> LabelSpans:
    return LabelSpans.from_labels(
        {"__name__": f"m{n % 100}", "pod": f"pod-{n // 100}", "id": f"{n:032x}", "job": "churn"}
        for n in range(first, stop)
    )


@pytest.mark.parametrize(
    ("series", "active"),
    [
        pytest.param(60_000, 3000, id="60 thousand, 3 thousand at a time"),
        pytest.param(
            2_000_000, 100_000, id="2 million, 100 thousand at a time", marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.timeout(600)
def test_memory_follows_the_series_that_are_active(tmp_path, monkeypatch, series, active):
    monkeypatch.setattr(head_collection, "SYMBOLS_MIN", active)
    database = Database.open(tmp_path, OPTIONS)
    slots, symbols, symbol_bytes, memory = [], [], [], []
    for wave in range(series // active):
        refs = database.resolve(labels_of(wave * active, (wave + 1) * active))
        for at in range(0, 2000, 500):
            times = np.full(active, wave * 2000 + at)
            assert not database.append(refs, times, np.arange(float(active))).any()
        database.maintain()
        stats = database.stats()
        slots.append(stats.series)
        symbols.append(stats.symbol_count)
        symbol_bytes.append(stats.symbol_bytes)
        memory.append(stats.head_memory_bytes)
    assert stats.series_created == series
    assert stats.series_removed >= series - 3 * active
    assert max(slots) <= 3 * active
    assert max(symbols) <= 12 * active
    for each in (memory, symbol_bytes):
        assert max(each[len(each) // 2 :]) <= 1.3 * max(each[: len(each) // 2 + 1])
    (batch,) = database.select(
        [Selection((Matcher("job", MatchOp.EQUAL, "churn"),), times[0], times[0])]
    )
    assert batch.series_count == active
    database.close()


@pytest.mark.parametrize("symbols_min", [10, 1 << 20], ids=["symbols too", "symbols stay"])
def test_series_that_come_or_come_back_while_rows_are_rebuilt_stay(
    tmp_path, monkeypatch, symbols_min
):
    monkeypatch.setattr(head_collection, "SYMBOLS_MIN", symbols_min)
    database = Database.open(tmp_path, OPTIONS)
    head = database._head
    refs = database.resolve(labels_of(0, 300))
    database.append(refs, np.zeros(300, np.int64), np.ones(300))
    kept, back, gone = refs[:30], refs[30:60], refs[60:]
    database.append(kept, np.full(30, 5000), np.ones(30))
    left = survivors(head, 5000)
    assert len(left.rows) == 30
    assert (left.place is not None) == (symbols_min == 10)
    database.append(back, np.full(30, 5000), np.ones(30))
    new = database.resolve(labels_of(300, 350))
    with head.lock:
        assert collect(head, 5000, left) == gone.size
    assert len(head.rows) == 110
    again = database.resolve(labels_of(0, 350))
    np.testing.assert_array_equal(again[:60], refs[:60])
    np.testing.assert_array_equal(again[300:], new)
    assert not np.isin(again[60:300], refs).any()
    status = database.append(gone, np.full(gone.size, 6000), np.ones(gone.size))
    assert (status == AppendStatus.UNKNOWN_SERIES).all()
    assert not database.append(new, np.full(50, 6000), np.ones(50)).any()
    expected = [f"{n:032x}" for n in (*range(60), *range(300, 350))]
    assert database.label_values("id", [], 5000, 6000) == expected
    for n in (0, 45, 320):
        matcher = Matcher("id", MatchOp.EQUAL, f"{n:032x}")
        (batch,) = database.select([Selection((matcher,), 0, 6000)])
        assert [batch.labels.row(at)["id"] for at in range(batch.series_count)] == [f"{n:032x}"]
    database.close()


def test_what_was_found_among_forgotten_rows_is_let_go(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    for at in range(4):
        refs = database.resolve(labels_of(at * 100, at * 100 + 100))
        database.append(refs, np.full(100, at * 2000), np.ones(100))
        database.label_values("pod", [], 0, 10_000)
        database.series([[Matcher("job", MatchOp.EQUAL, "churn")]], 0, 10_000)
        rows = weakref.ref(database._head.rows)
        database.maintain()
        gc.collect()
        assert at == 0 or rows() is None
    database.close()


def test_new_series_outlive_a_flush(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    refs = database.resolve(labels_of(0, 10))
    database.append(refs, np.zeros(10, np.int64), np.ones(10))
    database.flush()
    assert not database.append(refs, np.full(10, 100), np.ones(10)).any()
    database.close()
