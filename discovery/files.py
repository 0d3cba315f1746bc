"""Target groups from files that something else writes.

From: `file_sd_configs`: globs of JSON and YAML files.   To: `combine.py`.
Source: Prometheus documentation, `file_sd_config`.

Files are noticed by their stamps (inode, size, modification time), looked at every
`POLL_S`: that sees renames over a file, symlinks swapped (as Kubernetes does with a ConfigMap) and
network file systems alike, which change notification of the kernel does not.
Invariant: a file that cannot be read or parsed keeps the groups it last gave; a file that is gone
takes its groups with it.
"""

from __future__ import annotations

import asyncio
import glob
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from discovery.group_format import GroupFormatError, parse_json, parse_yaml
from discovery.groups import TargetGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    Stamp = tuple[int, int, int]

_log = logging.getLogger(__name__)

POLL_S = 1.0
"""How soon a change is seen at the latest; a stat of each file costs some microseconds."""


@dataclass(frozen=True, slots=True)
class FileStats:
    """`mtimes_s` is the modification time of each file now known, since the epoch."""

    read_errors: int
    mtimes_s: Mapping[str, float]


@dataclass(slots=True)
class _State:
    """What is known of the files: by path its stamp, and how many groups it gave last."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    group_counts: dict[str, int] = field(default_factory=dict)
    read_errors: int = 0


@dataclass(frozen=True, slots=True)
class FileDiscovery:
    """Watches the files of some globs. Equal configurations make equal discoverers."""

    patterns: tuple[str, ...]
    refresh_interval_s: float = 300.0
    poll_s: float = field(default=POLL_S, compare=False)
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield the groups of all files, then of those that change. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        state = self._state
        state.stamps.clear()
        state.group_counts.clear()
        yield await loop.run_in_executor(None, self._refresh, True)
        whole_at = loop.time() + self.refresh_interval_s
        while True:
            await asyncio.sleep(self.poll_s)
            whole = loop.time() >= whole_at
            if whole:
                whole_at = loop.time() + self.refresh_interval_s
            groups = await loop.run_in_executor(None, self._refresh, whole)
            if groups:
                yield groups

    def stats(self) -> FileStats:
        """Return errors so far and the age of what is known."""
        stamps = dict(self._state.stamps)
        return FileStats(
            self._state.read_errors, {path: stamp[2] / 1e9 for path, stamp in stamps.items()}
        )

    def _refresh(self, whole: bool) -> list[TargetGroup]:
        """Return the groups of files that changed (`whole`: of all), empty ones for what went."""
        state = self._state
        found: list[TargetGroup] = []
        paths: set[str] = set()
        for pattern in self.patterns:
            # `Path.glob` takes no absolute patterns.
            paths.update(glob.glob(pattern))  # noqa: PTH207
        for path in sorted(state.group_counts.keys() - paths):
            found += _emptied(path, 0, state.group_counts.pop(path))
            state.stamps.pop(path, None)
        for path in sorted(paths):
            try:
                stamp = _stamp(path)
                if not whole and state.stamps.get(path) == stamp:
                    continue
                groups = read_groups(path)
            except (OSError, GroupFormatError) as e:
                # Its stamp is kept, so that this is said once for each state of a broken file.
                state.read_errors += 1
                _log.error("Error reading file: path=%s %s", path, e)
                broken = _stamp_or_none(path)
                if broken is not None:
                    state.stamps[path] = broken
                continue
            before = state.group_counts.get(path, 0)
            state.stamps[path], state.group_counts[path] = stamp, len(groups)
            found += groups + _emptied(path, len(groups), before)
        return found


def read_groups(path: str) -> list[TargetGroup]:
    """Return the groups of one file. Raises OSError, GroupFormatError.

    Sources are `path:number`; each target has the label `__meta_filepath`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise GroupFormatError(str(e)) from e
    parse = parse_json if path.lower().endswith(".json") else parse_yaml
    return [
        replace(
            group,
            source=f"{path}:{group.source}",
            labels={**group.labels, "__meta_filepath": path},
        )
        for group in parse(text)
    ]


def _emptied(path: str, first: int, stop: int) -> list[TargetGroup]:
    return [TargetGroup(f"{path}:{number}") for number in range(first, stop)]


def _stamp(path: str) -> Stamp:
    """Return what changes when a file is written or replaced."""
    status = Path(path).stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stamp_or_none(path: str) -> Stamp | None:
    try:
        return _stamp(path)
    except OSError:
        return None
