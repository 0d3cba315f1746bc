"""The whole head in one file: written when a database is closed, read when it is opened again.

From and to: `head.py` and what it is made of, each of which names its state as `Saved`.

The file is a shortcut and never the truth: the log still has everything. It is used only if it is
whole, if the log has not changed since, if the sealed pages that it speaks of are there and right,
and if it was made with the same layout of the head; else the log is replayed. It is deleted before
anything is written to the log again. So no crash, and no other version of the program, can make
it say something that is no longer so.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.array_file import ArrayFile, write_arrays
from tsdb.errors import CorruptFileError
from tsdb.kernels import SEGMENT_WORDS, SLAB, STATE_SIZE
from tsdb.wal import segments

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.head import Head

    Array = npt.NDArray[Any]

_log = logging.getLogger(__name__)

SNAPSHOT_FILE = "snapshot"
_LAYOUT = [5, SLAB, SEGMENT_WORDS, STATE_SIZE]
"""Raise the first number when the meaning of anything saved changes."""
_UNSIGNED = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}


def write_snapshot(head: Head, directory: Path, wal_directory: Path) -> bool:
    """Write the head as it is, the log being closed; return whether that was possible."""
    log_end = _log_end(wal_directory)
    if log_end is None or not head.pages.is_on_disk:
        return False
    plain: dict[str, Any] = {"layout": _LAYOUT, "log": log_end}
    arrays: dict[str, Array] = {}
    shapes: dict[str, tuple[str, list[int]]] = {}
    for name, value in head.save().items():
        if isinstance(value, np.ndarray):
            # Array files know few types; the true ones are noted beside.
            flat = np.ascontiguousarray(value).reshape(-1)
            arrays[f"a{len(shapes)}"] = flat.view(_UNSIGNED[flat.itemsize])
            shapes[name] = (value.dtype.str, list(value.shape))
        else:
            plain[name] = value
    facts = json.dumps({"plain": plain, "arrays": shapes}).encode()
    arrays["facts"] = np.frombuffer(facts, np.uint8)
    path = directory / SNAPSHOT_FILE
    temporary = path.with_name(path.name + ".tmp")
    try:
        # Not synced: what a power failure spoils does not pass its checksums.
        write_arrays(temporary, arrays, sync=False)
        temporary.rename(path)
    except OSError as error:
        _log.warning("the head is not saved, the next start replays the log: %s", error)
        temporary.unlink(missing_ok=True)
        return False
    return True


def read_snapshot(head: Head, directory: Path, wal_directory: Path) -> int | None:
    """Bring the head back; return the first segment of the log that it does not stand for.

    None if there is no snapshot that can be used; then the head is as empty as before. The file
    is gone afterwards.
    """
    path = directory / SNAPSHOT_FILE
    try:
        file = ArrayFile(path)
        file.verify()
        facts = json.loads(file.array("facts").tobytes())
    except FileNotFoundError:
        return None
    except (CorruptFileError, OSError, ValueError) as error:
        _log.warning("the saved head cannot be used, the log is replayed: %s", error)
        path.unlink(missing_ok=True)
        return None
    path.unlink()
    _sync(directory)
    plain = facts["plain"]
    if plain.pop("layout") != _LAYOUT or plain.pop("log") != _log_end(wal_directory):
        _log.info("the saved head is of another version or log; the log is replayed")
        return None
    saved: dict[str, Any] = dict(plain)
    for number, (name, (kind, shape)) in enumerate(facts["arrays"].items()):
        saved[name] = file.array(f"a{number}").view(np.dtype(kind)).reshape(shape)
    if not head.restore(saved):
        _log.warning("sealed pages of the saved head are damaged; the log is replayed")
        return None
    return int(segments(wal_directory)[-1][0]) + 1


def _log_end(wal_directory: Path) -> list[int] | None:
    """Return number and bytes of the newest segment: they tell whether the log has changed."""
    found = segments(wal_directory)
    return [found[-1][0], found[-1][1].stat().st_size] if found else None


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
