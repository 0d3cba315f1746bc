"""Compiled text of samples, a line each.

From: `dump.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.float_kernels import SLACK_BYTES, put_bytes, put_float, put_stamp
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    Whole = Any

LINE_BYTES_MAX = 64 + SLACK_BYTES
"""A line without its series: value, time, spaces."""
STALE = 0x7FF0000000000002

_BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)
_INTS_IN = types.Array(types.int64, 1, "C", readonly=True)
_WORDS_IN = types.Array(types.uint64, 1, "C", readonly=True)


@kernel(
    types.int64(
        _BYTES_IN,
        types.int64,
        types.int64,
        _INTS_IN,
        _WORDS_IN,
        types.boolean,
        types.boolean,
        types.Array(types.uint8, 1, "C"),
    ),
)
def write_lines(
    text: Bytes,
    start: Whole,
    stop: Whole,
    times: Ints,
    bits: Words,
    seconds: bool,
    stale: bool,
    out: Bytes,
) -> Whole:
    """Write `series value time` for each sample of one series; return how many bytes.

    The series is text[start:stop], with `SLACK_BYTES` behind it. `seconds`: times in seconds, else
    in milliseconds. Without `stale`, stale markers are left out. `out` has room.
    """
    at = np.int64(0)
    one = np.empty(1, np.float64)
    for n in range(times.size):
        if not stale and bits[n] == np.uint64(STALE):
            continue
        at = put_bytes(out, at, text, start, stop)
        out[at] = 32
        at = put_float(out, at + 1, bits[n])
        if seconds:
            # `[t,"` with other marks around the time.
            end = put_stamp(out, at, times[n])
            out[at] = 32
            out[end - 2] = 10
            at = end - 1
        else:
            out[at] = 32
            one[0] = np.float64(times[n])
            at = put_float(out, at + 1, one.view(np.uint64)[0])
            out[at] = 10
            at += 1
    return at
