"""The log is followed: nothing is missed, nothing comes twice, whatever the writer does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.interface import LabelSpans, MetricMetadata
from tsdb.wal import WalWriter, checkpoint_path, segment_path
from tsdb.wal_hold import HeldLog
from tsdb.wal_tail import (
    LoggedMetadata,
    LoggedSamples,
    LoggedSeries,
    WalPosition,
    WalTail,
    count_samples,
)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "wal").mkdir()
    return tmp_path / "wal"


@pytest.fixture
def held(log, tmp_path):
    return HeldLog(log, tmp_path / "held", bytes_max=1 << 30)


def write(writer, first, count=10):
    refs = np.arange(count, dtype=np.int64)
    times = np.full(count, first, np.int64)
    writer.write_samples(refs, times, np.arange(count, dtype=np.uint64))


def drain(tail, bytes_max=1 << 18):
    """Return the times of all samples that are there, in their order."""
    times = []
    while found := tail.read(bytes_max):
        for item in found:
            if isinstance(item, LoggedSamples):
                times += item.times[:: max(1, 10)].tolist()
    return times


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(["write", "rotate", "read", "reopen"]), max_size=40),
    st.sampled_from([1, 30, 64, 1 << 18]),
)
def test_every_record_is_read_once_in_its_order(tmp_path_factory, steps, bytes_max):
    root = tmp_path_factory.mktemp("log")
    (root / "wal").mkdir()
    files = HeldLog(root / "wal", root / "held", bytes_max=1 << 30)
    writer = WalWriter(root / "wal", segment=0, segment_bytes=1 << 20)
    tail, expected, found = WalTail(files, WalPosition(0)), 0, []
    for step in steps:
        if step == "write":
            write(writer, expected)
            expected += 1
        elif step == "rotate":
            writer.rotate()
        elif step == "read":
            found += drain(tail, bytes_max)
        else:
            tail.close()
            tail = WalTail(files, tail.position)
    found += drain(tail, bytes_max)
    assert found == list(range(expected))
    assert tail.bytes_behind() == 0
    tail.close()
    writer.close()


def test_half_a_record_waits_for_its_other_half(log, held):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    write(writer, 1)
    write(writer, 2)
    writer.close()
    whole = segment_path(log, 0).read_bytes()
    segment_path(log, 0).write_bytes(whole[:-5])
    tail = WalTail(held, WalPosition(0))
    assert drain(tail) == [1]
    segment_path(log, 0).write_bytes(whole)
    assert drain(tail) == [2]
    tail.close()


def test_a_torn_end_is_left_when_the_next_segment_begins(log, held, caplog):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    write(writer, 1)
    write(writer, 2)
    writer.close()
    segment_path(log, 0).write_bytes(segment_path(log, 0).read_bytes()[:-5])
    writer = WalWriter(log, segment=1, segment_bytes=1 << 20)
    write(writer, 3)
    tail = WalTail(held, WalPosition(0))
    assert drain(tail) == [1, 3]
    assert tail.damaged == 1
    assert "leaves out the rest of segment 0" in caplog.text
    tail.close()
    writer.close()


def test_a_damaged_record_costs_itself_alone(log, held):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    for time in range(3):
        write(writer, time)
    writer.close()
    data = bytearray(segment_path(log, 0).read_bytes())
    size = (len(data) - 8) // 3
    data[8 + size + size // 2] ^= 1
    segment_path(log, 0).write_bytes(data)
    tail = WalTail(held, WalPosition(0))
    assert drain(tail) == [0, 2]
    assert tail.damaged == 1
    tail.close()


def test_records_of_unknown_kinds_are_passed_over(log, held):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    write(writer, 1)
    writer.write(99, b"what is this")
    write(writer, 2)
    tail = WalTail(held, WalPosition(0))
    assert drain(tail) == [1, 2]
    tail.close()
    writer.close()


def test_what_was_known_before_the_position(log, held):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    labels = [LabelSpans.from_labels([{"__name__": f"m{n}"}]) for n in range(3)]
    writer.write_series(np.array([0]), labels[0])
    writer.rotate()
    writer.write_series(np.array([1]), labels[1])
    writer.write_metadata([MetricMetadata("m", "gauge")])
    size = segment_path(log, 1).stat().st_size
    writer.write_series(np.array([2]), labels[2])
    tail = WalTail(held, WalPosition(1, size))
    known = list(tail.known_series())
    assert [i.refs.tolist() for i in known if isinstance(i, LoggedSeries)] == [[0], [1]]
    assert [i.entries[0].metric for i in known if isinstance(i, LoggedMetadata)] == ["m"]
    assert [item.refs.tolist() for item in tail.read()] == [[2]]
    tail.close()
    writer.close()


def test_what_the_log_has_dropped_is_held_for_those_who_need_it(log, held):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    for time in range(4):
        write(writer, time)
        writer.rotate()
    held.update(1)
    checkpoint_path(log, 3).write_bytes(b"GNOMWAL\x01")
    writer.remove_before(3)
    tail = WalTail(held, WalPosition(1))
    assert drain(tail) == [1, 2, 3]
    held.update(4)
    assert sorted(path.name for path in (log.parent / "held").iterdir()) == [
        "00000003", "00000004", "checkpoint.00000003",
    ]  # fmt: skip
    tail.close()
    writer.close()


def test_no_more_is_held_than_allowed_and_that_is_said(log, tmp_path):
    held = HeldLog(log, tmp_path / "held", bytes_max=150)
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    lost = []
    for time in range(6):
        write(writer, time)
        held.update(0, lost.append)
        number = writer.rotate()
        held.update(0, lost.append)
        checkpoint_path(log, number).write_bytes(b"GNOMWAL\x01")
        writer.remove_before(number)
        held.update(0, lost.append)
    assert lost
    assert lost == sorted(lost)
    tail = WalTail(held, WalPosition(0))
    assert drain(tail) == list(range(lost[-1], 6))
    tail.close()
    writer.close()


def test_samples_are_counted_by_headers(log):
    writer = WalWriter(log, segment=0, segment_bytes=1 << 20)
    write(writer, 1, 10)
    size = segment_path(log, 0).stat().st_size
    write(writer, 2, 7)
    writer.close()
    assert count_samples(segment_path(log, 0)) == 17
    assert count_samples(segment_path(log, 0), size) == 7
