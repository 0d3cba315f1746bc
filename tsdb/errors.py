"""Every way storage refuses, and what the caller then does.

StorageError
├── CorruptFileError      skip the frame, count it, report path and offset, go on
├── TooManySamplesError   tell the client; raised before memory is taken
├── LockedError           another process owns the directory: stop the start with its text
├── WriteFailedError      the disk is full or gone: nothing of the call was stored, try it again
├── ReadAgainError        select once more, and read all values at once
├── BadMatcherError       the client's fault: a regular expression that does not compile
└── ClosedError           the caller's bug; never retried
A refused sample is an `AppendStatus`: one late sample must not cost its ten thousand neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StorageError(Exception):
    """Base of all that storage raises."""


class CorruptFileError(StorageError):
    """Bytes on disk do not match their checksum or their format."""

    def __init__(self, path: Path, offset_bytes: int, reason: str) -> None:
        super().__init__(f"{path} at byte {offset_bytes}: {reason}")
        self.path, self.offset_bytes, self.reason = path, offset_bytes, reason


class TooManySamplesError(StorageError):
    """A selection holds more samples than the caller allowed; nothing was read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"selection holds more than {limit} samples")
        self.limit = limit


class ReadAgainError(StorageError):
    """Values that were left to be read later are damaged; who reads them at once is told how."""


class LockedError(StorageError):
    """Another process holds the lock of the data directory."""


class WriteFailedError(StorageError):
    """The log could not be written; nothing of the call was stored."""


class BadMatcherError(StorageError):
    """A matcher's regular expression does not compile under RE2."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"error parsing regexp: {reason}")
        self.pattern, self.reason = pattern, reason


class ClosedError(StorageError):
    """The database was closed before this call."""
