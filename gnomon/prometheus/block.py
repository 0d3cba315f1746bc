"""One block of Prometheus as batches, in the order in which ours are written.

From: `importing.py`, a directory or a snapshot of Prometheus. To: `tsdb/block_writer.py`.
The index is read whole (labels, places of chunks); samples come a bounded number at a time.
What tombstones delete is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.block_meta import read_meta
from gnomon.prometheus.chunks import XOR, Segment
from gnomon.prometheus.index import read_index
from gnomon.prometheus.tombstones import read_tombstones
from gnomon.tsdb_tools.run_building import build_batch
from gnomon.tsdb_tools.series_table import PIECE_SAMPLES
from tsdb.errors import CorruptFileError
from tsdb.histograms.columns import concat, ragged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gnomon.prometheus.chunks import OnCorrupt
    from tsdb.interface import Floats, HistogramColumns, Ints, SeriesBatch, SymbolSource

CHUNK_SAMPLES = 120
"""About what a chunk holds: pieces are planned by it."""


class PrometheusBlock:
    """A block opened: its index in memory, its chunk files mapped."""

    def __init__(self, path: Path, on_corrupt: OnCorrupt | None = None) -> None:
        """Open and check a block. Raises `CorruptFileError`, OSError.

        With `on_corrupt` chunks that are damaged, or of a file that is, are told and left out.
        """
        self.path = path
        self._on_corrupt = on_corrupt
        self.meta = read_meta(path)
        self._index = read_index(path / "index")
        self._segments: dict[int, Segment | None] = {}
        refs, low, high = read_tombstones(path)
        order = np.argsort(self._index.refs)
        place = np.searchsorted(self._index.refs, refs, sorter=order)
        known = place < order.size
        known[known] = self._index.refs[order[place[known]]] == refs[known]
        self._deleted = (order[place[known]], low[known], high[known])

    @property
    def symbols(self) -> SymbolSource:
        """The table in which all batches name their labels."""
        return self._index.series.symbols

    def pieces(self) -> Iterator[SeriesBatch]:
        """Yield all series with all samples, in series order. Raises `CorruptFileError`."""
        weight = np.diff(self._index.chunk_first) * CHUNK_SAMPLES
        for rows in self._index.series.pieces(weight, limit=PIECE_SAMPLES):
            yield self._read(rows)

    def _read(self, rows: Ints) -> SeriesBatch:
        index = self._index
        count = index.chunk_first[rows + 1] - index.chunk_first[rows]
        chunks = ragged(index.chunk_first[rows], count)
        of_series = np.repeat(np.arange(rows.size), count)
        refs = index.chunk_ref[chunks]
        floats: list[tuple[Ints, Ints, Floats]] = []
        histograms: list[tuple[Ints, Ints, HistogramColumns]] = []
        for number in np.unique(refs >> 32).tolist():
            segment = self._segment(number)
            if segment is None:
                continue
            mine = np.flatnonzero(refs >> 32 == number)
            good, places = segment.find(refs[mine] & 0xFFFFFFFF, self._on_corrupt)
            mine = mine[good]
            for is_float in (True, False):
                chosen = np.flatnonzero((places.encoding == XOR) == is_float)
                if not chosen.size:
                    continue
                part = places.where(chosen)
                series = np.repeat(of_series[mine[chosen]], part.samples)
                if is_float:
                    floats.append((series, *segment.floats(part)))
                else:
                    histograms.append((series, *segment.histograms(part)))
        series, times, values = (
            (np.concatenate(column) for column in zip(*floats, strict=True))
            if floats
            else (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        )
        joined = None
        if histograms:
            joined = (
                np.concatenate([part[0] for part in histograms]),
                np.concatenate([part[1] for part in histograms]),
                concat([part[2] for part in histograms]),
            )
        return self._within(
            build_batch(
                index.series.labels(rows), series, times, values, joined, self._ranges(rows)
            )
        )

    def _segment(self, number: int) -> Segment | None:
        """Return a chunk file, opened when it is first asked for; None if it cannot be read."""
        if number not in self._segments:
            path = self.path / "chunks" / f"{number + 1:06}"
            try:
                self._segments[number] = Segment(path)
            except CorruptFileError as error:
                self._leave_out(number, error)
            except OSError as error:
                named = f"names chunk file {number + 1}, which cannot be read: {error}"
                self._leave_out(number, CorruptFileError(self.path / "index", 0, named))
        return self._segments[number]

    def _leave_out(self, number: int, error: CorruptFileError) -> None:
        if self._on_corrupt is None:
            raise error
        self._on_corrupt(error)
        self._segments[number] = None

    def _within(self, batch: SeriesBatch) -> SeriesBatch:
        low, high = self.meta.min_time_ms, self.meta.max_time_ms
        times = [batch.times]
        if batch.histograms is not None:
            times.append(batch.histograms.times)
        for each in times:
            if each.size and not (low <= int(each.min()) and int(each.max()) < high):
                raise CorruptFileError(
                    self.path / "meta.json", 0, "samples lie outside of the block's time range"
                )
        return batch

    def _ranges(self, rows: Ints) -> tuple[Ints, Ints, Ints] | None:
        """Return what is deleted of some rows, by their place among them."""
        deleted, low, high = self._deleted
        if not deleted.size:
            return None
        order = np.argsort(rows)
        place = np.searchsorted(rows, deleted, sorter=order)
        known = place < rows.size
        known[known] = rows[order[place[known]]] == deleted[known]
        if not known.any():
            return None
        return order[place[known]].astype(np.int64), low[known].copy(), high[known].copy()
