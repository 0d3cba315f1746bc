"""Role `endpoints`: one target for each address and port behind each service.

From: endpoints, with services and pods.   To: target groups.
Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from discovery.groups import TargetGroup
from discovery.kubernetes.endpoint_targets import EndpointTargets
from discovery.kubernetes.labels import (
    ADDRESS,
    PREFIX,
    host_port,
    namespace_labels,
    object_labels,
    service_labels,
)
from discovery.kubernetes.objects import key_of

if TYPE_CHECKING:
    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object

_log = logging.getLogger(__name__)

_ENDPOINT = PREFIX + "endpoint_"


def source(endpoints_key: str) -> str:
    """Return the source of an endpoints object's group."""
    return f"endpoints/{endpoints_key}"


def group(endpoints: Object, neighbours: Neighbours) -> TargetGroup:
    """Return the group of an endpoints object, which has the name of its service."""
    metadata = endpoints["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    labels = namespace_labels(namespace, neighbours)
    labels |= object_labels("endpoints", endpoints)
    labels |= service_labels(namespace, name, neighbours)
    targets = EndpointTargets(namespace, neighbours)
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            for field, ready in (("addresses", "true"), ("notReadyAddresses", "false")):
                for address in subset.get(field) or ():
                    targets.add(
                        _target(address, port, ready),
                        reference=address.get("targetRef"),
                        node_name=address.get("nodeName"),
                        port=port["port"],
                        protocol=port.get("protocol") or "",
                    )
    annotations = metadata.get("annotations") or {}
    if annotations.get("endpoints.kubernetes.io/over-capacity") == "truncated":
        _log.warning(
            "Number of endpoints in one Endpoints object exceeds 1000 and has been truncated,"
            ' please use "role: endpointslice" instead: endpoint=%s/%s',
            namespace,
            name,
        )
    return TargetGroup(source(key_of(endpoints)), targets.all(), labels)


def _target(address: Object, port: Object, ready: str) -> Labels:
    target = {
        ADDRESS: host_port(address["ip"], port["port"]),
        _ENDPOINT + "port_name": port.get("name") or "",
        _ENDPOINT + "port_protocol": port.get("protocol") or "",
        _ENDPOINT + "ready": ready,
    }
    reference = address.get("targetRef")
    if reference is not None:
        target[_ENDPOINT + "address_target_kind"] = reference.get("kind") or ""
        target[_ENDPOINT + "address_target_name"] = reference.get("name") or ""
    if address.get("nodeName") is not None:
        target[_ENDPOINT + "node_name"] = address["nodeName"]
    if address.get("hostname"):
        target[_ENDPOINT + "hostname"] = address["hostname"]
    return target
