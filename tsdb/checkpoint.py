"""The part of the log that is still needed, in one file that stands for many segments.

From: the log. To: `replay.py`, instead of these segments. Asked for by `maintenance.py`
after a cut.

Segments are read and decoded as for a replay, some ten thousand samples at a time: the cost is some
tens of nanoseconds a sample, the memory a few megabytes.
"""

from __future__ import annotations

import logging
import os
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb.block_writer import sync_directory
from tsdb.histograms.columns import take
from tsdb.histograms.record import histogram_payload, read_histograms
from tsdb.log_items import OtherRecord, Tally, read_items
from tsdb.sample_record import DecodedSamples, SampleEncoder
from tsdb.segment_reader import DamagedError
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
    choose_series,
    current_files,
    exemplar_payload,
    header_of,
    note_deletions,
    read_exemplars,
    read_series,
    read_tombstone,
    series_payload,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt

    from tsdb.interface import Ints

_log = logging.getLogger(__name__)

_LONG_RECORD = 250
"""Samples a record from which on it pays to write each by itself: some 10 us for a record."""


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
        keeper = _Keeper(out, keep_from_ms, is_live)
        for number, source in current_files(directory):
            if number >= before and source.suffix == "":
                continue
            try:
                for item in read_items(source):
                    if not isinstance(item, Tally):
                        keeper.take(item)
            except DamagedError as damage:
                _log.error("checkpoint leaves out the rest of %s, damaged %s", source, damage)
        out.flush()
        os.fsync(out.fileno())
    if keeper.deletions:
        note_deletions(directory, before)
    temporary.rename(path)
    sync_directory(directory)


class _Keeper:
    """Writes the part of records that a checkpoint keeps, as records."""

    def __init__(
        self,
        out: BinaryIO,
        keep_from_ms: int,
        is_live: Callable[[Ints], npt.NDArray[np.bool_]],
    ) -> None:
        self.deletions = 0
        self._out = out
        self._keep_from_ms = keep_from_ms
        self._is_live = is_live
        self._samples = SampleEncoder()
        self._compressor = zstandard.ZstdCompressor(level=1)

    def take(self, item: DecodedSamples | OtherRecord) -> None:
        """Write what is kept of it. What makes no sense is said and left out."""
        if isinstance(item, DecodedSamples):
            self._take_samples(item)
            return
        try:
            payload = self._kept(item.kind, item.payload)
        except ValueError as error:
            _log.error("checkpoint leaves out a record with wrong content: %s", error)
            return
        if payload is None:
            return
        flags = 0
        if item.kind in (SERIES, HISTOGRAMS, EXEMPLARS):
            payload, flags = self._compressor.compress(payload), ZSTD
        self._out.write(header_of(item.kind, flags, payload) + payload)

    def _take_samples(self, found: DecodedSamples) -> None:
        mask = self._chosen(found.refs, found.times)
        if not mask.any():
            return
        refs, times, bits = found.refs[mask], found.times[mask], found.bits[mask]
        kept = np.append(0, np.cumsum(mask))[found.first]
        # Scrapes stay what they are, and so take few bytes; short ones would take too long.
        if refs.size < _LONG_RECORD * (found.first.size - 1):
            kept = kept[[0, -1]]
        for start, stop in pairwise(kept.tolist()):
            if start < stop:
                some = slice(start, stop)
                payload = self._samples.encode(
                    refs[some], times[some], bits[some], self._out.tell()
                )
                self._out.write(header_of(SAMPLES, 0, payload))
                self._out.write(payload)
                self._samples.written()

    def _chosen(self, refs: Ints, times: Ints) -> npt.NDArray[np.bool_]:
        chosen: npt.NDArray[np.bool_] = times >= self._keep_from_ms
        if chosen.any():
            chosen &= self._is_live(refs)
        return chosen

    def _kept(self, kind: int, payload: bytes) -> bytes | None:
        """Return the part of a payload that is kept, None if nothing. Raises ValueError."""
        if kind == SERIES:
            refs, labels = read_series(payload)
            chosen = np.flatnonzero(self._is_live(refs))
            return (
                series_payload(refs[chosen], choose_series(labels, chosen)) if chosen.size else None
            )
        if kind == HISTOGRAMS:
            refs, times, columns = read_histograms(payload)
            chosen = np.flatnonzero(self._chosen(refs, times))
            kept = refs[chosen], times[chosen], take(columns, chosen)
            return histogram_payload(*kept) if chosen.size else None
        if kind == EXEMPLARS:
            refs, times, values, labels = read_exemplars(payload)
            chosen = np.flatnonzero(self._chosen(refs, times))
            some = refs[chosen], times[chosen], values[chosen], choose_series(labels, chosen)
            return exemplar_payload(*some) if chosen.size else None
        if kind == METADATA:
            # The segment behind the checkpoint begins with all of it.
            return None
        if kind == TOMBSTONE:
            if read_tombstone(payload).end_ms < self._keep_from_ms:
                return None
            self.deletions += 1
        return payload
