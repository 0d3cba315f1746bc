"""Arrays that grow without moving.

Every per-series array of the head is a `GrowingColumn`. Address space for the largest size is
reserved at once and the operating system hands out memory when a row is first touched, so that
growth copies nothing, kernels see one contiguous array and a reader's view is never pulled away.
"""

from __future__ import annotations

import logging
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_log = logging.getLogger(__name__)

# Linux' value; the constant has a name in Python only from 3.11.? on some builds.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class GrowingColumn:
    """One array of rows; new rows are zero.

    `array` has more rows than are in use; who owns the column knows how many. With `reserve` rows
    above zero the space is reserved up front; where the system refuses (strict overcommit, an
    address space limit), and for small stores, the array doubles by copying instead. Then `array`
    is another object after `ensure`, and holders of the old one keep what they saw.
    """

    __slots__ = ("_dtype", "_width", "array")

    def __init__(
        self, dtype: npt.DTypeLike, *, reserve: int, width: int = 0, initial: int = 64
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._width = width
        reserved = _reserve(self._dtype, self._shape(reserve)) if reserve > initial else None
        self.array: npt.NDArray[Any] = (
            reserved if reserved is not None else np.zeros(self._shape(initial), self._dtype)
        )

    def ensure(self, rows: int) -> None:
        """Make room for `rows` rows in all."""
        have = self.array.shape[0]
        if rows <= have:
            return
        bigger = np.zeros(self._shape(max(rows, 2 * have)), self._dtype)
        bigger[:have] = self.array
        self.array = bigger

    def restore(self, rows: npt.NDArray[Any]) -> None:
        """Take over rows that were saved."""
        self.ensure(rows.shape[0])
        self.array[: rows.shape[0]] = rows

    def _shape(self, rows: int) -> tuple[int, ...]:
        return (rows, self._width) if self._width else (rows,)


def _reserve(dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """Map anonymous memory that is taken only when touched; None if the system refuses."""
    size = int(np.prod(shape)) * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        space = mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        _log.warning(
            "cannot reserve %d bytes of address space, growing by copying: %s", size, error
        )
        return None
    return np.frombuffer(space, dtype=dtype).reshape(shape)
