from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.block_models import (
    TIME_MAX,
    bits,
    from_batch,
    merged,
    models,
    select,
    to_batch,
)
from tsdb import block_writer, merge_kernels
from tsdb.block import Block
from tsdb.merge import merge_batches, merge_labels
from tsdb.symbols import SymbolTable

UP = (("__name__", "up"),)


@settings(max_examples=80, deadline=None)
@given(parts=st.lists(models(), max_size=4), share=st.booleans(), one_space=st.booleans())
def test_equals_the_merged_models(parts, share, one_space):
    target = SymbolTable()
    batches = []
    for part in parts:
        symbols = target if one_space else SymbolTable()
        symbols.intern("shifts the ids")
        batches.append(to_batch(part, symbols, share=share))
    result = merge_batches(batches, target)
    assert from_batch(result) == merged(parts)
    assert result.labels.symbols is target


@settings(max_examples=20, deadline=None)
@given(parts=st.lists(models(), min_size=1, max_size=3))
def test_blocks_of_different_symbol_spaces_merge(parts):
    with tempfile.TemporaryDirectory() as name:
        batches = []
        for part in parts:
            symbols = SymbolTable()
            path = block_writer.write_block(
                Path(name), symbols, [to_batch(part, symbols)], min_time_ms=0, max_time_ms=TIME_MAX
            )
            if path is not None:
                batches.append(select(Block.open(path), [], 0, TIME_MAX))
        target = SymbolTable()
        assert from_batch(merge_batches(batches, target)) == merged(parts)


def run(times):
    return {time: bits(time) for time in times}


@pytest.mark.parametrize(
    ("first", "second", "runs", "pool"),
    [
        pytest.param(range(10), range(10, 20), 1, 20, id="one behind the other: one shared run"),
        pytest.param(range(10, 20), range(10), 1, 20, id="the later one first: in time order"),
        pytest.param(range(0, 20, 2), range(1, 20, 2), 1, 20, id="interleaved: still shared"),
        pytest.param(range(10), range(10), 1, 10, id="the same times: once"),
    ],
)
def test_series_that_share_times_share_the_merged_times(first, second, runs, pool):
    keys = [(*UP, ("i", str(i))) for i in range(50)]
    symbols = SymbolTable()
    result = merge_batches(
        [
            to_batch(dict.fromkeys(keys, run(first)), symbols),
            to_batch(dict.fromkeys(keys, run(second)), symbols),
        ],
        symbols,
    )
    assert np.unique(result.time_start).size == runs
    assert result.times.size == pool


def test_one_batch_is_not_copied():
    symbols = SymbolTable()
    batch = to_batch({UP: run(range(5))}, symbols)
    result = merge_batches([to_batch({}, symbols), batch], symbols)
    assert result.values is batch.values
    assert result.times is batch.times


def test_labels_alone_merge_without_samples():
    symbols = SymbolTable()
    parts = [
        to_batch({(*UP, ("a", str(i))): {1: 1} for i in ids}, symbols) for ids in ([0, 1], [1, 2])
    ]
    labels, became = merge_labels([part.labels for part in parts], symbols)
    assert labels.series_count == 3
    assert became.tolist() == [0, 1, 1, 2]


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.lists(st.integers(-1, 1), max_size=4), max_size=30))
def test_group_equal_runs_equals_a_dict(runs):
    count = np.array([len(run) for run in runs], dtype=np.int64)
    items = np.array([item for run in runs for item in run], dtype=np.int64)
    group = np.empty(len(runs), dtype=np.int64)
    leader = np.empty(len(runs), dtype=np.int64)
    first = np.cumsum(count) - count
    found = merge_kernels.group_equal_runs(items, first, count, group, leader)
    seen: dict[tuple[int, ...], int] = {}
    expected = [seen.setdefault(tuple(run), len(seen)) for run in runs]
    assert group.tolist() == expected
    assert leader[:found].tolist() == [expected.index(number) for number in range(len(seen))]
