"""Whether a directory is Prometheus' own: a server that opened it would lose what its log holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def holds_prometheus_data(directory: Path) -> bool:
    """Return whether a directory has a head or blocks in Prometheus' format. Raises OSError."""
    if not directory.is_dir():
        return False
    if (directory / "chunks_head").is_dir():
        return True
    return any((block / "chunks").is_dir() for block in directory.iterdir())
