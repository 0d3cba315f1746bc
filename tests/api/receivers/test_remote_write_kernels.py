"""The kernels of remote write 1.0 against a plain decoder, and against recorded bodies."""

from __future__ import annotations

import json
import math
import struct

import cramjam
import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.receivers.write_batch import decode_write_request, refused_series_text
from api.wire import WireError
from tests.api.receivers.write_requests import (
    STALE_BITS,
    bodies,
    captured,
    columns_as_lists,
    named,
    one,
)


class PlainError(Exception):
    pass


def plain_varint(data, at):
    value = shift = 0
    for _ in range(10):
        if at >= len(data):
            raise PlainError
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return at, value & ((1 << 64) - 1)
        shift += 7
    raise PlainError


def plain_fields(data, wires):
    """Yield (field number, value) of a message; groups are skipped."""
    at = depth = 0
    while at < len(data):
        at, tag = plain_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not depth and (wire == 4 or not 0 < number < 1 << 29):
            raise PlainError
        if not depth and number in wires and wires[number] != wire:
            raise PlainError
        value = None
        if wire == 0:
            at, value = plain_varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value = data[at : at + size]
            at += size
        elif wire == 2:
            at, size = plain_varint(data, at)
            value = data[at : at + size]
            at += size
        elif wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
        else:
            raise PlainError
        if at > len(data):
            raise PlainError
        if not depth and wire not in (3, 4):
            yield number, value
    if depth:
        raise PlainError


def plain_decode(body):
    """Return ([(labels, samples)] of sound series with samples, refused series)."""
    series, refused = [], 0
    for number, message in plain_fields(body, {1: 2, 3: 2}):
        if number != 1:
            continue
        pairs, samples = [], []
        for inner, leaf in plain_fields(message, {1: 2, 2: 2, 3: 2, 4: 2}):
            if inner == 1:
                parts = dict(plain_fields(leaf, {1: 2, 2: 2}))
                pairs.append((parts.get(1, b""), parts.get(2, b"")))
            elif inner == 2:
                parts = dict(plain_fields(leaf, {1: 1, 2: 0}))
                time = parts.get(2, 0)
                time -= (time >> 63) << 64
                samples.append((time, parts.get(1, b"\0" * 8)))
        if not samples:
            continue
        try:
            texts = [(n.decode(), v.decode()) for n, v in pairs]
        except UnicodeDecodeError:
            refused += 1
            continue
        names = [n for n, _ in texts]
        if (
            "__name__" not in names
            or ("__name__", "") in texts
            or "" in names
            or len(set(names)) < len(names)
        ):
            refused += 1
            continue
        series.append((sorted((n, v) for n, v in texts if v), samples))
    return series, refused


def assert_same(body):
    try:
        expected, refused = plain_decode(body)
    except PlainError:
        with pytest.raises(WireError):
            decode_write_request(body)
        return
    batch = decode_write_request(body)
    assert columns_as_lists(batch) == expected
    assert len(batch.refused) == refused
    for number in range(refused):
        assert refused_series_text(batch, number).startswith("{")


@given(bodies)
@settings(max_examples=100, deadline=None)
def test_sound_bodies_equal_the_plain_decoder(body):
    assert_same(body)


@given(bodies, st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_bodies_equal_the_plain_decoder(body, data):
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
    assert_same(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@given(st.binary(max_size=60))
@example(b"\x0a\x02\x12\x00")
@settings(max_examples=100, deadline=None)
def test_random_bytes_equal_the_plain_decoder(body):
    assert_same(body)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xc0\x80", id="an overlong zero"),
        pytest.param(b"\xed\xa0\x80", id="a surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="past the last code point"),
        pytest.param(b"\xe2\x82", id="a character cut short"),
        pytest.param(b"\xf0\x8f\xbf\xbf", id="an overlong form of four"),
        pytest.param(b"abc\x80", id="a stray continuation"),
    ],
)
def test_text_that_is_no_utf8_is_refused(text):
    batch = decode_write_request(one([*named("m"), ("a", text)]))
    assert len(batch.refused) == 1
    assert batch.values.size == 0


def _decoded_value(value):
    if value == "StaleNaN":
        return struct.pack("<Q", STALE_BITS)
    return struct.pack("<d", float(value))


def test_captured_bodies_decode_as_recorded(corpora):
    count = 0
    for info, packed, path in captured(corpora):
        if info["sender"].endswith("-v2"):
            continue
        encoding = dict(info["headers"])["Content-Encoding"]
        body = (
            zstandard.decompress(packed)
            if encoding == "zstd"
            else bytes(cramjam.snappy.decompress_raw(packed))
        )
        batch = decode_write_request(body)
        contents = info["contents"]
        assert batch.values.size == contents["samples"], path
        assert batch.exemplars == contents["exemplars"], path
        assert batch.histograms == contents["histograms"], path
        assert batch.metadata == contents["metadata"], path
        assert (batch.values.view(np.uint64) == STALE_BITS).sum() >= contents["stale"] - contents[
            "histograms"
        ]
        decoded_path = path.with_name(path.stem + ".decoded.json")
        if decoded_path.exists():
            decoded = json.loads(decoded_path.read_text())
            expected = [
                (sorted(series["labels"].items()), [(t, _decoded_value(v)) for t, v in samples])
                for series in decoded["timeseries"]
                if (samples := series.get("samples"))
            ]
            got = columns_as_lists(batch)
            assert [labels for labels, _ in got] == [labels for labels, _ in expected], path
            for (_, mine), (_, theirs) in zip(got, expected, strict=True):
                assert [t for t, _ in mine] == [t for t, _ in theirs], path
                for (_, a), (_, b) in zip(mine, theirs, strict=True):
                    assert a == b or (a != a and b != b) or _both_nan(a, b), path
        count += 1
    assert count == 44


def _both_nan(a, b):
    return math.isnan(struct.unpack("<d", a)[0]) and math.isnan(struct.unpack("<d", b)[0])
