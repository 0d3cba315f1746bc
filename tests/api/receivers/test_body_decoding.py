"""Compressed bodies: what is sound comes back, what would take too much memory or time does not."""

import gzip
import tracemalloc

import cramjam
import pytest
import zstandard

from api.receivers.body_decoding import BodyError, BodyTooLargeError, decode

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
