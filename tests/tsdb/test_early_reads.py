"""What can be read while the log is replayed: a part, whole batches only, and said to be a part."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.early_reads import EarlyReads
from tsdb.interface import ALL_TIMES_MS, LabelSpans, Matcher, MatchOp, MetricMetadata, Selection
from tsdb.options import DatabaseOptions
from tsdb.replay import ReplayProgress

OPTIONS = DatabaseOptions(
    retention_ms=None, background=False, wal_segment_bytes=4000, min_block_ms=1_000_000
)
SERIES = [{"__name__": "m", "n": str(n)} for n in range(20)]
EVERYTHING = Selection((), -(1 << 60), 1 << 60)
BATCHES = 120


def write(database: Database, first: int, stop: int, name: str = "m") -> None:
    refs = database.resolve(LabelSpans.from_labels([{**each, "__name__": name} for each in SERIES]))
    for k in range(first, stop):
        assert not database.append(refs, np.full(20, k), np.sqrt(np.arange(20.0) + k)).any()


def crashed(database: Database, tmp_path):
    """Return a copy of a directory as a crash would leave it."""
    shutil.copytree(tmp_path / "data", tmp_path / "crashed")
    database.close()
    return tmp_path / "crashed"


def times_of(batches) -> list[int]:
    """Return the times of all series, which must be alike."""
    (batch,) = batches
    runs = {
        tuple(batch.times[start : start + count].tolist())
        for start, count in zip(batch.time_start.tolist(), batch.count.tolist(), strict=True)
    }
    assert len(runs) <= 1
    assert batch.series_count in (0, 20)
    return list(runs.pop()) if runs else []


class Watcher:
    """Reads whenever the replay comes to another segment."""

    def __init__(self) -> None:
        self.early: EarlyReads | None = None
        self.seen: list[list[int]] = []
        self.warnings: list[str] = []

    def readable(self, early: EarlyReads) -> None:
        self.early = early

    def progress(self, _progress: ReplayProgress) -> None:
        if self.early is not None:
            batches = self.early.select([EVERYTHING])
            self.warnings += batches[0].warnings
            self.seen.append(times_of(batches))

    def open(self, directory) -> Database:
        return Database.open(
            directory, OPTIONS, on_progress=self.progress, on_readable=self.readable
        )


def test_more_and_more_of_the_log_can_be_read(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    write(database, 0, BATCHES)
    database.append_metadata([MetricMetadata("m", "gauge")])
    watcher = Watcher()
    database = watcher.open(crashed(database, tmp_path))
    assert len(watcher.seen) > 3
    counts = [len(times) for times in watcher.seen]
    assert counts == sorted(counts)
    assert counts[0] < counts[-2] <= BATCHES
    assert all(times == list(range(len(times))) for times in watcher.seen)
    # The last is told twice: when it is begun and when it has been read.
    count = len(watcher.seen) - 1
    assert watcher.warnings[2] == (
        f"results may be incomplete: the log is being replayed, 2 of {count} segments"
    )
    assert times_of(database.select([EVERYTHING])) == list(range(BATCHES))
    assert database.select([EVERYTHING])[0].warnings == ()
    assert watcher.early is not None
    assert watcher.early.metadata() == [MetricMetadata("m", "gauge")]
    database.close()


def test_blocks_and_the_saved_head_are_there_from_the_first_moment(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    write(database, 0, 40)
    database.flush()
    write(database, 40, 80)
    database.save_head()
    write(database, 80, BATCHES)
    watcher = Watcher()
    database = watcher.open(crashed(database, tmp_path))
    assert watcher.seen[0] == list(range(80))
    assert times_of(database.select([EVERYTHING])) == list(range(BATCHES))
    database.close()


def test_a_thread_beside_the_replay_sees_whole_batches(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    write(database, 0, BATCHES)
    seen: list[int] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def read(early: EarlyReads) -> None:
        try:
            while True:
                ended = over.is_set()
                times = times_of(early.select([EVERYTHING]))
                assert times == list(range(len(times)))
                seen.append(len(times))
                series = early.series([()], 0, 1 << 40)
                assert series.series_count in (0, 20)
                assert early.label_names([], 0, 1 << 40) in ([], ["__name__", "n"])
                assert len(early.label_values("n", [], 0, 1 << 40)) in (0, 20)
                assert early.select_exemplars([], 0, 1 << 40).times.size == 0
                if ended:
                    return
        except BaseException as error:  # noqa: BLE001  # looked at below
            failures.append(error)

    threads: list[threading.Thread] = []

    def readable(early: EarlyReads) -> None:
        threads.append(threading.Thread(target=read, args=(early,)))
        threads[0].start()

    database = Database.open(crashed(database, tmp_path), OPTIONS, on_readable=readable)
    over.set()
    threads[0].join()
    assert not failures
    assert seen == sorted(seen)
    assert seen[-1] == BATCHES
    database.close()


def test_what_was_deleted_is_not_seen_again(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    write(database, 0, 50)
    database.delete([(Matcher("__name__", MatchOp.EQUAL, "m"),)], 10, 30)
    write(database, 50, BATCHES)
    left = [k for k in range(BATCHES) if not 10 <= k <= 30]
    watcher = Watcher()
    database = watcher.open(crashed(database, tmp_path))
    assert watcher.seen
    assert all(times == left[: len(times)] for times in watcher.seen)
    assert len(watcher.seen[0]) >= 29
    assert times_of(database.select([EVERYTHING])) == left
    # Its log goes with a cut, and so does the mark.
    assert list((tmp_path / "crashed/wal").glob("deletions.*"))
    database.flush()
    assert not list((tmp_path / "crashed/wal").glob("deletions.*"))
    database.close()


def test_a_log_whose_end_deletes_is_not_read_early(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    write(database, 0, 50)
    database.delete([()], 10, 30)
    watcher = Watcher()
    database = watcher.open(crashed(database, tmp_path))
    assert watcher.early is None
    database.close()


@pytest.mark.parametrize("asked", ["select", "series"])
def test_what_no_read_may_see_waits_for_reads_and_they_for_it(asked):
    began, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    class Slow:
        def select(self, _selections, *, samples_max=None):
            began.set()
            assert go_on.wait(30)
            order.append("read")
            return []

        def series(self, *_):
            order.append("second read")

    early = EarlyReads(Slow(), ReplayProgress)
    first = threading.Thread(target=early.select, args=([],))
    first.start()
    assert began.wait(30)

    def alone() -> None:
        with early.alone():
            order.append("alone")

    second = threading.Thread(target=alone)
    second.start()
    while not early._is_alone:
        threading.Event().wait(0.001)
    third = threading.Thread(target=early.series, args=([], 0, 0))
    if asked == "series":
        third.start()
    assert order == []
    go_on.set()
    second.join()
    first.join()
    if asked == "series":
        third.join()
        assert order == ["read", "alone", "second read"]
    else:
        assert order == ["read", "alone"]


def test_answers_of_before_are_not_kept(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    write(database, 0, 5)
    tickets: list[int] = []
    again = Database.open(
        crashed(database, tmp_path),
        OPTIONS,
        on_readable=lambda early: tickets.append(early._storage.change_ticket()),
    )
    assert again.oldest_change_ms(tickets[0]) == ALL_TIMES_MS
    assert again.oldest_change_ms(0) == ALL_TIMES_MS
    again.close()
