from __future__ import annotations

import threading

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.errors import WriteFailedError
from tsdb.interface import AppendStatus, LabelSpans, Selection
from tsdb.options import DatabaseOptions
from tsdb.wal import WalWriter

S = AppendStatus
OPTIONS = DatabaseOptions(retention_ms=None, background=False)


def refs_of(database: Database, count: int):
    labels = LabelSpans.from_labels({"n": str(n + 1)} for n in range(count))
    return database.resolve(labels)


def names(status) -> list[str]:
    return [S(code).name for code in status.tolist()]


def read(database: Database):
    (batch,) = database.select([Selection((), -(1 << 60), 1 << 60)])
    return {
        batch.labels.row(s)["n"]: list(
            zip(
                batch.times[batch.time_start[s] :][: batch.count[s]].tolist(),
                batch.values[batch.value_start[s] :][: batch.count[s]].tolist(),
                strict=True,
            )
        )
        for s in range(batch.series_count)
    }


@pytest.fixture
def database():
    database = Database.in_memory()
    yield database
    database.close()


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        pytest.param([(10, 1), (20, 2)], "STORED STORED", id="rising times"),
        pytest.param([(20, 1), (10, 2)], "STORED STORED", id="a late one in the same batch"),
        pytest.param([(10, 1), (10, 1)], "STORED DUPLICATE", id="the same twice"),
        pytest.param([(10, 1), (10, 2)], "STORED CONFLICT", id="a contradiction: the first stays"),
        pytest.param(
            [(20, 1), (10, 2), (10, 2), (10, 3)],
            "STORED STORED DUPLICATE CONFLICT",
            id="a late one and its repetitions",
        ),
        pytest.param(
            [(10, 1), (20, 2), (10, 1), (10, 5)],
            "STORED STORED DUPLICATE CONFLICT",
            id="a late repetition of one that the batch stored in order",
        ),
    ],
)
def test_one_batch(database, batch, expected):
    ref = refs_of(database, 1)
    times, values = zip(*batch, strict=True)
    got = database.append(np.repeat(ref, len(batch)), np.array(times), np.array(values, float))
    assert " ".join(names(got)) == expected
    first = {}
    for time, value in batch:
        first.setdefault(time, value)
    assert read(database) == {"1": sorted(first.items())}


@pytest.mark.parametrize("age", [1, 5, 40, 200])
def test_late_repetitions_are_found_in_slab_and_pages_and_buffer(database, age):
    ref = refs_of(database, 1)
    times = np.arange(0, 1000, 2)
    database.append(np.repeat(ref, times.size), times, times * 0.5)
    at = np.array([1000 - 2 * age])
    assert names(database.append(ref, at, at * 0.5)) == ["DUPLICATE"]
    assert names(database.append(ref, at, at * 0.5 + 1)) == ["CONFLICT"]
    assert names(database.append(ref, at - 1, at * 1.0)) == ["STORED"]
    assert names(database.append(ref, at - 1, at * 1.0)) == ["DUPLICATE"]
    assert names(database.append(ref, at - 1, at * 3.0)) == ["CONFLICT"]
    assert database.stats().late_appended == 1


@pytest.mark.parametrize(
    ("options", "time", "expected"),
    [
        pytest.param({}, 0, "STORED", id="without limits any time is welcome"),
        pytest.param({"retention_ms": 1000}, 8999, "OUT_OF_BOUNDS", id="beyond retention"),
        pytest.param({"retention_ms": 1000}, 9000, "STORED", id="just within retention"),
        pytest.param({"out_of_order_window_ms": 0}, 9999, "OUT_OF_ORDER", id="no window at all"),
        pytest.param({"out_of_order_window_ms": 0}, 10_000, "DUPLICATE", id="once more is fine"),
        pytest.param({"out_of_order_window_ms": 100}, 9900, "STORED", id="within the window"),
        pytest.param({"out_of_order_window_ms": 100}, 9899, "TOO_OLD", id="before the window"),
    ],
)
def test_limits(options, time, expected):
    database = Database.in_memory(DatabaseOptions(**({"retention_ms": None} | options)))
    ref = refs_of(database, 1)
    database.append(ref, np.array([10_000]), np.array([1.0]))
    assert names(database.append(ref, np.array([time]), np.array([1.0]))) == [expected]
    database.close()


def test_a_series_without_samples_may_begin_before_others_have_ended():
    database = Database.in_memory(DatabaseOptions(retention_ms=None, out_of_order_window_ms=0))
    refs = refs_of(database, 2)
    database.append(refs[:1], np.array([10_000]), np.array([1.0]))
    assert names(database.append(refs[1:], np.array([5]), np.array([1.0]))) == ["STORED"]
    database.close()


@pytest.mark.parametrize(
    ("window", "age", "expected"),
    [
        pytest.param(100, 1000, "STORED", id="less than half a block ago"),
        pytest.param(100, 1001, "TOO_OLD", id="longer ago, and before the window"),
        pytest.param(2000, 2000, "STORED", id="within a window that reaches further"),
        pytest.param(2000, 2001, "TOO_OLD", id="before that"),
        pytest.param(None, 9000, "STORED", id="at any time where any is welcome"),
    ],
)
def test_a_series_begins(window, age, expected):
    options = DatabaseOptions(retention_ms=None, out_of_order_window_ms=window, min_block_ms=2000)
    database = Database.in_memory(options)
    refs = refs_of(database, 2)
    database.append(refs[:1], np.array([10_000]), np.array([1.0]))
    got = database.append(refs[1:], np.array([10_000 - age]), np.array([1.0]))
    assert names(got) == [expected]
    database.close()


def test_times_too_far_ahead_are_refused_by_the_callers_limit(database):
    refs = refs_of(database, 2)
    got = database.append(refs, np.array([100, 101]), np.ones(2), time_max_ms=100)
    assert names(got) == ["STORED", "TOO_FAR_AHEAD"]
    assert read(database) == {"1": [(100, 1.0)]}


def test_unknown_refs_cost_nobody_else_anything(database):
    refs = refs_of(database, 1)
    got = database.append(np.array([77, refs[0]]), np.array([1, 1]), np.ones(2))
    assert names(got) == ["UNKNOWN_SERIES", "STORED"]


def test_nothing_is_a_batch_too(database):
    empty = np.empty(0, np.int64)
    assert database.append(empty, empty, np.empty(0)).size == 0
    assert database.resolve(LabelSpans.from_labels([])).size == 0


def test_equal_labels_are_one_series(database):
    refs = database.resolve(LabelSpans.from_labels([{"a": "b"}, {"c": "d"}, {"a": "b"}, {}]))
    assert refs[0] == refs[2]
    assert len(set(refs.tolist())) == 3
    assert database.resolve(LabelSpans.from_labels([{"c": "d"}])).tolist() == [refs[1]]
    assert database.stats().series == 3


def test_a_log_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    database = Database.open(tmp_path, OPTIONS)
    refs = refs_of(database, 2)
    database.append(refs, np.array([10, 10]), np.ones(2))
    before = read(database)

    def full(*_):
        raise WriteFailedError("no space")

    monkeypatch.setattr(WalWriter, "write", full)
    with pytest.raises(WriteFailedError):
        database.append(refs, np.array([20, 5]), np.ones(2))
    with pytest.raises(WriteFailedError):
        refs_of(database, 5)
    assert read(database) == before
    assert database.stats().series == 2
    monkeypatch.undo()
    more = refs_of(database, 5)
    assert more[:2].tolist() == refs.tolist()
    assert names(database.append(more, np.full(5, 15), np.ones(5))) == ["STORED"] * 5
    expected = read(database)
    assert len(expected) == 5
    database.close()
    database = Database.open(tmp_path, OPTIONS)
    assert read(database) == expected
    database.close()


def test_writers_in_many_threads_lose_nothing(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    batches, problems = 200, []

    def write(writer: int) -> None:
        labels = LabelSpans.from_labels({"n": f"{writer}-{n}"} for n in range(20))
        for k in range(batches):
            refs = database.resolve(labels)
            if database.append(refs, np.full(20, k * 4 + writer), np.full(20, float(k))).any():
                problems.append((writer, k))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    expected = {
        f"{writer}-{n}": [(k * 4 + writer, float(k)) for k in range(batches)]
        for writer in range(4)
        for n in range(20)
    }
    assert read(database) == expected
    database.close()
    database = Database.open(tmp_path, OPTIONS)
    assert read(database) == expected
    database.close()


def test_statuses_are_counted(database):
    ref = refs_of(database, 1)
    database.append(np.repeat(ref, 4), np.array([5, 5, 5, 3]), np.array([1.0, 1.0, 2.0, 1.0]))
    stats = database.stats()
    assert stats.appended[S.STORED] == 2
    assert stats.appended[S.DUPLICATE] == 1
    assert stats.appended[S.CONFLICT] == 1
    assert stats.late_appended == 1
