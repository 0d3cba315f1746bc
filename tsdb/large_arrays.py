"""Large arrays whose memory comes in large pages, since the system takes its time for small ones.

From: whoever needs megabytes for the length of a query, in `tsdb` and `promql`.   To: NumPy.

Memory that is new is made page by page when it is first written: some 0.5 us for 4 kB, a whole
millisecond for 8 MB, which is more than decoding takes. In pages of 2 MB it is a third of that.
NumPy asks for them as well, but only whole ones that happen to lie inside an array are.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_Scalar = TypeVar("_Scalar", bound=np.generic)

_PAGE_BYTES = 2 << 20
LARGE_BYTES = 3 << 20
"""Smaller arrays are NumPy's own: what is rounded up would be too large a share."""

_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)


def large_empty(shape: tuple[int, ...] | int, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
    """Return a C-contiguous array of any content, as `np.empty` does."""
    sizes = (shape,) if isinstance(shape, int) else shape
    count = math.prod(sizes)
    size = count * np.dtype(dtype).itemsize
    if size < LARGE_BYTES or _ADVICE is None:
        return np.empty(shape, dtype=dtype)
    # One page more than needed, so that a whole number of pages lies inside; it stays untouched.
    reserved = mmap.mmap(
        -1,
        -(-size // _PAGE_BYTES) * _PAGE_BYTES + _PAGE_BYTES,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
    )
    with contextlib.suppress(OSError):  # a system without large pages
        reserved.madvise(_ADVICE)
    everything = np.frombuffer(reserved, dtype=np.uint8)
    first = -everything.ctypes.data % _PAGE_BYTES
    # The view keeps the map, which goes with it.
    return everything[first : first + size].view(dtype).reshape(sizes)
