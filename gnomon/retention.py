"""How much is kept: what flags and file say of it together.

From: `flags.py`, `config/`. To: `wiring.py`, and the API by `state.py`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.config.model import RETENTION_DEFAULT_MS
from gnomon.units import format_duration, format_size

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.model import Config
    from gnomon.flags import ServeOptions


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept; None is no limit.

    `size_bytes` is what `percentage` of the disk comes to, where that is not 0.
    """

    time_ms: int | None
    size_bytes: int | None
    percentage: float = 0.0

    def text(self) -> str:
        """Return it as `/api/v1/status/runtimeinfo` shows it."""
        parts = []
        if self.time_ms is not None:
            parts.append(format_duration(self.time_ms))
        if self.percentage:
            parts.append(f"{self.percentage:g}%")
        elif self.size_bytes is not None:
            parts.append(format_size(self.size_bytes))
        return " or ".join(parts)


def retention(options: ServeOptions, config: Config) -> Retention:
    """Combine flags and file: the file wins; 15 days where neither names time or size.

    A percentage, of the disk that has the data directory, counts instead of a size.
    Raises OSError where the disk does not tell its size.
    """
    storage = config.storage
    time_ms = options.retention_time_ms
    if storage.retention_time_ms is not None:
        time_ms = storage.retention_time_ms
    size_bytes = options.retention_size_bytes
    if storage.retention_size_bytes is not None:
        size_bytes = storage.retention_size_bytes
    percentage = storage.retention_percentage
    if percentage:
        size_bytes = int(_disk_bytes(options.data_path) * percentage / 100)
    if not time_ms and not size_bytes:
        time_ms = RETENTION_DEFAULT_MS
    return Retention(time_ms or None, size_bytes or None, percentage)


def _disk_bytes(directory: Path) -> int:
    """Return the size of the disk that has a directory, or will have it."""
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).total
