"""One process a data directory: `flock` on the file `lock`.

The kernel gives the lock back when the process dies. The file is removed on a clean close, so
finding it says that the last owner crashed.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from tsdb.errors import LockedError

if TYPE_CHECKING:
    from pathlib import Path


class DirectoryLock:
    """Held from construction to `release`. `was_clean`: the last owner had released it."""

    def __init__(self, directory: Path) -> None:
        """Take the lock. Raises `LockedError` with Prometheus' text, OSError."""
        self._path = directory / "lock"
        self.was_clean = not self._path.exists()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise LockedError("lock DB directory: resource temporarily unavailable") from None

    def release(self) -> None:
        """Give the directory back."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
