"""Keep what is left of the log for those who have not read it yet, within a bound.

From: the directory `wal/`, which maintenance shortens. To: `wal_tail.py`.

Each file of the log gets a second name, a hard link in a directory of our own, before maintenance
can delete it: nothing is copied, and neither writing nor shortening the log waits for a reader.
A *generation* is what lies between two checkpoints: the older of them defines the series of its
segments. What all readers have read is let go of; and where the files that only we still hold take
more than `bytes_max`, the oldest generation is, which is told to whoever was not done with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from typing import TYPE_CHECKING

from tsdb.wal import checkpoints, segment_path, segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)


class HeldLog:
    """The files of a log, those of the past included. One thread at a time."""

    def __init__(self, log: Path, held: Path, *, bytes_max: int) -> None:
        """Hold what `log` has in the directory `held`, which is made. Raises OSError."""
        self._log, self._held, self._bytes_max = log, held, bytes_max
        held.mkdir(parents=True, exist_ok=True)
        self._seen: tuple[list[str], int] | None = None

    def segment(self, number: int) -> Path | None:
        """Return the file of a segment, None if there is none (any more)."""
        for directory in (self._held, self._log):
            path = segment_path(directory, number)
            if path.exists():
                return path
        return None

    def following(self, number: int) -> int | None:
        """Return the least number above `number` of which there is a segment, None if none is."""
        path = segment_path(self._log, number + 1)
        if path.exists():
            return number + 1
        above = [each for each in self._all() if each > number]
        return min(above, default=None)

    def newest(self) -> int | None:
        """Return the number of the newest segment."""
        return max(self._all(), default=None)

    def checkpoint(self, before: int) -> int | None:
        """Return the number of the newest checkpoint that stands for nothing behind `before`."""
        found = {n for directory in (self._held, self._log) for n, _ in checkpoints(directory)}
        return max((number for number in found if number <= before), default=None)

    def series_files(self, before: int) -> list[Path]:
        """Return the files that define the series of segment `before`; see `LogFiles`."""
        found = {number: path for number, path in checkpoints(self._log) if number <= before}
        found |= {number: path for number, path in checkpoints(self._held) if number <= before}
        base = max(found, default=None)
        names = [] if base is None else [found[base]]
        begin = 0 if base is None else base
        for number in self._all():
            path = self.segment(number)
            if begin <= number <= before and path is not None:
                names.append(path)
        return names

    def update(
        self, oldest: int | None, on_loss: Callable[[int], None] = lambda _first_kept: None
    ) -> None:
        """Link what is new, let go of what is read, and of what is too much.

        `oldest`: the segment that the slowest reader is at, None without readers. Before something
        is let go of that was not read, `on_loss` is called with the number of the first segment
        that stays. Raises OSError where a link cannot be made.
        """
        names = sorted(path.name for path in self._log.iterdir() if not path.name.endswith(".tmp"))
        seen = (names, -1 if oldest is None else oldest)
        if self._seen == seen:
            return
        for name in names:
            target = self._held / name
            if not target.exists():
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    os.link(self._log / name, target)
        self._let_go(self._base(oldest))
        while self._bytes_only_here(names) > self._bytes_max:
            first = min((number for number, _ in segments(self._held)), default=0)
            above = [number for number, _ in checkpoints(self._held) if number > first]
            if not above:
                break
            on_loss(above[0])
            self._let_go(above[0])
        self._seen = seen

    def clear(self) -> None:
        """Let go of everything."""
        shutil.rmtree(self._held, ignore_errors=True)

    def _base(self, oldest: int | None) -> int:
        """Return the number before which nothing is needed to read on from `oldest`."""
        found = [number for number, _ in checkpoints(self._held)]
        if oldest is not None:
            found = [number for number in found if number <= oldest]
        return max(found, default=0)

    def _let_go(self, before: int) -> None:
        for number, path in (*segments(self._held), *checkpoints(self._held)):
            if number < before:
                path.unlink(missing_ok=True)

    def _bytes_only_here(self, names: list[str]) -> int:
        present = set(names)
        size = 0
        for path in self._held.iterdir():
            if path.name not in present:
                with contextlib.suppress(FileNotFoundError):
                    size += path.stat().st_size
        return size

    def _all(self) -> list[int]:
        return sorted({n for directory in (self._held, self._log) for n, _ in segments(directory)})
