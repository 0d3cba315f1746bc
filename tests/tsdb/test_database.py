"""A directory through its life: locks, cuts, compaction, retention, collection, deletion."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.errors import LockedError
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

HOUR = 3_600_000
OPTIONS = DatabaseOptions(retention_ms=None, background=False)
SMALL = DatabaseOptions(retention_ms=None, background=False, min_block_ms=1000, max_block_ms=9000)
ALL = Selection((), -(1 << 60), 1 << 60)


def append(database: Database, labels, times, value=1.0):
    """Append one sample at each time to each of the series."""
    refs = database.resolve(LabelSpans.from_labels(labels))
    statuses = [
        database.append(refs, np.full(refs.size, at), np.full(refs.size, value)) for at in times
    ]
    return np.array(statuses)


def count(database: Database) -> int:
    return database.select([ALL])[0].sample_count


def test_a_second_owner_is_refused_with_prometheus_words(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    code = (
        "import sys; from tsdb.database import Database\n"
        "try: Database.open(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    expected = "LockedError lock DB directory: resource temporarily unavailable\n"
    assert done.stdout == expected
    with pytest.raises(LockedError):
        Database.open(tmp_path, OPTIONS)
    database.close()
    Database.open(tmp_path, OPTIONS).close()


def test_reading_only_needs_no_lock(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    append(database, [{"a": "b"}], range(10))
    reader = Database.open(
        tmp_path, DatabaseOptions(retention_ms=None, read_only=True, background=False)
    )
    assert count(reader) == 10
    reader.close()
    assert append(database, [{"a": "b"}], [99]).tolist() == [[AppendStatus.STORED]]
    database.close()


def test_late_repetitions_of_what_only_a_block_has_are_taken_and_the_first_value_stays(tmp_path):
    """No block is read while somebody waits for an append; Prometheus takes such samples too.

    Prometheus 3.5 counts them as appended, and shows the late value of a time that a block has, the
    first one of a time that its head has. Here it is the first one always.
    """
    database = Database.open(tmp_path, SMALL)
    append(database, [{"a": "b"}], range(0, 1000, 100))
    database.flush()
    assert append(database, [{"a": "b"}], [300], 1.0).tolist() == [[AppendStatus.STORED]]
    assert append(database, [{"a": "b"}], [400], 2.0).tolist() == [[AppendStatus.STORED]]
    # From now on the head has them, and tells.
    assert append(database, [{"a": "b"}], [300], 1.0).tolist() == [[AppendStatus.DUPLICATE]]
    assert append(database, [{"a": "b"}], [400], 1.0).tolist() == [[AppendStatus.CONFLICT]]

    def values():
        (batch,) = database.select([ALL])
        start = int(batch.value_start[0])
        return batch.values[start : start + batch.count[0]].tolist()

    assert values() == [1.0] * 10
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert values() == [1.0] * 10
    database.flush()
    assert values() == [1.0] * 10
    append(database, [{"a": "b"}], [20_000])
    database.maintain()
    assert values() == [1.0] * 11
    database.close()


def test_clean_start_tells_a_crash(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    assert database.stats().clean_start == 1
    database.close()
    database = Database.open(tmp_path, OPTIONS)
    assert database.stats().clean_start == 1
    database.close()
    (tmp_path / "lock").touch()
    database = Database.open(tmp_path, OPTIONS)
    assert database.stats().clean_start == 0
    database.close()


@pytest.mark.parametrize(
    ("newest_h", "blocks"),
    [
        pytest.param(3.0, [], id="three hours stay in the head"),
        pytest.param(3.1, [(0, 2)], id="past three hours the first two go"),
        pytest.param(5.0, [(0, 2)], id="the newest three hours stay"),
        pytest.param(9.5, [(0, 6), (6, 8)], id="a long head goes at once, and is compacted"),
    ],
)
def test_windows_are_cut_when_the_head_spans_enough(tmp_path, newest_h, blocks):
    database = Database.open(tmp_path, OPTIONS)
    times = range(0, int(newest_h * HOUR) + 1, HOUR // 20)
    append(database, [{"a": "b"}, {"a": "c"}], times)
    database.maintain()
    metas = sorted((b.meta.min_time_ms, b.meta.max_time_ms) for b in database._reader.blocks)
    assert metas == [(low * HOUR, high * HOUR) for low, high in blocks]
    assert count(database) == 2 * len(times)
    stats = database.stats()
    assert stats.head_min_time_ms == (blocks[-1][1] * HOUR if blocks else 0)
    assert stats.head_max_time_ms == times[-1]
    assert stats.lowest_time_ms == 0
    database.close()


def test_series_that_ended_are_collected_and_come_back_under_new_refs(tmp_path):
    database = Database.open(tmp_path, SMALL)
    old, new = [{"__name__": "old"}], [{"__name__": "new"}]
    append(database, old, range(0, 900, 100))
    old_ref = database.resolve(LabelSpans.from_labels(old))
    append(database, new, range(0, 6000, 100))
    database.maintain()
    append(database, new, range(6000, 12_000, 100))
    database.maintain()
    stats = database.stats()
    assert (stats.series, stats.series_created, stats.series_removed) == (1, 2, 1)
    got = database.append(old_ref, np.array([12_000]), np.ones(1))
    assert got.tolist() == [AppendStatus.UNKNOWN_SERIES]
    again = database.resolve(LabelSpans.from_labels(old))
    assert again != old_ref
    assert database.append(again, np.array([12_000]), np.ones(1)).tolist() == [0]
    matcher = Matcher("__name__", MatchOp.EQUAL, "old")
    (batch,) = database.select([Selection((matcher,), 0, 1 << 60)])
    assert batch.times[batch.time_start[0] :][: batch.count[0]].tolist() == [
        *range(0, 900, 100),
        12_000,
    ]
    before = count(database)
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert count(database) == before
    database.close()


def test_collected_slots_serve_others_and_survive_a_restart(tmp_path):
    database = Database.open(tmp_path, SMALL)
    total = 0
    for generation in range(8):
        labels = [{"pod": f"{generation}-{n}"} for n in range(30)]
        begin = generation * 3000
        append(database, labels, range(begin, begin + 3000, 100), float(generation))
        total += 30 * 30
        database.maintain()
        assert count(database) == total
    stats = database.stats()
    assert stats.series_removed > 0
    assert database._head.slot_count < 8 * 30
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert count(database) == total
    append(database, [{"pod": f"9-{n}"} for n in range(50)], [24_000])
    assert count(database) == total + 50
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert count(database) == total + 50
    database.close()


def test_retention_by_time_drops_whole_blocks(tmp_path):
    options = DatabaseOptions(retention_ms=5000, background=False, min_block_ms=1000)
    database = Database.open(tmp_path, options)
    append(database, [{"a": "b"}], range(0, 20_000, 100))
    database.maintain()
    lowest = database.stats().lowest_time_ms
    assert 12_000 <= lowest <= 15_000
    assert database.stats().time_retentions == 1
    assert count(database) == len(range(lowest, 20_000, 100))
    late = append(database, [{"a": "b"}], [1])
    assert late.tolist() == [[AppendStatus.OUT_OF_BOUNDS]]
    database.set_limits(retention_ms=None, retention_bytes=None, out_of_order_window_ms=None)
    assert append(database, [{"a": "b"}], [1]).tolist() == [[AppendStatus.STORED]]
    database.close()


def test_retention_by_size_drops_the_oldest(tmp_path):
    database = Database.open(tmp_path, SMALL)
    rng = np.random.default_rng(1)
    ref = database.resolve(LabelSpans.from_labels([{"a": "b"}]))
    times = np.arange(30_000)
    database.append(np.repeat(ref, times.size), times, rng.random(times.size))
    database.flush()
    blocks = len(database._reader.blocks)
    stats = database.stats()
    size = stats.block_bytes
    database.set_limits(
        retention_ms=None,
        retention_bytes=size // 2 + stats.wal.size_bytes + stats.head_page_bytes,
        out_of_order_window_ms=None,
    )
    database._maintenance._compact_due = lambda: None
    database.maintain()
    stats = database.stats()
    assert stats.size_retentions == 1
    assert 0 < stats.blocks < blocks
    assert stats.block_bytes <= size // 2
    assert stats.lowest_time_ms > 0
    database.close()


def test_late_samples_alone_are_flushed_when_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr("tsdb.maintenance.LATE_SAMPLES_MAX", 50)
    database = Database.open(tmp_path, SMALL)
    append(database, [{"a": "b"}], range(100_000, 101_000, 100))
    append(database, [{"a": "b"}], range(5000, 9000, 50))
    assert database.stats().late_waiting == 80
    database.maintain()
    assert database.stats().late_waiting == 0
    assert count(database) == 90
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert count(database) == 90
    database.close()


def test_a_failed_cut_leaves_the_head_as_it_was(tmp_path, monkeypatch):
    database = Database.open(tmp_path, SMALL)
    append(database, [{"a": "b"}, {"a": "c"}], range(0, 9000, 100))
    append(database, [{"a": "b"}], [55])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsdb.head_cut.write_block", full)
    with pytest.raises(OSError, match="No space"):
        database.maintain()
    assert count(database) == 181
    monkeypatch.undo()
    database.maintain()
    assert database.stats().blocks > 0
    assert count(database) == 181
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert count(database) == 181
    database.close()


def test_a_damaged_block_does_not_stop_a_start(tmp_path):
    database = Database.open(tmp_path, SMALL)
    append(database, [{"a": "b"}], range(0, 9000, 100))
    database.flush()
    paths = [block.path for block in database._reader.blocks]
    assert len(paths) > 1
    database.close()
    (paths[0] / "meta.json").write_text("{")
    database = Database.open(tmp_path, SMALL)
    stats = database.stats()
    assert (stats.blocks, stats.reloads_failed) == (len(paths) - 1, 1)
    assert count(database) > 0
    database.close()


def test_deleting_hides_at_once_and_for_ever(tmp_path):
    database = Database.open(tmp_path, SMALL)
    append(database, [{"a": "b"}, {"a": "c"}], range(0, 9000, 100))
    database.maintain()
    matchers = [Matcher("a", MatchOp.EQUAL, "b")]
    database.delete([matchers], 500, 8500)
    expected = 180 - len(range(500, 8501, 100))
    assert count(database) == expected
    database.close()
    database = Database.open(tmp_path, SMALL)
    assert count(database) == expected
    database.clean_tombstones()
    assert not any(block.tombstones for block in database._reader.blocks)
    database.flush()
    assert count(database) == expected
    assert append(database, [{"a": "b"}], [550]).tolist() == [[0]]
    assert count(database) == expected + 1
    database.close()


def test_a_snapshot_is_a_database_of_its_own(tmp_path):
    database = Database.open(tmp_path / "data", SMALL)
    append(database, [{"a": "b"}, {"a": "c"}], range(0, 9000, 100))
    append(database, [{"a": "b"}], [55])
    database.maintain()
    database.snapshot(tmp_path / "full")
    database.snapshot(tmp_path / "blocks", skip_head=True)
    in_blocks = sum(block.meta.stats.num_samples for block in database._reader.blocks)
    append(database, [{"a": "b"}], [9000])
    database.close()
    for name, size in (("full", 181), ("blocks", in_blocks)):
        copy = Database.open(tmp_path / name, SMALL)
        assert count(copy) == size
        copy.close()


def test_readers_see_everything_while_the_head_is_cut_and_compacted(tmp_path):
    database = Database.open(tmp_path, SMALL)
    labels = [{"n": str(n)} for n in range(1, 40)]
    refs = database.resolve(LabelSpans.from_labels(labels))
    scrapes, problems, done = 1500, [], threading.Event()

    def look() -> None:
        while not done.is_set():
            (batch,) = database.select([ALL])
            counts = set(batch.count.tolist())
            if len(counts) > 1:
                problems.append(counts)
            for start, size in zip(
                batch.time_start[:3].tolist(), batch.count[:3].tolist(), strict=True
            ):
                if batch.times[start : start + size].tolist() != list(range(0, size * 10, 10)):
                    problems.append("a gap")

    def maintain() -> None:
        while not done.is_set():
            database.maintain()

    threads = [threading.Thread(target=work) for work in (look, maintain)]
    for thread in threads:
        thread.start()
    for k in range(scrapes):
        database.append(refs, np.full(refs.size, k * 10), np.full(refs.size, float(k)))
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert database.stats().blocks > 0
    assert count(database) == scrapes * refs.size
    database.close()


def test_maintenance_runs_by_itself(tmp_path):
    options = DatabaseOptions(
        retention_ms=None, min_block_ms=1000, maintenance_interval_s=0.01, wal_fsync_interval_s=0.01
    )
    database = Database.open(tmp_path, options)
    append(database, [{"a": "b"}], range(0, 9000, 100))
    deadline = time.monotonic() + 20
    while not database.stats().blocks or not database.stats().wal.fsyncs:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert count(database) == 90
    database.close()


def test_cardinality_counts_the_head(tmp_path):
    database = Database.in_memory()
    labels = [{"__name__": f"m{n % 3}", "pod": f"p{n}", "zone": "z"} for n in range(9)]
    labels.append({"__name__": "m0", "zone": "y"})
    append(database, labels, [100, 200])
    found = database.cardinality(2)
    assert found.series_count == 10
    assert found.series_by_metric == (("m0", 4), ("m1", 3))
    assert found.values_by_label == (("pod", 9), ("__name__", 3))
    assert found.series_by_label_pair == (("zone=z", 9), ("__name__=m0", 4))
    assert found.label_pair_count == 14
    assert (found.min_time_ms, found.max_time_ms) == (100, 200)
    database.close()


def test_an_empty_database_answers_everything(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    assert count(database) == 0
    assert database.series([], 0, 1).series_count == 0
    assert database.label_names([], 0, 1) == database.label_values("a", [], 0, 1) == []
    database.flush()
    database.maintain()
    stats = database.stats()
    assert (stats.blocks, stats.head_min_time_ms, stats.lowest_time_ms) == (0, None, None)
    assert database.cardinality().series_count == 0
    database.close()


def test_in_memory_opens_at_once():
    Database.in_memory().close()
    begin = time.perf_counter()
    for _ in range(20):
        Database.in_memory().close()
    # A guess at a bound that a loaded machine keeps; 0.2 ms each were measured.
    assert (time.perf_counter() - begin) / 20 < 0.02
