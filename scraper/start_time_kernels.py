"""Start timestamps in protobuf bodies, compiled.

From: `protobuf.py`, for jobs that want them.   To: `ingest.py`.
Source: the fields `created_timestamp` of Prometheus' `metrics.proto`. A plain twin is in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from scraper.protobuf_kernels import COUNTER, GAUGE_HISTOGRAM, HISTOGRAM, SUMMARY, read_field
from scraper.text_kernels import BYTES_IN, Bytes, Int
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]

_TABLE = types.Array(types.int32, 2, "C", readonly=True)


@kernel(types.int64(BYTES_IN, _TABLE, _TABLE, types.int64[::1]))
def read_starts(data: Bytes, where: Int32s, families: Int32s, starts: Ints) -> Int:
    """Write the start of each sample, in milliseconds, 0 for none; return -1, or where it is bad.

    Shapes: `where` int32[4, N] and `families` as `protobuf_kernels.walk` leaves them, which has
    passed the body; `starts` int64[N].
    """
    field = np.zeros(5, np.int64)
    for n in range(starts.size):
        if n > 0 and where[0, n] == where[0, n - 1]:
            starts[n] = starts[n - 1]
            continue
        starts[n] = 0
        kind = families[6, where[2, n]]
        if kind == COUNTER:
            wanted, created = 3, 3
        elif kind == SUMMARY:
            wanted, created = 4, 4
        elif kind in (HISTOGRAM, GAUGE_HISTOGRAM):
            wanted, created = 7, 15
        else:
            continue
        at: Int = np.int64(where[0, n])
        stop: Int = np.int64(where[1, n])
        # The messages one inside the other: the value's, the timestamp's.
        for depth in range(2):
            number = wanted if depth == 0 else created
            begin = end = np.int64(0)
            while at < stop:
                if not read_field(data, at, stop, field):
                    return at
                if field[0] == number:
                    if field[1] != 2:
                        return at
                    begin, end = field[2], field[3]
                at = field[4]
            at, stop = begin, end
        seconds = nanos = np.int64(0)
        while at < stop:
            if not read_field(data, at, stop, field):
                return at
            if field[1] == 0 and field[0] == 1:
                seconds = field[2]
            elif field[1] == 0 and field[0] == 2:
                nanos = field[2]
            at = field[4]
        if abs(seconds) < 1 << 53:
            starts[n] = seconds * 1000 + nanos // 1_000_000
    return -1
