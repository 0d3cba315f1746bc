"""Samples records, against a plain reader of what FORMAT.md says of them."""

from __future__ import annotations

import struct

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.sample_record import SampleDecoder, SampleEncoder, read_samples

numbers = st.one_of(st.integers(0, 50), st.integers(-(1 << 62), 1 << 62), st.integers(0, 1 << 40))
words = st.integers(0, (1 << 64) - 1)
floats = st.one_of(
    st.integers(-70_000, 70_000).map(float),
    st.integers(-(1 << 50), 1 << 50).map(float),
    st.integers(-(1 << 40), 1 << 40).map(lambda n: n / 1000),
    st.integers(-(1 << 50), 1 << 50).map(lambda n: n / 1e6),
    st.integers(-(1 << 33), 1 << 33).map(lambda n: n / 1e9),
    words.map(lambda word: float(np.uint64(word).view(np.float64))),
    st.sampled_from([0.0, -0.0, 0.1, 5e-324, float("inf"), float("-inf"), float("nan")]),
)
SCALE_AND_BYTES = {
    2: (1, 1), 3: (1, 2), 4: (1, 3), 5: (1, 4), 6: (1, 6),
    7: (1000, 2), 8: (1000, 3), 9: (1000, 4), 10: (1000, 5),
    11: (10**6, 3), 12: (10**6, 4), 13: (10**6, 6), 14: (10**9, 4),
}  # fmt: skip


def bits_of(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]


class Plain:
    """Reads one payload, byte by byte."""

    def __init__(self, payload: bytes) -> None:
        self.data, self.at = payload, 0

    def take(self, size: int, *, signed: bool = False) -> int:
        found = self.data[self.at : self.at + size]
        assert len(found) == size
        self.at += size
        return int.from_bytes(found, "little", signed=signed)

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def folded(self) -> int:
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def numbers(self, count: int, mode: int, rise: int) -> list[int]:
        if mode == 0:
            first = self.take(8, signed=True)
            return [first + k * rise for k in range(count)]
        if mode == 1:
            first = self.take(8, signed=True)
            return [first + self.take(4, signed=True) for _ in range(count)]
        if mode == 2:
            return [self.take(8, signed=True) for _ in range(count)]
        if mode == 5:
            period = self.varint()
            found = self.numbers(period, 4, rise)
            return [found[k % period] for k in range(count)]
        found = []
        before = 0
        while len(found) < count:
            first = before + self.folded()
            length = self.varint() if mode == 3 else 1
            found += [first + k * rise for k in range(length)]
            before = found[-1]
        return found

    def values(self, count: int, base: list[int] | None) -> list[int]:
        codes = [self.take(1) for _ in range((count + 1) // 2)]
        found: list[int] = []
        for k in range(count):
            code = codes[k // 2] >> (4 * (k % 2)) & 15
            before = base[k] if base else found[-1] if found else 0
            if code in (0, 1):
                found.append(before if code else 0)
            elif code == 15:
                found.append(self.take(8))
            else:
                scale, size = SCALE_AND_BYTES[code]
                known = 0
                if base:
                    value = struct.unpack("<d", struct.pack("<Q", before))[0]
                    product = value * float(scale)
                    if abs(product) < 1 << 47 and round(product) / scale == value:
                        known = round(product)
                found.append(bits_of((known + self.take(size, signed=True)) / scale))
        return found


def plain_read(payload: bytes, bases: dict[int, tuple[int, list[int], list[int]]], place: int):
    """Return refs, times and bits; note or use a base."""
    plain = Plain(payload)
    count, time_mode, ref_mode, coding, role = (plain.take(size) for size in (4, 1, 1, 1, 1))
    assert coding == 1
    number = plain.take(4) if role else 0
    base = None
    if role == 2:
        base = bases[number]
        assert base[0] == plain.take(4)
    times = plain.numbers(count, time_mode, 0)
    refs = base[1] if base else plain.numbers(count, ref_mode, 1)
    bits = plain.values(count, base[2] if base else None)
    assert plain.at == len(payload)
    if role == 1:
        bases[number] = (place, refs, bits)
    return refs, times, bits


@st.composite
def scrapes(draw):
    """Batches of some targets in turn; now and then a target has other series, or other values."""
    targets = draw(st.integers(1, 3))
    size = draw(st.integers(1, 40))
    refs = [
        draw(st.one_of(npst.arrays(np.int64, size, elements=st.integers(0, 1 << 40)),
                       st.just(np.arange(size) + 1000 * k)))
        for k in range(targets)
    ]  # fmt: skip
    values = [draw(npst.arrays(np.float64, size, elements=floats)) for _ in range(targets)]
    batches = []
    for k in range(draw(st.integers(1, 50))):
        target = k % targets
        times = np.full(size, k * 15_000)
        if draw(st.booleans()):
            times = times + np.arange(size) % draw(st.integers(1, 5)) * 1000
        if draw(st.integers(0, 9)) == 0:
            times = draw(npst.arrays(np.int64, size, elements=numbers))
        if draw(st.integers(0, 9)) == 0:
            refs[target] = refs[target] + draw(st.integers(0, 3)) * (np.arange(size) % 3 == 1)
        at = draw(st.integers(0, size - 1))
        values[target] = values[target].copy()
        values[target][at] = draw(floats)
        batches.append((refs[target], times, values[target].view(np.uint64)))
    return batches


def encoded(batches) -> list[bytes]:
    encoder = SampleEncoder()
    payloads = []
    for place, batch in enumerate(batches):
        payloads.append(bytes(encoder.encode(*batch, place)))
        encoder.written()
    return payloads


@settings(deadline=None, max_examples=60)
@given(scrapes(), st.data())
def test_batches_come_back_bit_for_bit(batches, data):
    payloads = encoded(batches)
    bases: dict = {}
    decoder = SampleDecoder()
    text, stops = b"".join(payloads), np.cumsum([len(each) for each in payloads])
    taken: list[int] = []
    for place, (payload, stop) in enumerate(zip(payloads, stops.tolist(), strict=True)):
        plain = plain_read(payload, bases, place)
        for expected, column in zip(batches[place], plain, strict=True):
            assert expected.tolist() == column
        decoder.add(text, stop - len(payload), stop, place)
        taken.append(place)
        if data.draw(st.booleans()) or place == len(payloads) - 1:
            found = decoder.decode(text)
            assert found.damaged == 0
            for number, column in enumerate((found.refs, found.times, found.bits)):
                expected = np.concatenate([batches[each][number] for each in taken])
                np.testing.assert_array_equal(column, expected)
            taken = []


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40).flatmap(lambda n: st.tuples(
    st.one_of(npst.arrays(np.int64, n, elements=numbers), st.just(np.arange(n) + 7)),
    st.one_of(npst.arrays(np.int64, n, elements=numbers), st.just(np.full(n, 1 << 41))),
    npst.arrays(np.float64, n, elements=floats),
)))  # fmt: skip
def test_a_batch_alone_comes_back_bit_for_bit(batch):
    refs, times, values = batch
    (payload,) = encoded([(refs, times, values.view(np.uint64))])
    for expected, column in zip(
        (refs, times, values.view(np.uint64)), read_samples(payload), strict=True
    ):
        np.testing.assert_array_equal(column, expected)


def older(refs, times, values, *, time_mode: int, ref_mode: int) -> bytes:
    """A payload as logs had them before values had codes."""
    out = struct.pack("<IBBH", len(refs), time_mode, ref_mode, 0)
    for column, mode in ((times, time_mode), (refs, ref_mode)):
        if mode < 2:
            out += struct.pack("<q", column[0])
        if mode == 1:
            out += struct.pack(f"<{len(column)}i", *(each - column[0] for each in column))
        if mode == 2:
            out += struct.pack(f"<{len(column)}q", *column)
    codes, body = [], b""
    for value in values:
        whole = abs(value) < 1 << 31 and value == int(value) and value != 0
        code = 0 if bits_of(value) == 0 else 3 if not whole else 1 if abs(value) < 1 << 15 else 2
        codes.append(code)
        body += struct.pack("<d", value) if code == 3 else struct.pack("<i", int(value))[: 2 * code]
    while len(codes) % 4:
        codes.append(0)
    quads = zip(codes[::4], codes[1::4], codes[2::4], codes[3::4], strict=True)
    return out + bytes(a | b << 2 | c << 4 | d << 6 for a, b, c, d in quads) + body


@pytest.mark.parametrize("time_mode", [0, 1, 2])
@pytest.mark.parametrize("ref_mode", [0, 1, 2])
def test_records_of_older_logs_are_read(time_mode, ref_mode):
    values = [0.0, -0.0, 1.0, -7.0, 40_000.0, -2e9, 0.5, 1e300, 3.0]
    size = len(values)
    times = [1 << 40] * size if time_mode == 0 else [(1 << 40) - 3 * k for k in range(size)]
    refs = list(range(5, 5 + size)) if ref_mode == 0 else [900 - 7 * k for k in range(size)]
    payload = older(refs, times, values, time_mode=time_mode, ref_mode=ref_mode)
    got = read_samples(payload)
    assert [column.tolist() for column in got] == [refs, times, [bits_of(v) for v in values]]
    for end in range(len(payload)):
        with pytest.raises(ValueError, match="does not add up"):
            read_samples(payload[:end])


def scrape(number: int, size: int = 1000):
    rng = np.random.default_rng(number)
    values = np.where(np.arange(size) % 2, 7.25, number * 1000.0 + rng.integers(0, 50, size))
    return np.arange(size), np.full(size, number * 15_000), values.view(np.uint64)


def test_a_scrape_takes_few_bytes():
    (empty,) = encoded([(np.arange(1000), np.full(1000, 1 << 40), np.zeros(1000).view("u8"))])
    assert len(empty) < 530
    sizes = [len(each) for each in encoded([scrape(k) for k in range(100)])]
    # Half the values are as they were, half rise by a thousand in each.
    assert sum(sizes[2:]) / 98 < 1800


def test_times_that_come_again_for_each_series_take_few_bytes():
    refs, bits = np.repeat(np.arange(1000), 4), np.zeros(4000, np.uint64)
    times = np.tile((1 << 40) + np.arange(4) * 15_000, 1000)
    *_, last = encoded([(refs, times + k * 60_000, bits) for k in range(5)])
    assert len(last) < 2050


def test_what_builds_upon_a_base_has_no_refs_of_its_own():
    refs = np.random.default_rng(1).permutation(1 << 40 >> 20)[:1000] << 20
    sizes = [len(each) for each in encoded([(refs, *scrape(k)[1:]) for k in range(5)])]
    assert sizes[0] > 5000
    assert max(sizes[2:]) < 2500


def test_a_damaged_base_costs_what_builds_upon_it_and_no_more():
    batches = [scrape(k) for k in range(60)]
    payloads = encoded(batches)
    for missing in range(60):
        decoder = SampleDecoder()
        back = []
        lost = 0
        for place, payload in enumerate(payloads):
            if place != missing:
                decoder.add(payload, 0, len(payload), place)
                found = decoder.decode(payload)
                lost += found.damaged
                back += found.times[:1].tolist()
        assert lost in (0, 16, 60 - 1 - missing)
        assert len(back) == 59 - lost
        assert set(back) <= {15_000 * k for k in range(60)}


def test_a_base_with_wrong_content_costs_what_builds_upon_it():
    payloads = encoded([scrape(k) for k in range(20)])
    spoiled = [payload[:-1] if k == 1 else payload for k, payload in enumerate(payloads)]
    text, stops = b"".join(spoiled), np.cumsum([len(each) for each in spoiled]).tolist()
    decoder = SampleDecoder()
    for place, payload in enumerate(spoiled):
        decoder.add(text, stops[place] - len(payload), stops[place], place)
    found = decoder.decode(text)
    # The base, sixteen that build upon it; the first one and the next base with one are there.
    assert found.damaged == 17
    assert found.times[::1000].tolist() == [0, 18 * 15_000, 19 * 15_000]


def test_who_begins_in_the_middle_fetches_the_base():
    payloads = encoded([scrape(k) for k in range(20)])
    asked = []

    def load(place: int) -> bytes:
        asked.append(place)
        return payloads[place]

    decoder = SampleDecoder(load)
    for place in range(9, 20):
        decoder.add(payloads[place], 0, len(payloads[place]), place)
        found = decoder.decode(payloads[place])
        assert found.damaged == 0
        for expected, column in zip(
            scrape(place), (found.refs, found.times, found.bits), strict=True
        ):
            np.testing.assert_array_equal(column, expected)
    assert asked == [1]


def test_what_was_not_written_is_not_built_upon():
    encoder = SampleEncoder()
    kinds = []
    for k in range(6):
        payload = bytes(encoder.encode(*scrape(k), k))
        kinds.append(payload[7])
        if k not in (0, 2):
            encoder.written()
    assert kinds == [0, 0, 1, 1, 2, 2]
    encoder.begin_segment()
    assert bytes(encoder.encode(*scrape(9), 9))[7] == 0


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 5), st.integers(0, 3))
def test_wrong_content_is_refused_and_never_read_past_its_end(at, byte, cut, which):
    payloads = [bytearray(each) for each in encoded([scrape(k, 40) for k in range(4)])]
    spoiled = payloads[which]
    spoiled[at % len(spoiled)] = byte
    payloads[which] = spoiled[: len(spoiled) - cut]
    decoder = SampleDecoder()
    for place, payload in enumerate(payloads):
        decoder.add(bytes(payload), 0, len(payload), place)
        found = decoder.decode(bytes(payload))
        assert found.refs.size == found.times.size == found.bits.size
        assert found.damaged in (0, 1)


def test_samples_know_the_records_they_come_from():
    payloads = encoded([scrape(k, 20 + k) for k in range(4)])
    decoder = SampleDecoder()
    spoiled = [*payloads[:2], payloads[2][:-1], payloads[3]]
    text, stop = b"".join(spoiled), 0
    for place, payload in enumerate(spoiled):
        stop += len(payload)
        decoder.add(text, stop - len(payload), stop, place)
    found = decoder.decode(text)
    assert found.damaged == 1
    assert found.first.tolist() == [0, 20, 41, 64]
    assert SampleDecoder().decode(b"").first.tolist() == [0]
