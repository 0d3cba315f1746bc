"""Disks that are full, fail, or cannot be written; flipped bits. Nothing is lost unsaid."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnomon.tsdb_tools.verify import verify_directory
from tsdb import wal as wal_module
from tsdb.database import Database
from tsdb.errors import WriteFailedError
from tsdb.interface import LabelSpans, Selection
from tsdb.options import DatabaseOptions
from tsdb.wal import segments

OPTIONS = DatabaseOptions(
    retention_ms=None, background=False, min_block_ms=100_000, wal_segment_bytes=100_000
)
LABELS = [{"__name__": "m", "n": str(n)} for n in range(50)]


class Writer:
    """Writes batches, and knows which were acknowledged."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.batch = 0
        self.acknowledged: set[int] = set()

    def write(self, batches: int) -> int:
        """Write some batches; return how many were refused."""
        refused = 0
        for _ in range(batches):
            self.batch += 1
            noise = np.random.default_rng(self.batch).random(50)
            try:
                refs = self.database.resolve(LabelSpans.from_labels(LABELS))
                status = self.database.append(refs, np.full(50, self.batch * 1000), noise)
            except WriteFailedError:
                refused += 1
            else:
                assert not status.any()
                self.acknowledged.add(self.batch)
        return refused

    def check(self) -> None:
        """Check that all that was acknowledged is there, whole, and nothing else."""
        (batch,) = self.database.select([Selection((), 0, 1 << 50)])
        assert batch.series_count == (50 if self.acknowledged else 0)
        for series in range(batch.series_count):
            first, at, count = (
                batch.time_start[series], batch.value_start[series], batch.count[series]
            )  # fmt: skip
            found = batch.times[first : first + count] // 1000
            assert set(found.tolist()) == self.acknowledged
            number = int(batch.labels.row(series)["n"])
            values = [np.random.default_rng(k).random(50)[number] for k in found.tolist()]
            assert batch.values[at : at + count].tolist() == values

    def reopen(self) -> None:
        assert self.database.path is not None
        self.database.close()
        self.database = Database.open(self.database.path, OPTIONS)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_refuses_and_recovers(small_disk):
    writer = Writer(Database.open(small_disk / "data", OPTIONS))
    writer.write(100)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 300_000))
    assert writer.write(2000) > 100
    writer.check()
    with pytest.raises((OSError, WriteFailedError), match="No space left"):
        writer.database.maintain()
    writer.check()
    ballast.unlink()
    assert writer.write(10) == 0
    writer.database.maintain()
    writer.check()
    writer.reopen()
    assert writer.database.stats().wal_corruptions == 0
    writer.check()
    assert writer.write(200) == 0
    writer.check()
    writer.database.close()


def test_a_disk_that_is_full_at_the_end_still_starts_again(small_disk):
    writer = Writer(Database.open(small_disk / "data", OPTIONS))
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 200_000))
    assert writer.write(2000) > 100
    writer.database.close()
    assert not (small_disk / "data/head/snapshot.tmp").exists()
    with pytest.raises(OSError, match="No space left"):
        Database.open(small_disk / "data", OPTIONS)
    ballast.unlink()
    writer.database = Database.open(small_disk / "data", OPTIONS)
    writer.check()
    writer.database.close()


def test_a_disk_that_became_read_only_refuses_and_serves(small_disk):
    writer = Writer(Database.open(small_disk / "data", OPTIONS))
    writer.write(100)
    writer.database.sync()

    def remount(mode: str) -> bool:
        command = ["mount", "-o", f"remount,{mode}", small_disk]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    # With files open for writing only a forced remount works; a start is what can be tried.
    writer.database.close()
    assert remount("ro")
    with pytest.raises(OSError, match="Read-only file system"):
        Database.open(small_disk / "data", OPTIONS)
    readable = DatabaseOptions(retention_ms=None, read_only=True, background=False)
    writer.database = Database.open(small_disk / "data", readable)
    writer.check()
    writer.database.close()
    assert remount("rw")
    writer.database = Database.open(small_disk / "data", OPTIONS)
    assert writer.write(10) == 0
    writer.check()
    writer.database.close()


class FailingOs:
    """`os` as the log sees it: writes fail while `error` is set, after `partial` bytes."""

    def __init__(self) -> None:
        self.error = 0
        self.partial = 0
        self.truncates = True

    def __getattr__(self, name: str):
        return getattr(os, name)

    def writev(self, file, parts):
        if self.error:
            if self.partial:
                whole = b"".join(bytes(part) for part in parts)
                os.write(file, whole[: min(self.partial, len(whole) - 1)])
            raise OSError(self.error, os.strerror(self.error))
        return os.writev(file, parts)

    def ftruncate(self, file, size):
        if not self.truncates:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.ftruncate(file, size)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("partial", [0, 5, 100])
@pytest.mark.parametrize("truncates", [True, False], ids=["cut off", "cannot be cut off"])
def test_a_write_that_fails_half_way(tmp_path, monkeypatch, error, partial, truncates):
    failing = FailingOs()
    monkeypatch.setattr(wal_module, "os", failing)
    writer = Writer(Database.open(tmp_path / "data", OPTIONS))
    writer.write(20)
    failing.error, failing.partial, failing.truncates = error, partial, truncates
    assert writer.write(3) == 3
    with pytest.raises(WriteFailedError, match=os.strerror(error)):
        writer.database.resolve(LabelSpans.from_labels([{"__name__": "new"}]))
    with pytest.raises(WriteFailedError):
        writer.database.delete([()], 0, 1 << 40)
    writer.check()
    failing.error = 0
    assert writer.write(20) == 0
    writer.check()
    crashed = tmp_path / "crashed"
    shutil.copytree(tmp_path / "data", crashed)
    writer.database.close()
    writer.database = Database.open(crashed, OPTIONS)
    writer.check()
    writer.database.close()


def test_a_sync_that_fails_is_an_error_and_later_ones_work(tmp_path, monkeypatch):
    writer = Writer(Database.open(tmp_path, OPTIONS))
    writer.write(5)

    def fail(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        writer.database.sync()
    monkeypatch.undo()
    writer.database.sync()
    assert writer.write(5) == 0
    writer.reopen()
    writer.check()
    writer.database.close()


@pytest.mark.parametrize("name", ["index", "meta.json", "pages"])
def test_a_flipped_bit_in_a_block_costs_no_more_than_the_block(tmp_path, caplog, name):
    writer = Writer(Database.open(tmp_path, OPTIONS))
    writer.write(300)
    writer.database.maintain()
    paths = [Path(tmp_path) / block.name for block in sorted(tmp_path.glob("0*"))]
    assert len(paths) > 1
    writer.database.close()
    path = paths[0] / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with caplog.at_level(logging.ERROR):
        database = Database.open(tmp_path, OPTIONS)
        (batch,) = database.select([Selection((), 0, 1 << 50)])
    assert paths[0].name in caplog.text
    assert 0 < batch.sample_count < 300 * 50
    stats = database.stats()
    assert stats.reloads_failed + stats.block_corruptions > 0
    database.maintain()
    assert paths[0].exists()
    database.close()


@pytest.mark.parametrize("name", ["index", "meta.json", "pages"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99], ids=lambda part: f"at {part:.0%}")
def test_a_block_file_that_is_cut_off_costs_no_more_than_the_block(tmp_path, caplog, name, part):
    writer = Writer(Database.open(tmp_path, OPTIONS))
    writer.write(300)
    writer.database.maintain()
    paths = sorted(tmp_path.glob("0*"))
    writer.database.close()
    path = paths[0] / name
    os.truncate(path, int(path.stat().st_size * part))
    with caplog.at_level(logging.ERROR):
        database = Database.open(tmp_path, OPTIONS)
        (batch,) = database.select([Selection((), 0, 1 << 50)])
    assert str(path) in caplog.text
    assert 0 < batch.sample_count < 300 * 50
    assert str(path) in " ".join(verify_directory(tmp_path).problems)
    database.maintain()
    assert paths[0].exists()
    database.close()


@pytest.mark.parametrize("name", ["index", "meta.json", "pages"])
def test_a_block_file_that_is_missing_is_told(tmp_path, caplog, name):
    writer = Writer(Database.open(tmp_path, OPTIONS))
    writer.write(300)
    writer.database.maintain()
    paths = sorted(tmp_path.glob("0*"))
    writer.database.close()
    (paths[0] / name).unlink()
    with caplog.at_level(logging.ERROR):
        database = Database.open(tmp_path, OPTIONS)
        (batch,) = database.select([Selection((), 0, 1 << 50)])
    assert str(paths[0]) in caplog.text
    assert 0 < batch.sample_count < 300 * 50
    assert verify_directory(tmp_path).problems
    assert paths[0].exists()
    database.close()


def _failing(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("tsdb.block_writer.array_file.write_arrays", id="the index is written"),
        pytest.param("tsdb.block_writer.frames.FrameWriter.finish", id="pages are written"),
        pytest.param("tsdb.block_writer.os.fsync", id="a file is synced"),
        pytest.param("tsdb.block_writer.sync_directory", id="the directory is synced"),
    ],
)
def test_a_cut_or_compaction_that_fails_changes_nothing(tmp_path, monkeypatch, caplog, step):
    options = replace(OPTIONS, min_block_ms=30_000, max_block_ms=90_000)
    writer = Writer(Database.open(tmp_path, options))
    writer.write(100)
    monkeypatch.setattr(step, _failing)
    with pytest.raises(OSError, match="Input/output error"):
        writer.database.maintain()
    writer.check()
    monkeypatch.undo()
    monkeypatch.setattr("tsdb.compaction.plan", lambda *_, **__: ())
    writer.database.maintain()
    writer.write(200)
    writer.database.maintain()
    monkeypatch.undo()
    blocks = len(writer.database.block_metas())
    assert blocks > 3
    monkeypatch.setattr(step, _failing)
    with caplog.at_level(logging.ERROR):
        writer.database.maintain()
    assert "Input/output error" in caplog.text
    assert writer.database.stats().compactions_failed == 1
    assert len(writer.database.block_metas()) == blocks
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.tmp"))
    writer.check()
    metas = {
        json.loads(path.read_text())["minTime"]: path for path in tmp_path.glob("0*/meta.json")
    }
    oldest = metas[min(metas)]
    writer.database.maintain()
    assert oldest.exists(), "it is tried again, but not at once"
    monkeypatch.setattr("tsdb.maintenance.time.monotonic", lambda: time.perf_counter() + 1e6)
    writer.database.maintain()
    assert not oldest.exists()
    writer.check()
    assert verify_directory(tmp_path).problems == []
    writer.database.close()


def test_a_snapshot_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    writer = Writer(Database.open(tmp_path / "data", OPTIONS))
    writer.write(300)
    writer.database.maintain()
    monkeypatch.setattr("tsdb.block_writer.os.fsync", _failing)
    with pytest.raises(OSError, match="Input/output error"):
        writer.database.snapshot(tmp_path / "snapshot")
    assert not (tmp_path / "snapshot").exists()
    monkeypatch.undo()
    writer.database.snapshot(tmp_path / "snapshot")
    writer.check()
    writer.database.close()
    writer.database = Database.open(tmp_path / "snapshot", OPTIONS)
    writer.check()
    writer.database.close()


def test_flipped_bits_in_the_log_cost_single_batches(tmp_path, caplog):
    writer = Writer(Database.open(tmp_path, OPTIONS))
    writer.write(600)
    writer.database.close()
    shutil.rmtree(tmp_path / "head")
    number, path = segments(tmp_path / "wal")[1]
    data = bytearray(path.read_bytes())
    for at in (10_000, 30_000, 60_000):
        data[at] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.ERROR):
        database = Database.open(tmp_path, OPTIONS)
    (batch,) = database.select([Selection((), 0, 1 << 50)])
    assert f"{number:08d}" in caplog.text
    assert database.stats().wal_corruptions == 3
    assert batch.sample_count == 597 * 50
    database.close()
