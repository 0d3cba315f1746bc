"""Several blocks to one: which (pure), and how.

From: `database.py`, with the metas of all blocks on disk.
To:   `block_writer.py`; the new block names its parents, so that a crash before they are deleted
      neither loses nor doubles a sample: on the next start `superseded` finds them.

Blocks are merged piece by piece in series order, so memory holds one piece at a time.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from tsdb.block_meta import BlockParent
from tsdb.block_writer import write_block
from tsdb.merge import merge_batches
from tsdb.series_order import comes_before
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from tsdb.block import Block
    from tsdb.block_meta import BlockMeta
    from tsdb.errors import CorruptFileError
    from tsdb.interface import SeriesBatch

BLOCK_MS = 2 * 3600 * 1000
RANGE_FACTOR = 3
PIECE_SAMPLES = 1 << 21
"""Samples of one piece, about: 16 MB of values. Each bucket counts as one."""
PIECE_SERIES = 1 << 13
"""Series of one piece in each block at most: while those of more are sorted nobody else runs."""

Piece = list[tuple[int, int]]
"""Rows [first, stop) of each block."""


def block_ranges(*, min_ms: int = BLOCK_MS, max_ms: int) -> tuple[int, ...]:
    """Return the lengths of blocks by level: `min_ms` and its multiples by three up to `max_ms`.

    >>> [length // 3_600_000 for length in block_ranges(max_ms=36 * 3_600_000)]
    [2, 6, 18]
    """
    ranges = [min_ms]
    while ranges[-1] * RANGE_FACTOR <= max_ms:
        ranges.append(ranges[-1] * RANGE_FACTOR)
    return tuple(ranges)


def plan(
    metas: Iterable[BlockMeta], ranges: Sequence[int], *, failed: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the ULIDs of the blocks to compact next, oldest first; () if there is nothing to do.

    Blocks that overlap come first. Then, from the shortest range up, blocks that share an aligned
    window of it, once the window is full or ends before the newest settled block begins. The newest
    block of all is left as it is and does not count as settled: a backup may still be copying it.
    Blocks in `failed` are left alone.
    Source: Prometheus documentation and behaviour, levelled compaction.
    """
    by_time = sorted(metas, key=lambda meta: (meta.min_time_ms, meta.max_time_ms, meta.ulid))
    overlapping = _first_overlap([meta for meta in by_time if meta.ulid not in failed])
    if overlapping:
        return tuple(meta.ulid for meta in overlapping)
    settled = by_time[:-1]
    if not settled:
        return ()
    newest_start = settled[-1].min_time_ms
    for length in ranges[1:]:
        for group in _by_window(settled, length):
            span = group[-1].max_time_ms - group[0].min_time_ms
            complete = span == length or group[-1].max_time_ms <= newest_start
            if len(group) > 1 and complete and not any(meta.ulid in failed for meta in group):
                return tuple(meta.ulid for meta in group)
    return ()


def _first_overlap(by_time: Sequence[BlockMeta]) -> list[BlockMeta]:
    group: list[BlockMeta] = []
    end = 0
    for meta in by_time:
        if group and meta.min_time_ms < end:
            group.append(meta)
            end = max(end, meta.max_time_ms)
        elif len(group) > 1:
            break
        else:
            group, end = [meta], meta.max_time_ms
    return group if len(group) > 1 else []


def _by_window(by_time: Sequence[BlockMeta], length: int) -> list[list[BlockMeta]]:
    """Group the blocks that lie wholly inside one window [k * length, (k + 1) * length)."""
    windows: dict[int, list[BlockMeta]] = {}
    for meta in by_time:
        window = meta.min_time_ms // length
        if meta.max_time_ms <= (window + 1) * length:
            windows.setdefault(window, []).append(meta)
    return [windows[window] for window in sorted(windows)]


def superseded(metas: Iterable[BlockMeta]) -> frozenset[str]:
    """Return the blocks whose samples are all in another of the blocks: to be deleted on open."""
    replaced: set[str] = set()
    for meta in metas:
        replaced.update(parent.ulid for parent in meta.parents)
        if meta.parents:
            replaced.update(source for source in meta.sources if source != meta.ulid)
    return frozenset(replaced)


def compact(
    blocks: Sequence[Block],
    parent_dir: Path,
    *,
    ulid: str | None = None,
    piece_samples: int = PIECE_SAMPLES,
    on_corrupt: Callable[[CorruptFileError], None] | None = None,
) -> Path | None:
    """Write one block with the samples of all `blocks`; return it, None if nothing is left.

    What tombstones delete is not in it. Where two blocks have a sample at one time, that of the
    block that comes first in `blocks` stays. The parents are not touched: the caller deletes them.
    Raises `CorruptFileError` on a damaged frame unless `on_corrupt` takes it, and `OSError`.
    """
    metas = [block.meta for block in blocks]
    symbols = SymbolTable()
    return write_block(
        parent_dir,
        symbols,
        _merged_pieces(blocks, symbols, piece_samples, on_corrupt),
        min_time_ms=min(meta.min_time_ms for meta in metas),
        max_time_ms=max(meta.max_time_ms for meta in metas),
        level=max(meta.level for meta in metas) + 1,
        sources=tuple(sorted({source for meta in metas for source in meta.sources})),
        parents=tuple(BlockParent(meta.ulid, meta.min_time_ms, meta.max_time_ms) for meta in metas),
        ulid=ulid,
    )


def _merged_pieces(
    blocks: Sequence[Block],
    symbols: SymbolTable,
    piece_samples: int,
    on_corrupt: Callable[[CorruptFileError], None] | None,
) -> Iterator[SeriesBatch]:
    for piece in _pieces(blocks, piece_samples):
        batches = []
        for block, (first, stop) in zip(blocks, piece, strict=True):
            if first < stop:
                batch = block.select_all(first, stop, on_corrupt=on_corrupt)
                if batch is not None:
                    batches.append(batch)
        if batches:
            yield merge_batches(batches, symbols)
        # What comes next is elsewhere: of a block of 2 GB no more than a piece stays mapped.
        for block in blocks:
            block.let_go()


def _pieces(blocks: Sequence[Block], piece_samples: int) -> Iterator[Piece]:
    """Yield, in series order, the rows [first, stop) of each block that make the next piece.

    Small metrics are taken together, large ones cut between series.
    """
    tables: dict[str, Piece] = {}
    for at, block in enumerate(blocks):
        for metric, first, stop in block.metrics():
            rows = tables.setdefault(metric, [(0, 0)] * len(blocks))
            rows[at] = (first, stop)
    piece: Piece = [(0, 0)] * len(blocks)
    held = held_series = 0
    for metric in sorted(tables):
        rows = tables[metric]
        samples, series = _samples(blocks, rows), _series(rows)
        if held and (held + samples > piece_samples or held_series + series > PIECE_SERIES):
            yield piece
            piece, held, held_series = [(0, 0)] * len(blocks), 0, 0
        if samples > piece_samples or series > PIECE_SERIES:
            yield from _cut_metric(blocks, rows, piece_samples)
            continue
        # Metrics are neighbours in every block that has them: ranges of rows join.
        piece = [
            (new if old[0] == old[1] else (old[0], new[1])) if new[0] < new[1] else old
            for old, new in zip(piece, rows, strict=True)
        ]
        held += samples
        held_series += series
    if held:
        yield piece


def _samples(blocks: Sequence[Block], rows: Piece) -> int:
    return sum(
        block.value_count(first, stop)
        for block, (first, stop) in zip(blocks, rows, strict=True)
        if first < stop
    )


def _series(rows: Piece) -> int:
    return max(stop - first for first, stop in rows)


def _cut_metric(blocks: Sequence[Block], rows: Piece, piece_samples: int) -> Iterator[Piece]:
    """Cut rows of one metric in halves until they are pieces, at the same series in every block.

    Half is what it is for the block with the most series. The labels of some tens of series are
    looked at for that: sorting those of all of them, a million perhaps, would hold up everybody.
    """
    series = _series(rows)
    if series < 2 or (series <= PIECE_SERIES and _samples(blocks, rows) <= piece_samples):
        yield rows
        return
    largest = next(at for at, (first, stop) in enumerate(rows) if stop - first == series)
    middle = rows[largest][0] + series // 2
    pivot = _labels(blocks[largest], middle)
    cuts = [
        middle if at == largest else _first_from(block, first, stop, pivot)
        for at, (block, (first, stop)) in enumerate(zip(blocks, rows, strict=True))
    ]
    left = [(first, cut) for (first, _), cut in zip(rows, cuts, strict=True)]
    right = [(cut, stop) for (_, stop), cut in zip(rows, cuts, strict=True)]
    yield from _cut_metric(blocks, left, piece_samples)
    yield from _cut_metric(blocks, right, piece_samples)


def _first_from(block: Block, first: int, stop: int, pivot: dict[str, str]) -> int:
    """Return the first of the rows [first, stop) whose series is not before `pivot`."""
    return bisect_left(
        range(stop), True, first, stop, key=lambda row: not comes_before(_labels(block, row), pivot)
    )


def _labels(block: Block, row: int) -> dict[str, str]:
    labels = block.labels(np.array([row], dtype=np.int64))
    return dict(zip(labels.names, labels.symbols.texts(labels.ids[:, 0]), strict=True))
