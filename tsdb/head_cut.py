"""The head's older part, window by window, as sealed blocks.

From: `database.py`, which decides when and drops afterwards what was written.
To:   `block_writer.py`: series in order, a bounded number of samples at a time.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from tsdb.block_writer import write_block
from tsdb.head_view import read_view, take_view
from tsdb.select import batch_of, without_deleted
from tsdb.series_order import series_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tsdb.head import Head
    from tsdb.interface import SeriesBatch
    from tsdb.label_kernels import Slots
    from tsdb.late import LateRun
    from tsdb.metric_table import SeriesRows
    from tsdb.tombstones import Tombstone

_PIECE_SAMPLES = 1 << 21
_PIECE_SERIES = 8192


def write_windows(
    head: Head,
    parent_dir: Path,
    *,
    first_ms: int,
    stop_ms: int,
    window_ms: int,
    late_runs: tuple[LateRun, ...],
    deleted: Sequence[Tombstone],
) -> list[Path]:
    """Write the samples in [first_ms, stop_ms), a block for each aligned window that has any.

    Late samples are taken from `late_runs` only. Raises OSError; then no new block is left.
    """
    with head.lock:
        rows, windows = head.rows, set(head.windows)
    for run in late_runs:
        windows.update(np.unique(run.times // window_ms).tolist())
    order = _in_order(rows)
    written: list[Path] = []
    try:
        for number in sorted(windows):
            begin, end = max(number * window_ms, first_ms), min((number + 1) * window_ms, stop_ms)
            if begin >= end:
                continue
            pieces = _pieces(head, rows, order, (begin, end - 1), late_runs, deleted)
            path = write_block(parent_dir, rows.symbols, pieces, min_time_ms=begin, max_time_ms=end)
            if path is not None:
                written.append(path)
    except BaseException:
        for path in written:
            shutil.rmtree(path, ignore_errors=True)
        raise
    return written


def _in_order(rows: SeriesRows) -> list[Slots]:
    """Return all slots in series order, in pieces that `write_block` takes."""
    metrics, _ = rows.metrics()
    texts = rows.symbols.texts(metrics)
    pieces: list[Slots] = []
    small: list[Slots] = []
    held = 0
    for at in sorted(range(len(texts)), key=texts.__getitem__):
        table, count = rows.table(int(metrics[at]))
        slots = table.slots[:count]
        if held and held + count > _PIECE_SERIES:
            pieces.append(np.concatenate(small))
            small, held = [], 0
        if count > _PIECE_SERIES:
            ordered = slots[series_order(rows.labels(slots))]
            pieces += [
                ordered[first : first + _PIECE_SERIES] for first in range(0, count, _PIECE_SERIES)
            ]
        else:
            small.append(slots)
            held += count
    if small:
        pieces.append(np.concatenate(small))
    return pieces


def _pieces(
    head: Head,
    rows: SeriesRows,
    order: list[Slots],
    window: tuple[int, int],
    late_runs: tuple[LateRun, ...],
    deleted: Sequence[Tombstone],
) -> Iterator[SeriesBatch]:
    """Yield the window's samples of all series, in order."""
    for slots in order:
        # Few series at first; as many as fit once their density is known.
        first, size = 0, min(slots.size, 512)
        ordered = slots
        while first < ordered.size:
            if first == 0 and size < ordered.size:
                ordered = ordered[series_order(rows.labels(ordered))]
            some = np.ascontiguousarray(ordered[first : first + size])
            with head.lock:
                view = take_view(head, some, late_runs=late_runs)
            start, end = (np.full(some.size, bound, np.int64) for bound in window)
            batch = batch_of(rows, some, read_view(head, view, start, end), 0, some.size)
            if deleted and batch.series_count:
                batch = without_deleted(batch, deleted)
            if batch.series_count:
                yield batch
            first += some.size
            dense = max(1, batch.sample_count // some.size)
            size = min(_PIECE_SERIES, max(64, _PIECE_SAMPLES // dense))
