"""A plain writer of protobuf expositions, for tests: fields as (number, value) pairs."""

import struct

from tests.protobuf import varint, zigzag


def message(*fields):
    """Ints are varints, floats doubles, bytes and text length-delimited."""
    out = b""
    for number, value in fields:
        if isinstance(value, float):
            out += varint(number << 3 | 1) + struct.pack("<d", value)
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def label(name, value):
    return (1, message((1, name), (2, value)))


def family(name, kind, *metrics, help_text="", unit=""):
    fields = [(1, name), (2, help_text), (3, kind), *((4, metric) for metric in metrics)]
    body = message(*fields, *([(5, unit)] if unit else []))
    return varint(len(body)) + body


def exemplar(value, time_s=None, **labels):
    time = [] if time_s is None else [(3, message((1, int(time_s)), (2, 500_000_000)))]
    return message(*(label(n, v) for n, v in labels.items()), (2, value), *time)


def spans(number, *rows):
    return [(number, message((1, zigzag(offset)), (2, length))) for offset, length in rows]


def packed(number, *deltas):
    return (number, b"".join(varint(zigzag(delta)) for delta in deltas))
