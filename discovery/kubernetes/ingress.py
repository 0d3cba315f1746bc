"""Role `ingress`: one target for each path of each rule, for probing from outside.

From: ingresses.   To: target groups.   Source: Prometheus documentation, `kubernetes_sd_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.groups import TargetGroup
from discovery.kubernetes.labels import ADDRESS, PREFIX, namespace_labels, object_labels
from discovery.kubernetes.objects import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from discovery.kubernetes.labels import Labels, Neighbours
    from discovery.kubernetes.objects import Object

_INGRESS = PREFIX + "ingress_"


def source(ingress_key: str) -> str:
    """Return the source of an ingress' group."""
    return f"ingress/{ingress_key}"


def group(ingress: Object, neighbours: Neighbours) -> TargetGroup:
    """Return an ingress' group."""
    spec = ingress.get("spec") or {}
    labels = namespace_labels(ingress["metadata"]["namespace"], neighbours)
    labels |= object_labels("ingress", ingress)
    if spec.get("ingressClassName") is not None:
        labels[_INGRESS + "class_name"] = spec["ingressClassName"]
    return TargetGroup(source(key_of(ingress)), tuple(_targets(spec)), labels)


def _targets(spec: Object) -> Iterator[Labels]:
    secured = [host for tls in spec.get("tls") or () for host in tls.get("hosts") or ()]
    for rule in spec.get("rules") or ():
        host = rule.get("host") or ""
        scheme = "https" if any(covers(pattern, host) for pattern in secured) else "http"
        paths: Sequence[Object] = (rule.get("http") or {}).get("paths") or ({},)
        for path in paths:
            yield {
                ADDRESS: host,
                _INGRESS + "scheme": scheme,
                _INGRESS + "host": host,
                _INGRESS + "path": path.get("path") or "/",
            }


def covers(pattern: str, host: str) -> bool:
    """Say whether a TLS host is a rule's host; `*` stands for exactly one part, the first.

    >>> covers("*.example.org", "a.example.org"), covers("*.example.org", "a.b.example.org")
    (True, False)
    """
    if pattern == host:
        return True
    first, *rest = pattern.partition(".")
    return first == "*" and rest == list(host.partition(".")[1:])
