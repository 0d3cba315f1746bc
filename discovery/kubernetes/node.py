"""Role `node`: one target for each node, its kubelet.

From: nodes.   To: target groups.   Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from discovery.groups import TargetGroup
from discovery.kubernetes.labels import ADDRESS, PREFIX, host_port, object_labels, sanitized

if TYPE_CHECKING:
    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object

_log = logging.getLogger(__name__)

_ADDRESS_TYPES = (
    "InternalIP",
    "InternalDNS",
    "ExternalIP",
    "ExternalDNS",
    "LegacyHostIP",
    "Hostname",
)
"""By priority. `LegacyHostIP` is of clusters older than Kubernetes 1.7."""


def source(node_key: str) -> str:
    """Return the source of a node's group."""
    return f"node/{node_key}"


def group(node: Object, _neighbours: Neighbours) -> TargetGroup:
    """Return a node's group; one without a usable address has no targets."""
    name = node["metadata"]["name"]
    status = node.get("status") or {}
    first: dict[str, str] = {}
    for address in status.get("addresses") or ():
        first.setdefault(address["type"], address["address"])
    host = next((first[kind] for kind in _ADDRESS_TYPES if kind in first), None)
    if host is None:
        _log.warning("No node address found: node=%s", name)
        return TargetGroup(source(name))
    labels: Labels = object_labels("node", node)
    labels[PREFIX + "node_provider_id"] = (node.get("spec") or {}).get("providerID") or ""
    for condition in status.get("conditions") or ():
        kind = sanitized(condition["type"]).lower()
        labels[f"{PREFIX}node_condition_{kind}"] = str(condition.get("status") or "").lower()
    endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    target = {ADDRESS: host_port(host, endpoint.get("Port") or 0), "instance": name}
    for kind, text in first.items():
        target[f"{PREFIX}node_address_{sanitized(kind)}"] = text
    return TargetGroup(source(name), (target,), labels)
