"""What a checkpoint keeps of the log, and that it stays small."""

from __future__ import annotations

import numpy as np
import pytest

from tsdb.checkpoint import write_checkpoint
from tsdb.interface import LabelSpans, Matcher, MatchOp
from tsdb.log_items import OtherRecord, read_items
from tsdb.sample_record import DecodedSamples
from tsdb.tombstones import Tombstone
from tsdb.wal import SERIES, TOMBSTONE, WalWriter, checkpoint_path, deletions, segments


def read(path):
    """Return all samples of a file of the log, as (ref, time, value), and its other records."""
    samples, others = [], []
    for item in read_items(path):
        if isinstance(item, DecodedSamples):
            assert item.damaged == 0
            values = item.bits.view(np.float64).tolist()
            samples += list(zip(item.refs.tolist(), item.times.tolist(), values, strict=True))
        elif isinstance(item, OtherRecord):
            others.append(item.kind)
    return samples, others


def write(directory, *, size: int, targets: int, rounds: int) -> None:
    """Write rounds of scrapes; each target has `size` series."""
    wal = WalWriter(directory, segment=0, segment_bytes=200_000)
    labels = LabelSpans.from_labels([{"n": str(n)} for n in range(size * targets)])
    wal.write_series(np.arange(size * targets), labels)
    for k in range(rounds):
        for target in range(targets):
            refs = np.arange(size * target, size * (target + 1))
            values = np.where(refs % 3, 7.5, k * 100.0 + refs)
            wal.write_samples(refs, np.full(size, 1000 * k), values.view(np.uint64))
    wal.rotate()
    wal.close()


@pytest.mark.parametrize("size", [7, 40, 400], ids="scrapes of {} samples".format)
def test_what_is_needed_is_kept(tmp_path, size):
    write(tmp_path, size=size, targets=3, rounds=40)
    files = segments(tmp_path)
    before = [sample for _, path in files for sample in read(path)[0]]
    last = files[-1][0]

    def is_live(refs):
        return refs % 5 != 1

    write_checkpoint(tmp_path, last, keep_from_ms=9000, is_live=is_live)
    samples, others = read(checkpoint_path(tmp_path, last))
    assert samples == [each for each in before if each[0] % 5 != 1 and each[1] >= 9000]
    assert others == [SERIES]
    assert not deletions(tmp_path)
    # Again, of the checkpoint and nothing else.
    write_checkpoint(tmp_path, last + 1, keep_from_ms=20_000, is_live=is_live)
    again, _ = read(checkpoint_path(tmp_path, last + 1))
    assert again == [each for each in samples if each[1] >= 20_000]


def test_scrapes_stay_small(tmp_path):
    write(tmp_path, size=1000, targets=3, rounds=60)
    size = sum(path.stat().st_size for _, path in segments(tmp_path))
    last = segments(tmp_path)[-1][0]
    write_checkpoint(tmp_path, last, keep_from_ms=0, is_live=lambda refs: refs >= 0)
    assert checkpoint_path(tmp_path, last).stat().st_size < 1.1 * size


@pytest.mark.parametrize(("end_ms", "kept"), [(4000, False), (5000, True)])
def test_deletions_of_what_is_kept_are_kept_and_told(tmp_path, end_ms, kept):
    wal = WalWriter(tmp_path, segment=0, segment_bytes=1 << 20)
    wal.write_tombstone(Tombstone((Matcher("n", MatchOp.EQUAL, "1"),), 0, end_ms))
    assert [number for number, _ in deletions(tmp_path)] == [0]
    wal.rotate()
    write_checkpoint(tmp_path, 1, keep_from_ms=5000, is_live=lambda refs: refs >= 0)
    wal.remove_before(1)
    wal.close()
    assert read(checkpoint_path(tmp_path, 1))[1] == ([TOMBSTONE] if kept else [])
    assert [number for number, _ in deletions(tmp_path)] == ([1] if kept else [])
