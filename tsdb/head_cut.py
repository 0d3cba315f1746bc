"""The head's older part, window by window, as sealed blocks.

From: `database.py`, which decides when and drops afterwards what was written.
To:   `block_writer.py`: series in order, a bounded number of samples at a time.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from tsdb.block_writer import write_block
from tsdb.head_gathering import GatheredPages
from tsdb.head_view import read_view, take_view
from tsdb.histograms.buffer import read_histograms
from tsdb.histograms.columns import size_bytes
from tsdb.match_memory import FoundSeries
from tsdb.select import batch_of
from tsdb.series_order import series_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tsdb.head import Head
    from tsdb.histograms.run import Run
    from tsdb.interface import SeriesBatch
    from tsdb.label_kernels import Slots
    from tsdb.late import LateRun
    from tsdb.metric_table import SeriesRows

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
    histogram_runs: tuple[Run, ...],
) -> list[Path]:
    """Write the samples in [first_ms, stop_ms), a block for each aligned window that has any.

    Late samples are taken from `late_runs` only, histograms from `histogram_runs`.
    Raises OSError; then no new block is left.
    """
    with head.lock:
        rows, windows = head.rows, set(head.windows)
    for late in late_runs:
        windows.update(np.unique(late.times // window_ms).tolist())
    for run in histogram_runs:
        windows.update(run.windows(window_ms))
    order = _in_order(rows)
    written: list[Path] = []
    try:
        for number in sorted(windows):
            begin, end = max(number * window_ms, first_ms), min((number + 1) * window_ms, stop_ms)
            if begin >= end:
                continue
            window = (begin, end - 1)
            pieces = _pieces(head, rows, order, window, late_runs, histogram_runs)
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
    histogram_runs: tuple[Run, ...],
) -> Iterator[SeriesBatch]:
    """Yield the window's samples of all series, in order."""
    pages = GatheredPages(head, *window)
    for slots, gathered in pages.each(order):
        # Few series at first; as many as fit once their density is known.
        first, size = 0, min(slots.size, 512)
        ordered, places = slots, gathered
        while first < ordered.size:
            if first == 0 and size < ordered.size:
                by_labels = series_order(rows.labels(ordered))
                ordered, places = ordered[by_labels], gathered[by_labels]
            some = np.ascontiguousarray(ordered[first : first + size])
            with head.lock:
                view = take_view(head, some, late_runs=late_runs, histogram_runs=histogram_runs)
            view = pages.view(view, places[first : first + size])
            start, end = (np.full(some.size, bound, np.int64) for bound in window)
            samples = read_view(head, view, start, end)
            histograms = read_histograms(histogram_runs, some, start, end)
            batch = batch_of(FoundSeries(rows, some), samples, histograms, 0)
            if batch.series_count:
                yield batch
            first += some.size
            weight = batch.sample_count
            if histograms is not None:
                weight += size_bytes(histograms.columns) // 8
            dense = max(1, weight // some.size)
            size = min(_PIECE_SERIES, max(64, _PIECE_SAMPLES // dense))
