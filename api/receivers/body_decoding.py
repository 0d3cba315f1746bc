"""Compressed request bodies -> bytes, within a limit that holds before memory is taken.

From: push receivers.   To: their parsers.
Snappy is the block format without frames, as remote write demands.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import cramjam
import orjson
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_BYTES_MAX = 64 << 20
"""A request as sent."""

DECODED_BYTES_MAX = 128 << 20
"""A request as decompressed. Senders stay under 32 MiB; spans hold 32-bit offsets."""

OBJECT_BYTES_MAX = 64 << 20
"""The same of formats that become Python objects; OpenTelemetry's receivers take 20 MiB."""

JSON_VALUES_MAX = 2_000_000
"""Values in a JSON body: an empty list is two bytes of it, and 64 of memory."""


LINES_MAX = 1_000_000
"""Lines in a body that are read one by one, in Python: ten seconds' work and half a gigabyte."""


class BodyError(Exception):
    """A body that is not what its Content-Encoding says; `str()` is the client's text."""


class BodyTooLargeError(BodyError):
    """A body that would decompress to more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"decompressed request body is larger than {limit_bytes} bytes")


class TooManyPartsError(BodyTooLargeError):
    """A small body that would become very many objects."""

    def __init__(self, count_max: int, what: str) -> None:
        BodyError.__init__(self, f"request body has more than {count_max} {what}")


class UnknownEncodingError(BodyError):
    """A Content-Encoding that is not understood."""

    def __init__(self, encoding: str, known: str) -> None:
        super().__init__(
            f"{encoding} encoding (compression) is not accepted by this server; "
            f"only {known} is acceptable"
        )


def decode(body: bytes, encoding: str, limit_bytes: int = DECODED_BYTES_MAX) -> bytes:
    """Return the body decompressed. Raises BodyError.

    `encoding` is that of the header: snappy, gzip, zstd, identity. A gzip or zstd body without
    the format's magic bytes has been decompressed by the HTTP server and is taken as it is: no
    protobuf message of ours begins like them.
    """
    match encoding:
        case "snappy":
            return _snappy(body, limit_bytes)
        case "gzip":
            return _gzip(body, limit_bytes) if body.startswith(b"\x1f\x8b") else body
        case "zstd":
            return _zstd(body, limit_bytes) if body.startswith(b"\x28\xb5\x2f\xfd") else body
        case "identity":
            return body
    raise UnknownEncodingError(encoding, "snappy, gzip, zstd or identity")


def json_of(body: bytes) -> Any:  # noqa: ANN401 - whatever the sender wrote
    """Return what a JSON body says. Raises TooManyPartsError, orjson.JSONDecodeError."""
    if sum(map(body.count, (b",", b"[", b"{"))) > JSON_VALUES_MAX:
        raise TooManyPartsError(JSON_VALUES_MAX, "values")
    return orjson.loads(body)


_SNAPPY_GROWTH_MAX = 32
"""A copy of two bytes gives at most 64: no sound block grows more."""


def _snappy(body: bytes, limit_bytes: int) -> bytes:
    size = 0
    for place, byte in enumerate(body[:5]):
        size |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    if size > _SNAPPY_GROWTH_MAX * len(body):
        raise BodyError("snappy: corrupt input")
    if size > limit_bytes:
        raise BodyTooLargeError(limit_bytes)
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        raise BodyError("snappy: corrupt input") from None


def _gzip(body: bytes, limit_bytes: int) -> bytes:
    # 16 KiB of deflate become at most 17 MB.
    def begin() -> _Unpacker:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)

    return _unpacked(body, 16 << 10, begin, zlib.error, "gzip", limit_bytes)


def _zstd(body: bytes, limit_bytes: int) -> bytes:
    # A block of four bytes may become 128 KiB, and a frame need not tell its size, or lies.
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    begin = unpacker.decompressobj
    return _unpacked(body, 1 << 10, begin, zstandard.ZstdError, "zstd", limit_bytes)


FRAMES_MAX = 1000
"""Members or frames in a row: concatenated files are fine, millions of empty ones are an attack."""


class _Unpacker(Protocol):
    """What zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _unpacked(
    body: bytes,
    piece_bytes: int,
    begin: Callable[[], _Unpacker],
    invalid: type[Exception],
    name: str,
    limit_bytes: int,
) -> bytes:
    """Decompress piece by piece, so that the limit is noticed before the memory is taken."""
    parts: list[bytes] = []
    left, at, frames = limit_bytes, 0, 0
    unpacker: _Unpacker | None = None
    while at < len(body):
        if unpacker is None:
            unpacker = begin()
            frames += 1
            if frames > FRAMES_MAX:
                raise BodyError(f"{name}: more than {FRAMES_MAX} members")
        piece = body[at : at + piece_bytes]
        try:
            part = unpacker.decompress(piece)
        except invalid:
            raise BodyError(f"{name}: invalid input") from None
        at += len(piece) - len(unpacker.unused_data)
        left -= len(part)
        if left < 0:
            parts.clear()  # they are in the traceback
            raise BodyTooLargeError(limit_bytes)
        parts.append(part)
        if unpacker.eof:
            unpacker = None
    if unpacker is not None:
        raise BodyError(f"{name}: unexpected end of input")
    return b"".join(parts)
