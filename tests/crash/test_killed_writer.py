"""A writer is killed in the middle of its work; what it had acknowledged is there, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.interface import Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

WRITER = Path(__file__).with_name("writer.py")
ROOT = WRITER.parents[2]
READ = DatabaseOptions(
    retention_ms=None, min_block_ms=120_000, max_block_ms=1_200_000, background=False
)
LATE_MS = 500


def write_and_kill(directory: Path, *, series: int, begin: int, after_s: float) -> int:
    """Let a writer work for a while, kill it, and return the last batch that it had."""
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), str(directory), str(series), str(begin)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert writer.stdout is not None
    with writer.stdout as acknowledged:
        assert acknowledged.readline(), "the writer did not start"
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        lines = acknowledged.read().split()
    return int(lines[-1]) if lines else begin


def check(database: Database, *, series: int, last: int) -> int:
    """Check every sample of every batch; return the newest batch that is there."""
    (batch,) = database.select(
        [Selection((Matcher("__name__", MatchOp.EQUAL, "written"),), 0, 1 << 50)]
    )
    assert batch.series_count == series
    newest = set()
    for each in range(series):
        first, at, count = batch.time_start[each], batch.value_start[each], batch.count[each]
        times, values = batch.times[first : first + count], batch.values[at : at + count]
        on_time = times % 1000 == 0
        found = times[on_time] // 1000
        # No batch is missing before the newest, and none is there twice.
        assert found.tolist() == list(range(1, found.size + 1))
        assert values[on_time].tolist() == found.tolist()
        newest.add(found.size)
        late = [k for k in range(1, found.size + 1) if k % 7 == 0]
        if batch.labels.row(each)["series"] == "0":
            assert times[~on_time].tolist() == [(k - 3) * 1000 + LATE_MS for k in late]
            assert values[~on_time].tolist() == [-k for k in late]
        else:
            assert on_time.all()
    check_histograms(database, batches=int(found.size))
    # All series have the same batches: half a batch is never seen.
    assert len(newest) == 1
    assert newest.pop() >= last
    return int(found.size)


def check_histograms(database: Database, *, batches: int) -> None:
    """Check that there is a histogram for each batch, and one for the next one maybe."""
    (batch,) = database.select(
        [Selection((Matcher("__name__", MatchOp.EQUAL, "written_too"),), 0, 1 << 50)]
    )
    runs = batch.histograms
    assert runs is not None
    assert batch.series_count == 1
    number = np.arange(1, int(runs.count[0]) + 1)
    assert batches <= number.size <= batches + 1
    at = slice(int(runs.start[0]), int(runs.start[0] + runs.count[0]))
    assert runs.times[at].tolist() == (number * 1000).tolist()
    assert runs.columns.count[at].tolist() == (number * 5.0).tolist()
    assert runs.columns.sum[at].tolist() == (number / 3).tolist()
    first, stop = runs.columns.positive_start[at.start], runs.columns.positive_start[at.stop]
    expected = np.repeat(number, 5).astype(np.float64)
    assert runs.columns.positive_count[first:stop].tolist() == expected.tolist()


@pytest.mark.parametrize("series", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_kills(tmp_path, series):
    begin = 1
    for after_s in (0.05, 0.5, 0.9):
        last = write_and_kill(tmp_path, series=series, begin=begin, after_s=after_s)
        database = Database.open(tmp_path, READ)
        assert database.stats().clean_start == 0
        begin = check(database, series=series, last=last) + 1
        database.maintain()
        check(database, series=series, last=last)
        database.close()
    assert np.int64(begin) > 10


def open_and_kill(directory: Path, *, steps: int) -> list[str]:
    """Begin to open a directory, and kill that after so many steps; return what it said."""
    opener = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.opener", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert opener.stdin is not None
    assert opener.stdout is not None
    said: list[str] = []
    with opener.stdin, opener.stdout:
        while len(said) < steps and "open" not in said:
            said.append(opener.stdout.readline().strip())
            if len(said) < steps:
                opener.stdin.write("\n")
                opener.stdin.flush()
        opener.kill()
        opener.wait()
    return said


def test_a_replay_that_is_killed_twice_loses_nothing(tmp_path):
    last = write_and_kill(tmp_path, series=3, begin=1, after_s=1.0)
    # Without a saved head there is more to replay, and so more places to be killed at.
    for path in (tmp_path / "head").glob("snapshot"):
        path.unlink()
    for steps in (2, 3, 1000):
        said = open_and_kill(tmp_path, steps=steps)
        counts = [int(each) for each in said if each != "open"]
        assert counts
        assert counts == sorted(counts)
        assert steps < 1000 or said[-1] == "open"
    database = Database.open(tmp_path, READ)
    check(database, series=3, last=last)
    database.close()
