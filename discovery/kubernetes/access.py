"""The way to an API server: in the cluster, by a kubeconfig file, or as configured.

From: `settings.py`; the pod's environment and service account; a kubeconfig.   To: `client.py`.
Source: Kubernetes documentation, "Accessing the Kubernetes API from a Pod".
Everything here may read files or run a program: call it in a thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from discovery.http_client import Authorization, HttpClientConfig, TlsConfig
from discovery.http_requests import RequestOptions
from discovery.kubernetes.exec_credentials import ExecPlugin
from discovery.kubernetes.kubeconfig import AccessError, read_kubeconfig

if TYPE_CHECKING:
    from discovery.kubernetes.exec_credentials import ExecCredential
    from discovery.kubernetes.settings import ApiAccess, KubernetesSettings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token (renewed on disk), the cluster's authority and its namespace."""


@dataclass(slots=True)
class Connection:
    """An API server, and what each request to it carries. Blocking; thread-safe."""

    server: str
    client: HttpClientConfig
    plugin: ExecPlugin | None = None
    _options: RequestOptions = field(init=False, repr=False)
    _of: ExecCredential | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._options = RequestOptions(self.client)

    def options(self) -> RequestOptions:
        """Return what makes the arguments of a request; may run a program. Raises AccessError."""
        if self.plugin is not None:
            credential = self.plugin.credential()
            if credential != self._of:
                self._options, self._of = RequestOptions(_with(self.client, credential)), credential
        return self._options

    def refused(self) -> None:
        """Note that the server did not know who we are (401)."""
        if self.plugin is not None:
            self.plugin.forget()


def connect(access: ApiAccess) -> Connection:
    """Return the way to the server; asks nothing of it. Raises AccessError."""
    if access.api_server:
        return Connection(_server_url(access), access.client)
    if access.kubeconfig_file is not None:
        found = read_kubeconfig(access.kubeconfig_file)
        plugin = ExecPlugin(found.exec_command) if found.exec_command else None
        return Connection(found.server, found.client, plugin)
    return _in_cluster()


def namespaces(settings: KubernetesSettings) -> tuple[str, ...]:
    """Return the namespaces to watch one by one; "" alone is all of them. Raises AccessError.

    Fails as well where there is no way to the server at all.
    """
    connect(settings.access)
    names = list(settings.namespaces)
    if settings.own_namespace:
        path = SERVICE_ACCOUNT / "namespace"
        try:
            names.append(path.read_text().strip())
        except OSError as e:
            raise AccessError(f"could not determine the pod's namespace: {e}") from e
    return tuple(dict.fromkeys(names)) or ("",)


def _server_url(access: ApiAccess) -> str:
    server = access.api_server.rstrip("/")
    if "://" in server:
        return server
    return ("https://" if access.client.tls_config != TlsConfig() else "http://") + server


def _in_cluster() -> Connection:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise AccessError(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and"
            " KUBERNETES_SERVICE_PORT must be defined"
        )
    if not (SERVICE_ACCOUNT / "token").exists():
        raise AccessError(f"unable to load in-cluster configuration: no {SERVICE_ACCOUNT}/token")
    client = HttpClientConfig(
        authorization=Authorization(credentials_file=SERVICE_ACCOUNT / "token"),
        tls_config=TlsConfig(ca_file=SERVICE_ACCOUNT / "ca.crt"),
    )
    return Connection(f"https://{f'[{host}]' if ':' in host else host}:{port}", client)


def _with(client: HttpClientConfig, credential: ExecCredential) -> HttpClientConfig:
    tls = client.tls_config
    if credential.certificate:
        tls = replace(
            tls, cert=credential.certificate, key=credential.key, cert_file=None, key_file=None
        )
    authorization = client.authorization
    if credential.token:
        authorization = Authorization(credentials=credential.token)
    return replace(client, authorization=authorization, tls_config=tls)
