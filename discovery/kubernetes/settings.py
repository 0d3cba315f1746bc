"""What one Kubernetes discovery is asked for: the checked form of a `kubernetes_sd_configs` entry.

From: `gnomon/config`, which validates.   To: `discovery.py`, `watches.py`.
Source: Prometheus documentation, `kubernetes_sd_config` (3.14).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.http_client import HttpClientConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROLES = ("pod", "service", "endpoints", "endpointslice", "node", "ingress")

SELECTOR_ROLES: Mapping[str, tuple[str, ...]] = {
    "pod": ("pod", "node"),
    "service": ("service",),
    "endpointslice": ("pod", "service", "endpointslice"),
    "endpoints": ("pod", "service", "endpoints"),
    "node": ("node",),
    "ingress": ("ingress",),
}
"""By role, the kinds of object that selectors may narrow."""


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """Where the API server is and how to be let in.

    At most one of `api_server` and `kubeconfig_file` is set; neither means the cluster this
    process runs in. `client` counts with `api_server` only.
    """

    api_server: str = ""
    kubeconfig_file: Path | None = None
    client: HttpClientConfig = field(default_factory=HttpClientConfig)


@dataclass(frozen=True, slots=True)
class Selector:
    """What the server is asked to leave out of one kind: label and field selectors, or ""."""

    role: str
    label: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class AttachMetadata:
    """Whose labels or names targets carry beside their own object's."""

    node: bool = False
    namespace: bool = False
    deployment: bool = False
    job: bool = False
    cronjob: bool = False


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """One entry. No `namespaces` and no `own_namespace`: the whole cluster is watched."""

    role: str
    access: ApiAccess = field(default_factory=ApiAccess)
    namespaces: tuple[str, ...] = ()
    own_namespace: bool = False
    selectors: tuple[Selector, ...] = ()
    attach: AttachMetadata = field(default_factory=AttachMetadata)

    def selector(self, kind: str) -> Selector:
        """Return what narrows a kind of object; an empty selector where nothing does."""
        for selector in self.selectors:
            if selector.role == kind:
                return selector
        return Selector(kind)

    def kinds(self) -> dict[str, bool]:
        """Return the kinds of object this role needs, the role's own first.

        The value says whether their metadata is all that is needed, which costs the server and
        us a fraction of whole objects.
        """
        kinds = {self.role: False}
        with_pods = self.role in ("pod", "endpoints", "endpointslice")
        if self.role in ("endpoints", "endpointslice"):
            kinds |= {"service": False, "pod": False}
        if with_pods and (self.attach.node or any(s.role == "node" for s in self.selectors)):
            kinds["node"] = True
        if self.attach.namespace and self.role != "node":
            kinds["namespace"] = True
        if with_pods and self.attach.deployment:
            kinds["replicaset"] = True
        if with_pods and self.attach.cronjob:
            kinds["job"] = True
        return kinds
