"""A file as a read-only array of bytes, mapped where that is possible."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from tsdb.interface import Bytes


def map_file(path: Path) -> Bytes:
    """Return the bytes of a file; the map lives as long as the array. Raises OSError."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
