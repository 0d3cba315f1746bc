from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.block_models import bits, from_batch, models, ranges, to_batch
from tsdb.errors import CorruptFileError
from tsdb.interface import Matcher, MatchOp
from tsdb.symbols import SymbolTable
from tsdb.tombstones import (
    DeletedRange,
    Tombstone,
    mask_deleted,
    read_tombstones,
    take_series,
    write_tombstones,
)

TOMBSTONES = (
    Tombstone((Matcher("job", MatchOp.MATCHES, 'a"\n.*'),), -5, 10),
    Tombstone((), 0, 2**62),
)


def test_the_file_gives_back_what_it_was_given(tmp_path):
    assert read_tombstones(tmp_path) == ()
    write_tombstones(tmp_path, TOMBSTONES[:1])
    write_tombstones(tmp_path, TOMBSTONES)
    assert read_tombstones(tmp_path) == TOMBSTONES
    assert [path.name for path in tmp_path.iterdir()] == ["tombstones"]


def test_every_flipped_bit_is_found(tmp_path):
    write_tombstones(tmp_path, TOMBSTONES)
    path = tmp_path / "tombstones"
    good = path.read_bytes()
    for at in range(len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 4
        path.write_bytes(bad)
        with pytest.raises(CorruptFileError):
            read_tombstones(tmp_path)


@settings(max_examples=80, deadline=None)
@given(model=models(), data=st.data())
def test_masking_equals_the_model(model, data):
    batch = to_batch(model, SymbolTable())
    keys = [labels for labels, samples in model.items() if samples]
    deleted = []
    expected = {labels: dict(model[labels]) for labels in keys}
    for _ in range(data.draw(st.integers(1, 3))):
        series = data.draw(st.lists(st.integers(0, len(keys) - 1), unique=True)) if keys else []
        low, high = data.draw(ranges)
        deleted.append(DeletedRange(np.array(series, dtype=np.int64), low, high))
        for at in series:
            expected[keys[at]] = {
                t: w for t, w in expected[keys[at]].items() if not low <= t <= high
            }
    got = from_batch(mask_deleted(batch, deleted))
    assert got == {labels: samples for labels, samples in expected.items() if samples}


def test_series_that_lose_the_same_range_still_share_their_times():
    keys = [(("i", str(i)),) for i in range(20)]
    batch = to_batch({key: {t: bits(t) for t in range(30)} for key in keys}, SymbolTable())
    result = mask_deleted(batch, [DeletedRange(np.arange(10), 5, 9)])
    assert np.unique(result.time_start).size == 2
    assert np.unique(result.count).tolist() == [25, 30]


@settings(max_examples=50, deadline=None)
@given(models(), st.data())
def test_series_taken_in_any_order_keep_their_labels(model, data):
    batch = to_batch(model, SymbolTable())
    chosen = data.draw(st.lists(st.sampled_from(range(batch.series_count)), unique=True)) if (
        batch.series_count
    ) else []  # fmt: skip
    taken = take_series(batch, np.array(chosen, np.int64))
    rows = [frozenset(batch.labels.row(series).items()) for series in chosen]
    assert [frozenset(taken.labels.row(at).items()) for at in range(len(chosen))] == rows
    wanted = {labels: kept for labels, kept in model.items() if frozenset(labels) in rows}
    assert from_batch(taken) == wanted
