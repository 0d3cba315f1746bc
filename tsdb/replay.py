"""Segments of the log -> head.

From: `segment_reader.py`. To: `append.py`, in bounded memory.

Samples records that follow each other are given to the head together, some hundred thousand samples
at a time: a call for each would cost several times what the samples do. A thread reads, checks and
decodes ahead. A torn tail, which a crash in the middle of a write leaves, is cut off and said so.
Damage in the middle is reported and counted, and reading goes on behind it. Neither stops a start.
"""

from __future__ import annotations

import logging
import os
import queue
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb.histogram_columns import take
from tsdb.histogram_record import histogram_payload, read_histograms
from tsdb.interface import AppendStatus
from tsdb.metadata import read_metadata
from tsdb.segment_reader import Chunk, DamagedError, read_chunks, read_records, unpacked
from tsdb.wal import (
    EXEMPLARS,
    HISTOGRAMS,
    METADATA,
    SAMPLES,
    SEGMENT_MAGIC,
    SERIES,
    TOMBSTONE,
    ZSTD,
    checkpoint_path,
    checkpoints,
    choose_series,
    exemplar_payload,
    header_of,
    read_exemplars,
    read_samples,
    read_series,
    read_tombstone,
    segments,
    series_payload,
)
from tsdb.wal_kernels import decode_batches, encode_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.append import BatchAppender
    from tsdb.interface import Ints
    from tsdb.label_kernels import Words
    from tsdb.tombstones import Tombstone

_log = logging.getLogger(__name__)

_SAMPLES_AT_ONCE = 1 << 15
_AHEAD = 4
"""Items that are decoded ahead: less than a megabyte each, as long as records are small."""


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far the replay is, in segment numbers: first, last, the one being read."""

    first: int = 0
    last: int = 0
    current: int = 0


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found. `next_segment` is the first number not in use; `bytes` were read."""

    next_segment: int = 0
    bytes: int = 0
    records: int = 0
    samples: int = 0
    unknown_series_samples: int = 0
    corruptions: int = 0


def replay(
    directory: Path,
    appender: BatchAppender,
    *,
    begin: int = 0,
    repair: bool,
    progress: Callable[[ReplayProgress], None],
    on_tombstone: Callable[[Tombstone], None],
) -> ReplayReport:
    """Read the newest checkpoint and all segments after it into the head.

    Segments before number `begin`, and checkpoints of them, are left out: the head has them.
    With `repair` torn tails are cut off on disk and left-over temporary files deleted; without,
    nothing is changed. Raises OSError if the directory cannot be read.
    """
    if repair:
        for left in directory.glob("*.tmp"):
            left.unlink()
    files = [each for each in _files(directory) if not begin or _is_segment_from(begin, *each)]
    report = _Counts()
    numbers = [number for number, _ in segments(directory)]
    numbers += [number for number, _ in checkpoints(directory)]
    first, last = (files[0][0], files[-1][0]) if files else (0, 0)
    for number, path in files:
        progress(ReplayProgress(first, last, number))
        damage = None
        for item in _read_ahead(path):
            if isinstance(item, DamagedError):
                damage = item
            else:
                _apply(item, appender, on_tombstone, report)
        if damage is not None:
            report.corruptions += 1
            if damage.torn and number == last:
                _log.warning("log segment %s is torn %s; cutting it off there", path, damage)
                if repair:
                    os.truncate(path, max(damage.offset, 0))
                    if damage.offset == 0:
                        path.unlink()
            else:
                _log.error("log segment %s is damaged %s; the rest of it is lost", path, damage)
    progress(ReplayProgress(first, last, last))
    if report.unknown:
        _log.warning("%d samples of the log belong to series that it does not know", report.unknown)
    return ReplayReport(
        max(numbers, default=-1) + 1,
        sum(path.stat().st_size for _, path in files if path.exists()),
        report.records,
        report.samples,
        report.unknown,
        report.corruptions,
    )


def write_checkpoint(
    directory: Path,
    before: int,
    *,
    keep_from_ms: int,
    is_live: Callable[[Ints], npt.NDArray[np.bool_]],
) -> None:
    """Write what is still needed of everything before segment `before` into one checkpoint.

    Kept are series for whose refs `is_live` says so, and their samples at or after
    `keep_from_ms`. The file is whole and synced before it has its name. Raises OSError.
    """
    path = checkpoint_path(directory, before)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as out:
        out.write(SEGMENT_MAGIC)
        for number, source in _files(directory):
            if number >= before and source.suffix == "":
                continue
            try:
                for kind, payload in read_records(source):
                    kept = _kept(kind, payload, keep_from_ms, is_live)
                    if kept is not None:
                        out.write(kept)
            except DamagedError as damage:
                _log.error("checkpoint leaves out the rest of %s, damaged %s", source, damage)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make renames and deletions in a directory last."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class _Counts:
    def __init__(self) -> None:
        self.records = self.samples = self.unknown = self.corruptions = 0

    def count(self, status: npt.NDArray[np.uint8]) -> None:
        """Count samples by what became of them."""
        self.samples += status.size
        self.unknown += int(np.count_nonzero(status == AppendStatus.UNKNOWN_SERIES))


def _files(directory: Path) -> list[tuple[int, Path]]:
    """Return the newest checkpoint, if any, and the segments from its number on."""
    newest = checkpoints(directory)[-1:]
    begin = newest[0][0] if newest else 0
    return [*newest, *((number, path) for number, path in segments(directory) if number >= begin)]


def _is_segment_from(begin: int, number: int, path: Path) -> bool:
    return number >= begin and not path.suffix


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples of one record or many."""

    refs: Ints
    times: Ints
    bits: Words


@dataclass(frozen=True, slots=True)
class _Other:
    """A record that is not of samples, unpacked."""

    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Tally:
    """Records seen, and how many of them were damaged or senseless."""

    records: int
    damaged: int


_Item = _Samples | _Other | _Tally | DamagedError


def _read_ahead(path: Path) -> Iterator[_Item]:
    """Yield what a segment holds; a thread decodes while the caller works. Raises OSError."""
    ahead: queue.Queue[_Item | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: _Item | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ahead.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for chunk in read_chunks(path):
                for item in _decode(chunk):
                    if not put(item):
                        return
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            put(error)
        put(None)

    thread = threading.Thread(target=read, name="tsdb-replay", daemon=True)
    thread.start()
    try:
        while (item := ahead.get()) is not None:
            if isinstance(item, BaseException) and not isinstance(item, DamagedError):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _decode(chunk: Chunk) -> Iterator[_Item]:
    """Yield the records of a chunk, in their order, samples many records at a time."""
    data = np.frombuffer(chunk.data, np.uint8)
    damaged = chunk.damaged
    starts: list[int] = []
    stops: list[int] = []
    counts: list[int] = []
    held = 0
    for record in chunk.records:
        if record.kind == SAMPLES and not record.flags & ZSTD:
            size = record.stop - record.start
            count = struct.unpack_from("<I", chunk.data, record.start)[0] if size >= 8 else 0
            # Every sample has two bits of class at least.
            if count == 0 or count > 4 * size:
                damaged += 1
                continue
            starts.append(record.start)
            stops.append(record.stop)
            counts.append(count)
            held += count
            if held < _SAMPLES_AT_ONCE:
                continue
        if starts:
            good, wrong = _decode_samples(data, starts, stops, counts)
            damaged += wrong
            yield good
            starts, stops, counts, held = [], [], [], 0
        if record.kind != SAMPLES or record.flags & ZSTD:
            payload = unpacked(chunk.data[record.start : record.stop], record.flags)
            if payload is None:
                damaged += 1
            else:
                yield _Other(record.kind, payload)
    if starts:
        good, wrong = _decode_samples(data, starts, stops, counts)
        damaged += wrong
        yield good
    yield _Tally(len(chunk.records), damaged)


def _decode_samples(
    data: npt.NDArray[np.uint8], starts: list[int], stops: list[int], counts: list[int]
) -> tuple[_Samples, int]:
    """Return the samples of many records, and how many records made no sense."""
    first = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(np.array(counts, np.int64), out=first[1:])
    total = int(first[-1])
    refs, times, bits = np.empty(total, "i8"), np.empty(total, "i8"), np.empty(total, "u8")
    good = np.empty(len(counts), np.bool_)
    decode_batches(
        data,
        np.array(starts, np.int64),
        np.array(stops, np.int64),
        first,
        refs,
        times,
        bits.view(np.float64),
        bits,
        good.view(np.uint8),
    )
    wrong = int(np.count_nonzero(~good))
    if wrong:
        kept = np.repeat(good, counts)
        refs, times, bits = refs[kept], times[kept], bits[kept]
        _log.error("%d records of the log have right checksums and wrong content", wrong)
    return _Samples(refs, times, bits), wrong


def _apply(
    item: _Samples | _Other | _Tally,
    appender: BatchAppender,
    on_tombstone: Callable[[Tombstone], None],
    report: _Counts,
) -> None:
    """Give one item to the head. A record of a kind that we do not know is left alone."""
    try:
        match item:
            case _Tally():
                report.records += item.records
                report.corruptions += item.damaged
            case _Samples():
                report.count(appender.restore_samples(item.refs, item.times, item.bits))
            case _Other(kind, payload) if kind == SERIES:
                appender.restore_series(*read_series(payload))
            case _Other(kind, payload) if kind == SAMPLES:
                report.count(appender.restore_samples(*read_samples(payload)))
            case _Other(kind, payload) if kind == HISTOGRAMS:
                report.count(appender.restore_histograms(*read_histograms(payload)))
            case _Other(kind, payload) if kind == EXEMPLARS:
                appender.restore_exemplars(*read_exemplars(payload))
            case _Other(kind, payload) if kind == METADATA:
                appender.head.metadata.put(read_metadata(payload))
            case _Other(kind, payload) if kind == TOMBSTONE:
                on_tombstone(read_tombstone(payload))
    except ValueError as error:
        report.corruptions += 1
        _log.error("a record of the log has a right checksum and wrong content: %s", error)


def _kept(
    kind: int, payload: bytes, keep_from_ms: int, is_live: Callable[[Ints], npt.NDArray[np.bool_]]
) -> bytes | None:
    """Return the part of a record that a checkpoint keeps, as a record, None if nothing."""
    flags = 0
    if kind == SERIES:
        refs, labels = read_series(payload)
        chosen = np.flatnonzero(is_live(refs))
        if not chosen.size:
            return None
        payload = series_payload(refs[chosen], choose_series(labels, chosen))
        payload, flags = zstandard.ZstdCompressor(level=1).compress(payload), ZSTD
    elif kind == SAMPLES:
        refs, times, bits = read_samples(payload)
        mask = (times >= keep_from_ms) & is_live(refs)
        if not mask.any():
            return None
        refs, times, bits = refs[mask], times[mask], bits[mask]
        out = np.empty(25 * refs.size + 40, np.uint8)
        size = encode_samples(refs, times, bits.view(np.float64), bits, out)
        payload = out[:size].tobytes()
    elif kind == HISTOGRAMS:
        refs, times, columns = read_histograms(payload)
        chosen = np.flatnonzero((times >= keep_from_ms) & is_live(refs))
        if not chosen.size:
            return None
        payload = histogram_payload(refs[chosen], times[chosen], take(columns, chosen))
        payload, flags = zstandard.ZstdCompressor(level=1).compress(payload), ZSTD
    elif kind == EXEMPLARS:
        refs, times, values, labels = read_exemplars(payload)
        chosen = np.flatnonzero((times >= keep_from_ms) & is_live(refs))
        if not chosen.size:
            return None
        kept = choose_series(labels, chosen)
        payload = exemplar_payload(refs[chosen], times[chosen], values[chosen], kept)
        payload, flags = zstandard.ZstdCompressor(level=1).compress(payload), ZSTD
    elif kind == METADATA:
        # The segment behind the checkpoint begins with all of it.
        return None
    elif kind == TOMBSTONE and read_tombstone(payload).end_ms < keep_from_ms:
        return None
    return header_of(kind, flags, payload) + payload
