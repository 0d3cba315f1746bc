"""Batches of samples <-> payloads of the log's samples records.

From: `append.py`, through `wal.py`. To: `log_items.py` and `wal_tail.py`, and so to
replay, checkpoints, forwarding.

A scrape has the same series as the one before, and mostly the same values or a little more. So a
batch whose series come again becomes a *base*: the next ones are written against it, without their
refs, and with what changed of their values. A base lies in the same segment, is followed by some
batches that build upon it, and by none that need more than it: damage costs that many.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdb.wal_kernels import ALONE, BASE, BASED, CODED, decode_batches, encode_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from tsdb.interface import Bytes, Ints
    from tsdb.label_kernels import Words

_log = logging.getLogger(__name__)

_BASED_FROM_SAMPLES = 16
"""Smaller batches are written alone: what they say of themselves would be most of them."""
_USES_MAX = 16
"""Batches that build upon one base. Twice as many save 2% more, and are lost with it."""
_BASES_MAX_SAMPLES = 4 << 20
"""Samples that are kept to be built upon at most, 16 bytes each."""
_PLACE_MAX = 1 << 32
_HEADER = struct.Struct("<IBBBBII")

_NO_REFS: Ints = np.empty(0, np.int64)
_NO_BITS: Words = np.empty(0, np.uint64)
_NONE = np.full(1, -1, np.int64)


@dataclass(slots=True)
class _Base:
    """A batch that is written; `uses` are left."""

    number: int
    place: int
    refs: Ints
    bits: Words
    uses: int


class SampleEncoder:
    """Makes payloads for one segment after the other. One thread at a time."""

    def __init__(self) -> None:
        self._buffer: Bytes = np.empty(1 << 16, np.uint8)
        self.begin_segment()

    def begin_segment(self) -> None:
        """Forget what came so far: a segment is read by itself."""
        # By first and last ref and size; None: seen once, so it may come again.
        self._bases: dict[tuple[int, int, int], _Base | None] = {}
        self._numbers = self._held = 0
        self._next: tuple[tuple[int, int, int], _Base | None] | None = None

    def encode(self, refs: Ints, times: Ints, bits: Words, place: int) -> memoryview[int]:
        """Return the payload for a batch whose record will be at byte `place` of its segment.

        It is valid until the next call. Call `written` once it is there.
        """
        self._next = None
        size = refs.size
        if self._buffer.size < 30 * size + 64:
            self._buffer = np.empty(30 * size + 64, np.uint8)
        if size < _BASED_FROM_SAMPLES or place >= _PLACE_MAX:
            return self._coded(refs, times, bits, ALONE, 0, 0, _NO_REFS, _NO_BITS)
        key = (int(refs[0]), int(refs[-1]), size)
        if key not in self._bases:
            self._next = (key, None)
            return self._coded(refs, times, bits, ALONE, 0, 0, _NO_REFS, _NO_BITS)
        known = self._bases[key]
        if known is not None and known.uses:
            payload = self._coded(
                refs, times, bits, BASED, known.number, known.place, known.refs, known.bits
            )
            if payload:
                known.uses -= 1
                return payload
        if known is None and self._held + size > _BASES_MAX_SAMPLES:
            return self._coded(refs, times, bits, ALONE, 0, 0, _NO_REFS, _NO_BITS)
        number = self._numbers if known is None else known.number
        self._next = (key, _Base(number, place, refs, bits, _USES_MAX))
        return self._coded(refs, times, bits, BASE, number, 0, _NO_REFS, _NO_BITS)

    def written(self) -> None:
        """Note that the last payload is in the log, and may be built upon."""
        if self._next is None:
            return
        key, base = self._next
        self._next = None
        if base is not None:
            if self._bases[key] is None:
                self._numbers += 1
                self._held += base.refs.size
            # The caller may use its arrays again.
            base.refs, base.bits = base.refs.copy(), base.bits.copy()
        self._bases[key] = base

    def _coded(
        self,
        refs: Ints,
        times: Ints,
        bits: Words,
        role: int,
        number: int,
        place: int,
        base_refs: Ints,
        base_bits: Words,
    ) -> memoryview[int]:
        size = encode_samples(
            refs,
            times,
            bits,
            role,
            number,
            place,
            base_refs,
            base_bits,
            self._buffer,
        )
        return self._buffer[: max(size, 0)].data


@dataclass(frozen=True, slots=True)
class DecodedSamples:
    """Samples of some records, in their order, and how many records made no sense.

    Shapes: `refs`, `times`, `bits` [N]; those of record r are `first[r]` to `first[r + 1]`.
    """

    refs: Ints
    times: Ints
    bits: Words
    first: Ints
    damaged: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where in the pool a base is."""

    place: int
    start: int
    size: int


class SampleDecoder:
    """Decodes the samples records of one segment, in their order, many at a time.

    Bases stay in a pool that is as long as the batches that were ever written against together.
    `load` returns the payload of the record at a place, for a reader that began behind it.
    """

    def __init__(self, load: Callable[[int], bytes | None] | None = None) -> None:
        self._load = load
        self._kept: dict[int, _Kept] = {}
        self._pool_refs: Ints = np.full(1024, -1, np.int64)
        self._pool_bits: Words = np.zeros(1024, np.uint64)
        self._pool_used = 0
        self._begin()

    def _begin(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._counts: list[int] = []
        self._base_at: list[int] = []
        self._keep_at: list[int] = []
        self._damaged = 0
        self.held = 0
        """Samples that wait to be decoded."""

    def add(self, data: bytes, start: int, stop: int, place: int) -> None:
        """Take the record at byte `place`, whose payload is `data[start:stop]`, unpacked."""
        facts = _facts(data, start, stop)
        if facts is None:
            self._damaged += 1
            return
        count, role, number, base_place = facts
        base_at = keep_at = -1
        if role == BASE:
            keep_at = self._keep(number, place, count)
        elif role == BASED:
            base_at = self._base(number, base_place, count)
            if base_at < 0:
                self._damaged += 1
                _log.error("a batch of the log is lost: what it builds upon cannot be read")
                return
        self._starts.append(start)
        self._stops.append(stop)
        self._counts.append(count)
        self._base_at.append(base_at)
        self._keep_at.append(keep_at)
        self.held += count

    def decode(self, data: bytes) -> DecodedSamples:
        """Return what was taken since the last call, all of `data`."""
        first = np.zeros(len(self._counts) + 1, np.int64)
        np.cumsum(np.array(self._counts, np.int64), out=first[1:])
        total = int(first[-1])
        refs, times, bits = np.empty(total, "i8"), np.empty(total, "i8"), np.empty(total, "u8")
        good = np.empty(len(self._counts), np.bool_)
        if total:
            decode_batches(
                np.frombuffer(data, np.uint8),
                np.array(self._starts, np.int64),
                np.array(self._stops, np.int64),
                first,
                np.array(self._base_at, np.int64),
                np.array(self._keep_at, np.int64),
                self._pool_refs,
                self._pool_bits,
                refs,
                times,
                bits,
                good.view(np.uint8),
            )
        wrong = int(np.count_nonzero(~good))
        if wrong:
            kept = np.repeat(good, self._counts)
            refs, times, bits = refs[kept], times[kept], bits[kept]
            first = np.append(0, np.cumsum(np.array(self._counts, np.int64)[good]))
            _log.error("%d records of the log have right checksums and wrong content", wrong)
        damaged = self._damaged + wrong
        self._begin()
        return DecodedSamples(refs, times, bits, first, damaged)

    def _base(self, number: int, place: int, count: int) -> int:
        """Return where in the pool the base is that lies at `place`, -1 if it cannot be had."""
        known = self._kept.get(number)
        if known is None and self._load is not None:
            payload = self._load(place)
            facts = None if payload is None else _facts(payload, 0, len(payload))
            if payload is not None and facts is not None and facts[:3] == (count, BASE, number):
                # What waits to be decoded needs nothing of this place, which is new.
                alone = SampleDecoder()
                alone.add(payload, 0, len(payload), place)
                found = alone.decode(payload)
                start = self._keep(number, place, count)
                if found.refs.size == count:
                    self._pool_refs[start : start + count] = found.refs
                    self._pool_bits[start : start + count] = found.bits
                known = self._kept[number]
        if known is None or (known.place, known.size) != (place, count):
            return -1
        return known.start

    def _keep(self, number: int, place: int, count: int) -> int:
        """Return a place in the pool for a base; where it replaces one, the same."""
        known = self._kept.get(number)
        if known is None or known.size != count:
            start = self._pool_used
            self._pool_used += count
            if self._pool_used > self._pool_refs.size:
                grown = 2 * self._pool_used - self._pool_refs.size
                self._pool_refs = np.append(self._pool_refs, np.full(grown, -1, np.int64))
                self._pool_bits = np.append(self._pool_bits, np.zeros(grown, np.uint64))
        else:
            start = known.start
        self._kept[number] = _Kept(place, start, count)
        return start


def _facts(data: bytes, start: int, stop: int) -> tuple[int, int, int, int] | None:
    """Return samples, role, number and place of the base; None if they are not to be believed."""
    size = stop - start
    if size < 8:
        return None
    count, _, _, coding, role = struct.unpack_from("<IBBBB", data, start)
    # Every sample has two bits of class at least.
    if count == 0 or count > 4 * size:
        return None
    if coding != CODED or role == ALONE:
        return count, ALONE, 0, 0
    if size < _HEADER.size or role > BASED:
        return None
    _, _, _, _, _, number, place = _HEADER.unpack_from(data, start)
    return count, role, number, place


def read_samples(payload: bytes) -> tuple[Ints, Ints, Words]:
    """Return refs, times and bits of a record that builds upon none. Raises ValueError."""
    decoder = SampleDecoder()
    decoder.add(payload, 0, len(payload), 0)
    found = decoder.decode(payload)
    if found.damaged:
        raise ValueError("samples record does not add up")
    return found.refs, found.times, found.bits
