"""How far each queue has come, on disk: what lets it go on after a restart.

A file for each queue, replaced as a whole by renaming. It is not synced: what a power failure takes
of it is sent again, as is what was under way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from typing import TYPE_CHECKING

from tsdb.wal_tail import WalPosition

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

DIRECTORY = "forwarding"
"""Below the data directory: positions, and files of the log that are held."""


def forget(data_path: Path) -> None:
    """Delete what forwarding kept in a data directory that forwards no more."""
    shutil.rmtree(data_path / DIRECTORY, ignore_errors=True)


class PositionFile:
    """The position of the queue called `key`."""

    def __init__(self, directory: Path, key: str) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._key, self._path = key, directory / f"{digest}.json"
        self._saved: WalPosition | None = None

    def load(self) -> WalPosition | None:
        """Return the position last saved, None if there is none that can be read."""
        try:
            content = json.loads(self._path.read_bytes())
            if content["queue"] != self._key:
                return None
            self._saved = WalPosition(int(content["segment"]), int(content["offset"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("the position in %s cannot be read: %s", self._path, error)
            return None
        return self._saved

    def save(self, position: WalPosition) -> None:
        """Keep a position; one that cannot be written is told, and costs repetition only."""
        if position == self._saved:
            return
        content = {"queue": self._key, "segment": position.segment, "offset": position.offset}
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(content))
            temporary.rename(self._path)
        except OSError as error:
            _log.warning("the position in %s cannot be written: %s", self._path, error)
        else:
            self._saved = position

    def remove(self) -> None:
        """Forget it."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
