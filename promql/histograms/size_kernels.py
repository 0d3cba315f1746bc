"""The compiled loop that counts how much a native histogram holds.

From: `runs.py`. A plain twin is in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Indexes = npt.NDArray[np.int32]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_INDEXES = types.Array(types.int32, 1, "C", readonly=True)


@kernel(types.void(_INTS, _INDEXES, types.int64[::1]))
def add_buckets_and_spans(start: Ints, index: Indexes, out: Ints) -> None:
    """Add to `out` int64[H] each histogram's buckets of one side, and its runs of neighbours.

    Shapes: `start` int64[H + 1]; histogram h has its buckets at `index[start[h] : start[h + 1]]`.
    """
    for h in range(out.size):
        low, high = start[h], start[h + 1]
        if high == low:
            continue
        held = high - low + 1
        for b in range(low + 1, high):
            held += index[b] != index[b - 1] + np.int32(1)
        out[h] += held
