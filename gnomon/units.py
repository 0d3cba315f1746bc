"""Durations and sizes as Prometheus writes them, in flags, configuration and test scripts.

Durations are whole milliseconds, sizes are bytes. Sources: prometheus/common `model.Duration`,
alecthomas/units base-2 sizes; error texts are theirs.
"""

from __future__ import annotations

import re
from fractions import Fraction

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
YEAR_MS = 365 * DAY_MS

DURATION_MS_MAX = (2**63 - 1) // 1_000_000
"""Go counts nanoseconds in an int64; what does not fit there is refused, as by Prometheus."""

_UNITS_MS = {
    "y": YEAR_MS,
    "w": WEEK_MS,
    "d": DAY_MS,
    "h": HOUR_MS,
    "m": MINUTE_MS,
    "s": SECOND_MS,
    "ms": 1,
}
_ORDER = tuple(_UNITS_MS)
_PART = re.compile(r"([0-9]+)([a-zA-Zµμ]*)")
_SIZE = re.compile(r"([0-9]*\.?[0-9]+)([A-Za-z]*)")
_SIZE_UNITS = {
    unit: 1024**power for power, unit in enumerate(["B", "KB", "MB", "GB", "TB", "PB", "EB"])
}
_SIZE_UNITS |= {
    unit: 1024**power
    for power, unit in enumerate(["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], start=1)
}


def parse_duration(text: str) -> int:
    """Return a duration such as `1h30m` in milliseconds; raises ValueError in Prometheus' words.

    >>> parse_duration("1h30m"), parse_duration("0"), parse_duration("250ms")
    (5400000, 0, 250)
    """
    if text == "0":
        return 0
    if text == "":
        raise ValueError("empty duration string")
    total = 0
    at = 0
    last = -1
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2] == "":
            raise ValueError(f'not a valid duration string: "{text}"')
        number, unit = part.groups()
        if unit not in _UNITS_MS:
            raise ValueError(f'unknown unit "{unit}" in duration "{text}"')
        rank = _ORDER.index(unit)
        if rank <= last:
            raise ValueError(f'not a valid duration string: "{text}"')
        last, at = rank, part.end()
        total += int(number) * _UNITS_MS[unit]
        if total > DURATION_MS_MAX:
            raise ValueError("duration out of range")
    return total


def format_duration(duration_ms: int) -> str:
    """Return a duration as Prometheus prints it: years and weeks only where they divide exactly.

    >>> format_duration(5_400_000), format_duration(90 * DAY_MS), format_duration(0)
    ('1h30m', '90d', '0s')
    """
    if duration_ms == 0:
        return "0s"
    parts = []
    rest = duration_ms
    for unit, unit_ms in _UNITS_MS.items():
        if unit in ("y", "w") and rest % unit_ms != 0:
            continue
        count, rest = divmod(rest, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(text: str) -> int:
    """Return a size such as `512MB` in bytes (base 2, the unit is mandatory, `0` is allowed).

    >>> parse_size("1KB"), parse_size("1.5GB"), parse_size("0")
    (1024, 1610612736, 0)
    """
    if text in ("", "0"):
        return 0
    total = 0
    at = 0
    while at < len(text):
        part = _SIZE.match(text, at)
        if part is None:
            raise ValueError(f"units: invalid {text}")
        number, unit = part.groups()
        if unit not in _SIZE_UNITS:
            raise ValueError(f"units: unknown unit {unit} in {text}")
        total += int(Fraction(number) * _SIZE_UNITS[unit])
        at = part.end()
    return total


def format_size(size_bytes: int) -> str:
    """Return a size as Prometheus prints it back: the largest units first, zero as `0B`.

    >>> format_size(15 * 1024**2), format_size(1536), format_size(0)
    ('15MiB', '1KiB512B', '0B')
    """
    if size_bytes == 0:
        return "0B"
    parts = []
    rest = size_bytes
    for power, unit in ((6, "EiB"), (5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        count, rest = divmod(rest, 1024**power)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(f"{rest}B")
    return "".join(parts)
