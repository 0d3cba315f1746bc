"""What one entry of `kubernetes_monitor_configs` asks for, checked.

From: `gnomon/config/monitors.py`.   To: `follow.py`, and the translations beside this file.
The fields are those by which a `Prometheus` object steers prometheus-operator, where it has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.kubernetes.settings import ApiAccess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SERVICE_MONITOR, POD_MONITOR, PROBE, SCRAPE_CONFIG = (
    "ServiceMonitor",
    "PodMonitor",
    "Probe",
    "ScrapeConfig",
)
KINDS = (SERVICE_MONITOR, POD_MONITOR, PROBE, SCRAPE_CONFIG)


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """One entry. With `files` (globs) objects come from disk, otherwise from the API server.

    No `namespaces` and no `own_namespace`: those of the whole cluster. `selector` and
    `namespace_selector` are label selectors on objects and on their namespaces, "" for all.
    `enforced_limits` bound those of the objects, by their names in a scrape config.
    """

    access: ApiAccess = field(default_factory=ApiAccess)
    files: tuple[Path, ...] = ()
    kinds: tuple[str, ...] = KINDS
    namespaces: tuple[str, ...] = ()
    own_namespace: bool = False
    selector: str = ""
    namespace_selector: str = ""
    refresh_interval_s: float = 300.0
    service_discovery_role: str = "endpoints"
    pod_target_labels: tuple[str, ...] = ()
    enforced_namespace_label: str = ""
    enforced_limits: Mapping[str, int] = field(default_factory=dict)
    override_honor_labels: bool = False
    override_honor_timestamps: bool = False
    ignore_namespace_selectors: bool = False
    allow_arbitrary_file_access: bool = False
    shards: int = 1
    shard: int = 0


@dataclass(frozen=True, slots=True)
class MonitorStats:
    """How many objects of each kind are used, and how many are not: (kind, used) to a count."""

    objects: dict[tuple[str, bool], int]
