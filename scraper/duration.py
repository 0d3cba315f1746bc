"""Prometheus' duration text, to and from milliseconds.

From: `__scrape_interval__` and `__scrape_timeout__`, which relabelling may have changed.
Source: prometheus/common `model.ParseDuration`: units descend, each once, whole numbers.
"""

from __future__ import annotations

import re

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_FORM = re.compile("".join(f"(?:([0-9]+){unit})?" for unit in _UNITS_MS))
_NS_MAX = (1 << 63) - 1


def parse_duration_ms(text: str) -> int:
    """Return milliseconds. Raises ValueError with Prometheus' words.

    >>> parse_duration_ms("1h30m"), parse_duration_ms("0")
    (5400000, 0)
    """
    if text == "0":
        return 0
    if not text:
        raise ValueError("empty duration string")
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f'not a valid duration string: "{text}"')
    parts = zip(match.groups(), _UNITS_MS.values(), strict=True)
    total = sum(int(number) * unit for number, unit in parts if number)
    if total * 1_000_000 > _NS_MAX:
        raise ValueError("duration out of range")
    return total


def format_duration_ms(total_ms: int) -> str:
    """Return the shortest text; years and weeks only where they divide exactly.

    >>> format_duration_ms(5400000), format_duration_ms(14 * 86_400_000), format_duration_ms(0)
    ('1h30m', '2w', '0s')
    """
    if total_ms == 0:
        return "0s"
    out, rest = "", total_ms
    for unit, unit_ms in _UNITS_MS.items():
        if unit in ("y", "w") and rest % unit_ms:
            continue
        count, rest = divmod(rest, unit_ms)
        if count:
            out += f"{count}{unit}"
    return out
