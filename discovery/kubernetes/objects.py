"""The kinds of object that are watched: their paths, and the part of each that is kept.

From: the JSON of an API server, through `client.py`.   To: `watches.py`.
Source: Kubernetes API reference (core/v1, apps/v1, batch/v1, discovery.k8s.io/v1,
networking.k8s.io/v1); prometheus-operator (monitoring.coreos.com).

Keeping only what labels are made of is what makes a store small, and lets a heartbeat (a node's
status, a new version, managed fields) compare equal to what was there and end right here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Object = dict[str, Any]
"""One object as the API's JSON has it, trimmed to its kind's shape."""

_ALL = True
"""In a shape: keep the value whole. A dict keeps those fields, a list holds its items' shape."""

_OWNERS = [{"kind": _ALL, "name": _ALL, "controller": _ALL}]
_METADATA = {
    "name": _ALL,
    "namespace": _ALL,
    "uid": _ALL,
    "labels": _ALL,
    "annotations": _ALL,
    "ownerReferences": _OWNERS,
}
_CONTAINERS = [{"name": _ALL, "image": _ALL, "ports": _ALL}]
_STATUSES = [{"name": _ALL, "containerID": _ALL}]
_MONITORING = "/apis/monitoring.coreos.com"
_MONITOR = {"metadata": {"name": _ALL, "namespace": _ALL}, "spec": _ALL}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object. `group` is the path before the resource, `resource` its plural."""

    name: str
    group: str
    resource: str
    namespaced: bool
    shape: Mapping[str, Any]

    def path(self, namespace: str) -> str:
        """Return the path to list and watch; no namespace means all of them."""
        if namespace and self.namespaced:
            return f"{self.group}/namespaces/{namespace}/{self.resource}"
        return f"{self.group}/{self.resource}"

    def trimmed(self, item: Object) -> Object:
        """Return the part of an object that is kept."""
        kept = _trimmed(item, self.shape)
        assert isinstance(kept, dict)
        return kept


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "node",
            "/api/v1",
            "nodes",
            False,
            {
                "metadata": _METADATA,
                "spec": {"providerID": _ALL},
                "status": {
                    "addresses": _ALL,
                    "conditions": [{"type": _ALL, "status": _ALL}],
                    "daemonEndpoints": _ALL,
                },
            },
        ),
        Kind(
            "service",
            "/api/v1",
            "services",
            True,
            {
                "metadata": _METADATA,
                "spec": {
                    "type": _ALL,
                    "clusterIP": _ALL,
                    "externalName": _ALL,
                    "loadBalancerIP": _ALL,
                    "ipFamilies": _ALL,
                    "ipFamilyPolicy": _ALL,
                    "ports": [{"name": _ALL, "port": _ALL, "protocol": _ALL}],
                },
                "status": {"loadBalancer": {"ingress": [{"ip": _ALL}]}},
            },
        ),
        Kind(
            "pod",
            "/api/v1",
            "pods",
            True,
            {
                "metadata": _METADATA,
                "spec": {
                    "nodeName": _ALL,
                    "containers": _CONTAINERS,
                    "initContainers": _CONTAINERS,
                },
                "status": {
                    "podIP": _ALL,
                    "hostIP": _ALL,
                    "phase": _ALL,
                    "conditions": [{"type": _ALL, "status": _ALL}],
                    "containerStatuses": _STATUSES,
                    "initContainerStatuses": _STATUSES,
                },
            },
        ),
        Kind(
            "endpoints",
            "/api/v1",
            "endpoints",
            True,
            {"metadata": _METADATA, "subsets": _ALL},
        ),
        Kind(
            "endpointslice",
            "/apis/discovery.k8s.io/v1",
            "endpointslices",
            True,
            {"metadata": _METADATA, "addressType": _ALL, "endpoints": _ALL, "ports": _ALL},
        ),
        Kind(
            "ingress",
            "/apis/networking.k8s.io/v1",
            "ingresses",
            True,
            {
                "metadata": _METADATA,
                "spec": {"ingressClassName": _ALL, "tls": [{"hosts": _ALL}], "rules": _ALL},
            },
        ),
        Kind("namespace", "/api/v1", "namespaces", False, {"metadata": _METADATA}),
        Kind("replicaset", "/apis/apps/v1", "replicasets", True, {"metadata": _METADATA}),
        Kind("job", "/apis/batch/v1", "jobs", True, {"metadata": _METADATA}),
        Kind("servicemonitor", f"{_MONITORING}/v1", "servicemonitors", True, _MONITOR),
        Kind("podmonitor", f"{_MONITORING}/v1", "podmonitors", True, _MONITOR),
        Kind("probe", f"{_MONITORING}/v1", "probes", True, _MONITOR),
        Kind("scrapeconfig", f"{_MONITORING}/v1alpha1", "scrapeconfigs", True, _MONITOR),
    )
}


def key_of(item: Object) -> str:
    """Return the name of an object within its kind: `namespace/name`, or `name`.

    Raises KeyError, TypeError for what is no object.
    """
    metadata = item["metadata"]
    return key(metadata.get("namespace") or "", metadata["name"])


def key(namespace: str, name: str) -> str:
    """Return the key of an object of that name."""
    return f"{namespace}/{name}" if namespace else name


def controller(item: Object) -> Mapping[str, Any]:
    """Return the reference to the owner that controls an object; empty where none does."""
    for reference in item["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            owner: Mapping[str, Any] = reference
            return owner
    return {}


def _trimmed(value: Any, shape: Any) -> Any:  # noqa: ANN401 - JSON
    if shape is _ALL or value is None:
        return value
    if isinstance(shape, list):
        return [_trimmed(item, shape[0]) for item in value]
    return {name: _trimmed(value[name], inner) for name, inner in shape.items() if name in value}
