"""Positions outlast restarts; what a power failure may leave of them skips nothing."""

import pytest

from gnomon.forwarding.positions import PositionFile, forget
from tsdb.wal_tail import WalPosition


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def test_the_newest_position_is_found_again(tmp_path):
    file = PositionFile(tmp_path, "url http://a/")
    assert file.load() is None
    for position in (WalPosition(3, 17), WalPosition(12, 1 << 40), WalPosition(4, 8)):
        file.save(position)
        assert PositionFile(tmp_path, "url http://a/").load() == position
    assert PositionFile(tmp_path, "url http://b/").load() is None
    file.remove()
    assert PositionFile(tmp_path, "url http://a/").load() is None


def test_a_later_position_is_written_over_the_one_before(tmp_path):
    file = PositionFile(tmp_path, "q")
    file.save(WalPosition(1, 8))
    before = only_file(tmp_path).stat()
    file.save(WalPosition(1_000_000, 1 << 50))
    after = only_file(tmp_path).stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    assert after.st_size <= 512


def test_a_position_can_be_saved_after_it_was_removed(tmp_path):
    file = PositionFile(tmp_path, "q")
    file.save(WalPosition(1, 8))
    file.remove()
    file.save(WalPosition(1, 8))
    assert PositionFile(tmp_path, "q").load() == WalPosition(1, 8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:20],
        lambda data: data.replace(b"17", b"71"),
        lambda data: b"[]",
        lambda data: b'{"segment": null, "offset": 1, "check": 0}',
    ],
    ids=["empty", "zeros", "cut", "another number", "a list", "no number"],
)
def test_a_damaged_file_has_all_sent_again(tmp_path, damage, caplog):
    PositionFile(tmp_path, "q").save(WalPosition(17, 17))
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    file = PositionFile(tmp_path, "q")
    assert file.load() == WalPosition(0)
    assert "all that the log has is sent again" in caplog.text
    file.save(WalPosition(18, 9))
    assert PositionFile(tmp_path, "q").load() == WalPosition(18, 9)


def test_what_is_forgotten_is_gone(tmp_path):
    folder = tmp_path / "forwarding"
    folder.mkdir()
    PositionFile(folder, "q").save(WalPosition(1, 8))
    forget(tmp_path)
    assert not folder.exists()
