"""Role `service`: one target for each port of each service.

From: services.   To: target groups.   Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.groups import TargetGroup
from discovery.kubernetes.labels import (
    ADDRESS,
    PREFIX,
    host_port,
    namespace_labels,
    object_labels,
)
from discovery.kubernetes.objects import key_of

if TYPE_CHECKING:
    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object

_SERVICE = PREFIX + "service_"


def source(service_key: str) -> str:
    """Return the source of a service's group."""
    return f"svc/{service_key}"


def group(service: Object, neighbours: Neighbours) -> TargetGroup:
    """Return a service's group. Its targets are names, which the cluster's DNS resolves."""
    metadata, spec = service["metadata"], service.get("spec") or {}
    namespace = metadata["namespace"]
    kind = spec.get("type") or ""
    labels = namespace_labels(namespace, neighbours) | object_labels("service", service)
    shared: Labels = {_SERVICE + "type": kind}
    if kind == "ExternalName":
        shared[_SERVICE + "external_name"] = spec.get("externalName") or ""
    else:
        shared[_SERVICE + "cluster_ip"] = spec.get("clusterIP") or ""
    if kind == "LoadBalancer":
        shared[_SERVICE + "loadbalancer_ip"] = _balancer_ip(service)
    host = f"{metadata['name']}.{namespace}.svc"
    targets = tuple(
        {
            ADDRESS: host_port(host, port["port"]),
            _SERVICE + "port_name": port.get("name") or "",
            _SERVICE + "port_number": str(port["port"]),
            _SERVICE + "port_protocol": port.get("protocol") or "",
            **shared,
        }
        for port in spec.get("ports") or ()
    )
    return TargetGroup(source(key_of(service)), targets, labels)


def _balancer_ip(service: Object) -> str:
    """Return the addresses that were given, else the one that was asked for."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    given = [point["ip"] for point in balancer.get("ingress") or () if point.get("ip")]
    return ",".join(given) or (service.get("spec") or {}).get("loadBalancerIP") or ""
