"""Check every checksum and every order invariant of a data directory; nothing is changed.

From: `commands/tsdb.py`. To: sentences, for a human.
Blocks check themselves (`Block.verify`), as does the saved head (`head_snapshot.py`); here every
record of the log is unpacked and read as well, and its samples must belong to series that the log
made known before.
A directory may be in use: what a server deletes meanwhile is passed over, and the record that it is
just writing is a note, not damage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tsdb.block import Block
from tsdb.block_meta import is_ulid
from tsdb.block_writer import TMP_SUFFIX
from tsdb.compaction import superseded
from tsdb.errors import CorruptFileError
from tsdb.head_snapshot import check_snapshot
from tsdb.histograms.record import read_histograms
from tsdb.sample_record import SampleDecoder
from tsdb.segment_reader import DamagedError, read_chunks, unpacked
from tsdb.wal import (
    EXEMPLARS,
    HISTOGRAMS,
    SAMPLES,
    SERIES,
    TOMBSTONE,
    checkpoints,
    read_exemplars,
    read_series,
    read_tombstone,
    segments,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tsdb.block_meta import BlockMeta
    from tsdb.interface import Ints


@dataclass(slots=True)
class Verdict:
    """What was looked at. `problems` are damage; `notes` are what a start puts right by itself."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blocks: int = 0
    block_samples: int = 0
    segments: int = 0
    records: int = 0
    log_samples: int = 0


def verify_directory(directory: Path) -> Verdict:
    """Check blocks, log and saved head. Raises OSError if the directory cannot be read."""
    verdict = Verdict()
    metas = []
    for path in sorted(directory.iterdir()):
        if is_ulid(path.name):
            meta = _verify_block(path, verdict)
            if meta is not None:
                metas.append(meta)
        elif path.name.endswith(TMP_SUFFIX):
            verdict.notes.append(f"{path} was left by a crash; the next start removes it")
    verdict.notes += [
        f"block {ulid} is replaced by another; the next start removes it"
        for ulid in sorted(superseded(metas) & {meta.ulid for meta in metas})
    ]
    if (directory / "wal").is_dir():
        _verify_log(directory / "wal", verdict)
    if (directory / "head").is_dir():
        verdict.problems += check_snapshot(directory / "head")
    return verdict


def _verify_block(path: Path, verdict: Verdict) -> BlockMeta | None:
    try:
        block = Block.open(path)
        try:
            found = block.verify()
        finally:
            block.close()
    except CorruptFileError as error:
        if path.exists():
            verdict.problems.append(str(error))
        return None
    except OSError as error:
        if path.exists():
            verdict.problems.append(f"block {path} cannot be read: {error}")
        return None
    verdict.blocks += 1
    verdict.block_samples += block.meta.stats.num_samples
    verdict.problems += [str(error) for error in found]
    if block.meta.min_time_ms >= block.meta.max_time_ms:
        verdict.problems.append(f"block {path} ends before it begins")
    return block.meta


def _verify_log(directory: Path, verdict: Verdict) -> None:
    newest = checkpoints(directory)[-1:]
    begin = newest[0][0] if newest else 0
    numbered = [(n, path) for n, path in segments(directory) if n >= begin]
    _verify_numbers([n for n, _ in numbered], directory, verdict)
    known = _KnownSeries()
    for at, (_, path) in enumerate([*newest, *numbered]):
        is_last = at == len(newest) + len(numbered) - 1
        verdict.segments += 1
        try:
            _verify_segment(path, known, verdict)
        except FileNotFoundError:
            verdict.segments -= 1
        except OSError as error:
            verdict.problems.append(f"{path} cannot be read: {error}")
        except DamagedError as damage:
            if is_last and damage.torn:
                verdict.notes.append(f"{path} is torn off {damage}; the next start cuts it there")
            else:
                verdict.problems.append(f"{path} {damage}")


def _verify_numbers(numbers: list[int], directory: Path, verdict: Verdict) -> None:
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers)) if numbers else []
    if missing:
        verdict.problems.append(f"{directory} lacks segment {missing[0]}, and has later ones")


def _verify_segment(path: Path, known: _KnownSeries, verdict: Verdict) -> None:
    decoder = SampleDecoder()
    for chunk in read_chunks(path):
        if chunk.damaged:
            verdict.problems.append(f"{path}: {chunk.damaged} records with a wrong checksum")
        for record in chunk.records:
            verdict.records += 1
            payload = unpacked(chunk.data[record.start : record.stop], record.flags)
            problem = "a record that cannot be unpacked"
            if payload is not None and record.kind == SAMPLES:
                decoder.add(payload, 0, len(payload), record.place)
                found = decoder.decode(payload)
                problem = (
                    "samples record does not add up"
                    if found.damaged
                    else _unknown(found.refs, known, verdict)
                )
            elif payload is not None:
                problem = _problem_of(record.kind, payload, known, verdict)
            if problem:
                verdict.problems.append(f"{path}: {problem}")


def _problem_of(kind: int, payload: bytes, known: _KnownSeries, verdict: Verdict) -> str:
    """Return what is wrong with a record, "" for nothing. Kinds that we do not know are right."""
    try:
        if kind == SERIES:
            known.add(read_series(payload)[0])
            return ""
        if kind == TOMBSTONE:
            read_tombstone(payload)
            return ""
        refs = next(_refs(kind, payload), None)
    except ValueError as error:
        return str(error)
    if refs is None:
        return ""
    return _unknown(refs, known, verdict, counted=kind != EXEMPLARS)


def _unknown(refs: Ints, known: _KnownSeries, verdict: Verdict, *, counted: bool = True) -> str:
    """Say, "" for nothing, that there are samples of unknown series; count the samples."""
    verdict.log_samples += refs.size if counted else 0
    unknown = known.count_unknown(refs)
    return f"{unknown} samples of series that the log does not know" if unknown else ""


def _refs(kind: int, payload: bytes) -> Iterator[Ints]:
    if kind == HISTOGRAMS:
        yield read_histograms(payload)[0]
    elif kind == EXEMPLARS:
        yield read_exemplars(payload)[0]


class _KnownSeries:
    """The refs that series records have named, sorted when they are first asked for."""

    def __init__(self) -> None:
        self._sorted: Ints = np.empty(0, np.int64)
        self._new: list[Ints] = []

    def add(self, refs: Ints) -> None:
        self._new.append(refs)

    def count_unknown(self, refs: Ints) -> int:
        if self._new:
            self._sorted = np.unique(np.concatenate([self._sorted, *self._new]))
            self._new = []
        if not self._sorted.size:
            return int(refs.size)
        place = np.searchsorted(self._sorted, refs)
        place[place == self._sorted.size] = 0
        return int(np.count_nonzero(self._sorted[place] != refs))
