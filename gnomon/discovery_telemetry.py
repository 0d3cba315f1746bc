"""What discovery did and sees, as metrics.

From: the stats of every discoverer, through `telemetry.py`.   To: `/metrics`.
Prometheus' names where it has one; our own tell what an operator needs when a Kubernetes API
server is away: which watch fails, and how old what we know is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from discovery.consul import ConsulStats
from discovery.dns_settings import DnsStats
from discovery.files import FileStats
from discovery.http import HttpDiscoveryStats
from discovery.kubernetes.discovery import KubernetesStats
from discovery.zookeeper_settings import ZooKeeperStats
from gnomon.operator.settings import MonitorStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnomon.metrics_text import Labels, MetricsText

_EVENTS = ("add", "update", "delete")
_ROLES = ("endpoints", "endpointslice", "ingress", "node", "pod", "service")
"""Those that Prometheus counts from the start."""


def write_discovery(out: MetricsText, parts: Sequence[object]) -> None:
    """Write the families of every mechanism; `parts` are the stats of all discoverers."""
    files = [part for part in parts if isinstance(part, FileStats)]
    http = [part for part in parts if isinstance(part, HttpDiscoveryStats)]
    out.counter(
        "prometheus_sd_file_read_errors_total",
        "The number of File-SD read errors.",
        sum(part.read_errors for part in files),
    )
    out.counter(
        "prometheus_sd_file_watcher_errors_total",
        "The number of File-SD errors caused by filesystem watch failures: files are looked at.",
        0,
    )
    mtimes = {name: mtime_s for part in files for name, mtime_s in part.mtimes_s.items()}
    out.family(
        "prometheus_sd_file_mtime_seconds",
        "gauge",
        "Timestamp (mtime) of files read by FileSD.",
        [({"filename": name}, mtime_s) for name, mtime_s in sorted(mtimes.items())],
    )
    out.counter(
        "prometheus_sd_http_failures_total",
        "Number of HTTP service discovery refresh failures.",
        sum(part.failures for part in http),
    )
    out.family(
        "prometheus_sd_refresh_failures_total",
        "counter",
        "Number of refresh failures for the given SD mechanism.",
        [({"mechanism": "http"}, sum(part.failures for part in http))],
    )
    dns = [part for part in parts if isinstance(part, DnsStats)]
    out.counter(
        "prometheus_sd_dns_lookups_total",
        "The number of DNS-SD lookups.",
        sum(part.lookups for part in dns),
    )
    out.counter(
        "prometheus_sd_dns_lookup_failures_total",
        "The number of DNS-SD lookup failures.",
        sum(part.failures for part in dns),
    )
    out.counter(
        "prometheus_sd_consul_rpc_failures_total",
        "The number of Consul RPC call failures.",
        sum(part.failures for part in parts if isinstance(part, ConsulStats)),
    )
    zookeeper = [part for part in parts if isinstance(part, ZooKeeperStats)]
    out.counter(
        "prometheus_treecache_zookeeper_failures_total",
        "The total number of ZooKeeper failures.",
        sum(part.failures for part in zookeeper),
    )
    write_kubernetes(out, parts)
    write_monitors(out, parts)


def write_monitors(out: MetricsText, parts: Sequence[object]) -> None:
    """Write how many of Kubernetes' monitors are used; nothing where none are asked for."""
    objects = {
        key: count
        for part in parts
        if isinstance(part, MonitorStats)
        for key, count in part.objects.items()
    }
    if objects:
        out.family(
            "gnomon_kubernetes_monitors",
            "gauge",
            "Objects that ask for jobs, those that are used and those that cannot be.",
            [
                ({"kind": kind, "used": str(used).lower()}, float(count))
                for (kind, used), count in sorted(objects.items())
            ],
        )


def write_kubernetes(out: MetricsText, parts: Sequence[object]) -> None:
    """Write the families of Kubernetes discovery, zeros where it is not used."""
    found = [part for part in parts if isinstance(part, KubernetesStats)]
    out.family(
        "prometheus_sd_failed_configs",
        "gauge",
        "Current number of service discovery configurations that failed to load.",
        [({"name": "scrape"}, sum(bool(part.config_error) for part in found))],
    )
    events: Counter[tuple[str, str]] = Counter(
        {(event, role): 0 for event in _EVENTS for role in _ROLES}
    )
    for part in found:
        events.update({(event, part.role): 0 for event in _EVENTS})
        events.update(part.events)
    out.family(
        "prometheus_sd_kubernetes_events_total",
        "counter",
        "The number of Kubernetes events handled.",
        [({"event": event, "role": kind}, n) for (event, kind), n in sorted(events.items())],
    )
    out.counter(
        "prometheus_sd_kubernetes_failures_total",
        "The number of failed WATCH/LIST requests.",
        # Each discovery knows the number of all that share its watches.
        max((part.failures for part in found), default=0),
    )
    watches = {
        (watch.server, watch.path, watch.selectors): watch
        for part in found
        for watch in part.watches
    }
    rows: list[Labels] = [
        {"server": server, "path": path, "selectors": selectors}
        for server, path, selectors in watches
    ]
    for name, help_text, values in (
        (
            "gnomon_sd_kubernetes_watch_objects",
            "Objects known from a watch.",
            [float(watch.objects) for watch in watches.values()],
        ),
        (
            "gnomon_sd_kubernetes_watch_failing",
            "Whether the last request of a watch failed; what is known stays.",
            [float(bool(watch.last_error)) for watch in watches.values()],
        ),
        (
            "gnomon_sd_kubernetes_watch_heard_timestamp_seconds",
            "When the server last said something to a watch; what is known is of that time.",
            [watch.heard_s for watch in watches.values()],
        ),
    ):
        out.family(name, "gauge", help_text, zip(rows, values, strict=True))
