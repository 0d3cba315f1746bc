"""Compressed request bodies -> bytes, within a limit that holds before memory is taken.

From: push receivers.   To: their parsers.
Snappy is the block format without frames, as remote write demands.
"""

from __future__ import annotations

import zlib

import cramjam
import zstandard

BODY_BYTES_MAX = 64 << 20
"""A request as sent."""

DECODED_BYTES_MAX = 256 << 20
"""A request as decompressed. Senders stay under 32 MiB; spans hold 32-bit offsets."""


class BodyError(Exception):
    """A body that is not what its Content-Encoding says; `str()` is the client's text."""


class BodyTooLargeError(BodyError):
    """A body that would decompress to more than the limit."""

    def __init__(self) -> None:
        super().__init__(f"decompressed request body is larger than {DECODED_BYTES_MAX} bytes")


class UnknownEncodingError(BodyError):
    """A Content-Encoding that is not understood."""

    def __init__(self, encoding: str, known: str) -> None:
        super().__init__(
            f"{encoding} encoding (compression) is not accepted by this server; "
            f"only {known} is acceptable"
        )


def decode(body: bytes, encoding: str) -> bytes:
    """Return the body decompressed. Raises BodyError.

    `encoding` is that of the header: snappy, gzip, zstd, identity. A gzip or zstd body without
    the format's magic bytes has been decompressed by the HTTP server and is taken as it is: no
    protobuf message of ours begins like them.
    """
    match encoding:
        case "snappy":
            return _snappy(body)
        case "gzip":
            return _gzip(body) if body.startswith(b"\x1f\x8b") else body
        case "zstd":
            return _zstd(body) if body.startswith(b"\x28\xb5\x2f\xfd") else body
        case "identity":
            return body
    raise UnknownEncodingError(encoding, "snappy, gzip, zstd or identity")


_SNAPPY_GROWTH_MAX = 32
"""A copy of two bytes gives at most 64: no sound block grows more."""


def _snappy(body: bytes) -> bytes:
    size = 0
    for place, byte in enumerate(body[:5]):
        size |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    if size > _SNAPPY_GROWTH_MAX * len(body):
        raise BodyError("snappy: corrupt input")
    if size > DECODED_BYTES_MAX:
        raise BodyTooLargeError
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        raise BodyError("snappy: corrupt input") from None


def _gzip(body: bytes) -> bytes:
    parts: list[bytes] = []
    left = DECODED_BYTES_MAX
    while body:  # a gzip file may have several members
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            part = unpacker.decompress(body, left + 1)
        except zlib.error:
            raise BodyError("gzip: invalid input") from None
        left -= len(part)
        if left < 0:
            raise BodyTooLargeError
        if not unpacker.eof:
            raise BodyError("gzip: unexpected end of input")
        parts.append(part)
        body = unpacker.unused_data
    return b"".join(parts)


def _zstd(body: bytes) -> bytes:
    parts: list[bytes] = []
    left = DECODED_BYTES_MAX
    while body:
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        try:
            if zstandard.frame_content_size(body) > left:
                raise BodyTooLargeError
            part = unpacker.decompress(body)
        except zstandard.ZstdError:
            raise BodyError("zstd: invalid input") from None
        left -= len(part)
        if left < 0:
            raise BodyTooLargeError
        if not unpacker.eof:
            raise BodyError("zstd: unexpected end of input")
        parts.append(part)
        body = unpacker.unused_data
    return b"".join(parts)
