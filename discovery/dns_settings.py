"""What one `dns_sd_configs` entry says, and what is told of it, without what asks the servers.

From: `gnomon/config/dns.py`.   To: `dns.py`; back, as numbers, to `gnomon/discovery_telemetry.py`.
Apart from it so that a start without such an entry loads no DNS library.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPES = ("SRV", "A", "AAAA", "MX", "NS")


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Names whose records of one type are asked for again and again.

    `port` is that of the targets; SRV records have their own.
    """

    names: tuple[str, ...]
    type: str = "SRV"
    port: int = 0
    refresh_interval_s: float = 30.0


@dataclass(frozen=True, slots=True)
class DnsStats:
    """Names asked for since the start, those without an answer, and the last reason."""

    lookups: int
    failures: int
    last_error: str
