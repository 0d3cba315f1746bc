"""Blocks with native histograms against a dict: written, read, deleted from, merged, damaged."""

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
    matcher_lists,
    merged,
    ranges,
    select,
    selected,
    without,
)
from tests.tsdb.histogram_models import (
    as_stored,
    from_mixed_batch,
    histograms,
    mixed_models,
    to_columns,
    to_histogram,
    to_mixed_batch,
)
from tsdb import compaction
from tsdb.block import Block
from tsdb.block_writer import write_block
from tsdb.histograms.columns import concat, digests, take
from tsdb.histograms.record import histogram_payload, read_histograms
from tsdb.merge import merge_batches
from tsdb.symbols import SymbolTable


def write(directory: Path, model, **options) -> Block | None:
    symbols = SymbolTable()
    batch = to_mixed_batch(model, symbols)
    path = write_block(directory, symbols, [batch], min_time_ms=0, max_time_ms=TIME_MAX, **options)
    return None if path is None else Block.open(path)


@settings(deadline=None)
@given(st.lists(histograms(), max_size=12), st.data())
def test_rows_taken_and_joined_are_what_they_were(rows, data):
    columns = to_columns(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)) if rows else []
    some = take(columns, np.array(chosen, dtype=np.int64))
    assert [to_histogram(some, at) for at in range(len(chosen))] == [rows[at] for at in chosen]
    both = concat([columns, some, columns])
    expected = [*rows, *(rows[at] for at in chosen), *rows]
    assert [to_histogram(both, at) for at in range(len(expected))] == expected


@settings(deadline=None)
@given(st.lists(histograms(), min_size=1, max_size=12))
def test_equal_histograms_have_equal_digests_whatever_their_hint(rows):
    twice = [*rows, *((row[0], 3 - row[1], *row[2:]) for row in rows)]
    keys = np.array([0x1234567, 0x89ABCDEF1], dtype=np.uint64)
    found = digests(to_columns(twice), keys).tolist()
    numbers = {}
    for row, number in zip(twice, found, strict=True):
        content = (row[0], *row[2:])
        assert numbers.setdefault(content, number) == number
    assert len(set(numbers.values())) == len(numbers)


@settings(deadline=None)
@given(st.lists(histograms(), min_size=1, max_size=12), st.data())
def test_a_record_gives_back_its_batch(rows, data):
    columns = take(to_columns(rows), np.arange(len(rows)))
    numbers = st.integers(-(2**63), 2**63 - 1)
    refs, times = (
        np.array(data.draw(st.lists(numbers, min_size=len(rows), max_size=len(rows))))
        for _ in range(2)
    )
    payload = histogram_payload(refs, times, columns)
    again_refs, again_times, again = read_histograms(payload)
    assert again_refs.tolist() == refs.tolist()
    assert again_times.tolist() == times.tolist()
    assert [to_histogram(again, at) for at in range(len(rows))] == rows
    for cut in (payload[:-1], payload + b"\0", payload[:20]):
        with pytest.raises(ValueError, match="histogram record"):
            read_histograms(cut)


@settings(max_examples=60, deadline=None)
@given(mixed_models(), matcher_lists, ranges, st.sampled_from([1, 3, 1024]))
def test_a_block_gives_back_the_model(model, matchers, span, page_samples):
    with tempfile.TemporaryDirectory() as name:
        block = write(Path(name), model, page_samples=page_samples)
        model = as_stored({labels: samples for labels, samples in model.items() if samples})
        if block is None:
            assert not model
            return
        assert from_mixed_batch(select(block, [], 0, TIME_MAX)) == model
        expected = selected(model, matchers, *span)
        assert from_mixed_batch(select(block, matchers, *span)) == expected
        chosen = [each for samples in expected.values() for each in samples.values()]
        rows = [each for each in chosen if not isinstance(each, int)]
        buckets = sum(len(row[7]) + len(row[8]) for row in rows)
        wanted = len(chosen) - len(rows) + 11 * len(rows) + buckets // 2
        assert block.count_samples(block.match(matchers), *span) == wanted
        assert block.verify() == []
        flat = [each for samples in model.values() for each in samples.values()]
        assert block.meta.stats.num_samples == len(flat)
        histogram_count = sum(not isinstance(each, int) for each in flat)
        assert block.meta.stats.num_histograms == histogram_count
        if not histogram_count:
            assert "hist.row" not in block._index
        chunks = {}
        for batch in block.chunks(samples_max=5):
            chunks |= from_mixed_batch(batch)
        assert chunks == model


@settings(max_examples=60, deadline=None)
@given(st.lists(mixed_models(), max_size=3))
def test_of_one_time_the_sample_of_the_first_batch_counts_whatever_its_kind(parts):
    symbols = SymbolTable()
    batches = [to_mixed_batch(part, SymbolTable()) for part in parts]
    assert from_mixed_batch(merge_batches(batches, symbols)) == merged(parts)


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(mixed_models(), min_size=1, max_size=3),
    piece_samples=st.sampled_from([1, 20, 1 << 20]),
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
        expected = as_stored(merged(parts))
        if path is None:
            assert not expected
            return
        result = Block.open(path)
        assert from_mixed_batch(select(result, [], 0, TIME_MAX)) == expected
        assert result.verify() == []
        assert result.meta.stats.num_samples == sum(map(len, expected.values()))


def growing(series: int, times: int):
    """Series whose eight buckets grow evenly."""
    model = {}
    for number in range(series):
        labels = (("__name__", "h"), ("n", str(number)))
        model[labels] = {
            time: (
                3, 0, False, bits(8 * time), bits(time * 0.5), bits(1e-128), 0,
                tuple((index, bits(time)) for index in range(number, number + 8)), (), (),
            )
            for time in range(times)
        }  # fmt: skip
    return model


def test_a_damaged_frame_costs_its_own_histograms_only(tmp_path):
    model = growing(3, 400)
    block = write(tmp_path, model)
    damaged = tmp_path / block.meta.ulid / "pages"
    content = bytearray(damaged.read_bytes())
    offset = int(block._index.array("hist_frame.offset")[0])
    content[offset + 40] ^= 1
    damaged.write_bytes(content)
    again, errors = Block.open(damaged.parent), []
    left = from_mixed_batch(select(again, [], 0, TIME_MAX, on_corrupt=errors.append))
    assert errors
    assert len(left) < len(model)
    for labels, samples in left.items():
        assert samples == model[labels]
    assert again.verify()


def test_even_growth_is_nearly_free(tmp_path):
    block = write(tmp_path, growing(20, 400))
    size = block.size_bytes / block.meta.stats.num_samples
    assert size < 3, f"{size:.2f} bytes a histogram"
