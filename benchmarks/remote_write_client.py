"""Remote write 1.0 bodies from columns, to load the same data into every system."""

from __future__ import annotations

import struct
import urllib.request
from typing import TYPE_CHECKING

import cramjam

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def varint(value: int) -> bytes:
    """Protobuf's base-128 integer."""
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def encode_labels(labels: Mapping[str, str]) -> bytes:
    """The labels fields of one TimeSeries message."""
    return b"".join(
        field(1, field(1, name.encode()) + field(2, value.encode()))
        for name, value in sorted(labels.items())
    )


def encode_samples(times_ms: Iterable[int], values: Iterable[float]) -> bytes:
    """The samples fields of one TimeSeries message."""
    return b"".join(
        field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms))
        for time_ms, value in zip(times_ms, values, strict=True)
    )


def send(url: str, series: Sequence[bytes]) -> int:
    """POST TimeSeries messages; returns the status. Raises for anything but success."""
    body = cramjam.snappy.compress_raw(b"".join(field(1, message) for message in series))
    request = urllib.request.Request(
        url + "/api/v1/write",
        data=bytes(body),
        headers={
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        },
    )
    with urllib.request.urlopen(request, timeout=300) as reply:
        return reply.status
