"""What a file of the log holds: samples as columns, many records at a time, and other records.

From: `segment_reader.py`. To: `replay.py`, which gives it to the head, and `checkpoint.py`, which
keeps some of it.

Samples records that follow each other come together, some ten thousand samples at a time: a call
for each would cost several times what the samples do.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsdb.sample_record import DecodedSamples, SampleDecoder
from tsdb.segment_reader import read_chunks, unpacked
from tsdb.wal import SAMPLES, ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tsdb.segment_reader import Chunk

_SAMPLES_AT_ONCE = 1 << 15
_AHEAD = 4
"""Items that are decoded ahead: less than a megabyte each, as long as records are small."""


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """A record that is not of samples, unpacked."""

    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """Records seen, and how many of them were damaged or senseless."""

    records: int
    damaged: int


Item = DecodedSamples | OtherRecord | Tally


def read_items(path: Path) -> Iterator[Item]:
    """Yield what a file of the log holds, in its order. Raises `DamagedError`, OSError."""
    decoder = SampleDecoder()
    for chunk in read_chunks(path):
        yield from _decode(chunk, decoder)


def read_ahead(path: Path) -> Iterator[Item]:
    """Do as `read_items`; a thread decodes while the caller works."""
    ahead: queue.Queue[Item | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: Item | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ahead.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in read_items(path):
                if not put(item):
                    return
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            put(error)
        put(None)

    thread = threading.Thread(target=read, name="tsdb-replay", daemon=True)
    thread.start()
    try:
        while (item := ahead.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _decode(chunk: Chunk, decoder: SampleDecoder) -> Iterator[Item]:
    damaged = chunk.damaged
    for record in chunk.records:
        if record.kind == SAMPLES and not record.flags & ZSTD:
            decoder.add(chunk.data, record.start, record.stop, record.place)
            if decoder.held >= _SAMPLES_AT_ONCE:
                yield decoder.decode(chunk.data)
            continue
        if decoder.held:
            yield decoder.decode(chunk.data)
        payload = unpacked(chunk.data[record.start : record.stop], record.flags)
        if payload is None:
            damaged += 1
        elif record.kind == SAMPLES:
            decoder.add(payload, 0, len(payload), record.place)
            yield decoder.decode(payload)
        else:
            yield OtherRecord(record.kind, payload)
    yield decoder.decode(chunk.data)
    yield Tally(len(chunk.records), damaged)
