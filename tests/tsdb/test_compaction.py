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
    matcher_lists,
    merged,
    models,
    ranges,
    select,
    to_batch,
    without,
)
from tests.tsdb.test_head_gathering import mapped_kb
from tsdb import compaction
from tsdb.block import Block
from tsdb.block_meta import BlockMeta, BlockParent
from tsdb.block_writer import write_block
from tsdb.interface import LabelColumns, SeriesBatch
from tsdb.symbols import SymbolTable

RANGES = (20, 60, 180)


def meta(ulid: str, start: int, stop: int, **fields) -> BlockMeta:
    return BlockMeta(ulid, start, stop, **fields)


@pytest.mark.parametrize(
    ("spans", "planned"),
    [
        pytest.param([], "", id="nothing there"),
        pytest.param([(0, 20)], "", id="one block"),
        pytest.param([(0, 20), (20, 40), (40, 60)], "", id="the newest of three must settle"),
        pytest.param([(0, 20), (20, 40), (40, 60), (60, 80)], "abc", id="a full window"),
        pytest.param(
            [(0, 20), (20, 40), (60, 80), (80, 100)], "ab", id="a window that nothing can fill"
        ),
        pytest.param([(0, 20), (20, 40), (60, 80)], "", id="a window that may yet be filled"),
        pytest.param(
            [(20, 40), (40, 60), (60, 80), (80, 100)], "ab", id="a window without its beginning"
        ),
        pytest.param([(40, 60), (60, 80), (80, 100)], "", id="neighbours of two windows"),
        pytest.param([(0, 20), (10, 30), (40, 60)], "ab", id="an overlap comes first"),
        pytest.param([(0, 20), (20, 40), (30, 50)], "bc", id="an overlap takes the newest as well"),
        pytest.param([(0, 60), (10, 20), (50, 70), (80, 90)], "abc", id="a chain of overlaps"),
        pytest.param([(0, 60), (60, 120), (120, 180), (180, 200)], "abc", id="the next level"),
        pytest.param(
            [(0, 60), (60, 80), (80, 100), (120, 140)], "", id="a window that may yet grow"
        ),
        pytest.param([(-60, -40), (-40, -20), (-20, 0), (0, 20)], "abc", id="before the epoch"),
        pytest.param([(0, 180), (180, 360), (360, 380)], "", id="nothing beyond the longest"),
    ],
)
def test_plan(spans, planned):
    metas = [meta(name, *span) for name, span in zip("abcd", spans, strict=False)]
    assert compaction.plan(reversed(metas), RANGES) == tuple(planned)


def test_a_block_that_failed_is_left_alone():
    metas = [meta(name, at * 20, at * 20 + 20) for at, name in enumerate("abcd")]
    assert compaction.plan(metas, RANGES, failed={"b"}) == ()


def test_parents_and_sources_are_superseded():
    """A crash after the new block is in place leaves its parents; a second one, grandparents."""
    a, b = meta("a", 0, 20, sources=("a",)), meta("b", 20, 40, sources=("b",))
    c = meta("c", 0, 40, sources=("a", "b"), parents=(BlockParent("a", 0, 20),))
    d = meta("d", 0, 60, sources=("a", "b"), parents=(BlockParent("c", 0, 40),))
    assert compaction.superseded([a, b]) == frozenset()
    assert compaction.superseded([a, b, c]) == {"a", "b"}
    assert compaction.superseded([a, b, d]) == {"a", "b", "c"}


def write(directory: Path, model) -> Block | None:
    symbols = SymbolTable()
    path = write_block(
        directory, symbols, [to_batch(model, symbols)], min_time_ms=0, max_time_ms=TIME_MAX
    )
    return None if path is None else Block.open(path)


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(models(), min_size=1, max_size=3),
    piece_samples=st.sampled_from([1, 5, 20, 1 << 20]),
    deletion=st.none() | st.tuples(matcher_lists, ranges),
)
def test_a_compacted_block_holds_the_merged_models(parts, piece_samples, deletion):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        blocks = [block for part in parts if (block := write(directory, part)) is not None]
        if not blocks:
            return
        if deletion is not None:
            matchers, span = deletion
            for block in blocks:
                block.delete(matchers, *span)
            parts = [without(part, matchers, *span) for part in parts]
        path = compaction.compact(blocks, directory, piece_samples=piece_samples)
        expected = merged(parts)
        if path is None:
            assert not expected
            return
        result = Block.open(path)
        assert from_batch(select(result, [], 0, TIME_MAX)) == expected
        assert result.verify() == []
        assert result.meta.level == 2
        assert result.meta.sources == tuple(sorted(block.meta.ulid for block in blocks))
        assert compaction.superseded([result.meta]) == {block.meta.ulid for block in blocks}
        assert result.meta.stats.num_samples == sum(map(len, expected.values()))


def test_windows_of_a_series_join(tmp_path):
    key = (("__name__", "up"),)
    parts = [{key: {t: bits(t) for t in range(low, low + 100)}} for low in (0, 100, 200)]
    blocks = [write(tmp_path, part) for part in parts]
    result = Block.open(compaction.compact(blocks, tmp_path))
    assert result.meta.stats.num_chunks == 1
    assert result.meta.parents == tuple(BlockParent(b.meta.ulid, 0, TIME_MAX) for b in blocks)


def test_blocks_that_were_read_are_not_our_memory(tmp_path):
    symbols, rng = SymbolTable(), np.random.default_rng(4)
    count, series = 400, 1000
    ids = symbols.intern_many([f"series{n:04d}" for n in range(series)])
    times = np.arange(count)
    for number in range(2):
        batch = SeriesBatch(
            LabelColumns(("name",), ids[None], symbols),
            times + number * count,
            np.zeros(series, np.int64),
            rng.random(series * count),
            np.arange(series) * count,
            np.full(series, count, np.int64),
        )
        write_block(
            tmp_path, symbols, [batch], min_time_ms=number * count, max_time_ms=(number + 1) * count
        )
    blocks = [Block.open(path) for path in sorted(tmp_path.iterdir())]
    assert mapped_kb(tmp_path) < 100, "opening looks at everything, and keeps nothing"
    assert blocks[0].select_all(0, series) is not None
    assert mapped_kb(tmp_path) > 2000
    for block in blocks:
        block.let_go()
    assert mapped_kb(tmp_path) == 0
    pieces = []
    for piece in compaction._merged_pieces(blocks, SymbolTable(), 20_000, None):
        pieces.append(piece.sample_count)
        # No more than two pieces and what was read ahead with them, of 6 MB in all.
        assert mapped_kb(tmp_path) < 1500
    assert sum(pieces) == 2 * series * count
