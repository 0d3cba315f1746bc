from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.errors import WriteFailedError
from tsdb.interface import LabelSpans, Matcher, MatchOp
from tsdb.log_items import read_items
from tsdb.sample_record import DecodedSamples, read_samples
from tsdb.segment_reader import read_chunks, read_records
from tsdb.tombstones import Tombstone
from tsdb.wal import (
    SAMPLES,
    SERIES,
    TOMBSTONE,
    ZSTD,
    Packing,
    WalWriter,
    choose_series,
    read_series,
    read_tombstone,
    segment_path,
    segments,
    series_payload,
)

label_sets = st.lists(
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=9), max_size=4),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(label_sets, st.data())
def test_series_come_back_as_they_were(sets, data):
    labels = LabelSpans.from_labels(sets)
    chosen = np.array(sorted({data.draw(st.integers(0, len(sets) - 1)) for _ in range(3)}))
    refs = chosen + (5 << 32)
    got_refs, got = read_series(series_payload(refs, choose_series(labels, chosen)))
    assert got_refs.tolist() == refs.tolist()
    expected = LabelSpans.from_labels([sets[at] for at in chosen.tolist()])
    assert got.data.tobytes() == expected.data.tobytes()
    assert got.spans.tolist() == expected.spans.tolist()
    assert got.first.tolist() == expected.first.tolist()
    payload = series_payload(refs, choose_series(labels, chosen))
    for end in range(0, len(payload), 7):
        with pytest.raises(ValueError, match="series record"):
            read_series(payload[:end])


@pytest.fixture
def wal(tmp_path):
    writer = WalWriter(tmp_path, segment=3, segment_bytes=300)
    yield writer
    writer.close()


def batch(size: int, time: int):
    return np.arange(size), np.full(size, time), (np.arange(size) * 0.7).view(np.uint64)


def test_records_come_back_in_order_over_segments(wal, tmp_path):
    labels = LabelSpans.from_labels([{"job": "a" * 600}])
    tombstone = Tombstone((Matcher("job", MatchOp.MATCHES, "a|b"),), -5, 1 << 50)
    wal.write_series(np.array([9]), labels)
    wal.write_tombstone(tombstone)
    for time in range(10):
        wal.write_samples(*batch(10, time))
    found = [record for _, path in segments(tmp_path) for record in read_records(path)]
    assert [kind for kind, _ in found] == [SERIES, TOMBSTONE, *[SAMPLES] * 10]
    assert read_series(found[0][1])[1].data.tobytes() == labels.data.tobytes()
    assert read_tombstone(found[1][1]) == tombstone
    assert [int(read_samples(payload)[1][0]) for _, payload in found[2:]] == list(range(10))
    numbers = [number for number, _ in segments(tmp_path)]
    assert numbers == list(range(3, wal.segment + 1))
    assert len(numbers) > 3
    assert all(path.stat().st_size <= 300 for _, path in segments(tmp_path))


def test_a_full_disk_leaves_the_log_as_it_was(wal, tmp_path, monkeypatch):
    wal.write_samples(*batch(3, 1))
    before = segment_path(tmp_path, 3).read_bytes()
    real = os.writev

    def half_then_full(file, parts):
        real(file, [b"".join(bytes(part) for part in parts)[:20]])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", half_then_full)
    with pytest.raises(WriteFailedError, match="No space left"):
        wal.write_samples(*batch(3, 2))
    monkeypatch.undo()
    assert segment_path(tmp_path, 3).read_bytes() == before
    wal.write_samples(*batch(3, 3))
    times = [int(read_samples(p)[1][0]) for _, p in read_records(segment_path(tmp_path, 3))]
    assert times == [1, 3]


def test_a_short_write_is_completed(wal, tmp_path, monkeypatch):
    real = os.writev

    def half(file, parts):
        return real(file, [b"".join(bytes(part) for part in parts)[:20]])

    monkeypatch.setattr(os, "writev", half)
    wal.write_samples(*batch(5, 7))
    monkeypatch.undo()
    ((kind, payload),) = read_records(segment_path(tmp_path, 3))
    assert kind == SAMPLES
    assert read_samples(payload)[1].tolist() == [7] * 5


def test_counters(wal, tmp_path):
    for time in range(6):
        wal.write_samples(*batch(20, time))
    wal.sync()
    stats = wal.stats()
    assert stats.records == 6
    assert stats.segment == wal.segment > 3
    assert stats.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert stats.fsyncs >= 2
    wal.remove_before(wal.segment)
    assert [number for number, _ in segments(tmp_path)] == [wal.segment]
    assert wal.stats().truncations == 1


@pytest.mark.parametrize("packing", Packing)
def test_records_are_packed_as_asked(tmp_path, packing):
    labels = LabelSpans.from_labels([{"job": "a" * 600}])
    writer = WalWriter(tmp_path, segment=3, segment_bytes=1 << 20, packing=packing)
    writer.write_series(np.array([9]), labels)
    for k in range(20):
        values = np.where(np.arange(4000) == k, 0.1, 7.25 + np.arange(4000) // 64)
        writer.write_samples(np.arange(4000), np.full(4000, k), values.view(np.uint64))
    noise = np.random.default_rng(1).random(400)
    writer.write_samples(np.arange(400), np.full(400, 99), noise.view(np.uint64))
    writer.close()
    (chunk,) = read_chunks(segment_path(tmp_path, 3))
    packed = [bool(record.flags & ZSTD) for record in chunk.records]
    assert packed == [packing is not Packing.NONE] + [packing is Packing.ALL] * 21
    samples = [
        each for each in read_items(segment_path(tmp_path, 3)) if isinstance(each, DecodedSamples)
    ]
    assert sum(each.damaged for each in samples) == 0
    times = np.concatenate([each.times for each in samples])
    assert times.tolist() == np.repeat([*range(20), 99], [4000] * 20 + [400]).tolist()
    bits = np.concatenate([each.bits for each in samples]).view(np.float64)
    assert bits[4000 * 19 : 4000 * 19 + 20].tolist() == [7.25] * 19 + [0.1]
    assert bits[-400:].tolist() == noise.tolist()
