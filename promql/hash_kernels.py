"""XXH64 of label sets, compiled: what decides which series `limit_ratio` keeps.

From: `series_hash.py`.   Source: the xxHash specification. A plain Python twin is in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Hashes = npt.NDArray[np.uint64]

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_INTS1 = types.Array(types.int64, 1, "C", readonly=True)
_INTS2 = types.Array(types.int64, 2, "C", readonly=True)

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


@helper(types.uint64(types.uint64, types.int64))
def _rotated(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@kernel(types.uint64(_BYTES, types.int64, types.int64))
def _word(data: Bytes, at: int, size: int) -> np.uint64:
    """Read `size` bytes, little endian."""
    word = np.uint64(0)
    for i in range(size):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@kernel(types.uint64(types.uint64, types.uint64))
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotated(lane + word * _P2, 31) * _P1


@helper(types.uint64(_BYTES, types.int64))
def xxh64(data: Bytes, size: int) -> np.uint64:
    """Return the XXH64 of the first `size` bytes, with seed 0."""
    at = 0
    if size >= 32:
        a, b, c, d = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= size:
            a = _round(a, _word(data, at, 8))
            b = _round(b, _word(data, at + 8, 8))
            c = _round(c, _word(data, at + 16, 8))
            d = _round(d, _word(data, at + 24, 8))
            at += 32
        h = _rotated(a, 1) + _rotated(b, 7) + _rotated(c, 12) + _rotated(d, 18)
        for lane in (a, b, c, d):
            h = (h ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        h = _P5
    h += np.uint64(size)
    while at + 8 <= size:
        h = _rotated(h ^ _round(np.uint64(0), _word(data, at, 8)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= size:
        h = _rotated(h ^ (_word(data, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < size:
        h = _rotated(h ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    h ^= h >> np.uint64(33)
    h *= _P2
    h ^= h >> np.uint64(29)
    h *= _P3
    return h ^ (h >> np.uint64(32))


@kernel(types.void(_BYTES, _INTS1, _BYTES, _INTS1, _INTS2, types.uint64[::1]))
def hash_label_sets(
    names: Bytes, name_start: Ints, texts: Bytes, text_start: Ints, text_of: Ints, out: Hashes
) -> None:
    """Hash name and text of every label of every series, one after the other.

    Shapes: label l's encoded name is `names[name_start[l] : name_start[l + 1]]`, text n is
    `texts[text_start[n] : text_start[n + 1]]`, text 0 is that of an absent label and skipped;
    `text_of` int64[labels, series]; `out` uint64[series].
    """
    longest = 0
    for n in range(text_start.size - 1):
        longest = max(longest, text_start[n + 1] - text_start[n])
    data = np.empty(names.size + longest * text_of.shape[0], dtype=np.uint8)
    for s in range(text_of.shape[1]):
        size = 0
        for label in range(text_of.shape[0]):
            n = text_of[label, s]
            if n == 0:
                continue
            for i in range(name_start[label], name_start[label + 1]):
                data[size] = names[i]
                size += 1
            for i in range(text_start[n], text_start[n + 1]):
                data[size] = texts[i]
                size += 1
        out[s] = xxh64(data, size)
