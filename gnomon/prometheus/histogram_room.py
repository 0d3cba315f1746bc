"""Room for native histograms that are being decoded, as kernels take it.

From: `chunks.py` (chunks) and `head.py` (records of the log), which know how much is needed.
To:   `histogram_kernels.py`, `record_kernels.py`, which fill it; then `HistogramColumns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import types

from tsdb.interface import HistogramColumns

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Floats, Ints


class HistogramRoom(NamedTuple):
    """The arrays of `interface.HistogramColumns` in its order, `is_float` apart, to be written.

    `observations` is `count` there, which tuples have a method of.
    """

    schema: npt.NDArray[np.int8]
    hint: npt.NDArray[np.int8]
    observations: Floats
    sum: Floats
    zero_threshold: Floats
    zero_count: Floats
    positive_start: Ints
    positive_index: npt.NDArray[np.int32]
    positive_count: Floats
    negative_start: Ints
    negative_index: npt.NDArray[np.int32]
    negative_count: Floats
    bounds_start: Ints
    bounds_count: Ints
    bounds: Floats

    @staticmethod
    def empty(rows: int, positives: int, negatives: int, bounds: int) -> HistogramRoom:
        """Return room for so many histograms, buckets and bounds: zeros."""
        return HistogramRoom(
            schema=np.zeros(rows, np.int8),
            hint=np.zeros(rows, np.int8),
            observations=np.zeros(rows),
            sum=np.zeros(rows),
            zero_threshold=np.zeros(rows),
            zero_count=np.zeros(rows),
            positive_start=np.zeros(rows + 1, np.int64),
            positive_index=np.zeros(positives, np.int32),
            positive_count=np.zeros(positives),
            negative_start=np.zeros(rows + 1, np.int64),
            negative_index=np.zeros(negatives, np.int32),
            negative_count=np.zeros(negatives),
            bounds_start=np.zeros(rows, np.int64),
            bounds_count=np.zeros(rows, np.int64),
            bounds=np.zeros(bounds),
        )

    def columns(self, rows: int, is_float: npt.NDArray[np.bool_]) -> HistogramColumns:
        """Return the first so many histograms; the arrays are shared."""
        arrays: dict[str, npt.NDArray[Any]] = self._asdict()
        for name in arrays:
            if name in ("positive_start", "negative_start"):
                arrays[name] = arrays[name][: rows + 1]
            elif name not in _POOLS:
                arrays[name] = arrays[name][:rows]
        count = arrays.pop("observations")
        return HistogramColumns(is_float=is_float, count=count, **arrays)  # by name


_POOLS = ("positive_index", "positive_count", "negative_index", "negative_count", "bounds")
_CODES, _INTS, _FLOATS = (
    types.Array(each, 1, "C") for each in (types.int8, types.int64, types.float64)
)
_SIDE = (_INTS, types.Array(types.int32, 1, "C"), _FLOATS)
ROOM = types.NamedTuple(  # type: ignore[no-untyped-call]
    (_CODES, _CODES, *(4 * (_FLOATS,)), *_SIDE, *_SIDE, _INTS, _INTS, _FLOATS), HistogramRoom
)
"""Its type, for the signatures of kernels."""
