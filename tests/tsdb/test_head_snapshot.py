"""A head that is saved, at the end or in use, and what makes the saved one useless."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.model.test_database import read
from tests.tsdb.block_models import bits
from tests.tsdb.histogram_models import to_columns
from tsdb import head_snapshot
from tsdb.array_file import ArrayWriter
from tsdb.database import Database
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp
from tsdb.options import DatabaseOptions
from tsdb.wal import segments

if TYPE_CHECKING:
    from pathlib import Path

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


def crashed(database: Database, to: Path) -> Database:
    """What the next start makes of what a kill would leave now."""
    assert database.path is not None
    shutil.copytree(database.path, to)
    return Database.open(to, OPTIONS)


def test_a_crash_afterwards_replays_only_what_came_later(closed, tmp_path):
    directory, _ = closed
    database = Database.open(directory, OPTIONS)
    fill(database, 320, 400)
    held = read(database, *EVER)
    second = crashed(database, tmp_path / "second")
    assert second.stats().replay_samples == 80 * 300 + 5
    assert read(second, *EVER) == held
    third = crashed(second, tmp_path / "third")
    assert third.stats().replay_samples == 80 * 300 + 5
    assert read(third, *EVER) == held
    for each in (database, second, third):
        each.close()


def test_a_head_that_is_saved_in_use_shortens_the_replay_after_a_crash(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    fill(database, 0, 90)
    database.save_head()
    fill(database, 90, 97)
    database.delete([(Matcher("__name__", MatchOp.EQUAL, "m3"),)], 8_000, 9_300)
    refs = database.resolve(LabelSpans.from_labels([*LABELS, {"__name__": "new"}]))
    assert not database.append(refs, np.full(301, 9_700), np.arange(301.0)).any()
    held = read(database, *EVER)
    again = crashed(database, tmp_path / "again")
    assert again.stats().replay_samples == 7 * 300 + 5 + 301
    assert read(again, *EVER) == held
    again.flush()
    assert read(again, *EVER) == held
    again.close()
    database.close()


def test_the_head_is_saved_as_the_log_grows(tmp_path):
    options = replace(OPTIONS, head_save_wal_bytes=30_000)
    with_log = Database.open(tmp_path / "data", options)
    fill(with_log, 0, 20)
    with_log.maintain()
    assert with_log.stats().head_saves == 0
    fill(with_log, 20, 95)
    with_log.maintain()
    with_log.maintain()
    assert with_log.stats().head_saves == 1
    assert with_log.stats().head_save_s > 0
    held = read(with_log, *EVER)
    again = crashed(with_log, tmp_path / "again")
    assert again.stats().replay_samples == 0
    assert read(again, *EVER) == held
    again.close()
    with_log.close()


def test_after_a_cut_the_saved_head_is_that_of_the_rest(tmp_path):
    database = Database.open(tmp_path / "data", OPTIONS)
    fill(database, 0, 90)
    database.save_head()
    fill(database, 90, 250)
    database.maintain()
    assert database.stats().cuts == 1
    assert len(list((tmp_path / "data/wal").glob("checkpoint.*"))) == 1
    fill(database, 250, 260)
    held = read(database, *EVER)
    again = crashed(database, tmp_path / "again")
    assert again.stats().replay_samples == 10 * 300 + 5
    assert read(again, *EVER) == held
    again.close()
    database.close()


class KilledError(Exception):
    """The process is gone."""


class WritesBetween(ArrayWriter):
    """Has others append whenever an array is written, which is where the head's lock is free."""

    between = staticmethod(lambda: None)

    def add(self, name, array):
        super().add(name, array)
        type(self).between()


@pytest.mark.parametrize("slots_at_once", [1, 7, 100])
def test_what_is_written_beside_saving_is_there_once(tmp_path, monkeypatch, slots_at_once):
    monkeypatch.setattr(head_snapshot, "_SLOTS_AT_ONCE", slots_at_once)
    monkeypatch.setattr(head_snapshot, "ArrayWriter", WritesBetween)
    database = Database.open(tmp_path / "data", OPTIONS)
    fill(database, 0, 40)
    histograms = [{"__name__": "h", "n": str(n)} for n in range(10)]
    moment = 0

    def write() -> None:
        nonlocal moment
        moment += 1
        if moment > 150:
            return
        at = 40 + moment // 3
        some = slice(moment % 3, None, 3)
        refs = database.resolve(LabelSpans.from_labels(LABELS[some]))
        values = np.arange(refs.size) + at * 0.5
        assert not database.append(refs, np.full(refs.size, at * 100), values).any()
        fresh = [{"__name__": "fresh", "n": str(moment)}, histograms[moment % 10]]
        refs = database.resolve(LabelSpans.from_labels(fresh))
        assert not database.append(refs[:1], np.array([at * 100]), np.array([1.5])).any()
        assert not database.append(refs[:1], np.array([at * 100 - 50]), np.array([0.5])).any()
        count = bits(float(moment))
        one = (2, 0, False, count, count, bits(0.0), bits(0.0), ((1, count),), (), ())
        columns = to_columns([one])
        times = np.array([100 * moment + 7])
        assert not database.append_histograms(refs[1:], times, columns).any()
        labels = LabelSpans.from_labels([{"trace": str(moment)}])
        assert not database.append_exemplars(
            refs[:1], times, np.array([moment * 1.0]), labels
        ).any()

    monkeypatch.setattr(WritesBetween, "between", staticmethod(write))
    database.save_head()
    assert database.stats().head_saves == 1
    assert moment > 50
    held = read(database, *EVER)
    exemplars = database.select_exemplars([()], *EVER[1:])
    again = crashed(database, tmp_path / "again")
    assert again.stats().replay_samples == min(moment, 150) * 103
    assert read(again, *EVER) == held
    found = again.select_exemplars([()], *EVER[1:])
    assert found.first.tolist() == exemplars.first.tolist()
    assert found.values.tolist() == exemplars.values.tolist()
    fill(again, 100, 140)
    monkeypatch.undo()
    more = read(again, *EVER)
    again.maintain()
    again.flush()
    assert read(again, *EVER) == more
    again.close()
    database.close()


@pytest.mark.parametrize("step", ["write_checkpoint", "write_snapshot", "Block.open", "collect"])
def test_a_crash_in_the_middle_of_a_cut(tmp_path, monkeypatch, step):
    database = Database.open(tmp_path / "data", OPTIONS)
    fill(database, 0, 90)
    database.save_head()
    fill(database, 90, 250)
    held = read(database, *EVER)

    def crash(*_: object, **__: object) -> None:
        shutil.copytree(tmp_path / "data", tmp_path / "again")
        raise KilledError

    monkeypatch.setattr(f"tsdb.maintenance.{step}", crash)
    with pytest.raises(KilledError):
        database._maintenance.run(None)
    monkeypatch.undo()
    again = Database.open(tmp_path / "again", OPTIONS)
    assert again.stats().replay_samples == (0 if step == "write_checkpoint" else 160 * 300 + 5)
    assert read(again, *EVER) == held
    again.maintain()
    assert read(again, *EVER) == held
    again.close()
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
