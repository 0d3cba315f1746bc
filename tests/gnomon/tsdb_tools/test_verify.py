import numpy as np
import pytest

from gnomon.tsdb_tools.verify import verify_directory
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions

HOUR_MS = 3_600_000


@pytest.fixture
def directory(tmp_path):
    """A directory with a block and with a log."""
    options = DatabaseOptions(background=False, retention_ms=None)
    database = Database.open(tmp_path, options)
    refs = database.resolve(
        LabelSpans.from_labels([{"__name__": "m", "i": str(i)} for i in range(50)])
    )
    for step in range(2):
        for minute in range(30):
            times = np.full(50, step * 4 * HOUR_MS + minute * 60_000, np.int64)
            database.append(refs, times, np.arange(50.0) + minute)
        if step == 0:
            database.flush()
    database.close()
    return tmp_path


def block_of(directory):
    (block,) = [path.parent for path in directory.glob("*/meta.json")]
    return block


def newest_segment(directory):
    return max(path for path in (directory / "wal").iterdir() if path.name.isdigit())


def log_of(directory):
    """Return the segment that has the samples."""
    return max((directory / "wal").iterdir(), key=lambda path: path.stat().st_size)


def test_a_good_directory(directory):
    verdict = verify_directory(directory)
    assert (verdict.problems, verdict.notes) == ([], [])
    assert (verdict.blocks, verdict.block_samples) == (1, 1500)
    assert verdict.log_samples == 1500


@pytest.mark.parametrize("name", ["index", "pages", "meta.json"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9], ids=lambda part: f"at {part:.0%}")
def test_a_flipped_byte_in_a_block_is_found(directory, name, part):
    path = block_of(directory) / name
    content = bytearray(path.read_bytes())
    at = int(len(content) * part)
    if name == "meta.json":
        at = content.index(b'"numSamples": ') + len(b'"numSamples": ')
    content[at] ^= 1
    path.write_bytes(content)
    assert verify_directory(directory).problems


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6], ids=lambda part: f"at {part:.0%}")
def test_a_flipped_byte_in_the_log_is_found(directory, part):
    path = log_of(directory)
    content = bytearray(path.read_bytes())
    content[int(len(content) * part)] ^= 1
    path.write_bytes(content)
    assert verify_directory(directory).problems


@pytest.mark.parametrize("name", ["snapshot", "000000"])
def test_a_flipped_byte_in_the_saved_head_is_found(directory, name):
    database = Database.open(directory, DatabaseOptions(background=False, retention_ms=None))
    refs = database.resolve(LabelSpans.from_labels([{"__name__": "sealed"}]))
    times = 4 * HOUR_MS + np.arange(100) * 1000
    assert not database.append(np.repeat(refs, 100), times, np.arange(100.0)).any()
    database.close()
    assert verify_directory(directory).problems == []
    path = directory / "head" / name
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    (problem,) = verify_directory(directory).problems
    assert str(path) in problem
    path.unlink()
    assert len(verify_directory(directory).problems) == (0 if name == "snapshot" else 1)


def test_a_cut_off_block_is_found(directory):
    path = block_of(directory) / "pages"
    path.write_bytes(path.read_bytes()[:-1])
    assert "bytes were written" in verify_directory(directory).problems[0]


def test_a_torn_end_of_the_log_is_a_note(directory):
    log_of(directory).rename(newest_segment(directory))
    path = newest_segment(directory)
    path.write_bytes(path.read_bytes()[:-3])
    verdict = verify_directory(directory)
    assert verdict.problems == []
    assert "the next start cuts it there" in verdict.notes[0]


def test_samples_of_unknown_series_are_found(directory):
    for path in (directory / "wal").glob("checkpoint.*"):
        path.write_bytes(path.read_bytes()[:8])
    assert (
        "50 samples of series that the log does not know" in verify_directory(directory).problems[0]
    )


def test_what_a_crash_left_is_a_note(directory):
    (directory / "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp").mkdir()
    verdict = verify_directory(directory)
    assert verdict.problems == []
    assert "left by a crash" in verdict.notes[0]
