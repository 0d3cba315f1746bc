"""The `meta.json` of a block of Prometheus, and which directories are such blocks.

From: a data directory or a snapshot. To: `block.py`, `importing.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsdb.block_meta import is_ulid
from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from pathlib import Path

META_FILE = "meta.json"


@dataclass(frozen=True, slots=True)
class PrometheusMeta:
    """What a block says of itself. Units: milliseconds; `max_time_ms` is exclusive."""

    ulid: str
    min_time_ms: int
    max_time_ms: int
    num_samples: int
    num_series: int
    num_chunks: int
    level: int
    sources: tuple[str, ...]
    parents: tuple[str, ...]
    hints: tuple[str, ...]
    deletable: bool

    @property
    def is_out_of_order(self) -> bool:
        """Whether it holds late samples, beside those of the log."""
        return "from-out-of-order" in self.hints


def read_meta(directory: Path) -> PrometheusMeta:
    """Read the meta of a block. Raises `CorruptFileError`, OSError."""
    path = directory / META_FILE
    try:
        content = json.loads(path.read_bytes())
        if content.get("format") == "gnomon":
            raise CorruptFileError(path, 0, "a block of Gnomon, not of Prometheus")
        if content["version"] != 1:
            raise CorruptFileError(path, 0, f"version {content['version']} is not known")
        stats, compaction = content.get("stats", {}), content.get("compaction", {})
        return PrometheusMeta(
            ulid=str(content["ulid"]),
            min_time_ms=int(content["minTime"]),
            max_time_ms=int(content["maxTime"]),
            num_samples=int(stats.get("numSamples", 0)),
            num_series=int(stats.get("numSeries", 0)),
            num_chunks=int(stats.get("numChunks", 0)),
            level=int(compaction.get("level", 1)),
            sources=tuple(compaction.get("sources") or ()),
            parents=tuple(parent["ulid"] for parent in compaction.get("parents") or ()),
            hints=tuple(compaction.get("hints") or ()),
            deletable=bool(compaction.get("deletable", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(path, 0, f"not a block's meta: {error!r}") from error


def block_directories(directory: Path) -> list[Path]:
    """Return the directories that are named like blocks, by name."""
    return sorted(path for path in directory.iterdir() if is_ulid(path.name) and path.is_dir())
