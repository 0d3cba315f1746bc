"""What a block says of itself: its name (a ULID) and its `meta.json`.

From: `block_writer.py`, which writes it last.
To:   `block.py`, `compaction.py` and `retention.py`, whose decisions need nothing else.

The fields are those of Prometheus' meta.json, so that its tools and people's habits apply.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from pathlib import Path

META_FILE = "meta.json"
META_VERSION = 1
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_CHARS = 26


def new_ulid(now_ms: int | None = None) -> str:
    """Return a fresh ULID: 48 bits of Unix milliseconds, 80 random bits, sortable by age.

    >>> new_ulid(0)[:10], len(new_ulid())
    ('0000000000', 26)
    """
    milliseconds = int(time.time() * 1000) if now_ms is None else now_ms
    number = (milliseconds << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


def is_ulid(name: str) -> bool:
    """Return whether a directory's name is that of a block.

    >>> is_ulid(new_ulid()), is_ulid("wal"), is_ulid("01ARZ3NDEKTSV4RRFFQ69G5FAU")
    (True, False, False)
    """
    return len(name) == ULID_CHARS and all(letter in _CROCKFORD for letter in name)


@dataclass(frozen=True, slots=True)
class BlockStats:
    """How much is in a block. Tombstones count the ranges of its `tombstones` file.

    Of the samples `num_histograms` are native histograms, the others floats. Series that hold start
    timestamps are counted in, and by themselves: `num_start_series`, `num_start_samples`.
    """

    num_samples: int = 0
    num_series: int = 0
    num_chunks: int = 0
    num_tombstones: int = 0
    num_histograms: int = 0
    num_start_series: int = 0
    num_start_samples: int = 0


@dataclass(frozen=True, slots=True)
class BlockParent:
    """A block that was compacted into this one, and is gone or about to go."""

    ulid: str
    min_time_ms: int
    max_time_ms: int


@dataclass(frozen=True, slots=True)
class BlockMeta:
    """Identity, time range and origin of one block.

    Units: milliseconds; `max_time_ms` is exclusive. `sources`: the level-1 blocks whose samples are
    here, itself among them if it is of level 1. `parents`: what it was directly compacted from.
    """

    ulid: str
    min_time_ms: int
    max_time_ms: int
    stats: BlockStats = field(default_factory=BlockStats)
    level: int = 1
    sources: tuple[str, ...] = ()
    parents: tuple[BlockParent, ...] = ()
    hints: tuple[str, ...] = ()

    def overlaps(self, start_ms: int, end_ms: int) -> bool:
        """Return whether the block may hold samples in [start_ms, end_ms], inclusive."""
        return self.min_time_ms <= end_ms and start_ms < self.max_time_ms

    def to_json(self) -> bytes:
        """Return the content of `meta.json`."""
        stats = {
            "numSamples": self.stats.num_samples,
            "numSeries": self.stats.num_series,
            "numChunks": self.stats.num_chunks,
        }
        if self.stats.num_histograms:
            stats["numFloatSamples"] = self.stats.num_samples - self.stats.num_histograms
            stats["numHistogramSamples"] = self.stats.num_histograms
        if self.stats.num_start_series:
            stats["numStartSeries"] = self.stats.num_start_series
            stats["numStartSamples"] = self.stats.num_start_samples
        if self.stats.num_tombstones:
            stats["numTombstones"] = self.stats.num_tombstones
        compaction: dict[str, Any] = {"level": self.level, "sources": list(self.sources)}
        if self.parents:
            compaction["parents"] = [
                {"ulid": p.ulid, "minTime": p.min_time_ms, "maxTime": p.max_time_ms}
                for p in self.parents
            ]
        if self.hints:
            compaction["hints"] = list(self.hints)
        content = {
            "ulid": self.ulid,
            "minTime": self.min_time_ms,
            "maxTime": self.max_time_ms,
            "stats": stats,
            "compaction": compaction,
            "version": META_VERSION,
            "format": "gnomon",
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    @staticmethod
    def read(directory: Path) -> BlockMeta:
        """Read the meta of the block in `directory`. Raises `CorruptFileError`, `OSError`."""
        path = directory / META_FILE
        try:
            content = json.loads(path.read_bytes())
            if content["version"] != META_VERSION or content.get("format") != "gnomon":
                raise CorruptFileError(path, 0, "not the meta of a Gnomon block")
            stats, compaction = content["stats"], content["compaction"]
            return BlockMeta(
                ulid=str(content["ulid"]),
                min_time_ms=int(content["minTime"]),
                max_time_ms=int(content["maxTime"]),
                stats=BlockStats(
                    num_samples=int(stats["numSamples"]),
                    num_series=int(stats["numSeries"]),
                    num_chunks=int(stats["numChunks"]),
                    num_tombstones=int(stats.get("numTombstones", 0)),
                    num_histograms=int(stats.get("numHistogramSamples", 0)),
                    num_start_series=int(stats.get("numStartSeries", 0)),
                    num_start_samples=int(stats.get("numStartSamples", 0)),
                ),
                level=int(compaction["level"]),
                sources=tuple(compaction["sources"]),
                parents=tuple(
                    BlockParent(p["ulid"], int(p["minTime"]), int(p["maxTime"]))
                    for p in compaction.get("parents", ())
                ),
                hints=tuple(compaction.get("hints", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(path, 0, f"not a block's meta: {error!r}") from error
