"""The compiled codec against a plain reader of the format as FORMAT.md describes it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.test_pages import time_runs, value_runs
from tsdb import pages
from tsdb.pages import Layout

WORD = (1 << 64) - 1


def signed(word: int) -> int:
    word &= WORD
    return word - (1 << 64) if word >> 63 else word


def unfold(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value & WORD

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def plain_decode(page: bytes, noise: bytes, count: int) -> list[int]:
    """Return the 64-bit words of a page: bits of floats, or times as two's complement."""
    reader = Reader(page)
    flags, second = reader.byte(), reader.byte()
    exponent, planes = second & 15, second >> 4
    packed = reader.byte() if flags & 0x40 else 0
    first = unfold(reader.number())
    bias = unfold(reader.number()) if flags & 0x80 else 0
    step = reader.number() if flags & 0x10 else 1
    exceptions = {}
    if flags & 0x08:
        places, place = [], 0
        for _ in range(reader.number()):
            place += reader.number()
            places.append(place)
        exceptions = {at: int.from_bytes(reader.bytes(8), "little") for at in places}
    transform = flags & 3
    left = count - transform
    columns = [reader.bytes(left) for _ in range(planes)]
    words = [sum(column[i] << (8 * at) for at, column in enumerate(columns)) for i in range(left)]
    if packed:
        stream = int.from_bytes(noise, "little")
        mask = (1 << packed) - 1
        words = [(w << packed) | ((stream >> (packed * i)) & mask) for i, w in enumerate(words)]
    if flags & 0x04:
        words = [unfold(word) for word in words]
    if transform == 0:
        numbers = [first + step * word for word in words]
    elif transform == 1:
        numbers = [first]
        for word in words:
            numbers.append(numbers[-1] + step * (word + bias))
    else:
        numbers, difference = [first], step * bias
        numbers.append(first + difference)
        for word in words:
            difference += step * word
            numbers.append(numbers[-1] + difference)
    if flags & 0x20:
        result = [number & WORD for number in numbers]
    else:
        floats = np.array([float(signed(n)) for n in numbers]) / 10.0**exponent
        result = floats.view(np.uint64).tolist()
    for at, word in exceptions.items():
        result[at] = word
    return result


@settings(max_examples=100, deadline=None)
@given(run=st.one_of(value_runs(), time_runs), layout=st.sampled_from(list(Layout)))
def test_pages_read_as_the_format_says(run, layout):
    encode = pages.encode_times if run.dtype == np.int64 else pages.encode_values
    zero = np.zeros(1, dtype=np.int64)
    encoded = encode(run, zero, zero + run.size, layout=layout)
    words = plain_decode(encoded.page(0), encoded.noise.tobytes(), run.size)
    assert words == run.view(np.uint64).tolist()
