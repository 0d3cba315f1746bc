"""What a Prometheus directory holds beside its blocks: log and late log, as blocks of ours.

From: `wal/` and `wbl/` through `wal.py`. To: `tsdb_tools/spool.py`, which orders the samples.
Memory holds labels and never all samples. `chunks_head/` is not read: all that is in it is in the
logs as well (Prometheus itself deletes it where it is damaged, and starts from the logs).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gnomon.prometheus.exemplars import ExemplarLog, store_exemplars
from gnomon.prometheus.histogram_room import HistogramRoom
from gnomon.prometheus.record_kernels import (
    read_histograms,
    read_samples,
    read_series,
)
from gnomon.prometheus.tombstones import varint
from gnomon.prometheus.wal import PAGE_BYTES, RecordType, log_files, read_records
from gnomon.tsdb_tools.series_table import SeriesTable, join_tables
from gnomon.tsdb_tools.spool import Spool
from tsdb.errors import CorruptFileError
from tsdb.histograms.columns import take
from tsdb.interface import LabelSpans
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from gnomon.tsdb_tools.run_building import Deleted
    from tsdb.interface import Bytes, Floats, HistogramColumns, Ints

_HISTOGRAMS = {
    RecordType.HISTOGRAMS: False,
    RecordType.CUSTOM_HISTOGRAMS: False,
    RecordType.FLOAT_HISTOGRAMS: True,
    RecordType.CUSTOM_FLOAT_HISTOGRAMS: True,
}


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(slots=True)
class HeadCounts:
    """What was found in the logs, and what of it could not be taken over."""

    records: int = 0
    floats: int = 0
    histograms: int = 0
    exemplars: int = 0
    exemplars_refused: int = 0
    metadata_records: int = 0
    unknown_records: int = 0
    unknown_types: set[int] = field(default_factory=set)
    unknown_series_samples: int = 0
    damaged: list[CorruptFileError] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def import_head(
    directory: Path,
    target: Path,
    *,
    first_ms: int,
    window_ms: int,
    counts: HeadCounts,
    have: Container[str] = (),
) -> Iterator[Path]:
    """Write the logs of a directory as a block for each window of time that has samples.

    Samples of the log before `first_ms` are in blocks, and are passed over. The name of a block
    follows from the logs: what is among `have` is there from an import before. Exemplars go to the
    target's own log. Raises OSError.
    """
    files = [
        (path, late)
        for name, late in (("wal", False), ("wbl", True))
        for path in log_files(directory / name)
    ]
    _check_numbers([path for path, late in files if not late], directory / "wal", counts)
    identity = _identity([path for path, _ in files])
    with Spool(target, window_ms=window_ms) as spool:
        logs = _Logs(spool, first_ms, counts)
        for path, late in files:
            for kind, size, data in read_records(path, counts.damaged.append):
                counts.records += 1
                if not logs.take(kind, size, data, late=late):
                    counts.damaged.append(
                        CorruptFileError(path, 0, f"a record of type {kind} does not add up")
                    )
        series = logs.finish()
        for window in spool.windows():
            ulid = _stable_ulid(spool.range_ms(window)[1], identity)
            if ulid in have:
                counts.skipped.append(ulid)
                continue
            block = spool.write(target, series, logs.rows, window, logs.deleted, ulid=ulid)
            if block is not None:
                yield block
        counts.unknown_series_samples = spool.unknown
        batches = [
            (logs.rows(refs), times, values, labels)
            for refs, times, values, labels in logs.exemplars.batches
        ]
        counts.exemplars, counts.exemplars_refused = store_exemplars(target, series, batches)


def _check_numbers(files: list[Path], directory: Path, counts: HeadCounts) -> None:
    """Tell if segments are missing: between others, or before the first and in no checkpoint."""
    checkpoint = [int(p.parent.suffix[1:]) for p in files if p.parent.name.startswith("checkpoint")]
    numbers = [int(path.name) for path in files if path.parent == directory]
    expected = range(max(checkpoint, default=-1) + 1, max(numbers, default=-1) + 1)
    missing = sorted(set(expected) - set(numbers))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        error = CorruptFileError(
            directory, 0, f"lacks segment {missing[0]:08}{more}, has later ones"
        )
        counts.damaged.append(error)


def _identity(files: list[Path]) -> bytes:
    """Return a digest of the logs: names, sizes, and how each begins."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(PAGE_BYTES))
    return digest.digest()


def _stable_ulid(time_ms: int, identity: bytes) -> str:
    """Return a ULID of a time whose random part is drawn from `identity`.

    >>> _stable_ulid(0, b"0123456789") == _stable_ulid(0, b"0123456789")
    True
    """
    number = (max(0, time_ms) << 80) | int.from_bytes(identity[:10], "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


class _Logs:
    """What the records say, put together: series, and deletions; samples go to the spool."""

    def __init__(self, spool: Spool, first_ms: int, counts: HeadCounts) -> None:
        self._spool, self._first_ms, self._counts = spool, first_ms, counts
        self._symbols = SymbolTable()
        self._parts: list[tuple[Ints, SeriesTable]] = []
        self._ranges: list[tuple[int, int, int]] = []
        self.exemplars = ExemplarLog()
        self._refs = self._row_of = np.empty(0, np.int64)
        none = np.empty(0, np.int64)
        self.deleted: Deleted = (none, none, none)

    def take(self, kind: int, size: int, data: Bytes, *, late: bool) -> bool:
        """Take over one record; say whether it adds up."""
        counts = self._counts
        if kind == RecordType.SERIES:
            return self._take_series(data, size)
        if kind == RecordType.SAMPLES:
            samples = _samples(data, size)
            if samples is None:
                return False
            refs, times, values = samples
            keep = self._keep(times, late=late)
            counts.floats += int(np.count_nonzero(keep))
            self._spool.add(refs[keep], times[keep], values[keep])
        elif kind in _HISTOGRAMS:
            histograms = _histograms(data, size, floats=_HISTOGRAMS[RecordType(kind)])
            if histograms is None:
                return False
            refs, times, columns = histograms
            chosen = np.flatnonzero(self._keep(times, late=late))
            counts.histograms += chosen.size
            self._spool.add_histograms(refs[chosen], times[chosen], take(columns, chosen))
        elif kind == RecordType.TOMBSTONES:
            # One of a time that is in blocks by now did its work there, and Prometheus forgot it:
            # late samples of that time may have come since.
            ranges = _tombstones(data[:size].tobytes())
            self._ranges += [each for each in ranges if each[2] >= self._first_ms]
        elif kind == RecordType.EXEMPLARS:
            return self.exemplars.take(data, size) >= 0
        elif kind == RecordType.METADATA:
            counts.metadata_records += 1
        elif kind != RecordType.MMAP_MARKERS:
            counts.unknown_records += 1
            counts.unknown_types.add(kind)
        return True

    def finish(self) -> SeriesTable:
        """Return each label set once; from now on `rows` and `deleted` are of its rows."""
        table = join_tables([part for _, part in self._parts], self._symbols)
        refs = np.concatenate([np.empty(0, np.int64), *(refs for refs, _ in self._parts)])
        series, row_of = table.distinct()
        # A ref that comes twice (checkpoint and segment) means the same series.
        self._refs, place = np.unique(refs, return_index=True)
        self._row_of = row_of[place]
        ranges = np.array(self._ranges, np.int64).reshape(-1, 3)
        rows = self.rows(ranges[:, 0].copy())
        known = rows >= 0
        self.deleted = (rows[known], ranges[known, 1].copy(), ranges[known, 2].copy())
        return series

    def rows(self, refs: Ints) -> Ints:
        """Return the series of each ref, -1 for one that the logs do not know."""
        if not self._refs.size:
            return np.full(refs.size, -1, np.int64)
        place = np.searchsorted(self._refs, refs)
        place[place == self._refs.size] = 0
        rows: Ints = np.where(self._refs[place] == refs, self._row_of[place], -1)
        return rows

    def _keep(self, times: Ints, *, late: bool) -> npt.NDArray[np.bool_]:
        # The log may still hold what a block has: a start of Prometheus passes over it as well,
        # and it may have been deleted from the block since.
        keep: npt.NDArray[np.bool_] = times >= (-(2**63) if late else self._first_ms)
        return keep

    def _take_series(self, data: Bytes, size: int) -> bool:
        refs, first = np.empty(size // 9 + 1, np.int64), np.empty(size // 9 + 2, np.int64)
        spans = np.empty((size // 2 + 1, 4), np.int32)
        series, labels = read_series(data, size, refs, first, spans)
        if series < 0:
            return False
        first = first[: series + 1].copy()
        names, values = self._symbols.intern_spans(LabelSpans(data, spans[:labels], first))
        table = SeriesTable(first, names, values, self._symbols)
        self._parts.append((refs[:series].copy(), table))
        return True


def _samples(data: Bytes, size: int) -> tuple[Ints, Ints, Floats] | None:
    room = size // 10 + 1
    refs, times = np.empty(room, np.int64), np.empty(room, np.int64)
    bits = np.empty(room, np.uint64)
    found = int(read_samples(data, size, refs, times, bits))
    if found < 0:
        return None
    return refs[:found], times[:found], bits[:found].view(np.float64)


def _histograms(
    data: Bytes, size: int, *, floats: bool
) -> tuple[Ints, Ints, HistogramColumns] | None:
    rows = size // 20 + 1
    refs, times = np.empty(rows, np.int64), np.empty(rows, np.int64)
    room = HistogramRoom.empty(rows, size, size, size)
    found = int(read_histograms(data, size, floats, refs, times, room))
    if found < 0:
        return None
    return refs[:found], times[:found], room.columns(found, np.full(found, floats))


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
