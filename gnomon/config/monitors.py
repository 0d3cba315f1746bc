"""The entries of `kubernetes_monitor_configs`, which are ours: Prometheus leaves it to an operator.

From: `load.py`.   To: `gnomon/operator`, as settings of what to follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.http_client import HttpClientConfig
from discovery.kubernetes.settings import ApiAccess
from gnomon.config.http_client import decode_client, joined
from gnomon.config.kubernetes_selectors import check_label_selector
from gnomon.operator.settings import KINDS, MonitorSettings

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section

_NAME = "kubernetes_monitor_configs"
_LIMITS = (
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
)


def decode_monitors(top: Section, folder: Path) -> tuple[MonitorSettings, ...]:
    """Read `kubernetes_monitor_configs`."""
    items = top.sections(
        _NAME, "config.KubernetesMonitorConfig", null_text=f"empty or null section in {_NAME}"
    )
    return tuple(_entry(item, folder) for item in items)


def _entry(item: Section, folder: Path) -> MonitorSettings:
    files = item.strings("files")
    kinds = item.strings("kinds") or KINDS
    for kind in kinds:
        if kind not in KINDS:
            item.fail(f"unknown kind {kind} (one of: {', '.join(KINDS)})", "kinds")
    names, own = _namespaces(item)
    selectors = item.string("selector"), item.string("namespace_selector")
    for text in selectors:
        try:
            check_label_selector(text)
        except ValueError as error:
            item.fail(str(error))
    access = _access(item, folder, own=own)
    if files and (any(selectors) or own):
        item.fail("selectors and own_namespace are for objects of an API server, not of files")
    role = (item.string("service_discovery_role") or "endpoints").lower()
    if role not in ("endpoints", "endpointslice"):
        item.fail("service_discovery_role is endpoints or endpointslice", "service_discovery_role")
    shards, shard = item.integer("shards", 1), item.integer("shard")
    if not shard < max(shards, 1):
        item.fail("shard must be less than shards", "shard")
    return MonitorSettings(
        access=access,
        files=tuple(folder / name for name in files),
        kinds=kinds,
        namespaces=names,
        own_namespace=own,
        selector=selectors[0],
        namespace_selector=selectors[1],
        refresh_interval_s=(item.duration_ms("refresh_interval") or 300_000) / 1000,
        service_discovery_role=role,
        pod_target_labels=item.strings("pod_target_labels"),
        enforced_namespace_label=item.string("enforced_namespace_label"),
        enforced_limits=_limits(item),
        override_honor_labels=item.boolean("override_honor_labels", False),
        override_honor_timestamps=item.boolean("override_honor_timestamps", False),
        ignore_namespace_selectors=item.boolean("ignore_namespace_selectors", False),
        allow_arbitrary_file_access=item.boolean("allow_arbitrary_file_access", False),
        shards=max(shards, 1),
        shard=shard,
    )


def _namespaces(item: Section) -> tuple[tuple[str, ...], bool]:
    section = item.section("namespaces", "config.KubernetesMonitorNamespaces")
    if section is None:
        return (), False
    return section.strings("names"), section.boolean("own_namespace", False)


def _access(item: Section, folder: Path, *, own: bool) -> ApiAccess:
    server, client = item.string("api_server"), decode_client(item, folder)
    kubeconfig = joined(folder, item.string("kubeconfig_file"))
    if server and kubeconfig is not None:
        item.fail("cannot use 'kubeconfig_file' and 'api_server' simultaneously")
    if not server and client != HttpClientConfig():
        item.fail(
            "to use custom HTTP client configuration please provide the 'api_server' URL explicitly"
        )
    if own and (server or kubeconfig is not None):
        item.fail("'namespaces.own_namespace' is for the cluster this process runs in")
    return ApiAccess(server, kubeconfig, client)


def _limits(item: Section) -> dict[str, int]:
    section = item.section("enforced_limits", "config.KubernetesMonitorLimits")
    if section is None:
        return {}
    limits = {name: section.integer(name) for name in _LIMITS}
    limits["body_size_limit"] = section.size_bytes("body_size_limit") or 0
    return {name: value for name, value in limits.items() if value}
