"""Segments of the log -> head.

From: `log_items.py`. To: `append.py`, in bounded memory.

A thread reads, checks and decodes ahead. A torn tail, which a crash in the middle of a write
leaves, is cut off and said so. Damage in the middle is reported and counted, and reading goes on
behind it. Neither stops a start.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.histograms.record import read_histograms
from tsdb.interface import AppendStatus
from tsdb.log_items import Item, OtherRecord, Tally, read_ahead
from tsdb.metadata import read_metadata
from tsdb.sample_record import DecodedSamples
from tsdb.segment_reader import DamagedError
from tsdb.wal import (
    EXEMPLARS,
    HISTOGRAMS,
    METADATA,
    SERIES,
    TOMBSTONE,
    checkpoints,
    current_files,
    deletions,
    read_exemplars,
    read_series,
    read_tombstone,
    segments,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.append import BatchAppender
    from tsdb.tombstones import Tombstone

_log = logging.getLogger(__name__)


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
    on_readable: Callable[[], None] = lambda: None,
) -> ReplayReport:
    """Read the newest checkpoint and all segments after it into the head.

    Segments before number `begin`, and checkpoints of them, are left out: the head has them.
    With `repair` torn tails are cut off on disk and left-over temporary files deleted; without,
    nothing is changed. `on_readable` is called once nothing of what is read further was deleted:
    from then on the head may be read beside, and shows part of the log, of batches all or nothing.
    Raises OSError if the directory cannot be read.
    """
    if repair:
        for left in directory.glob("*.tmp"):
            left.unlink()
    files = [
        each for each in current_files(directory) if not begin or _is_segment_from(begin, *each)
    ]
    report = _Counts()
    numbers = [number for number, _ in segments(directory)]
    numbers += [number for number, _ in checkpoints(directory)]
    first, last = (files[0][0], files[-1][0]) if files else (0, 0)
    hidden_to = max((number for number, _ in deletions(directory)), default=-1)
    for number, path in files:
        if number > hidden_to:
            on_readable()
            hidden_to = last
        progress(ReplayProgress(first, last, number))
        damage = None
        try:
            for item in read_ahead(path):
                _apply(item, appender, on_tombstone, report)
        except DamagedError as error:
            damage = error
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


class _Counts:
    def __init__(self) -> None:
        self.records = self.samples = self.unknown = self.corruptions = 0

    def count(self, status: npt.NDArray[np.uint8]) -> None:
        """Count samples by what became of them."""
        self.samples += status.size
        self.unknown += int(np.count_nonzero(status == AppendStatus.UNKNOWN_SERIES))


def _is_segment_from(begin: int, number: int, path: Path) -> bool:
    return number >= begin and not path.suffix


def _apply(
    item: Item,
    appender: BatchAppender,
    on_tombstone: Callable[[Tombstone], None],
    report: _Counts,
) -> None:
    """Give one item to the head. A record of a kind that we do not know is left alone."""
    try:
        match item:
            case Tally():
                report.records += item.records
                report.corruptions += item.damaged
            case DecodedSamples():
                report.corruptions += item.damaged
                if item.refs.size:
                    report.count(appender.restore_samples(item.refs, item.times, item.bits))
            case OtherRecord(kind, payload) if kind == SERIES:
                appender.restore_series(*read_series(payload))
            case OtherRecord(kind, payload) if kind == HISTOGRAMS:
                report.count(appender.restore_histograms(*read_histograms(payload)))
            case OtherRecord(kind, payload) if kind == EXEMPLARS:
                with appender.head.lock:
                    appender.restore_exemplars(*read_exemplars(payload))
            case OtherRecord(kind, payload) if kind == METADATA:
                with appender.head.lock:
                    appender.head.metadata.put(read_metadata(payload))
            case OtherRecord(kind, payload) if kind == TOMBSTONE:
                with appender.head.lock:
                    on_tombstone(read_tombstone(payload))
    except ValueError as error:
        report.corruptions += 1
        _log.error("a record of the log has a right checksum and wrong content: %s", error)
