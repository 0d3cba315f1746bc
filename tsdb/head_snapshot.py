"""The head in one file, written every now and then and at the end, read at the next start.

From and to: `head_saving.py`. Asked for by `maintenance.py`, while writers go on.

The file is a shortcut and never the truth: the log still has everything. It stands for all of the
log before a segment that was begun when its writing began; a start takes it over and replays the
log from there. Series are those of that moment. Slots are copied a few thousand at a time, for
less than a millisecond each under the head's lock, so some have samples that came later, which the
log has again: they are told as duplicates. What must not happen meanwhile are cuts and deletions.
It is used only if it is whole, if that part of the log is there and as long as it was, if the
sealed pages that it names pass their checksums, and if it was made with the same layout of the
head; else the whole log is replayed.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdb.array_file import ArrayFile, ArrayWriter
from tsdb.errors import CorruptFileError
from tsdb.head_packing import pack, unpack
from tsdb.head_pages import check_pages
from tsdb.head_saving import copy_slots, restore, save_rest, save_series
from tsdb.head_slots import OpenSamples
from tsdb.kernels import SEGMENT_WORDS, SLAB, STATE_SIZE
from tsdb.wal import checkpoints, segment_path, segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tsdb.head import Head

    Array = npt.NDArray[Any]

_log = logging.getLogger(__name__)

SNAPSHOT_FILE = "snapshot"
_LAYOUT = [6, SLAB, SEGMENT_WORDS, STATE_SIZE]
"""Raise the first number when the meaning of anything saved changes."""
_UNSIGNED = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_VALUES = ".bits"
"""How the names of arrays of values end."""
_SLOTS_AT_ONCE = 4096
"""Slots copied under the lock: a megabyte, some tenths of a millisecond."""
_CHUNKS_RESIDENT = 16


def write_snapshot(
    head: Head,
    directory: Path,
    begin_segment: Callable[[], tuple[int, int]],
    sync_log: Callable[[], None],
) -> int | None:
    """Save the head; return the bytes of the file, None if it cannot be saved.

    `begin_segment` is called under the head's lock, when the writing begins; it returns number and
    size of the last segment of the log that the file stands for. `sync_log` is called before the
    file has its name: a batch of which it has a part must not be lost from the log.
    Raises OSError, `WriteFailedError`; then an older file is still there.
    """
    if not head.pages.is_on_disk:
        return None
    path = directory / SNAPSHOT_FILE
    temporary = path.with_name(path.name + ".tmp")
    try:
        with ArrayWriter(temporary) as out:
            contents = _Contents(out)
            with head.lock:
                log_end = begin_segment()
                saved = save_series(head)
            contents.add_all({"layout": _LAYOUT, "log": log_end, "step": _SLOTS_AT_ONCE, **saved})
            is_member = np.zeros(saved["head.slot_count"], np.bool_)
            is_member[saved["rows.members"]] = True
            for first in range(0, is_member.size, _SLOTS_AT_ONCE):
                stop = min(first + _SLOTS_AT_ONCE, is_member.size)
                with head.lock:
                    copied, columns = copy_slots(head, first, stop)
                samples = OpenSamples.of(copied, is_member[first:stop])
                parts = {f"slots.{first}.{name}": part for name, part in samples.save().items()}
                parts |= {f"slots.{first}.{number}": part for number, part in enumerate(columns)}
                contents.add_all(parts)
            with head.lock:
                rest = save_rest(head)
            contents.add_all(rest)
            size = contents.finish()
        sync_log()
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return size


class _Contents:
    """Values by name, in an array file: arrays as such, the rest, and what arrays are, as JSON."""

    def __init__(self, out: ArrayWriter) -> None:
        self._out = out
        self._plain: dict[str, Any] = {}
        self._shapes: dict[str, tuple[str, list[int], str]] = {}

    def add_all(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                # Array files know few types; the true ones are noted beside.
                flat = np.ascontiguousarray(value).reshape(-1)
                packing, kept = pack(flat, values=name.endswith(_VALUES))
                self._out.add(f"a{len(self._shapes)}", kept.view(_UNSIGNED[kept.itemsize]))
                self._shapes[name] = (value.dtype.str, list(value.shape), packing)
            else:
                self._plain[name] = value

    def finish(self) -> int:
        facts = json.dumps({"plain": self._plain, "arrays": self._shapes}).encode()
        self._out.add("facts", np.frombuffer(facts, np.uint8))
        # Not synced: what a power failure spoils does not pass its checksums.
        return self._out.finish(sync=False)


class _Saved:
    """What a file of `_Contents` holds, by name. Raises `CorruptFileError`, OSError, ValueError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = ArrayFile(path)
        self._file.verify()
        facts = json.loads(self._file.array("facts").tobytes())
        self._plain: dict[str, Any] = facts["plain"]
        self._arrays = {
            name: (f"a{number}", np.dtype(kind), shape, packing)
            for number, (name, (kind, shape, packing)) in enumerate(facts["arrays"].items())
        }

    @property
    def values(self) -> dict[str, Any]:
        """All but what there is of each slot; arrays may be views of the file."""
        arrays = {name: self._array(name) for name in self._arrays if not name.startswith("slots.")}
        return {**self._plain, **arrays}

    def slots(self) -> Iterator[tuple[int, OpenSamples, list[Array]]]:
        """Yield what there is of slots, as `restore` wants it."""
        firsts = range(0, self._plain["head.slot_count"], self._plain["step"])
        for number, first in enumerate(firsts):
            prefix = f"slots.{first}."
            names = ("fill", "block", "bits", "times")
            samples = OpenSamples(*(self._array(prefix + name) for name in names))
            columns: list[Array] = []
            while (name := f"{prefix}{len(columns)}") in self._arrays:
                columns.append(self._array(name))
            yield first, samples, columns
            if number % _CHUNKS_RESIDENT == 0:
                self._file.let_go()

    def _array(self, name: str) -> Array:
        place, kind, shape, packing = self._arrays[name]
        kept = self._file.array(place)
        return unpack(kept, packing, kind, math.prod(shape), self._path).reshape(shape)


def read_snapshot(head: Head, directory: Path, wal_directory: Path) -> int | None:
    """Bring the head back; return the first segment of the log that it does not stand for.

    None if there is no snapshot that can be used; then the head is as empty as before, and the
    file is gone.
    """
    path = directory / SNAPSHOT_FILE
    try:
        saved = _Saved(path)
        values = saved.values
        number, size = values["log"]
        if values["layout"] != _LAYOUT:
            reason = "is of another version"
        elif not _stands_for(wal_directory, number, size):
            reason = "belongs to another log"
        elif restore(head, values, saved.slots()):
            return int(number) + 1
        else:
            reason = "does not fit the pages or the windows"
    except FileNotFoundError:
        return None
    except (CorruptFileError, OSError, ValueError, KeyError) as error:
        reason = f"cannot be used ({error})"
    _log.warning("the saved head %s; the log is replayed", reason)
    path.unlink(missing_ok=True)
    return None


def has_snapshot(directory: Path) -> bool:
    """Say whether there is one, be it of use or not."""
    return (directory / SNAPSHOT_FILE).exists()


def check_snapshot(directory: Path) -> list[str]:
    """Return what is wrong with the saved head of `directory` and its pages; nothing is changed.

    A file that is replaced meanwhile, by who has the directory open, is looked at again.
    """
    path = directory / SNAPSHOT_FILE
    while True:
        try:
            before = path.stat()
            problems = _problems(path)
        except FileNotFoundError:
            return []
        except (CorruptFileError, OSError, ValueError, KeyError) as error:
            problems = [str(error)]
        if not problems or (path.exists() and path.stat().st_ino == before.st_ino):
            return problems


def _problems(path: Path) -> list[str]:
    saved = _Saved(path)
    values = saved.values
    if values["layout"] != _LAYOUT:
        return []
    return check_pages(path.parent, values) + [
        f"{path}: slots from {first} on do not add up"
        for first, samples, _ in saved.slots()
        if samples.bits.size != samples.fill.sum(dtype=np.int64)
        or samples.fill.max(initial=0) >= SLAB
        or samples.block.max(initial=-1) >= samples.times.shape[0]
    ]


def log_end(wal_directory: Path) -> tuple[int, int] | None:
    """Return number and bytes of the newest segment, None if there is none."""
    found = segments(wal_directory)
    return (found[-1][0], found[-1][1].stat().st_size) if found else None


def _stands_for(wal_directory: Path, number: int, size: int) -> bool:
    """Say whether segment `number` is there, as long as it was.

    A checkpoint of later segments was written for a later head, and may have replaced them.
    """
    try:
        if segment_path(wal_directory, number).stat().st_size != size:
            return False
    except FileNotFoundError:
        return False
    return all(before <= number + 1 for before, _ in checkpoints(wal_directory))
