"""How far each queue has come, on disk: what lets it go on after a restart.

A file for each queue, of less than a disk's sector, written over in place: after a power failure it
holds this position or an older one, and what came after it is sent again, as is what was under way.
Two things would skip samples, and do not happen. A file that cannot be read does not pass for none:
its queue begins with the oldest of the log that there is. And a position further than what a power
failure left of the log is not gone on from, see `forwarder.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import zlib
from typing import TYPE_CHECKING

from tsdb.block_writer import sync_directory
from tsdb.wal_tail import WalPosition

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

DIRECTORY = "forwarding"
"""Below the data directory: positions, and files of the log that are held."""

_FILE_BYTES = 256
"""Less than any disk writes at once, and more than a position ever takes."""


def forget(data_path: Path) -> None:
    """Delete what forwarding kept in a data directory that forwards no more."""
    shutil.rmtree(data_path / DIRECTORY, ignore_errors=True)


class PositionFile:
    """The position of the queue called `key`."""

    def __init__(self, directory: Path, key: str) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._path = directory / f"{digest}.json"
        self._saved: WalPosition | None = None

    def load(self) -> WalPosition | None:
        """Return the position last saved, None if there never was one.

        What cannot be read counts as the position before everything.
        """
        try:
            content = json.loads(self._path.read_bytes())
            position = WalPosition(int(content["segment"]), int(content["offset"]))
            if content["check"] != _check(position):
                raise ValueError("its numbers do not add up")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning(
                "the position in %s cannot be read, all that the log has is sent again: %s",
                self._path,
                error,
            )
            return WalPosition(0)
        self._saved = position
        return position

    def save(self, position: WalPosition) -> None:
        """Keep a position; one that cannot be written is told, and costs repetition only."""
        if position == self._saved:
            return
        content = {**position._asdict(), "check": _check(position)}
        data = json.dumps(content).encode().ljust(_FILE_BYTES - 1) + b"\n"
        try:
            if self._saved is None:
                self._create(data)
            else:
                self._write_over(data)
        except OSError as error:
            _log.warning("the position in %s cannot be written: %s", self._path, error)
        else:
            self._saved = position

    def _create(self, data: bytes) -> None:
        """Have a file that a power failure leaves whole: without one, a queue counts as new."""
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
        sync_directory(self._path.parent)

    def _write_over(self, data: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, data, 0)
        finally:
            os.close(file)

    def remove(self) -> None:
        """Forget it."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._saved = None


def _check(position: WalPosition) -> int:
    return zlib.crc32(b"%d %d" % position)
