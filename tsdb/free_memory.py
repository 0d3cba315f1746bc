"""Memory that is not needed, given back to the system: free heap, and files that were looked at.

From: `maintenance.py`, after it cut the head or compacted blocks. What that took, in arrays of all
sizes, lies in free pieces between others: 150 MB of 300 after a day of churn with 50 k series. And
from all who read maps of files from end to end: what is mapped counts as memory of this process
though it is the system's, which takes it away only when it is short of memory.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

_LET_GO_BYTES = 8 << 20
"""Bytes let go at once: some tenths of a millisecond, for which nothing else runs."""


def give_back_free_memory() -> None:
    """Return free pages of glibc's heaps to the system. Takes milliseconds, and no GIL."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))


def let_go(mapped: mmap.mmap, first: int = 0, stop: int | None = None) -> None:
    """Count bytes `first` to `stop` of a mapped file no more as memory of this process.

    `first` is a multiple of the page size. Who reads them maps them again, which costs a
    microsecond for 64 kB. Not for maps without a file, nor for ones that are written to.
    """
    size = len(mapped)
    stop = size if stop is None else min(stop, size)
    for at in range(first, stop, _LET_GO_BYTES):
        mapped.madvise(mmap.MADV_DONTNEED, at, min(_LET_GO_BYTES, stop - at))
