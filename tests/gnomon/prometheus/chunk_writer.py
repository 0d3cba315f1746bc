"""Chunks of Prometheus written in plain Python, from the documented format: the kernels' oracle."""

from __future__ import annotations

import math
import struct

STALE = 0x7FF0000000000002


class Bits:
    """Bits, the highest of a byte first."""

    def __init__(self):
        self.text = ""

    def put(self, value, width):
        self.text += f"{value & ((1 << width) - 1):0{width}b}" if width else ""

    def bytes(self):
        padded = self.text + "0" * (-len(self.text) % 8)
        return int(padded or "0", 2).to_bytes(len(padded) // 8, "big")

    def uvarint(self, value):
        while value >= 128:
            self.put(value & 127 | 128, 8)
            value >>= 7
        self.put(value, 8)

    def varint(self, value):
        self.uvarint((value << 1) ^ (value >> 63))


class Xor:
    """A series of words, each by what changed."""

    def __init__(self):
        self.word = self.leading = self.trailing = None

    def put(self, out, word):
        if self.word is None:
            out.put(word, 64)
            self.word, self.leading = word, None
            return
        change, self.word = self.word ^ word, word
        if not change:
            out.put(0, 1)
            return
        leading = min(31, 64 - change.bit_length())
        trailing = (change & -change).bit_length() - 1
        if self.leading is not None and leading >= self.leading and trailing >= self.trailing:
            out.put(0b10, 2)
        else:
            self.leading, self.trailing = leading, trailing
            out.put(0b11, 2)
            out.put(leading, 5)
            out.put((64 - leading - trailing) % 64, 6)
        out.put(change >> self.trailing, 64 - self.leading - self.trailing)


def bits_of(value):
    return struct.unpack(">Q", struct.pack(">d", value))[0]


def xor_chunk(samples):
    """Return the data of a float chunk; samples are (ms, bits)."""
    out, xor = Bits(), Xor()
    out.put(len(samples), 16)
    time = delta = 0
    for n, (t, word) in enumerate(samples):
        if n == 0:
            out.varint(t)
        elif n == 1:
            delta = t - time
            out.uvarint(delta)
        else:
            change, delta = t - time - delta, t - time
            _put_change(out, change)
        time = t
        xor.put(out, word)
    return out.bytes()


def _put_change(out, change):
    if change == 0:
        out.put(0, 1)
        return
    for width, prefix in ((14, 0b10), (17, 0b110), (20, 0b1110)):
        if -(1 << (width - 1)) < change <= 1 << (width - 1):
            out.put(prefix, prefix.bit_length())
            out.put(change, width)
            return
    out.put(0b1111, 4)
    out.put(change, 64)


_WIDTHS = (3, 6, 9, 12, 18, 25, 56)


def varbit_uint(out, value):
    if value == 0:
        out.put(0, 1)
        return
    for ones, width in enumerate(_WIDTHS, start=1):
        if value < 1 << width:
            out.put((1 << (ones + 1)) - 2, ones + 1)
            out.put(value, width)
            return
    out.put(255, 8)
    out.put(value, 64)


def varbit_int(out, value):
    if value == 0:
        out.put(0, 1)
        return
    for ones, width in enumerate(_WIDTHS, start=1):
        if -(1 << (width - 1)) < value <= 1 << (width - 1):
            out.put((1 << (ones + 1)) - 2, ones + 1)
            out.put(value, width)
            return
    out.put(255, 8)
    out.put(value, 64)


def histogram_chunk(histograms, *, floats, header=0):
    """Return the data of a histogram chunk.

    `histograms`: dicts with `time`, `schema`, `zero_threshold`, `bounds` (custom), `count`,
    `zero_count`, `sum` (bits), `positive` and `negative`: lists of (index, absolute count),
    the same indexes in all of them but in stale ones at the end.
    """
    out = Bits()
    first = histograms[0]
    out.put(len(histograms), 16)
    out.put(header << 6, 8)
    _zero_threshold(out, first["zero_threshold"])
    varbit_int(out, first["schema"])
    for side in ("positive", "negative"):
        _spans(out, [index for index, _ in first[side]])
    if first["schema"] == -53:
        varbit_uint(out, len(first["bounds"]))
        for bound in first["bounds"]:
            _bound(out, bound)
    rest = _FloatState(out, first) if floats else _IntegerState(out, first)
    for n, one in enumerate(histograms):
        rest.put(n, one)
    return out.bytes()


class _IntegerState:
    def __init__(self, out, first):
        self.out, self.sum = out, Xor()
        buckets = len(first["positive"]) + len(first["negative"])
        self.numbers = [0] * (3 + buckets)
        self.deltas = [0] * (3 + buckets)

    def put(self, n, one):
        is_stale = one["sum"] == STALE
        wanted = [one["time"], one["count"], one["zero_count"]]
        for side in ("positive", "negative"):
            before = 0
            for _, count in [] if is_stale else one[side]:
                wanted.append(count - before)
                before = count
        for at, number in enumerate(wanted):
            if at == 3:
                self.sum.put(self.out, one["sum"])
            delta = 0 if is_stale and at else number - self.numbers[at]
            if n == 0:
                (varbit_uint if at in (1, 2) else varbit_int)(self.out, number)
            elif n == 1:
                (varbit_uint if at == 0 else varbit_int)(self.out, delta)
            else:
                varbit_int(self.out, 0 if is_stale and at else delta - self.deltas[at])
            self.numbers[at], self.deltas[at] = number, delta if n else 0
        if len(wanted) == 3:
            self.sum.put(self.out, one["sum"])


class _FloatState:
    def __init__(self, out, first):
        self.out, self.time, self.delta = out, 0, 0
        self.words = [Xor() for _ in range(3 + len(first["positive"]) + len(first["negative"]))]

    def put(self, n, one):
        delta = one["time"] - self.time
        if n == 0:
            varbit_int(self.out, one["time"])
        elif n == 1:
            varbit_uint(self.out, delta)
        else:
            varbit_int(self.out, delta - self.delta)
        self.time, self.delta = one["time"], delta if n else 0
        is_stale = one["sum"] == STALE
        wanted = [bits_of(0.0 if is_stale else one[name]) for name in ("count", "zero_count")]
        wanted.append(one["sum"])
        for side in ("positive", "negative"):
            wanted += [] if is_stale else [bits_of(count) for _, count in one[side]]
        for xor, word in zip(self.words, wanted, strict=False):
            xor.put(self.out, word)


def _zero_threshold(out, value):
    fraction, exponent = math.frexp(value)
    if value == 0:
        out.put(0, 8)
    elif fraction == 0.5 and -242 <= exponent <= 11:
        out.put(exponent + 243, 8)
    else:
        out.put(255, 8)
        out.put(bits_of(value), 64)


def _spans(out, indexes):
    spans = []
    for at, index in enumerate(indexes):
        if at and index == indexes[at - 1] + 1:
            spans[-1][0] += 1
        else:
            spans.append([1, index - (indexes[at - 1] + 1 if at else 0)])
    varbit_uint(out, len(spans))
    for length, offset in spans:
        varbit_uint(out, length)
        varbit_int(out, offset)


def _bound(out, bound):
    thousandths = bound * 1000
    whole = round(thousandths) if 0 <= thousandths <= 33554430 else -1
    if whole >= 0 and whole / 1000 == bound:
        varbit_uint(out, whole + 1)
    else:
        out.put(0, 1)
        out.put(bits_of(bound), 64)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def segment(chunks):
    """Return a chunk file, and where each (encoding, data) is in it."""
    content, places = b"\x85\xbd\x40\xdd\x01\x00\x00\x00", []
    for encoding, data in chunks:
        places.append(len(content))
        length = Bits()
        length.uvarint(len(data))
        body = bytes([encoding]) + data
        content += length.bytes() + body + crc32c(body).to_bytes(4, "big")
    return content, places
