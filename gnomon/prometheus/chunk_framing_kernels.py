"""Compiled framing of chunks as they lie in a chunk file: length, encoding, data, checksum.

From: `exporting.py`, chunks of `api/sample_chunks.py`. To: bytes of chunk files, which
`chunk_kernels.py` reads.
Source: Prometheus documentation, chunks disk format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from gnomon.prometheus.bit_kernels import BYTES_IN, INTS, INTS_IN, crc32c, uvarint_at
from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Whole = Any

FRAME_BYTES = 16
"""A chunk takes no more bytes than its message and these."""


@kernel(types.int64(BYTES_IN, INTS_IN, types.Array(types.uint8, 1, "C"), INTS))
def frame_chunks(messages: Bytes, at: Ints, out: Bytes, start: Ints) -> Whole:
    """Write chunks one behind the other, each framed; return how many bytes.

    Shapes: `at`, `start` int64[C]: where each chunk begins in `messages`, as field 2 of a
    ChunkedSeries, and where in `out`, which has `FRAME_BYTES` a chunk more room than `messages`.
    """
    to = np.int64(0)
    for c in range(at.size):
        # Field 2, its length; fields 1 and 2, the times; field 3, the encoding; field 4, the data.
        here = at[c] + 1
        for _ in range(3):
            _, here = uvarint_at(messages, here)
            here += 1
        kind = messages[here]
        word, here = uvarint_at(messages, here + 2)
        size = np.int64(word)
        start[c] = to
        while word >= np.uint64(128):
            out[to] = np.uint8(word & np.uint64(127)) | np.uint8(128)
            word >>= np.uint64(7)
            to += 1
        out[to], out[to + 1] = np.uint8(word), kind
        to += 1
        for i in range(size):
            out[to + 1 + i] = messages[here + i]
        crc = crc32c(out, to, to + 1 + size)
        to += 1 + size
        for k in range(4):
            out[to + k] = np.uint8((crc >> np.uint32(24 - 8 * k)) & np.uint32(255))
        to += 4
    return to
