"""Read a kubeconfig file: where the API server is, and how a user is let in.

From: a file that `kubectl` would read, its current context.   To: `access.py`.
Source: Kubernetes documentation, `kubeconfig (v1)` and `client-authentication (v1)`.
Paths in the file are relative to its folder. What is in the file as data wins over a file named.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from discovery.http_client import Authorization, BasicAuth, HttpClientConfig, TlsConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class AccessError(Exception):
    """The way to the API server cannot be made out; nothing has been asked of it."""


@dataclass(frozen=True, slots=True)
class ExecCommand:
    """A program that prints credentials. `cluster` is told to it if it wants to know."""

    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    api_version: str
    cluster: Mapping[str, Any] | None
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """What the current context says. `exec_command` gives what `client` lacks."""

    server: str
    client: HttpClientConfig
    exec_command: ExecCommand | None = None


def read_kubeconfig(path: Path) -> KubeConfig:
    """Return the current context of a file. Raises AccessError."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _current(document or {}, path.parent)
    except OSError as e:
        raise AccessError(f"kubeconfig {path}: {e.strerror or e}") from e
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, KeyError) as e:
        raise AccessError(f"kubeconfig {path}: {e}") from e
    except AccessError as e:
        raise AccessError(f"kubeconfig {path}: {e}") from e


def _current(document: Mapping[str, Any], folder: Path) -> KubeConfig:
    name = document.get("current-context") or ""
    if not name:
        raise AccessError("no current-context is set")
    context = _named(document, "contexts", "context", name)
    cluster = _named(document, "clusters", "cluster", context.get("cluster") or "")
    user: Mapping[str, Any] = {}
    if context.get("user"):
        user = _named(document, "users", "user", context["user"])
    if user.get("auth-provider"):
        raise AccessError("auth-provider was removed from Kubernetes; use an exec plugin")
    if user.get("as-groups") or user.get("as-user-extra"):
        raise AccessError("impersonation of groups (as-groups, as-user-extra) is not supported")
    if not cluster.get("server"):
        raise AccessError(f'cluster "{context.get("cluster")}" names no server')
    tls = TlsConfig(
        ca=_data(cluster, "certificate-authority-data"),
        ca_file=_file(cluster, "certificate-authority", folder),
        cert=_data(user, "client-certificate-data"),
        cert_file=_file(user, "client-certificate", folder),
        key=_data(user, "client-key-data"),
        key_file=_file(user, "client-key", folder),
        server_name=cluster.get("tls-server-name") or "",
        insecure_skip_verify=bool(cluster.get("insecure-skip-tls-verify")),
    )
    impersonated = {"as": "Impersonate-User", "as-uid": "Impersonate-Uid"}
    client = HttpClientConfig(
        basic_auth=_basic(user),
        authorization=_bearer(user, folder),
        tls_config=tls,
        proxy_url=cluster.get("proxy-url") or "",
        proxy_from_environment=not cluster.get("proxy-url"),
        http_headers={
            header: (str(user[name]),) for name, header in impersonated.items() if user.get(name)
        },
    )
    command = _exec_command(user["exec"], cluster, folder) if user.get("exec") else None
    return KubeConfig(str(cluster["server"]).rstrip("/"), client, command)


def _named(document: Mapping[str, Any], field: str, inner: str, name: str) -> Mapping[str, Any]:
    for entry in document.get(field) or ():
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry.get(inner) or {}
            return found
    raise AccessError(f'{inner} "{name}" does not exist')


def _data(section: Mapping[str, Any], field: str) -> str:
    try:
        return base64.b64decode(section.get(field) or "").decode()
    except (binascii.Error, UnicodeDecodeError) as e:
        raise AccessError(f"{field}: {e}") from e


def _file(section: Mapping[str, Any], field: str, folder: Path) -> Path | None:
    name = section.get(field)
    return folder / name if name and not section.get(f"{field}-data") else None


def _basic(user: Mapping[str, Any]) -> BasicAuth | None:
    if not user.get("username"):
        return None
    return BasicAuth(username=str(user["username"]), password=str(user.get("password") or ""))


def _bearer(user: Mapping[str, Any], folder: Path) -> Authorization | None:
    if user.get("tokenFile"):
        return Authorization(credentials_file=folder / user["tokenFile"])
    if user.get("token"):
        return Authorization(credentials=str(user["token"]))
    return None


def _exec_command(
    section: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path
) -> ExecCommand:
    command = section.get("command") or ""
    if not command:
        raise AccessError("exec names no command")
    if section.get("interactiveMode") == "Always":
        raise AccessError(f"exec plugin {command} wants to ask a user; there is none")
    told = None
    if section.get("provideClusterInfo"):
        told = {name: value for name, value in cluster.items() if name != "certificate-authority"}
        if path := _file(cluster, "certificate-authority", folder):
            told["certificate-authority-data"] = base64.b64encode(path.read_bytes()).decode()
    return ExecCommand(
        # A bare name is looked for in $PATH, anything else in the folder of the file.
        command=str(folder / command) if "/" in command else command,
        arguments=tuple(str(argument) for argument in section.get("args") or ()),
        environment={entry["name"]: str(entry["value"]) for entry in section.get("env") or ()},
        api_version=section.get("apiVersion") or "client.authentication.k8s.io/v1",
        cluster=told,
        install_hint=section.get("installHint") or "",
    )
