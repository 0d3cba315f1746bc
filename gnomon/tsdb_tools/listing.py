"""The blocks of a data directory in a table, as promtool prints them.

From: `meta.json` of each block, Gnomon's and Prometheus'. To: `commands/tsdb.py`.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsdb.block_meta import META_FILE, is_ulid
from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HEADER = (
    "BLOCK ULID",
    "MIN TIME",
    "MAX TIME",
    "DURATION",
    "NUM SAMPLES",
    "NUM CHUNKS",
    "NUM SERIES",
    "SIZE",
)


@dataclass(frozen=True, slots=True)
class BlockLine:
    """What a line of the table says. Times in ms, `max_time_ms` exclusive."""

    ulid: str
    min_time_ms: int
    max_time_ms: int
    samples: int
    chunks: int
    series: int
    size_bytes: int

    def cells(self, *, human_readable: bool) -> list[str]:
        """Return the texts of the line."""
        low, high, size = str(self.min_time_ms), str(self.max_time_ms), str(self.size_bytes)
        if human_readable:
            low, high = time_text(self.min_time_ms), time_text(self.max_time_ms)
            size = size_text(self.size_bytes)
        duration = go_duration(self.max_time_ms - self.min_time_ms)
        counts = [str(each) for each in (self.samples, self.chunks, self.series)]
        return [self.ulid, low, high, duration, *counts, size]


def block_lines(directory: Path) -> tuple[list[BlockLine], list[CorruptFileError]]:
    """Return the blocks of a directory, oldest first, and the metas that cannot be read.

    Raises OSError if the directory cannot be read.
    """
    lines, damaged = [], []
    for path in directory.iterdir():
        if not is_ulid(path.name):
            continue
        try:
            lines.append(block_line(path))
        except CorruptFileError as error:
            damaged.append(error)
        except FileNotFoundError:
            if path.exists():
                damaged.append(CorruptFileError(path / META_FILE, 0, "is missing"))
    return sorted(lines, key=lambda line: (line.min_time_ms, line.ulid)), damaged


def block_line(path: Path) -> BlockLine:
    """Return what the block in directory `path` says of itself. Raises `CorruptFileError`."""
    meta_path = path / META_FILE
    try:
        content = json.loads(meta_path.read_bytes())
        stats = content.get("stats", {})
        return BlockLine(
            str(content["ulid"]),
            int(content["minTime"]),
            int(content["maxTime"]),
            int(stats.get("numSamples", 0)) - int(stats.get("numStartSamples", 0)),
            int(stats.get("numChunks", 0)),
            # What holds start timestamps is no series of anybody's.
            int(stats.get("numSeries", 0)) - int(stats.get("numStartSeries", 0)),
            sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(meta_path, 0, f"not a block's meta: {error!r}") from error


def block_table(lines: Iterable[BlockLine], *, human_readable: bool = False) -> str:
    """Return the table, columns padded to their width."""
    rows = [list(HEADER), *(line.cells(human_readable=human_readable) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


def time_text(time_ms: int) -> str:
    """Return a time as Go prints one in UTC.

    >>> time_text(1795132800000)
    '2026-11-20 00:00:00 +0000 UTC'
    """
    try:
        moment = dt.datetime.fromtimestamp(time_ms // 1000, tz=dt.UTC)
    except (ValueError, OverflowError, OSError):
        return str(time_ms)
    return f"{moment:%Y-%m-%d %H:%M:%S} +0000 UTC"


def go_duration(duration_ms: int) -> str:
    """Return a duration as Go prints it.

    >>> [go_duration(ms) for ms in (7_140_622, 7_200_000, 61_000, 1_500, 999, 0)]
    ['1h59m0.622s', '2h0m0s', '1m1s', '1.5s', '999ms', '0s']
    """
    if 0 < duration_ms < 1000:
        return f"{duration_ms}ms"
    minutes, millis = divmod(duration_ms, 60_000)
    seconds = f"{millis / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def size_text(size_bytes: float) -> str:
    """Return a size for eyes.

    >>> size_text(107631), size_text(12), size_text(5 << 30)
    ('105.1KiB', '12B', '5.0GiB')
    """
    if size_bytes < 1024:
        return f"{size_bytes:.0f}B"
    units = ["KiB", "MiB", "GiB", "TiB"]
    power = min(len(units), (int(size_bytes).bit_length() - 1) // 10)
    return f"{size_bytes / 1024**power:.1f}{units[power - 1]}"
