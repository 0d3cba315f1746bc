"""Sealed pages of the head, in segment files that are mapped for reading.

From: `kernels.place` (fills the staging area). To: `head_view.py` (walks the chains).

Pages are written with `pwrite`, so they cost page cache and not memory of this process until a
query reads them. Segments are scratch: the log brings the pages back, so the directory is emptied
on open, but for segments that a saved head (`head_snapshot.py`) names and that pass their
checksums: as far as it names them they never change. Without a directory, or when the disk is
full, they lie in memory.
"""

from __future__ import annotations

import logging
import mmap
import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.free_memory import let_go
from tsdb.kernels import SEGMENT_WORDS, STAGE_BASE, STAGED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tsdb.interface import Ints
    from tsdb.label_kernels import Words

_log = logging.getLogger(__name__)

STAGING_WORDS = 1 << 16
"""Words staged at most between two writes: 512 KiB."""
_CHECKED_AT_ONCE = 8 << 20


class PageStore:
    """Segments by number. Not thread-safe: the head's lock guards it.

    A segment that was dropped stays readable for those who took `segments` before.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self._segments: dict[int, Words] = {}
        self._maps: dict[int, mmap.mmap] = {}
        """The maps of those that are files."""
        self._newest_time: dict[int, int] = {}
        self._used_words: dict[int, int] = {}
        self._crc: dict[int, int] = {}
        self._dropped: list[int] = []
        self._file: int | None = None
        self._memory: mmap.mmap | None = None
        self._open_number = -1
        self._in_memory = directory is None
        self.staging: Words = np.empty(STAGING_WORDS, np.uint64)

    def prepare(self) -> None:
        """Make the directory and empty it; only who holds the lock of the database may."""
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            for left in self.directory.glob("[0-9]*"):
                if not left.name.isdigit() or int(left.name) not in self._segments:
                    left.unlink()

    @property
    def is_on_disk(self) -> bool:
        """Whether all segments are files."""
        return not self._in_memory

    def save(self) -> dict[str, Any]:
        """Return what `restore` needs, beside the files."""
        return {
            "pages.segments": [
                [number, used, self._newest_time[number], self._crc[number]]
                for number, used in self._used_words.items()
            ]
        }

    def restore(self, saved: Mapping[str, Any], state: Ints) -> bool:
        """Take over the files of another run; False if one is missing or not as it was."""
        if self.directory is None:
            return False
        open_number = int(state[STAGE_BASE]) // SEGMENT_WORDS
        for number, used, newest_time, crc in saved["pages.segments"]:
            try:
                path = self._path(self.directory, number)
                self._take_over(path, number, used, crc, keep_open=number == open_number)
            except (OSError, ValueError) as error:
                _log.warning("sealed pages of the head cannot be used: %s", error)
                self.close()
                return False
            self._used_words[number], self._newest_time[number] = used, newest_time
            self._crc[number] = crc
        return True

    def _take_over(self, path: Path, number: int, used: int, crc: int, *, keep_open: bool) -> None:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            mapped = mmap.mmap(file, 8 * SEGMENT_WORDS, access=mmap.ACCESS_READ)
            found = 0
            with memoryview(mapped)[: 8 * used] as data:
                for at in range(0, len(data), _CHECKED_AT_ONCE):
                    found = zlib.crc32(data[at : at + _CHECKED_AT_ONCE], found)
                    # What was looked at is page cache, not memory of this process.
                    mapped.madvise(mmap.MADV_DONTNEED)
            if found != crc:
                raise ValueError(f"checksum mismatch in {path}")
        except BaseException:
            os.close(file)
            raise
        self._segments[number] = np.frombuffer(mapped, np.uint64)
        self._maps[number] = mapped
        if keep_open:
            self._file, self._open_number = file, number
        else:
            os.close(file)

    @property
    def segments(self) -> Mapping[int, Words]:
        """All segments by number: uint64[SEGMENT_WORDS] each, to be read only."""
        return dict(self._segments)

    @property
    def size_bytes(self) -> int:
        """Bytes written to the segments; the files are sparse behind."""
        return 8 * sum(self._used_words.values())

    def flush(self, state: Ints, newest_time: int) -> None:
        """Write what is staged and move the staging area on, to the next segment if need be.

        `newest_time` is the newest time that the pages can hold.
        """
        count = int(state[STAGED])
        if count:
            number, offset = divmod(int(state[STAGE_BASE]), SEGMENT_WORDS)
            if number != self._open_number:
                self._open(number)
            staged = self.staging[:count]
            self._write(offset, staged)
            self._crc[number] = zlib.crc32(staged.view(np.uint8).data, self._crc.get(number, 0))
            self._newest_time[number] = newest_time
            self._used_words[number] = offset + count
            state[STAGED] = 0
            if offset + count + STAGING_WORDS > SEGMENT_WORDS:
                state[STAGE_BASE] = (number + 1) * SEGMENT_WORDS
            else:
                state[STAGE_BASE] += count

    def let_go(self, number: int, first: int = 0, words: int = SEGMENT_WORDS) -> None:
        """Count a part of a segment no more as memory of this process; who reads it maps it again.

        A segment that is no file is left as it is. Needs no lock.
        """
        mapped = self._maps.get(number)
        if mapped is not None:
            let_go(mapped, 8 * first, 8 * (first + words))

    def let_go_all(self) -> None:
        """Let go of what queries have read of all segments. Needs no lock."""
        for number in list(self._maps):
            self.let_go(number)

    def drop_before(self, time: int) -> None:
        """Drop the segments whose pages all end before `time`; never the one being written.

        Their files stay until `unlink_dropped`.
        """
        for number in [n for n, newest in self._newest_time.items() if newest < time]:
            if number == self._open_number:
                continue
            del self._segments[number], self._newest_time[number], self._used_words[number]
            del self._crc[number]
            self._maps.pop(number, None)
            self._dropped.append(number)

    def unlink_dropped(self) -> None:
        """Delete the files of dropped segments; no saved head names them any more."""
        dropped, self._dropped = self._dropped, []
        if self.directory is not None:
            for number in dropped:
                self._path(self.directory, number).unlink(missing_ok=True)

    def close(self, *, keep_files: bool = False) -> None:
        """Drop everything, the files too unless a saved head needs them."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.unlink_dropped()
        if self.directory is not None and not keep_files:
            for number in self._segments:
                self._path(self.directory, number).unlink(missing_ok=True)
        for column in (
            self._segments,
            self._maps,
            self._newest_time,
            self._used_words,
            self._crc,
        ):
            column.clear()
        self._open_number = -1

    def _open(self, number: int) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._memory = None
        self._open_number = number
        if self.directory is None:
            self._open_in_memory(number)
            return
        try:
            path = self._path(self.directory, number)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            os.ftruncate(file, 8 * SEGMENT_WORDS)
            mapped = mmap.mmap(file, 8 * SEGMENT_WORDS, access=mmap.ACCESS_READ)
        except OSError as error:
            _log.warning("head pages stay in memory: %s", error)
            self._open_in_memory(number)
            return
        self._file = file
        self._segments[number] = np.frombuffer(mapped, np.uint64)
        self._maps[number] = mapped

    def _open_in_memory(self, number: int) -> None:
        self._in_memory = True
        self._maps.pop(number, None)
        self._memory = mmap.mmap(-1, 8 * SEGMENT_WORDS)
        self._segments[number] = np.frombuffer(self._memory, np.uint64)

    def _write(self, offset: int, words: Words) -> None:
        data = words.view(np.uint8).data
        if self._file is not None:
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(self._file, data[written:], 8 * offset + written)
            except OSError as error:
                # The samples are in the WAL and must stay readable: go on in memory.
                _log.warning("head pages move to memory: %s", error)
                before = self._segments[self._open_number][:offset].tobytes()
                os.close(self._file)
                self._file = None
                self._open_in_memory(self._open_number)
                assert self._memory is not None
                self._memory[: len(before)] = before
            else:
                return
        assert self._memory is not None
        self._memory[8 * offset : 8 * offset + len(data)] = data

    @staticmethod
    def _path(directory: Path, number: int) -> Path:
        return directory / f"{number:06d}"


def check_pages(directory: Path, saved: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the files that `PageStore.save` named; nothing is changed."""
    problems = []
    for number, used, _, crc in saved["pages.segments"]:
        path = directory / f"{number:06d}"
        try:
            with path.open("rb") as file:
                found, left = 0, 8 * used
                while left and (data := file.read(min(left, 1 << 22))):
                    found, left = zlib.crc32(data, found), left - len(data)
        except OSError as error:
            problems.append(f"{path} cannot be read: {error}")
            continue
        if left:
            problems.append(f"{path} is cut off")
        elif found != crc:
            problems.append(f"{path} at byte 0: checksum mismatch")
    return problems
