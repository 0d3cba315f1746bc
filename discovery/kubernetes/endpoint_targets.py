"""What endpoints and endpoint slices share: targets with the labels of the pods behind them.

From: `endpoints.py`, `endpointslice.py`.   To: target groups.
Source: Prometheus documentation, `kubernetes_sd_config`: "If the endpoint is backed by a pod, all
additional container ports of the pod, not bound to an endpoint port, are discovered as targets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.kubernetes.labels import ADDRESS, host_port, node_labels
from discovery.kubernetes.objects import key_of
from discovery.kubernetes.pod import container_labels, containers, pod_labels, port_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object


class EndpointTargets:
    """Gathers the targets of one object's endpoints; `all` ends with the pods' other ports."""

    def __init__(self, namespace: str, neighbours: Neighbours) -> None:
        self._namespace, self._neighbours = namespace, neighbours
        self._targets: list[Labels] = []
        self._pods: dict[str, tuple[Object, Labels, set[int]]] = {}

    def add(
        self,
        target: Labels,
        *,
        reference: Mapping[str, str] | None,
        node_name: str | None,
        port: int | None,
        protocol: str | None = None,
    ) -> None:
        """Add one target; `reference` is what stands behind it, `port` its number.

        `protocol` is told as the container port's in place of its own.
        """
        is_node = reference is not None and reference.get("kind") == "Node"
        if self._neighbours.attach.node:
            if reference is not None and is_node and not node_name:
                node_name = reference.get("name")
            target |= node_labels(node_name or "", self._neighbours)
        pod = self._pod(reference)
        if pod is not None:
            entry = self._pods.get(key_of(pod))
            if entry is None:
                entry = pod, pod_labels(pod, self._neighbours), set()
                self._pods[key_of(pod)] = entry
            _, labels, ports = entry
            target |= labels
            if port is not None:
                ports.add(port)
                target |= _container_of(pod, port, protocol)
        self._targets.append(target)

    def all(self) -> tuple[Labels, ...]:
        """Return the targets, then one for each container port that no endpoint names.

        Those say nothing of nodes, as Prometheus (3.5) does it.
        """
        for pod, labels, ports in self._pods.values():
            ip = (pod.get("status") or {}).get("podIP")
            if not ip:
                continue
            for container, is_init in containers(pod):
                for port in container.get("ports") or ():
                    number = port.get("containerPort") or 0
                    if number not in ports:
                        self._targets.append(
                            {
                                ADDRESS: host_port(ip, number),
                                **labels,
                                **container_labels(container, is_init),
                                **port_labels(port),
                            }
                        )
        return tuple(self._targets)

    def _pod(self, reference: Mapping[str, str] | None) -> Object | None:
        if reference is None or reference.get("kind") != "Pod":
            return None
        namespace = reference.get("namespace") or self._namespace
        return self._neighbours.find("pod", namespace, reference.get("name") or "")


def _container_of(pod: Object, number: int, protocol: str | None) -> Labels:
    """Return the labels of the container that has a port; of the last one if several do."""
    labels: Labels = {}
    for container, is_init in containers(pod):
        for port in container.get("ports") or ():
            if port.get("containerPort") == number:
                labels = container_labels(container, is_init) | port_labels(port, protocol)
                break
    return labels
