"""Protobuf's wire format written plainly, for bodies that tests send and for plain twins."""

import struct


def varint(number):
    """A negative number is written as its complement of 64 bits."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return (number << 1) ^ (number >> 63)


def ld(field, data):
    """A field of bytes: a message, a text, numbers packed."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def vi(field, number):
    return varint(field << 3) + varint(number)


def f64(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)
