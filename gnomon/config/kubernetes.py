"""The entries of `kubernetes_sd_configs`.

From: `scrape.py`.   To: `wiring.py`, as the settings of a `KubernetesDiscovery`.
Source: Prometheus documentation, kubernetes_sd_config (3.14); the texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.http_client import HttpClientConfig
from discovery.kubernetes.settings import (
    ROLES,
    SELECTOR_ROLES,
    ApiAccess,
    AttachMetadata,
    KubernetesSettings,
    Selector,
)
from gnomon.config.document import go_quote
from gnomon.config.http_client import decode_client, joined
from gnomon.config.kubernetes_selectors import check_field_selector, check_label_selector

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section

_ATTACHED = ("node", "namespace", "deployment", "job", "cronjob")


def decode_kubernetes(section: Section, folder: Path) -> tuple[KubernetesSettings, ...]:
    """Read `kubernetes_sd_configs`."""
    null_text = "empty or null section in kubernetes_sd_configs"
    items = section.sections("kubernetes_sd_configs", "kubernetes.plain", null_text=null_text)
    return tuple(_entry(item, folder) for item in items)


def _entry(item: Section, folder: Path) -> KubernetesSettings:
    role = _role(item)
    kubeconfig = joined(folder, item.string("kubeconfig_file"))
    server, client = item.string("api_server"), decode_client(item, folder)
    own = False
    names: tuple[str, ...] = ()
    namespaces = item.section("namespaces", "kubernetes.plain")
    if namespaces is not None:
        own, names = namespaces.boolean("own_namespace", False), namespaces.strings("names")
        namespaces.note_unknown()
    attach = AttachMetadata()
    attached = item.section("attach_metadata", "kubernetes.AttachMetadataConfig")
    if attached is not None:
        attach = AttachMetadata(**{name: attached.boolean(name, False) for name in _ATTACHED})
        attached.note_unknown()
    selectors = _selectors(item)
    item.note_unknown()
    # A misspelt field may be why a rule seems broken: it is told first.
    item.problems.raise_found()
    if role == "":
        item.fail(f"role missing (one of: {', '.join(ROLES)})")
    if server and kubeconfig is not None:
        item.fail("cannot use 'kubeconfig_file' and 'api_server' simultaneously")
    if kubeconfig is not None and client != HttpClientConfig():
        item.fail("cannot use a custom HTTP client configuration together with 'kubeconfig_file'")
    if not server and client != HttpClientConfig():
        item.fail(
            "to use custom HTTP client configuration please provide the 'api_server' URL explicitly"
        )
    if server and own:
        item.fail("cannot use 'api_server' and 'namespaces.own_namespace' simultaneously")
    if kubeconfig is not None and own:
        item.fail("cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously")
    _check_selectors(item, role, selectors)
    return KubernetesSettings(
        role=role,
        access=ApiAccess(server, kubeconfig, client),
        namespaces=names,
        own_namespace=own,
        selectors=selectors,
        attach=attach,
    )


def _role(section: Section) -> str:
    role = section.string("role", into="kubernetes.Role")
    if section.has("role") and role not in ROLES:
        section.fail(f"unknown Kubernetes SD role {go_quote(role)}", "role")
    return role


def _selectors(item: Section) -> tuple[Selector, ...]:
    found = []
    null_text = "empty or null section in selectors"
    for inner in item.sections("selectors", "kubernetes.SelectorConfig", null_text=null_text):
        found.append(Selector(_role(inner), inner.string("label"), inner.string("field")))
        inner.note_unknown()
    return tuple(found)


def _check_selectors(item: Section, role: str, selectors: tuple[Selector, ...]) -> None:
    seen: set[str] = set()
    allowed = SELECTOR_ROLES[role]
    for selector in selectors:
        if selector.role in seen:
            item.fail(f"duplicated selector role: {selector.role}", "selectors")
        seen.add(selector.role)
        if selector.role not in allowed:
            text = f"{role} role supports only {', '.join(allowed)} selectors"
            item.fail(text, "selectors")
        try:
            check_field_selector(selector.field)
            check_label_selector(selector.label)
        except ValueError as error:
            item.fail(str(error), "selectors")
