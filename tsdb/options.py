"""How a database behaves: what whoever opens one can choose.

From: `gnomon/wiring.py`, the library, tools and tests. To: `database.py`, `maintenance.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsdb.append import wall_clock_ms
from tsdb.wal import WAL_SEGMENT_BYTES, Packing

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How a database behaves. Times in milliseconds, intervals in seconds.

    `retention_ms` None: for ever. `out_of_order_window_ms` None: any time within retention is
    welcome, 0: nothing late at all. `max_block_ms` None: a tenth of retention, 31 days at most.
    `background` runs maintenance in a thread, every `maintenance_interval_s`. `clock_ms` bounds
    what counts as the newest time, from which retention, cuts and the window of late samples are
    counted: a sample from the future does not push out those of today. `exemplars_max` are kept.
    The head is saved whenever the log has grown by `head_save_wal_bytes` and by as much as that
    takes: a start after a crash replays only what came later.
    Start timestamps that come with samples are stored beside them if `start_times_stored`, and as
    zero samples (at most half a block behind the newest sample) if `start_zeros`.
    """

    retention_ms: int | None = 15 * DAY_MS
    retention_bytes: int | None = None
    min_block_ms: int = 2 * HOUR_MS
    max_block_ms: int | None = None
    out_of_order_window_ms: int | None = None
    wal_segment_bytes: int = WAL_SEGMENT_BYTES
    wal_packing: Packing = Packing.TEXT
    head_save_wal_bytes: int = 16 << 20
    wal_fsync_interval_s: float | None = None
    no_lockfile: bool = False
    read_only: bool = False
    background: bool = True
    maintenance_interval_s: float = 60.0
    clock_ms: Callable[[], int] = wall_clock_ms
    exemplars_max: int = 100_000
    keep_blocks: bool = True
    """Whether what is cut from the head becomes blocks; else it is gone: the log was all for it."""
    start_times_stored: bool = True
    start_zeros: bool = False
