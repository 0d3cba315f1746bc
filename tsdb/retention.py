"""Which blocks to drop: a pure decision from metas, sizes and limits.

From: `database.py`, which knows what is on disk and what the configuration allows.
To:   the same, which deletes the directories.

Source: Prometheus documentation, storage; the limit that is hit first decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tsdb.block_meta import BlockMeta


@dataclass(frozen=True, slots=True)
class Dropped:
    """ULIDs to drop, oldest last, by the limit that asks for it; one may be in both."""

    by_time: tuple[str, ...]
    by_size: tuple[str, ...]

    @property
    def ulids(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self.by_time) | frozenset(self.by_size)


def blocks_to_drop(
    metas: Sequence[BlockMeta],
    *,
    retention_ms: int = 0,
    size_limit_bytes: int = 0,
    sizes: Mapping[str, int] | None = None,
    other_bytes: int = 0,
    newest_max_time_ms: int | None = None,
) -> Dropped:
    """Return the blocks beyond retention. A limit of 0 is no limit.

    By time, a block goes when it ends at least `retention_ms` before the newest block does, or
    before `newest_max_time_ms` where the caller knows better. By size, blocks are kept from the
    newest on while they and `other_bytes` (WAL, head) fit; the first that does not fit goes, and
    all older ones. `sizes` has the bytes of every block.
    """
    newest_first = sorted(metas, key=lambda meta: (-meta.max_time_ms, meta.min_time_ms, meta.ulid))
    by_time: list[str] = []
    if retention_ms > 0 and newest_first:
        newest = newest_first[0].max_time_ms if newest_max_time_ms is None else newest_max_time_ms
        by_time = [m.ulid for m in newest_first if newest - m.max_time_ms >= retention_ms]
    by_size: list[str] = []
    if size_limit_bytes > 0 and sizes is not None:
        total = other_bytes
        for at, meta in enumerate(newest_first):
            total += sizes[meta.ulid]
            if total > size_limit_bytes:
                by_size = [older.ulid for older in newest_first[at:]]
                break
    return Dropped(tuple(by_time), tuple(by_size))
