"""Arrays of a saved head, made smaller: values by the coding of the log, others by zstd.

From and to: `head_snapshot.py`. What gains little is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from tsdb.errors import CorruptFileError
from tsdb.wal_kernels import decode_values, encode_values

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.interface import Bytes

    Array = npt.NDArray[Any]

PLAIN, PLANES, VALUES = "", "planes", "values"
_PACKED_FROM_BYTES = 1 << 10
_TRIED_BYTES = 1 << 14
"""So much of an array says whether packing it is worth it."""


def pack(flat: Array, *, values: bool) -> tuple[str, Array]:
    """Return how an array of one dimension is packed, and what is to be kept of it.

    `values`: they are float64, as uint64, of which neighbours are often samples of one series.
    """
    if flat.nbytes < _PACKED_FROM_BYTES:
        return PLAIN, flat
    if values:
        out = np.empty(9 * flat.size + 17, np.uint8)
        size = encode_values(np.concatenate([np.zeros(1, np.uint64), flat]), out)
        return VALUES, out[:size].copy()
    compressor = zstandard.ZstdCompressor(level=1)
    tried = flat[: _TRIED_BYTES // flat.itemsize]
    # Hashes, above all, do not become smaller.
    if len(compressor.compress(_planes(tried).data)) > 0.75 * tried.nbytes:
        return PLAIN, flat
    return PLANES, np.frombuffer(compressor.compress(_planes(flat).data), np.uint8)


def unpack(kept: Array, packing: str, dtype: np.dtype[Any], size: int, path: Path) -> Array:
    """Return `size` elements that were packed. Raises `CorruptFileError` if that cannot be."""
    if packing == PLAIN:
        return kept.view(dtype)
    if packing == VALUES:
        words = np.zeros(size + 1, np.uint64)
        if decode_values(kept, words) != kept.size:
            raise CorruptFileError(path, 0, "values that do not add up")
        return words[1:]
    try:
        most = size * dtype.itemsize
        body = zstandard.ZstdDecompressor().decompress(kept.data, max_output_size=most)
    except zstandard.ZstdError as error:
        raise CorruptFileError(path, 0, f"cannot be unpacked: {error}") from error
    if len(body) != size * dtype.itemsize:
        raise CorruptFileError(path, 0, "an array of another size")
    planes = np.frombuffer(body, np.uint8).reshape(dtype.itemsize, size)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def _planes(flat: Array) -> Bytes:
    """Return the lowest bytes of all elements, then the next ones, and so on."""
    return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, flat.itemsize).T)
