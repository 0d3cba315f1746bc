"""Segments that are whole, torn, flipped and full of zeros."""

from __future__ import annotations

import pytest

from tsdb import segment_reader
from tsdb.segment_reader import DamagedError, read_records
from tsdb.wal import SAMPLES, SEGMENT_MAGIC, header_of

PAYLOADS = [bytes([k]) * (10 + k) for k in range(5)]
RECORDS = [header_of(9, 0, payload) + payload for payload in PAYLOADS]


def read(tmp_path, content: bytes) -> tuple[list[bytes], DamagedError | None]:
    path = tmp_path / "segment"
    path.write_bytes(SEGMENT_MAGIC + content)
    found = []
    try:
        for _, payload in read_records(path):
            found.append(payload)  # what was read before the error counts
    except DamagedError as error:
        return found, error
    return found, None


def flipped(record: bytes, at: int) -> bytes:
    return record[:at] + bytes([record[at] ^ 4]) + record[at + 1 :]


@pytest.mark.parametrize("chunk", [1, 7, 30, 1 << 20])
@pytest.mark.parametrize(
    ("content", "kept", "torn"),
    [
        pytest.param(RECORDS, PAYLOADS, None, id="all are read"),
        pytest.param([], [], None, id="none is none"),
        pytest.param(
            [*RECORDS[:2], flipped(RECORDS[2], 15), *RECORDS[3:]],
            [*PAYLOADS[:2], *PAYLOADS[3:]],
            None,
            id="a record with a flipped bit costs itself only",
        ),
        pytest.param(
            [*RECORDS[:4], flipped(RECORDS[4], 15)], PAYLOADS[:4], True, id="the last one is torn"
        ),
        pytest.param(
            [RECORDS[0], flipped(RECORDS[1], 0), *RECORDS[2:]],
            PAYLOADS[:1],
            False,
            id="behind a flipped length nothing can be found",
        ),
        pytest.param(
            [RECORDS[0], flipped(RECORDS[1], 3), *RECORDS[2:]],
            PAYLOADS[:1],
            True,
            id="a length beyond the end looks torn",
        ),
        pytest.param([*RECORDS, b"\1\2\3"], PAYLOADS, True, id="half a header is torn"),
        pytest.param([*RECORDS, RECORDS[0][:-1]], PAYLOADS, True, id="a record cut short is torn"),
        pytest.param([*RECORDS, bytes(5000)], PAYLOADS, True, id="zeros at the end are torn"),
        pytest.param(
            [*RECORDS, bytes(50), b"\1", bytes(50)], PAYLOADS, False, id="other noise is damage"
        ),
    ],
)
def test_reading(tmp_path, monkeypatch, chunk, content, kept, torn):
    monkeypatch.setattr(segment_reader, "_CHUNK_BYTES", chunk)
    found, error = read(tmp_path, b"".join(content))
    assert found == kept
    assert (None if error is None else error.torn) == torn
    if error is not None:
        assert error.offset <= len(SEGMENT_MAGIC) + len(b"".join(content))


def test_records_of_a_kind_are_not_mixed_up(tmp_path):
    content = header_of(SAMPLES, 0, b"x") + b"x" + RECORDS[0]
    assert read(tmp_path, content)[0] == [b"x", PAYLOADS[0]]
