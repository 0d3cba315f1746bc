"""Role `endpointslice`: as `endpoints.py`, from slices, of which a service may have many.

From: endpoint slices, with services and pods.   To: target groups.
Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.groups import TargetGroup
from discovery.kubernetes.endpoint_targets import EndpointTargets
from discovery.kubernetes.labels import (
    ADDRESS,
    PREFIX,
    host_port,
    namespace_labels,
    object_labels,
    sanitized,
    truth,
)
from discovery.kubernetes.objects import key_of

if TYPE_CHECKING:
    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object

SERVICE_NAME = "kubernetes.io/service-name"
"""The label by which a slice names its service."""

_SLICE = PREFIX + "endpointslice_"
_ENDPOINT = _SLICE + "endpoint_"


def source(slice_key: str) -> str:
    """Return the source of a slice's group."""
    return f"endpointslice/{slice_key}"


def group(item: Object, neighbours: Neighbours) -> TargetGroup:
    """Return a slice's group; none but the first IP family of a service of two has targets."""
    metadata = item["metadata"]
    namespace, kind = metadata["namespace"], item.get("addressType") or ""
    labels = namespace_labels(namespace, neighbours)
    labels[_SLICE + "address_type"] = kind
    labels |= object_labels("endpointslice", item)
    name = (metadata.get("labels") or {}).get(SERVICE_NAME) or ""
    service = neighbours.find("service", namespace, name) if name else None
    if service is not None:
        if _is_second_family(service, kind):
            return TargetGroup(source(key_of(item)))
        labels |= object_labels("service", service)
    targets = EndpointTargets(namespace, neighbours)
    for endpoint in item.get("endpoints") or ():
        for port in item.get("ports") or ():
            for address in endpoint.get("addresses") or ():
                targets.add(
                    _target(address, endpoint, port),
                    reference=endpoint.get("targetRef"),
                    node_name=endpoint.get("nodeName"),
                    port=port.get("port"),
                )
    return TargetGroup(source(key_of(item)), targets.all(), labels)


def _is_second_family(service: Object, address_type: str) -> bool:
    """Say whether the slice repeats, in the other IP family, what another slice has."""
    spec = service.get("spec") or {}
    families: list[str] = spec.get("ipFamilies") or []
    return (
        spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack")
        and bool(families)
        and address_type != families[0]
    )


def _target(address: str, endpoint: Object, port: Object) -> Labels:
    number = port.get("port")
    target = {ADDRESS: address if number is None else host_port(address, number)}
    reference: Object = endpoint.get("targetRef") or {}
    optional = {
        _SLICE + "port": None if number is None else str(number),
        _SLICE + "port_name": port.get("name"),
        _SLICE + "port_protocol": port.get("protocol"),
        _SLICE + "port_app_protocol": port.get("appProtocol"),
        _SLICE + "address_target_kind": reference.get("kind"),
        _SLICE + "address_target_name": reference.get("name"),
        _ENDPOINT + "hostname": endpoint.get("hostname"),
        _ENDPOINT + "node_name": endpoint.get("nodeName"),
        _ENDPOINT + "zone": endpoint.get("zone"),
    }
    target |= {name: value for name, value in optional.items() if value is not None}
    conditions: Object = endpoint.get("conditions") or {}
    for condition in ("ready", "serving", "terminating"):
        if conditions.get(condition) is not None:
            target[f"{_ENDPOINT}conditions_{condition}"] = truth(conditions[condition])
    for key, value in (endpoint.get("deprecatedTopology") or {}).items():
        target[f"{_ENDPOINT}topology_{sanitized(key)}"] = value
        target[f"{_ENDPOINT}topology_present_{sanitized(key)}"] = "true"
    return target
