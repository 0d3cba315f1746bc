"""A head that is saved when a database is closed, and what makes the saved one useless."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.model.test_database import read
from tsdb.database import Database, DatabaseOptions
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp
from tsdb.wal import segments

OPTIONS = DatabaseOptions(retention_ms=None, background=False, min_block_ms=10_000)
LABELS = [{"__name__": f"m{n % 7}", "n": str(n)} for n in range(300)]
EVER = ((), -(1 << 40), 1 << 40)


def fill(database: Database, first: int, stop: int) -> None:
    refs = database.resolve(LabelSpans.from_labels(LABELS))
    for at in range(first, stop):
        values = np.arange(300) * 0.1 + at
        assert not database.append(refs, np.full(300, at * 100), values).any()
    late = np.full(5, first * 100 + 50)
    assert not database.append(refs[:5], late, np.full(5, 7.5)).any()


@pytest.fixture
def closed(tmp_path):
    """A directory that was closed, with cuts, late samples and deletions; and what it held."""
    database = Database.open(tmp_path / "data", OPTIONS)
    fill(database, 0, 250)
    database.maintain()
    fill(database, 250, 320)
    database.delete([(Matcher("__name__", MatchOp.EQUAL, "m3"),)], 24_000, 31_000)
    held = read(database, *EVER)
    database.close()
    assert (tmp_path / "data/head/snapshot").exists()
    return tmp_path / "data", held


def test_everything_is_there_without_replaying(closed):
    directory, held = closed
    database = Database.open(directory, OPTIONS)
    assert not (directory / "head/snapshot").exists()
    assert database.stats().replay_samples == 0
    assert read(database, *EVER) == held
    fill(database, 320, 400)
    refs = database.resolve(LabelSpans.from_labels([*LABELS, {"__name__": "new"}]))
    assert np.unique(refs).size == 301
    status = database.append(refs[:1], np.array([399 * 100]), np.array([399.0]))
    assert status.tolist() == [AppendStatus.DUPLICATE]
    more = read(database, *EVER)
    database.close()
    database = Database.open(directory, OPTIONS)
    assert database.stats().replay_samples == 0
    assert read(database, *EVER) == more
    database.flush()
    database.maintain()
    assert read(database, *EVER) == more
    database.close()


def test_a_crash_afterwards_replays_everything(closed, tmp_path):
    directory, _ = closed
    database = Database.open(directory, OPTIONS)
    fill(database, 320, 400)
    held = read(database, *EVER)
    shutil.copytree(directory, tmp_path / "crashed")
    database.close()
    database = Database.open(tmp_path / "crashed", OPTIONS)
    assert database.stats().replay_samples > 0
    assert read(database, *EVER) == held
    database.close()


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def spoil_snapshot(directory):
    path = directory / "head/snapshot"
    flip(path, path.stat().st_size // 2)


def spoil_pages(directory):
    flip(min((directory / "head").glob("0*")), 100)


def lose_pages(directory):
    min((directory / "head").glob("0*")).unlink()


def add_a_segment(directory):
    number, path = segments(directory / "wal")[-1]
    shutil.copy(path, path.with_name(f"{number + 1:08d}"))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(spoil_snapshot, id="a flipped bit in the snapshot"),
        pytest.param(spoil_pages, id="a flipped bit in the pages"),
        pytest.param(lose_pages, id="pages that are gone"),
        pytest.param(add_a_segment, id="a log that went on without"),
        pytest.param(lambda d: (d / "head/snapshot").write_bytes(b""), id="an empty snapshot"),
        pytest.param(lambda d: shutil.rmtree(d / "head"), id="no directory at all"),
    ],
)
def test_a_useless_snapshot_costs_a_replay_and_nothing_else(closed, spoil):
    directory, held = closed
    spoil(directory)
    database = Database.open(directory, OPTIONS)
    assert database.stats().replay_samples > 0
    assert read(database, *EVER) == held
    fill(database, 320, 330)
    held = read(database, *EVER)
    database.close()
    database = Database.open(directory, OPTIONS)
    assert database.stats().replay_samples == 0
    assert read(database, *EVER) == held
    database.close()


def test_other_windows_need_a_replay(closed):
    directory, held = closed
    database = Database.open(directory, replace(OPTIONS, min_block_ms=20_000))
    assert database.stats().replay_samples > 0
    assert read(database, *EVER) == held
    database.close()


def test_the_snapshot_is_no_substitute_for_a_log_that_was_removed(closed):
    directory, held = closed
    shutil.rmtree(directory / "wal")
    database = Database.open(directory, OPTIONS)
    assert sum(map(len, read(database, *EVER).values())) < sum(map(len, held.values()))
    database.close()


def test_readers_of_a_closed_directory_leave_the_snapshot(closed):
    directory, held = closed
    database = Database.open(directory, replace(OPTIONS, read_only=True))
    assert read(database, *EVER) == held
    database.close()
    assert (directory / "head/snapshot").exists()
