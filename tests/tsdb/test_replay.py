"""What a log that was torn, damaged or is of another time does to a start."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.interface import LabelSpans, Selection
from tsdb.options import DatabaseOptions
from tsdb.segment_reader import read_records
from tsdb.wal import SAMPLES, SEGMENT_MAGIC, checkpoints, segment_path, segments

OPTIONS = DatabaseOptions(
    retention_ms=None, background=False, wal_segment_bytes=4000, min_block_ms=1000
)
SERIES = [{"__name__": "m", "n": str(n + 1)} for n in range(10)]
BATCHES = 100


def write(directory, batches=BATCHES) -> None:
    database = Database.open(directory, OPTIONS)
    refs = database.resolve(LabelSpans.from_labels(SERIES))
    for k in range(batches):
        values = np.arange(10) / 3 + k * 0.1
        assert not database.append(refs, np.full(10, k), values).any()
    close(database)


def close(database: Database) -> None:
    """Close, and leave no saved head, so that the next start replays."""
    database.close()
    assert database.path is not None
    shutil.rmtree(database.path / "head", ignore_errors=True)


def times_of(directory, options=OPTIONS):
    """Open, read and close: the times of all series (which must be alike), and the stats."""
    database = Database.open(directory, options)
    (batch,) = database.select([Selection((), -(1 << 60), 1 << 60)])
    stats = database.stats()
    close(database)
    runs = {
        tuple(batch.times[start : start + count].tolist())
        for start, count in zip(batch.time_start.tolist(), batch.count.tolist(), strict=True)
    }
    assert len(runs) <= 1
    assert batch.series_count in (0, len(SERIES))
    return list(runs.pop()) if runs else [], stats


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("written")
    write(directory)
    return directory


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def last_segment(directory):
    """The newest segment that holds samples."""
    return [path for _, path in segments(directory / "wal") if path.stat().st_size > 50][-1]


def test_everything_comes_back(copy):
    times, stats = times_of(copy)
    assert times == list(range(BATCHES))
    assert stats.replay_samples == BATCHES * 10
    assert stats.wal_corruptions == 0
    assert len(segments(copy / "wal")) > 3
    assert times_of(copy)[0] == times


def test_a_torn_tail_is_cut_off_wherever_it_tears(written, tmp_path):
    whole = last_segment(written).read_bytes()
    records = list(read_records(last_segment(written)))
    full = len(records)
    for cut in [1, 2, 5, 11, 12, 13, 50, 100, 101]:
        copy = shutil.copytree(written, tmp_path / str(cut))
        path = last_segment(copy)
        # Everything behind the torn segment is not there yet when a crash tears it.
        for _, other in segments(copy / "wal"):
            if other > path:
                other.unlink()
        path.write_bytes(whole[:-cut])
        times, stats = times_of(copy)
        assert times == list(range(len(times)))
        assert stats.wal_corruptions == 1
        assert BATCHES - 2 <= len(times) < BATCHES
        kept = list(read_records(path))
        assert kept == records[: full - (BATCHES - len(times))]
        again, stats = times_of(copy)
        assert again == times
        assert stats.wal_corruptions == 0


def test_a_torn_tail_is_said(copy, caplog):
    path = last_segment(copy)
    for _, other in segments(copy / "wal"):
        if other > path:
            other.unlink()
    path.write_bytes(path.read_bytes()[:-3])
    with caplog.at_level(logging.WARNING, "tsdb.replay"):
        times_of(copy)
    assert "is torn at byte" in caplog.text
    assert "record cut short" in caplog.text


def test_damage_in_the_middle_costs_the_rest_of_its_segment_only(copy, caplog):
    numbers = [number for number, _ in segments(copy / "wal")]
    path = segment_path(copy / "wal", numbers[1])
    data = bytearray(path.read_bytes())
    good = len(list(read_records(path)))
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with caplog.at_level(logging.ERROR, "tsdb.replay"):
        times, stats = times_of(copy)
    assert "is damaged" in caplog.text
    assert stats.wal_corruptions == 1
    lost = sorted(set(range(BATCHES)) - set(times))
    assert 0 < len(lost) < good
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert times[-1] == BATCHES - 1


@pytest.mark.parametrize("content", [b"", SEGMENT_MAGIC[:3], SEGMENT_MAGIC, b"something else"])
def test_a_segment_that_is_hardly_one_does_not_stop_a_start(copy, content):
    number = segments(copy / "wal")[-1][0] + 1
    segment_path(copy / "wal", number).write_bytes(content)
    assert times_of(copy)[0] == list(range(BATCHES))
    assert times_of(copy)[0] == list(range(BATCHES))


def test_every_flipped_byte_is_survived(written, tmp_path):
    for at in range(0, 4000, 97):
        copy = shutil.copytree(written, tmp_path / str(at))
        path = segments(copy / "wal")[1][1]
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 0xFF
        path.write_bytes(data)
        times, stats = times_of(copy)
        assert stats.wal_corruptions == 1
        assert set(times) < set(range(BATCHES))
        shutil.rmtree(copy)


def test_samples_of_series_that_the_log_lost_are_counted_and_left_out(copy, caplog):
    first = segments(copy / "wal")[0][1]
    data = bytearray(first.read_bytes())
    data[30] ^= 1
    first.write_bytes(data)
    with caplog.at_level(logging.WARNING, "tsdb.replay"):
        times, stats = times_of(copy)
    assert times == []
    assert stats.wal_corruptions == 1
    assert "belong to series that it does not know" in caplog.text


def test_a_reader_changes_nothing(copy):
    path = last_segment(copy)
    path.write_bytes(path.read_bytes()[:-3])
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    read_only = DatabaseOptions(retention_ms=None, background=False, read_only=True)
    times, stats = times_of(copy, read_only)
    assert len(times) >= BATCHES - 2
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before
    assert stats.clean_start == -1


def test_progress_is_told(copy):
    seen = []
    Database.open(copy, OPTIONS, on_progress=seen.append).close()
    assert [each.current for each in seen] == sorted(each.current for each in seen)
    assert seen[-1].current == seen[-1].last == segments(copy / "wal")[-2][0]


def test_a_cut_leaves_a_checkpoint_and_few_segments(tmp_path):
    write(tmp_path)
    database = Database.open(tmp_path, OPTIONS)
    refs = database.resolve(LabelSpans.from_labels(SERIES))
    for k in range(BATCHES, 60 * BATCHES):
        database.append(refs, np.full(10, k), np.arange(10) + k * 0.1)
    before = database.stats().wal.size_bytes
    database.maintain()
    stats = database.stats()
    assert stats.wal.size_bytes < before / 2
    assert stats.blocks
    close(database)
    ((_, checkpoint),) = checkpoints(tmp_path / "wal")
    assert any(kind == SAMPLES for kind, _ in read_records(checkpoint))
    times, stats = times_of(tmp_path)
    assert times == list(range(60 * BATCHES))
    assert stats.replay_samples < 60 * BATCHES * 10


def test_a_crash_between_block_and_checkpoint_doubles_nothing(tmp_path, monkeypatch):
    write(tmp_path)
    database = Database.open(tmp_path, OPTIONS)
    refs = database.resolve(LabelSpans.from_labels(SERIES))
    for k in range(BATCHES, 5000):
        database.append(refs, np.full(10, k), np.arange(10) + k * 0.1)

    def crash(*_, **__):
        raise OSError("as if the process had died here")

    monkeypatch.setattr("tsdb.maintenance.write_checkpoint", crash)
    with pytest.raises(OSError, match="died here"):
        database.maintain()
    assert database.stats().blocks > 0
    copy = shutil.copytree(tmp_path, tmp_path / "copy")
    monkeypatch.undo()
    close(database)
    for _ in range(2):
        times, stats = times_of(copy)
        assert times == list(range(5000))
    database = Database.open(copy, OPTIONS)
    database.flush()
    database.maintain()
    close(database)
    assert times_of(copy)[0] == list(range(5000))
    assert stats.blocks > 0
