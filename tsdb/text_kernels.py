"""Compiled loop over symbol texts: wildcards matched without making strings.

From: `matching.py`. The pattern comes from `patterns.py`: literal texts with `.*` or `.+` between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Int = int | np.integer[Any]

    from tsdb.interface import Bytes, Ids, Ints

_u8, _u32, _i64 = types.uint8, types.uint32, types.int64


def _in(dtype: types.Type) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, 1, "C", readonly=True)


@kernel(
    types.void(_in(_u8), _in(_i64), _in(_u32), _in(_u8), _in(_i64), _in(_i64), _u8[::1]),
)  # fmt: skip
def match_wildcards(
    text: Bytes,
    offsets: Ints,
    ids: Ids,
    literals: Bytes,
    stops: Ints,
    gaps: Ints,
    out: npt.NDArray[np.uint8],
) -> None:
    """Set `out[i]` to 1 where the text of `ids[i]` matches, and leave it alone elsewhere.

    Literal k is `literals[stops[k - 1] : stops[k]]`; before it are at least `gaps[k]` bytes of
    anything, after the last one at least `gaps[K]`; -1: nothing at all. Shapes: `stops` [K],
    `gaps` [K + 1], of which only the first and the last may be -1. Text i is
    `text[offsets[i] : offsets[i + 1]]`.
    Invariant: taking the leftmost place for each literal but an anchored last one leaves the most
    room to those behind, so no other choice can match where this one does not.
    """
    count = stops.size
    for i in range(ids.size):
        at, end = offsets[ids[i]], offsets[np.int64(ids[i]) + 1]
        good = True
        first: Int = 0
        for k in range(count):
            size = stops[k] - first
            low = at + max(gaps[k], 0)
            high = end - size
            if gaps[k] < 0:
                high = min(high, low)
            if k == count - 1 and gaps[count] < 0:
                # The last one ends the text: there is one place for it.
                if end - size < low or (gaps[k] < 0 and end - size != low):
                    good = False
                    break
                low = high = end - size
            found: Int = -1
            for place in range(low, high + 1):
                same = True
                for j in range(size):
                    if text[place + j] != literals[first + j]:
                        same = False
                        break
                if same:
                    found = place
                    break
            if found < 0:
                good = False
                break
            at = found + size
            first = stops[k]
        if good and (end == at if gaps[count] < 0 else end - at >= gaps[count]):
            out[i] = 1
