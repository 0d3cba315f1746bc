"""How blocks are cut into pieces: in order, at the same series everywhere, none too large."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb import compaction
from tsdb.block import Block
from tsdb.block_writer import write_block
from tsdb.interface import LabelColumns, SeriesBatch
from tsdb.merge import merge_batches, translate_labels
from tsdb.series_order import comes_before, series_order
from tsdb.symbols import SymbolTable

Series = tuple[tuple[str, str], ...]

texts = st.sampled_from(["", "0", "1", "10", "é", "z"])
series_sets = st.sets(
    st.tuples(st.sampled_from(["up", "down", "x"]), texts, texts, texts), min_size=1, max_size=30
)


def labels_of(parts: tuple[str, ...]) -> dict[str, str]:
    return {
        name: text for name, text in zip(("__name__", "b", "a", "é"), parts, strict=True) if text
    }


def columns(rows: list[dict[str, str]], symbols: SymbolTable) -> LabelColumns:
    names = tuple(sorted({name for row in rows for name in row}))
    ids = np.array([[symbols.intern(row.get(name, "")) for row in rows] for name in names])
    return LabelColumns(names, ids.astype(np.uint32).reshape(len(names), len(rows)), symbols)


def block_of(directory: Path, rows: list[dict[str, str]], first: int, count: int) -> Block:
    symbols = SymbolTable()
    size = len(rows)
    batch = SeriesBatch(
        columns(rows, symbols),
        np.arange(first, first + count),
        np.zeros(size, np.int64),
        np.arange(size * count) * 1.5,
        np.arange(size) * count,
        np.full(size, count, np.int64),
    )
    path = write_block(directory, symbols, [batch], min_time_ms=first, max_time_ms=first + count)
    assert path is not None
    return Block.open(path)


def rows_of(labels: LabelColumns) -> list[Series]:
    texts_of = [labels.symbols.texts(column) for column in labels.ids]
    return [
        tuple((name, text) for name, text in zip(labels.names, row, strict=True) if text)
        for row in zip(*texts_of, strict=True)
    ]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(series_sets, min_size=1, max_size=3),
    st.sampled_from([1, 2, 5, 1000]),
    st.sampled_from([1, 7, 40, 10_000]),
)
def test_pieces_cut_all_blocks_at_the_same_series(sets, series_max, samples_max):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "PIECE_SERIES", series_max)
        blocks = [
            block_of(Path(folder), [labels_of(each) for each in sorted(one)], 10 * at, 7)
            for at, one in enumerate(sets)
        ]
        pieces = list(compaction._pieces(blocks, samples_max))
        seen: list[Series] = []
        for piece in pieces:
            ranges = list(zip(blocks, piece, strict=True))
            assert max(stop - first for first, stop in piece) <= series_max
            samples = sum(block.value_count(first, stop) for block, (first, stop) in ranges)
            assert samples <= samples_max or max(stop - first for first, stop in piece) == 1
            batches = [block.select_all(first, stop) for block, (first, stop) in ranges]
            merged = merge_batches([b for b in batches if b is not None], SymbolTable())
            own = rows_of(merged.labels)
            seen += [own[at] for at in series_order(merged.labels)]
        # Every series once, so it was in one piece with all its samples; and all in order.
        assert len(seen) == len(set(seen)) == len(set().union(*sets))
        for one, other in pairwise(seen):
            mine, theirs = dict(one), dict(other)
            if mine["__name__"] == theirs["__name__"]:
                assert comes_before(mine, theirs)
            else:
                assert mine["__name__"] < theirs["__name__"]
        for at, one_set in enumerate(sets):
            assert sum(piece[at][1] - piece[at][0] for piece in pieces) == len(one_set)


@given(series_sets)
def test_one_series_comes_before_another_as_all_are_ordered(parts):
    rows = [{**labels_of(each), "__name__": "up"} for each in sorted(parts)]
    rows = [dict(each) for each in {tuple(sorted(row.items())) for row in rows}]
    ordered = [rows[at] for at in series_order(columns(rows, SymbolTable()))]
    for at, one in enumerate(ordered):
        for other in ordered[at + 1 :]:
            assert comes_before(one, other)
            assert not comes_before(other, one)
    assert not any(comes_before(one, one) for one in ordered)


def test_values_are_counted_range_by_range(tmp_path):
    rows = [{"__name__": "up", "n": f"{n:02d}"} for n in range(20)]
    block = block_of(tmp_path, rows, 0, 9)
    assert block.value_count(0, 20) == block.row_values().sum() == 180
    assert block.value_count(3, 7) == 36
    assert block.value_count(5, 5) == 0


def test_labels_of_a_few_series_of_a_large_block_are_translated_alone():
    symbols, mine = SymbolTable(), SymbolTable()
    ids = symbols.intern_many([f"text {n}" for n in range(5000)])
    some = LabelColumns(("a", "b"), ids[[[4999, 17], [0, 4999]]], symbols)
    got = translate_labels(some, mine)
    assert [mine.texts(column) for column in got.ids] == [
        ["text 4999", "text 17"],
        ["text 0", "text 4999"],
    ]
    assert len(mine) < 10
