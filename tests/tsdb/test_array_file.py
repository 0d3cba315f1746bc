from __future__ import annotations

import zlib

import numpy as np
import pytest

from tsdb.array_file import ArrayFile, Parts, in_narrowest, narrow, write_arrays
from tsdb.errors import CorruptFileError

ARRAYS = {
    "narrow": np.array([1, 2, 3], dtype=np.uint8),
    "none": np.zeros(0, dtype=np.float64),
    "times": np.array([-(2**63), 2**63 - 1], dtype=np.int64),
    "wide": np.array([2**64 - 1], dtype=np.uint64),
}


def test_arrays_come_back_as_they_were(tmp_path):
    size = write_arrays(tmp_path / "file", ARRAYS.items())
    assert size == (tmp_path / "file").stat().st_size
    file = ArrayFile(tmp_path / "file")
    file.verify()
    for name, array in ARRAYS.items():
        got = file.array(name)
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)
        assert not got.flags.writeable
    with pytest.raises(CorruptFileError, match="missing"):
        file.array("other")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda data: data[:10], "too short for its header", id="cut in the header"),
        pytest.param(lambda data: data[:-8], "too short for its table", id="cut in the table"),
        pytest.param(lambda data: b"X" + data[1:], "not an array file", id="another file"),
        pytest.param(
            lambda data: data[:-1] + b"X",
            "in the table",
            id="a flipped byte in the table",
        ),
        pytest.param(lambda data: bytes(24) + data[24:], "not an array file", id="unfinished"),
        pytest.param(
            lambda data: data[:25] + b"X" + data[26:],
            "checksum mismatch",
            id="a flipped byte in an array",
        ),
    ],
)
def test_damage_is_found(tmp_path, damage, reason):
    path = tmp_path / "file"
    write_arrays(path, ARRAYS.items())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFileError, match=reason):
        ArrayFile(path).verify()


def in_front(data: bytes) -> bytes:
    """The same file with its table before the arrays, as another writer may choose."""
    header, entries = data[:24], bytearray(data[-56 * len(ARRAYS) :])
    for at in range(0, len(entries), 56):
        offset = int.from_bytes(entries[at + 32 : at + 40], "little") + len(entries)
        entries[at + 32 : at + 40] = offset.to_bytes(8, "little")
    crc = zlib.crc32(entries).to_bytes(4, "little")
    return header[:16] + crc + bytes(4) + entries + data[24 : -56 * len(ARRAYS)]


def test_the_table_may_stand_in_front(tmp_path):
    path = tmp_path / "file"
    write_arrays(path, ARRAYS.items())
    path.write_bytes(in_front(path.read_bytes()))
    file = ArrayFile(path)
    file.verify()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.array(name), array)


def test_an_array_that_is_cut_off_is_not_handed_out(tmp_path):
    path = tmp_path / "file"
    write_arrays(path, ARRAYS.items())
    path.write_bytes(in_front(path.read_bytes())[:-8])
    file = ArrayFile(path)
    with pytest.raises(CorruptFileError, match="cut off"):
        file.array("wide")
    with pytest.raises(CorruptFileError, match="checksum mismatch"):
        file.verify()


def test_an_array_made_in_parts_is_the_array_made_at_once(tmp_path):
    parts = [np.array(each, np.uint64) for each in ([1, 2], [], [300], [7])]
    whole = np.concatenate(parts)
    write_arrays(tmp_path / "parts", [("a", in_narrowest(parts)), ("b", whole)])
    write_arrays(tmp_path / "whole", [("a", narrow(whole)), ("b", whole)])
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_no_array_is_made_before_the_one_before_it_is_written(tmp_path):
    written = []

    def pieces():
        for n in range(3):
            written.append((tmp_path / "file").stat().st_size)
            yield np.full(100_000, n, np.uint8)

    write_arrays(tmp_path / "file", [("a", Parts(np.dtype(np.uint8), pieces()))])
    assert written[2] > 100_000
    assert ArrayFile(tmp_path / "file").array("a").tolist()[::100_000] == [0, 1, 2]
