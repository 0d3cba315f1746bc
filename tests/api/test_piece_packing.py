"""Pieces that were packed apart are one stream."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.checksum_kernels import joined_crc
from api.piece_packing import STREAMS, packed_piece

UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


def packed(encoding, chunks):
    stream = STREAMS[encoding]()
    parts = [stream.head]
    for chunk in chunks:
        piece = packed_piece(chunk, stream.checksum)
        stream.add(piece)
        parts.append(piece.data)
    return b"".join([*parts, stream.tail()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@given(st.lists(st.binary(max_size=300), max_size=6))
@settings(max_examples=60, deadline=None)
def test_pieces_in_a_row_are_what_was_packed(encoding, chunks):
    assert UNPACK[encoding](packed(encoding, chunks)) == b"".join(chunks)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_large_pieces_wrap_every_sum(encoding):
    chunks = [b"\xff" * 300_000, bytes(range(256)) * 1500, b"[1,2]" * 100_000]
    stream = packed(encoding, [memoryview(chunk) for chunk in chunks])
    assert UNPACK[encoding](stream) == b"".join(chunks)
    assert len(stream) < 20_000


@given(st.binary(max_size=5000), st.binary(max_size=5000))
@settings(max_examples=100, deadline=None)
def test_the_crc_of_two_pieces_is_joined(first, second):
    joined = joined_crc(zlib.crc32(first), zlib.crc32(second), len(second))
    assert joined == zlib.crc32(first + second)
