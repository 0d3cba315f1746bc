"""The compiled loop that writes native histograms as JSON objects.

From: `json_histograms.py`, with buckets as lists.   To: `float_kernels.py` for numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from api.float_kernels import SLACK_BYTES, VALUE_BYTES_MAX, put_bytes, put_float
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.int8]
    Words = npt.NDArray[np.uint64]

HISTOGRAM_BYTES_MAX = 2 * VALUE_BYTES_MAX + 48
"""One histogram without its buckets."""

BUCKET_BYTES_MAX = 3 * VALUE_BYTES_MAX + 16
"""One bucket with its brackets, quotes and comma."""

_u8 = types.Array(types.uint8, 1, "C")
_i64 = types.Array(types.int64, 1, "C")
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_i8r = types.Array(types.int8, 1, "C", readonly=True)
_u64r = types.Array(types.uint64, 1, "C", readonly=True)


def _text(text: bytes) -> Bytes:
    return np.frombuffer(text.ljust(len(text) + SLACK_BYTES), dtype=np.uint8)


_COUNT = _text(b'{"count":"')
_SUM = _text(b'","sum":"')
_BUCKETS = _text(b'"buckets":[')


@kernel(
    types.int64(_u64r, _u64r, _i64r, _i8r, _u64r, _u64r, _u64r, _u8, _i64),
)
def write_histograms(
    count: Words,
    total: Words,
    start: Ints,
    rule: Codes,
    lower: Words,
    upper: Words,
    bucket_count: Words,
    out: Bytes,
    text_at: Ints,
) -> int:
    """Write `{"count":..,"sum":..,"buckets":[..]}` for each histogram; return the length.

    Shapes: `count`, `total` uint64[H], doubles by their bits; `start` int64[H + 1], `rule`,
    `lower`, `upper`, `bucket_count` as in `BucketList`, doubles by their bits; written: `text_at`
    int64[H + 1], where each text is in `out`. `out` needs HISTOGRAM_BYTES_MAX for each histogram,
    BUCKET_BYTES_MAX for each bucket, and SLACK_BYTES.
    """
    at = 0
    for h in range(count.size):
        text_at[h] = at
        at = put_bytes(out, at, _COUNT, 0, 10)
        at = put_float(out, at, count[h])
        at = put_bytes(out, at, _SUM, 0, 9)
        at = put_float(out, at, total[h])
        out[at] = 34
        at += 1
        if start[h + 1] > start[h]:
            out[at] = 44
            at = put_bytes(out, at + 1, _BUCKETS, 0, 11)
            for b in range(start[h], start[h + 1]):
                out[at], out[at + 1], out[at + 2], out[at + 3] = 91, 48 + rule[b], 44, 34
                at = put_float(out, at + 4, lower[b])
                out[at], out[at + 1], out[at + 2] = 34, 44, 34
                at = put_float(out, at + 3, upper[b])
                out[at], out[at + 1], out[at + 2] = 34, 44, 34
                at = put_float(out, at + 3, bucket_count[b])
                out[at], out[at + 1], out[at + 2] = 34, 93, 44
                at += 3
            out[at - 1] = 93  # the last bucket's comma
        out[at] = 125
        at += 1
    text_at[count.size] = at
    return at
