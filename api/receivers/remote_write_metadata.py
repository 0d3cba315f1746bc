"""What metrics are, as remote write names it: the messages of 1.0, and the types of both versions.

From: `remote_write.py`, for bodies that have any: Prometheus sends all it knows once a minute.
Source: Prometheus' `types.proto`, MetricMetadata.
"""

from __future__ import annotations

from api.wire import fields, message_of, text_of
from tsdb.interface import MetricMetadata

METRIC_TYPES = (
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
)  # fmt: skip


def type_name(number: int) -> str:
    """Return the name of a type's number; what is not known is `unknown`."""
    return METRIC_TYPES[number] if 0 <= number < len(METRIC_TYPES) else METRIC_TYPES[0]


def read_metadata(body: bytes) -> list[MetricMetadata]:
    """Return the metadata of a WriteRequest. Raises WireError."""
    found = {}
    for number, value in fields(body):
        if number != 3:
            continue
        kind, family, text, unit = 0, "", "", ""
        for part_number, part in fields(message_of(value)):
            if part_number == 1:
                kind = part if isinstance(part, int) else 0
            elif part_number == 2:
                family = _plain(part)
            elif part_number == 4:
                text = _plain(part)
            elif part_number == 5:
                unit = _plain(part)
        if family:
            found[family] = MetricMetadata(family, type_name(kind), unit, text)
    return list(found.values())


def _plain(part: int | bytes) -> str:
    # Storage wants text that can be written; a sender's broken help is no reason to refuse it.
    return text_of(part).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
