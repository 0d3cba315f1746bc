"""The entries of `dns_sd_configs`.

From: `scrape.py`.   To: `wiring.py`, as discoverers.
Source: Prometheus documentation, dns_sd_config; the texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.dns_settings import TYPES, DnsSettings

if TYPE_CHECKING:
    from gnomon.config.document import Section


def decode_dns(section: Section) -> tuple[DnsSettings, ...]:
    """Read `dns_sd_configs`."""
    null_text = "empty or null section in dns_sd_configs"
    items = section.sections("dns_sd_configs", "dns.plain", null_text=null_text)
    return tuple(_entry(item) for item in items)


def _entry(item: Section) -> DnsSettings:
    names, port = item.strings("names"), item.integer("port", signed=True)
    written = item.string("type", "SRV")
    refresh_ms = item.duration_ms("refresh_interval") or 30_000
    item.note_unknown()
    if not names:
        item.fail("DNS-SD config must contain at least one SRV record name")
    kind = written.upper()
    if kind not in TYPES:
        item.fail(f"invalid DNS-SD records type {written}", "type")
    if kind != "SRV" and port == 0:
        item.fail("a port is required in DNS-SD configs for all record types except SRV")
    return DnsSettings(names=names, type=kind, port=port, refresh_interval_s=refresh_ms / 1000)
