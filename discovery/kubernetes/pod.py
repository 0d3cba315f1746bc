"""Role `pod`: one target for each port of each container; and the labels of pods for other roles.

From: pods.   To: target groups; `endpoint_targets.py`.
Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from discovery.groups import TargetGroup
from discovery.kubernetes.labels import (
    ADDRESS,
    PREFIX,
    host_port,
    namespace_labels,
    node_labels,
    object_labels,
    status_of,
    truth,
)
from discovery.kubernetes.objects import controller, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object

_POD = PREFIX + "pod_"


def source(pod_key: str) -> str:
    """Return the source of a pod's group."""
    return f"pod/{pod_key}"


def group(pod: Object, neighbours: Neighbours) -> TargetGroup:
    """Return a pod's group; no targets before it has an address.

    Nor if nodes are watched and its own is not among them: so selectors of nodes choose pods.
    """
    empty = TargetGroup(source(key_of(pod)))
    ip = (pod.get("status") or {}).get("podIP")
    if not ip:
        return empty
    labels = namespace_labels(pod["metadata"]["namespace"], neighbours)
    labels |= pod_labels(pod, neighbours)
    if neighbours.watches("node"):
        on_node = node_labels((pod.get("spec") or {}).get("nodeName") or "", neighbours)
        if not on_node:
            return empty
        if neighbours.attach.node:
            labels |= on_node
    return TargetGroup(empty.source, tuple(_targets(pod, ip)), labels)


def pod_labels(pod: Object, neighbours: Neighbours) -> Labels:
    """Return the labels of a pod that all its targets share, without the namespace."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = object_labels("pod", pod)
    labels[_POD + "ip"] = status.get("podIP") or ""
    labels[_POD + "ready"] = status_of(status.get("conditions"), "Ready") or "unknown"
    labels[_POD + "phase"] = status.get("phase") or ""
    labels[_POD + "node_name"] = (pod.get("spec") or {}).get("nodeName") or ""
    labels[_POD + "host_ip"] = status.get("hostIP") or ""
    labels[_POD + "uid"] = metadata.get("uid") or ""
    owner = controller(pod)
    if owner:
        labels[_POD + "controller_kind"] = owner.get("kind") or ""
        labels[_POD + "controller_name"] = owner.get("name") or ""
        labels |= _workload_labels(metadata["namespace"], owner, neighbours)
    return labels


def _workload_labels(namespace: str, owner: Mapping[str, Any], neighbours: Neighbours) -> Labels:
    """Return the names of what stands behind a pod's controller, as far as they are asked for."""
    attach, kind, name = neighbours.attach, owner.get("kind"), owner.get("name") or ""
    labels: Labels = {}
    if kind == "ReplicaSet" and attach.deployment:
        labels |= _owner_name("replicaset", namespace, name, "Deployment", neighbours)
    if kind == "Job" and attach.job:
        labels[_POD + "job_name"] = name
    if kind == "Job" and attach.cronjob:
        labels |= _owner_name("job", namespace, name, "CronJob", neighbours)
    return labels


def _owner_name(
    kind: str, namespace: str, name: str, owner_kind: str, neighbours: Neighbours
) -> Labels:
    found = neighbours.find(kind, namespace, name)
    owner = {} if found is None else controller(found)
    if owner.get("kind") != owner_kind:
        return {}
    return {f"{_POD}{owner_kind.lower()}_name": owner.get("name") or ""}


def containers(pod: Object) -> Iterator[tuple[Object, bool]]:
    """Yield the containers of a pod; the second value says whether it is one for initialisation."""
    spec = pod.get("spec") or {}
    for container in spec.get("containers") or ():
        yield container, False
    for container in spec.get("initContainers") or ():
        yield container, True


def container_labels(container: Object, is_init: bool) -> Labels:
    """Return the labels that name a container."""
    return {
        _POD + "container_name": container.get("name") or "",
        _POD + "container_image": container.get("image") or "",
        _POD + "container_init": truth(is_init),
    }


def port_labels(port: Object, protocol: str | None = None) -> Labels:
    """Return the labels that name a container's port."""
    return {
        _POD + "container_port_name": port.get("name") or "",
        _POD + "container_port_number": str(port.get("containerPort") or 0),
        _POD + "container_port_protocol": protocol or port.get("protocol") or "",
    }


def _targets(pod: Object, ip: str) -> Iterator[Labels]:
    status = pod.get("status") or {}
    for container, is_init in containers(pod):
        labels = container_labels(container, is_init)
        statuses = status.get("initContainerStatuses" if is_init else "containerStatuses")
        for running in statuses or ():
            if running.get("name") == container.get("name"):
                labels[_POD + "container_id"] = running.get("containerID") or ""
                break
        ports = container.get("ports") or ()
        if not ports:
            yield {ADDRESS: ip, **labels}
        for port in ports:
            address = host_port(ip, port.get("containerPort") or 0)
            yield {ADDRESS: address, **labels, **port_labels(port)}
