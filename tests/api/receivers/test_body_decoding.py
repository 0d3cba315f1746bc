"""Compressed bodies: what is sound comes back, what would take too much memory or time does not."""

import gzip
import traceback
import tracemalloc

import cramjam
import pytest
import zstandard

from api.receivers.body_decoding import (
    BodyError,
    BodyTooLargeError,
    TooManyPartsError,
    decode,
    json_of,
)
from api.receivers.otlp_messages import decode_protobuf
from api.wire import varint_bytes

TEXT = b"a 1\n" * 100_000


def sizeless_zstd(data):
    """A frame that does not tell how much it becomes."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "snappy": lambda data: bytes(cramjam.snappy.compress_raw(data)),
}


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("data", [b"", b"a", TEXT], ids=len)
def test_what_is_sound_comes_back(encoding, data):
    assert decode(PACKERS[encoding](data), encoding) == data


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_in_a_row_are_one_body(encoding):
    pack = PACKERS[encoding]
    assert decode(pack(TEXT) + pack(b"b") + pack(TEXT), encoding) == TEXT + b"b" + TEXT


def test_a_frame_may_keep_its_size_to_itself():
    assert decode(sizeless_zstd(TEXT), "zstd") == TEXT


@pytest.mark.parametrize("encoding", PACKERS)
def test_bodies_that_are_cut_off_are_refused(encoding):
    whole = PACKERS[encoding](TEXT)
    for size in (len(whole) - 1, len(whole) // 2, 5):
        with pytest.raises(BodyError, match=encoding):
            decode(whole[:size], encoding)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, sizeless_zstd])
def test_the_limit_holds_before_the_memory_is_taken(pack):
    bomb = pack(bytes(400 << 20))
    encoding = "gzip" if pack is gzip.compress else "zstd"
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            decode(bomb, encoding, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_millions_of_empty_members_are_refused_at_once(encoding):
    with pytest.raises(BodyError, match="more than 1000 members"):
        decode(PACKERS[encoding](b"") * 1_000_000, encoding)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x0a\x00" * 400_000, id="empty messages"),
        pytest.param(b"\x78\x00" * 4_000_000, id="unknown fields"),
        pytest.param(b"\x0a\x04\x12\x02\x12\x00" * 200_000, id="empty messages two levels down"),
        pytest.param(
            b"\x0a" + varint_bytes(2_000_000) + b"\x12\x00" * 1_000_000, id="one level down"
        ),
    ],
)
def test_otlp_of_very_many_parts_is_refused_as_too_large(body):
    with pytest.raises(TooManyPartsError, match="request body has more than"):
        decode_protobuf(body)


def test_a_histogram_of_very_many_counts_is_refused_as_too_large():
    def field(number, content):
        return varint_bytes(number << 3 | 2) + varint_bytes(len(content)) + content

    buckets = field(2, b"\0" * 4_000_000)
    exponential = field(10, field(1, field(8, buckets)))
    body = field(1, field(2, field(2, exponential)))
    with pytest.raises(TooManyPartsError, match="more than 3000000 fields"):
        decode_protobuf(body)


def test_a_message_that_comes_in_very_many_pieces_is_merged_in_linear_time():
    point = b"\x0a\x00"  # of a gauge
    metric = (b"\x2a" + bytes([len(point)]) + point) * 100_000
    for number in (2, 2, 1):
        metric = bytes([number << 3 | 2]) + varint_bytes(len(metric)) + metric
    request = decode_protobuf(metric)
    scope = request["resourceMetrics"][0]["scopeMetrics"][0]
    assert len(scope["metrics"][0]["gauge"]["dataPoints"]) == 100_000


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,"])
def test_json_of_very_many_values_is_refused_before_it_becomes_objects(unit):
    with pytest.raises(TooManyPartsError, match="more than 2000000 values"):
        json_of(b"[" + unit * 2_000_001 + b"1]")
    assert len(json_of(b"[" + unit * 1000 + b"1]")) == 1001


def test_what_was_decompressed_of_a_bomb_is_let_go_at_once():
    bomb = gzip.compress(bytes(20 << 20))
    with pytest.raises(BodyTooLargeError) as caught:
        decode(bomb, "gzip", 1 << 20)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert frames[-1].f_locals["parts"] == []
