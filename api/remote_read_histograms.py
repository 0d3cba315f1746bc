"""Native histograms -> protobuf `Histogram`, put into the series of a remote read answer.

From: `remote_read.py`, with a batch that has any.   Source: Prometheus' `types.proto`.
In plain Python: 30 us a histogram, paid by those who read native histograms alone.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from api.wire import read_varint, varint_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tsdb.interface import HistogramColumns, HistogramRuns

    Ints = npt.NDArray[np.int64]


def with_histograms(floats: bytes, runs: HistogramRuns, order: Ints) -> bytes:
    """Return a QueryResult's series with their histograms behind the floats.

    `floats` is the message as written for the floats: one TimeSeries for each entry of `order`,
    which names series of the batch.
    """
    parts: list[bytes] = []
    at = 0
    for series in order.tolist():
        start, size = read_varint(floats, at + 1)  # behind the tag
        at = start + size
        body = floats[start:at]
        first = int(runs.start[series])
        body += b"".join(
            b"\x22%b%b" % (varint_bytes(len(message)), message)
            for message in (
                histogram_message(runs.columns, row, int(runs.times[row]))
                for row in range(first, first + int(runs.count[series]))
            )
        )
        parts += (b"\x0a", varint_bytes(len(body)), body)
    return b"".join(parts)


def histogram_message(columns: HistogramColumns, row: int, time_ms: int) -> bytes:
    """Return one histogram as protobuf; zeros are left out where the format lets them be."""
    is_float = bool(columns.is_float[row])
    schema = int(columns.schema[row])
    count, zero_count = float(columns.count[row]), float(columns.zero_count[row])
    out = [_double(2, count) if is_float else _varint(1, int(count))]
    out.append(_double(3, float(columns.sum[row])))
    if schema:
        out.append(_varint(4, _zigzag(schema)))
    if columns.zero_threshold[row]:
        out.append(_double(5, float(columns.zero_threshold[row])))
    out.append(_double(7, zero_count) if is_float else _varint(6, int(zero_count)))
    out += sides(columns, row, is_float=is_float, negative=(8, 9, 10), positive=(11, 12, 13))
    if columns.hint[row]:
        out.append(_varint(14, int(columns.hint[row])))
    out.append(_varint(15, time_ms))
    low = int(columns.bounds_start[row])
    bounds = columns.bounds[low : low + int(columns.bounds_count[row])]
    if bounds.size:
        out.append(_bytes(16, bounds.astype("<f8").tobytes()))
    return b"".join(out)


def sides(
    columns: HistogramColumns,
    row: int,
    *,
    is_float: bool,
    negative: tuple[int, int, int],
    positive: tuple[int, int, int],
) -> list[bytes]:
    """Return the fields of both sides' buckets: spans, deltas and counts have these numbers."""
    out = []
    for fields, start, index, counts in (
        (negative, columns.negative_start, columns.negative_index, columns.negative_count),
        (positive, columns.positive_start, columns.positive_index, columns.positive_count),
    ):
        low, high = int(start[row]), int(start[row + 1])
        if low < high:
            out += _side(fields, index[low:high].tolist(), counts[low:high].tolist(), is_float)
    return out


def _side(
    fields: tuple[int, int, int], indexes: list[int], counts: list[float], is_float: bool
) -> list[bytes]:
    """Return the fields of one side: its spans and its counts."""
    spans, deltas, absolute = fields
    breaks = [n for n, (a, b) in enumerate(pairwise(indexes), 1) if b != a + 1]
    out = []
    behind = 0
    for low, high in pairwise([0, *breaks, len(indexes)]):
        span = _varint(1, _zigzag(indexes[low] - behind)) + _varint(2, high - low)
        out.append(_bytes(spans, span))
        behind = indexes[high - 1] + 1
    if is_float:
        out.append(_bytes(absolute, struct.pack(f"<{len(counts)}d", *counts)))
    else:
        steps = [int(b) - int(a) for a, b in pairwise([0, *counts])]
        out.append(_bytes(deltas, b"".join(varint_bytes(_zigzag(step)) for step in steps)))
    return out


def _zigzag(number: int) -> int:
    return (number << 1) ^ (number >> 63)


def _varint(field: int, number: int) -> bytes:
    return varint_bytes(field << 3) + varint_bytes(number)


def _double(field: int, value: float) -> bytes:
    return varint_bytes(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, payload: bytes) -> bytes:
    return varint_bytes(field << 3 | 2) + varint_bytes(len(payload)) + payload
