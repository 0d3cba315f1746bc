"""Protobuf wire format in plain Python: for small messages and for messages about bad ones.

What comes or goes in bulk is for `wire_reading_kernels.py` and `wire_writing_kernels.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class WireError(Exception):
    """Bytes that are no message of the expected kind; the text is that of Prometheus' decoder."""


def varint_bytes(number: int) -> bytes:
    """Return a number as varint; a negative one as its 64-bit complement.

    >>> varint_bytes(300).hex(), len(varint_bytes(-1))
    ('ac02', 10)
    """
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return where a varint ends and its value. Raises WireError."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise WireError("unexpected EOF")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at, value & (1 << 64) - 1
    raise WireError("proto: integer overflow")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value): an int for varints, bytes for all else. Raises WireError.

    Groups are skipped: no message here has any.
    """
    at = depth = 0
    while at < len(message):
        at, tag = read_varint(message, at)
        number: int | bytes
        match tag & 7:
            case 0:
                at, number = read_varint(message, at)
            case 1 | 2 | 5 as wire:
                size = 8 if wire == 1 else 4
                if wire == 2:
                    at, size = read_varint(message, at)
                if at + size > len(message):
                    raise WireError("unexpected EOF")
                number = message[at : at + size]
                at += size
            case 3:
                depth += 1
                continue
            case 4:
                depth -= 1
                if depth < 0:
                    raise WireError("proto: unexpected end of group")
                continue
            case wire:
                raise WireError(f"proto: illegal wireType {wire}")
        if not depth:
            yield tag >> 3, number
    if depth:
        raise WireError("unexpected EOF")


def signed(number: int | bytes) -> int:
    """Return an int64 field's value. Raises WireError for another wire type."""
    if isinstance(number, bytes):
        raise WireError("proto: wrong wireType = 2 for an integer field")
    return number - (number >> 63 << 64)


def text_of(value: int | bytes) -> str:
    """Return a string field's value, bad bytes as lone surrogates. Raises WireError."""
    return message_of(value).decode("utf-8", "surrogateescape")


def message_of(value: int | bytes) -> bytes:
    """Return the bytes of a field. Raises WireError for another wire type."""
    if isinstance(value, int):
        raise WireError("proto: wrong wireType = 0 for a field of bytes")
    return value
