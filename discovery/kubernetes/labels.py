"""The labels that every kind of object has in common, and how addresses are written.

From: the role files beside this one.   To: target groups.
Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from discovery.kubernetes.objects import Object
    from discovery.kubernetes.settings import AttachMetadata

Labels = dict[str, str]

PREFIX = "__meta_kubernetes_"
ADDRESS = "__address__"
NAMESPACE = PREFIX + "namespace"

_OUTSIDE = re.compile(r"[^a-zA-Z0-9_]")


class Neighbours(Protocol):
    """What a group may be made of beside its own object. Asking is noted: see `store.py`."""

    @property
    def attach(self) -> AttachMetadata:
        """What is to be attached."""
        ...

    def watches(self, kind: str) -> bool:
        """Say whether a kind is watched at all."""
        ...

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object of another kind, None if it is not there or not watched."""
        ...


def sanitized(name: str) -> str:
    """Return a text as part of a label name.

    >>> sanitized("prometheus.io/scrape")
    'prometheus_io_scrape'
    """
    return _OUTSIDE.sub("_", name)


@lru_cache(maxsize=8192)
def _label_names(kind: str, what: str, key: str) -> tuple[str, str]:
    """Return the names for value and presence; the same few hundred keys come again and again."""
    key = sanitized(key)
    return f"{PREFIX}{kind}_{what}_{key}", f"{PREFIX}{kind}_{what}present_{key}"


def metadata_labels(kind: str, item: Object) -> Labels:
    """Return what an object's labels and annotations become."""
    metadata = item["metadata"]
    labels: Labels = {}
    for what, texts in (
        ("label", metadata.get("labels")),
        ("annotation", metadata.get("annotations")),
    ):
        for key, value in (texts or {}).items():
            name, present = _label_names(kind, what, key)
            labels[name], labels[present] = value, "true"
    return labels


def object_labels(kind: str, item: Object) -> Labels:
    """Return name, labels and annotations of an object."""
    return {f"{PREFIX}{kind}_name": item["metadata"]["name"], **metadata_labels(kind, item)}


def namespace_labels(namespace: str, neighbours: Neighbours) -> Labels:
    """Return the label of the namespace and, where asked for, what it carries itself."""
    labels = {NAMESPACE: namespace}
    if neighbours.attach.namespace:
        found = neighbours.find("namespace", "", namespace)
        if found is not None:
            labels |= metadata_labels("namespace", found)
    return labels


def node_labels(name: str, neighbours: Neighbours) -> Labels:
    """Return name, labels and annotations of a node, nothing if it is unknown."""
    found = neighbours.find("node", "", name) if name else None
    return {} if found is None else object_labels("node", found)


def service_labels(namespace: str, name: str, neighbours: Neighbours) -> Labels:
    """Return name, labels and annotations of a service, nothing if it is unknown."""
    found = neighbours.find("service", namespace, name) if name else None
    return {} if found is None else object_labels("service", found)


def host_port(host: str, port: int) -> str:
    """Return an address; IPv6 is bracketed.

    >>> host_port("fd00::1", 80)
    '[fd00::1]:80'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def status_of(conditions: Iterable[Object] | None, kind: str) -> str:
    """Return the status of a condition in lower case, "" if it is not told."""
    for condition in conditions or ():
        if condition.get("type") == kind:
            return str(condition.get("status") or "").lower()
    return ""


def truth(value: object) -> str:
    """Return a boolean as labels have it."""
    return "true" if value else "false"
