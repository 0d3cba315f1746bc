import cramjam
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.prometheus.wal import PAGE_BYTES, log_files, read_records
from tests.gnomon.prometheus.chunk_writer import crc32c


def write_segment(records, flags=0):
    """Return a segment with these records, cut into fragments where pages end."""
    content = b""
    for record in records:
        body = record
        if flags == 8:
            body = bytes(cramjam.snappy.compress_raw(record))
        elif flags == 16:
            body = zstandard.ZstdCompressor().compress(record)
        first = True
        while first or body:
            left = PAGE_BYTES - len(content) % PAGE_BYTES
            if left < 8:
                content += bytes(left)
                left = PAGE_BYTES
            part, body = body[: left - 7], body[left - 7 :]
            kind = (1 if not body else 2) if first else (4 if not body else 3)
            content += bytes([kind | flags]) + len(part).to_bytes(2, "big")
            content += crc32c(part).to_bytes(4, "big") + part
            first = False
    return content


def read(path):
    problems = []
    found = [data[:size].tobytes() for _, size, data in read_records(path, problems.append)]
    return found, [str(problem) for problem in problems]


@pytest.mark.parametrize("flags", [0, 8, 16], ids=["plain", "snappy", "zstd"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_records_of_any_length_come_back(tmp_path_factory, flags, data):
    sizes = st.sampled_from([1, 100, PAGE_BYTES - 8, PAGE_BYTES - 7, PAGE_BYTES, 3 * PAGE_BYTES])
    records = [
        bytes([n + 1]) * size for n, size in enumerate(data.draw(st.lists(sizes, max_size=5)))
    ]
    path = tmp_path_factory.mktemp("wal") / "00000000"
    path.write_bytes(write_segment(records, flags))
    assert read(path) == (records, [])


@pytest.mark.parametrize(
    ("damage", "whole", "message"),
    [
        pytest.param(lambda c: c[:-1], 2, "record cut short", id="torn in the last record"),
        pytest.param(lambda c: c[:-70_000], 1, "record cut short", id="torn between fragments"),
        pytest.param(lambda c: c[:9] + b"\0" + c[10:], 0, "checksum mismatch", id="a flipped byte"),
        pytest.param(lambda c: b"\3" + c[1:], 0, "fragments", id="a middle without a beginning"),
        pytest.param(lambda c: b"\0\1" + c[2:], 0, "page should be empty", id="an empty page"),
    ],
)
def test_damage_ends_the_segment(tmp_path, damage, whole, message):
    records = [b"a" * 100, b"b" * 99_000, b"c" * 50]
    path = tmp_path / "00000000"
    path.write_bytes(damage(write_segment(records)))
    found, problems = read(path)
    assert found == records[:whole]
    assert len(problems) == 1
    assert message in problems[0]


def test_the_newest_checkpoint_comes_first_and_replaces_what_it_stands_for(tmp_path):
    for name in ("checkpoint.00000002", "checkpoint.00000004"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000000").touch()
    for number in (3, 4, 5, 6):
        (tmp_path / f"{number:08d}").touch()
    names = [str(path.relative_to(tmp_path)) for path in log_files(tmp_path)]
    assert names == ["checkpoint.00000004/00000000", "00000005", "00000006"]
