"""What a Prometheus directory holds beside its blocks: log and late log, as blocks of ours.

From: `wal/` and `wbl/` through `wal.py`. To: `tsdb_tools/spool.py`, which orders the samples.
The log is read twice: for the series and the number of their samples, then for the samples, so that
memory holds labels and never all samples. `chunks_head/` is not read: all that is in it is in the
logs as well (Prometheus itself deletes it where it is damaged, and starts from the logs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.record_kernels import (
    count_exemplars,
    read_histograms,
    read_samples,
    read_series,
)
from gnomon.prometheus.tombstones import varint
from gnomon.prometheus.wal import RecordType, log_files, read_records
from gnomon.tsdb_tools.series_table import SeriesTable
from gnomon.tsdb_tools.spool import Spool
from tsdb.block_meta import new_ulid
from tsdb.errors import CorruptFileError
from tsdb.histogram_columns import take
from tsdb.interface import HistogramColumns, LabelSpans
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from gnomon.tsdb_tools.run_building import Deleted
    from tsdb.interface import Bytes, Floats, Ints

_HISTOGRAMS = {
    RecordType.HISTOGRAMS: False,
    RecordType.CUSTOM_HISTOGRAMS: False,
    RecordType.FLOAT_HISTOGRAMS: True,
    RecordType.CUSTOM_FLOAT_HISTOGRAMS: True,
}
_HISTOGRAM_WEIGHT = 32
"""How many floats a histogram counts for, about, where pieces are planned."""


@dataclass(slots=True)
class HeadCounts:
    """What was found in the logs, and what of it could not be taken over."""

    records: int = 0
    floats: int = 0
    histograms: int = 0
    exemplars: int = 0
    metadata_records: int = 0
    unknown_records: int = 0
    unknown_types: set[int] = field(default_factory=set)
    unknown_series_samples: int = 0
    damaged: list[CorruptFileError] = field(default_factory=list)


class Head:
    """The logs of one directory, read once for their series."""

    def __init__(self, directory: Path, *, first_ms: int) -> None:
        """Read the series. Samples before `first_ms` are in blocks. Raises OSError."""
        self.counts = HeadCounts()
        self._first_ms = first_ms
        self._files = [
            (path, late)
            for name, late in (("wal", False), ("wbl", True))
            for path in log_files(directory / name)
        ]
        self._symbols = SymbolTable()
        parts: list[tuple[Ints, SeriesTable]] = []
        weights: list[tuple[Ints, Ints]] = []
        deleted: list[tuple[int, int, int]] = []
        for path, _, kind, size, data in self._records(self.counts.damaged.append):
            self.counts.records += 1
            if kind == RecordType.SERIES:
                parts.append(self._series(path, data, size))
            elif kind == RecordType.SAMPLES:
                refs, _, _ = _samples(data, size)
                weights.append((refs, np.ones(refs.size, np.int64)))
            elif kind in _HISTOGRAMS:
                refs, _, _ = _histograms(data, size, floats=_HISTOGRAMS[RecordType(kind)])
                weights.append((refs, np.full(refs.size, _HISTOGRAM_WEIGHT, np.int64)))
            elif kind == RecordType.TOMBSTONES:
                deleted += _tombstones(data[:size].tobytes())
            elif kind == RecordType.EXEMPLARS:
                self.counts.exemplars += max(0, int(count_exemplars(data, size)))
            elif kind == RecordType.METADATA:
                self.counts.metadata_records += 1
            elif kind != RecordType.MMAP_MARKERS:
                self.counts.unknown_records += 1
                self.counts.unknown_types.add(kind)
            if len(weights) > _WEIGHTS_HELD:
                weights = [_totals(weights)]
        self._index(parts)
        self.weight = self._weights(weights)
        ranges = np.array(deleted, np.int64).reshape(-1, 3)
        rows = self.rows(ranges[:, 0].copy())
        known = rows >= 0
        self.deleted: Deleted = (
            rows[known],
            ranges[known, 1].copy(),
            ranges[known, 2].copy(),
        )

    def write(self, parent_dir: Path, *, window_ms: int) -> Iterator[Path]:
        """Write a block for each window of time that has samples. Raises OSError."""
        pieces = self.series.pieces(self.weight)
        piece_of = np.zeros(self.series.series_count, np.int64)
        for number, rows in enumerate(pieces):
            piece_of[rows] = number
        directory = parent_dir / f"import-{new_ulid()}"
        with Spool(directory, window_ms=window_ms, piece_of=piece_of) as spool:
            self._fill(spool)
            for window in spool.windows():
                path = spool.write(parent_dir, self.series, pieces, window, self.deleted)
                if path is not None:
                    yield path

    def rows(self, refs: Ints) -> Ints:
        """Return the series of each ref, -1 for one that the logs do not know."""
        place = np.searchsorted(self._refs, refs)
        place[place == self._refs.size] = 0
        if not self._refs.size:
            return np.full(refs.size, -1, np.int64)
        rows: Ints = np.where(self._refs[place] == refs, self._row_of[place], -1)
        return rows

    def _fill(self, spool: Spool) -> None:
        for _, late, kind, size, data in self._records(lambda _: None):
            if kind == RecordType.SAMPLES:
                refs, times, values = _samples(data, size)
                rows = self.rows(refs)
                keep = self._keep(rows, times, late=late)
                self.counts.floats += int(np.count_nonzero(keep))
                spool.add(rows[keep], times[keep], values[keep])
            elif kind in _HISTOGRAMS:
                refs, times, columns = _histograms(data, size, floats=_HISTOGRAMS[RecordType(kind)])
                rows = self.rows(refs)
                chosen = np.flatnonzero(self._keep(rows, times, late=late))
                self.counts.histograms += chosen.size
                if chosen.size:
                    spool.add_histograms(rows[chosen], times[chosen], take(columns, chosen))

    def _keep(self, rows: Ints, times: Ints, *, late: bool) -> npt.NDArray[np.bool_]:
        unknown = rows < 0
        self.counts.unknown_series_samples += int(np.count_nonzero(unknown))
        # The log may still hold what a block has: a start of Prometheus passes over it as well,
        # and it may have been deleted from the block since.
        keep: npt.NDArray[np.bool_] = ~unknown
        return keep if late else keep & (times >= self._first_ms)

    def _records(
        self, on_corrupt: Callable[[CorruptFileError], None]
    ) -> Iterator[tuple[Path, bool, int, int, Bytes]]:
        for path, late in self._files:
            for kind, size, data in read_records(path, on_corrupt):
                yield path, late, kind, size, data

    def _series(self, path: Path, data: Bytes, size: int) -> tuple[Ints, SeriesTable]:
        refs, first = np.empty(size // 9 + 1, np.int64), np.empty(size // 9 + 2, np.int64)
        spans = np.empty((size // 2 + 1, 4), np.int32)
        series, labels = read_series(data, size, refs, first, spans)
        if series < 0:
            self.counts.damaged.append(CorruptFileError(path, 0, "series record does not add up"))
            series = labels = 0
        table = LabelSpans(data, spans[:labels], first[: series + 1])
        names, values = self._symbols.intern_spans(table)
        return refs[:series].copy(), SeriesTable(table.first.copy(), names, values, self._symbols)

    def _index(self, parts: list[tuple[Ints, SeriesTable]]) -> None:
        """Join all series: `series` has each label set once, `_refs` and `_row_of` find it."""
        refs = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
        counts = [np.diff(part[1].first) for part in parts]
        first = np.concatenate(([0], np.cumsum(np.concatenate([np.empty(0, np.int64), *counts]))))
        no_ids = np.empty(0, np.uint32)
        table = SeriesTable(
            first.astype(np.int64),
            np.concatenate([no_ids, *(part[1].names for part in parts)]),
            np.concatenate([no_ids, *(part[1].values for part in parts)]),
            self._symbols,
        )
        self.series, row_of = table.distinct()
        # A ref that comes twice (checkpoint and segment) means the same series.
        self._refs, place = np.unique(refs, return_index=True)
        self._row_of = row_of[place]

    def _weights(self, weights: list[tuple[Ints, Ints]]) -> Ints:
        total = np.zeros(self.series.series_count, np.int64)
        refs, weight = _totals(weights)
        rows = self.rows(refs)
        np.add.at(total, rows[rows >= 0], weight[rows >= 0])
        return total


_WEIGHTS_HELD = 4096


def _totals(weights: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Return each ref once, with the sum of its weights."""
    none = np.empty(0, np.int64)
    refs = np.concatenate([none, *(part[0] for part in weights)])
    each = np.concatenate([none, *(part[1] for part in weights)])
    distinct, inverse = np.unique(refs, return_inverse=True)
    return distinct, np.bincount(inverse, weights=each, minlength=distinct.size).astype(np.int64)


def _samples(data: Bytes, size: int) -> tuple[Ints, Ints, Floats]:
    room = size // 10 + 1
    refs, times = np.empty(room, np.int64), np.empty(room, np.int64)
    bits = np.empty(room, np.uint64)
    found = max(0, int(read_samples(data, size, refs, times, bits)))
    return refs[:found], times[:found], bits[:found].view(np.float64)


def _histograms(data: Bytes, size: int, *, floats: bool) -> tuple[Ints, Ints, HistogramColumns]:
    rows = size // 20 + 1
    refs, times = np.empty(rows, np.int64), np.empty(rows, np.int64)
    schema, hint = np.empty(rows, np.int8), np.empty(rows, np.int8)
    count, total, zero_threshold, zero_count = (np.empty(rows) for _ in range(4))
    starts = [np.zeros(rows + 1, np.int64) for _ in range(2)]
    indexes = [np.empty(size, np.int32) for _ in range(2)]
    counts = [np.empty(size) for _ in range(3)]
    bounds_start, bounds_count = np.empty(rows, np.int64), np.empty(rows, np.int64)
    found = max(
        0,
        int(
            read_histograms(
                data,
                size,
                floats,
                refs,
                times,
                schema,
                hint,
                count,
                total,
                zero_threshold,
                zero_count,
                starts[0],
                indexes[0],
                counts[0],
                starts[1],
                indexes[1],
                counts[1],
                bounds_start,
                bounds_count,
                counts[2],
            )
        ),
    )
    columns = HistogramColumns(
        schema[:found],
        hint[:found],
        np.full(found, floats),
        count[:found],
        total[:found],
        zero_threshold[:found],
        zero_count[:found],
        starts[0][: found + 1],
        indexes[0],
        counts[0],
        starts[1][: found + 1],
        indexes[1],
        counts[1],
        bounds_start[:found],
        bounds_count[:found],
        counts[2],
    )
    return refs[:found], times[:found], columns


def _tombstones(record: bytes) -> list[tuple[int, int, int]]:
    """Return ref, first and last millisecond of each range of a record; what is cut off is left."""
    found: list[tuple[int, int, int]] = []
    at = 1
    try:
        while at < len(record):
            ref = int.from_bytes(record[at : at + 8], "big", signed=True)
            low, at = varint(record, at + 8)
            high, at = varint(record, at)
            found.append((ref, low, high))
    except IndexError:
        pass
    return found
