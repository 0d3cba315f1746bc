"""The entries of `serverset_sd_configs` and `nerve_sd_configs`.

From: `scrape.py`.   To: `wiring.py`, as settings of a `ZooKeeperDiscovery`.
Source: Prometheus documentation, serverset_sd_config and nerve_sd_config; texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.zookeeper_settings import KINDS, ZooKeeperSettings

if TYPE_CHECKING:
    from gnomon.config.document import Section


def decode_zookeeper(section: Section) -> tuple[ZooKeeperSettings, ...]:
    """Read both lists."""
    found = []
    for kind in KINDS:
        name = f"{kind}_sd_configs"
        null_text = f"empty or null section in {name}"
        items = section.sections(name, "zookeeper.plain", null_text=null_text)
        found += [_entry(item, kind) for item in items]
    return tuple(found)


def _entry(item: Section, kind: str) -> ZooKeeperSettings:
    servers, paths = item.strings("servers"), item.strings("paths")
    timeout_ms = item.duration_ms("timeout") or 10_000
    item.note_unknown()
    if not servers:
        item.fail(f"{kind} SD config must contain at least one Zookeeper server")
    if not paths:
        item.fail(f"{kind} SD config must contain at least one path")
    for path in paths:
        if not path.startswith("/"):
            item.fail(f"{kind} SD config paths must begin with '/': {path}", "paths")
    return ZooKeeperSettings(kind, servers, paths, timeout_ms / 1000)
