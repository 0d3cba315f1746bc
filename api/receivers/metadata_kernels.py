"""Compiled loop that tells known metadata from new, before any text of it is made.

From: `remote_write_v2.py`.   To: `metadata_memo.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any

_U = np.uint64
_MIX = np.uint64(0x9E3779B97F4A7C15)

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64r = types.Array(types.int64, 1, "C", readonly=True)
_i32_3r = types.Array(types.int32, 3, "C", readonly=True)
_u64 = types.Array(types.uint64, 1, "C")


@helper(types.uint64(types.uint64, types.uint64))
def _mixed(held: np.uint64, word: np.uint64) -> np.uint64:
    """Return a hash with one more word in it."""
    held = (held ^ word) * _MIX
    return held ^ (held >> _U(29))


@helper(types.uint64(_u8r, types.int64, types.int64, types.uint64))
def _hashed(data: Bytes, start: Whole, stop: Whole, held: np.uint64) -> np.uint64:
    """Return a hash with a text, and its length, in it."""
    held = _mixed(held, _U(stop - start))
    at = start
    while at < stop:
        word = _U(0)
        for i in range(min(np.int64(8), stop - at)):
            word |= _U(data[at + i]) << _U(8 * i)
        held = _mixed(held, word)
        at += 8
    return held


@kernel(types.void(_u8r, _i32_3r, _i64r, types.uint64, _u64, _u64))
def hash_metadata(
    data: Bytes,
    places: npt.NDArray[np.int32],
    kinds: Ints,
    key: np.uint64,
    names: Words,
    rows: Words,
) -> None:
    """Hash what is said of metrics: the name alone, and all of it.

    Shapes: `places` int32[N, 3, 2], start and stop of name, unit and help in `data`; `kinds`
    int64[N]; `names`, `rows` uint64[N], written. `key` is secret, so that nobody can make a
    sender's metadata look like another's.
    """
    for i in range(kinds.size):
        held = _hashed(data, np.int64(places[i, 0, 0]), np.int64(places[i, 0, 1]), key)
        names[i] = held
        held = _mixed(held, _U(kinds[i]))
        for part in range(1, 3):
            held = _hashed(data, np.int64(places[i, part, 0]), np.int64(places[i, part, 1]), held)
        rows[i] = held
