"""Logs of JSON lines: whole lines from many threads, and what happens when the disk is full."""

import json
import logging
import threading
from pathlib import Path

import pytest

from gnomon.json_lines import JsonLines, rfc3339_nano


@pytest.fixture
def lines(tmp_path):
    made = JsonLines(tmp_path / "log", level="INFO", source="here.py")
    yield made
    made.close()


def test_lines_of_many_threads_are_whole(lines, tmp_path):
    def write(number):
        for each in range(200):
            lines.write("told", {"number": number, "each": each, "text": "\n<\u2028" * number})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = [json.loads(line) for line in (tmp_path / "log").read_bytes().split(b"\n")[:-1]]
    assert sorted((e["number"], e["each"]) for e in read) == [
        (number, each) for number in range(4) for each in range(200)
    ]
    assert list(read[0]) == ["time", "level", "source", "msg", "number", "each", "text"]
    assert {e["text"] for e in read} == {"\n<\u2028" * number for number in range(4)}


def test_a_closed_log_drops_lines(lines, tmp_path):
    lines.write("one", {})
    lines.close()
    lines.write("two", {})
    assert len((tmp_path / "log").read_bytes().splitlines()) == 1


def test_a_full_disk_is_counted_and_told_once(caplog):
    full = JsonLines(Path("/dev/full"), level="INFO", source="here.py")
    with caplog.at_level(logging.ERROR):
        full.write("one", {})
        full.write("two", {})
    full.close()
    assert full.failures == 2
    assert [record.message for record in caplog.records] == [
        "cannot write to /dev/full: [Errno 28] No space left on device"
    ]


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
    ],
)
def test_times_have_no_zeros_at_their_end(time_ns, text):
    assert rfc3339_nano(time_ns) == text
